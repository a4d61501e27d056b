"""Generators: a Transformer per layer of the target CNN that turns the support set into weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypertransformer.embeddings import activation_embedding
from hypertransformer.layers import Options, Parameters, layer_norm
from hypertransformer.transformer import Transformer


@dataclass
class Samples:
    """What the generators of all layers are told about the N support images."""

    labels: Tensor
    """`[N]`, n for an unlabelled image."""
    embeddings: list[Tensor]
    """Image embeddings `[N, features]`; one or none."""
    visible: Tensor | None
    """`[N]`, false for images that no token may attend to."""


class Generator:
    """What the generators of convolutions and of logits layers have in common."""

    def __init__(self, phi: Parameters, name: str, generator: Options) -> None:
        """Take the options of the layer; warm-up heads have those of the logits layer."""
        layer = name.removeprefix("generator.layer")
        changes = generator["per_layer"].get(layer if layer.isdigit() else "logits", {})
        self.phi, self.name, self.settings = phi, name, {**generator, **changes}

    def slices(
        self,
        features: list[Tensor],
        samples: Samples,
        length: int,
        direction: Tensor | None = None,
    ) -> Tensor:
        """The layer's weights as slices `[count, length]`, read from the weight tokens (Fig. 2).

        A weight token is a placeholder followed by the row of `direction`, if there is one. A
        sample token is the embedding of its label followed by `features` and image embeddings.
        """
        phi, name, settings, visible = self.phi, self.name, self.settings, samples.visible
        joined = torch.cat([*features, *samples.embeddings], 1)
        if f"{name}.feature_norm.weight" in phi:
            joined = layer_norm(phi, f"{name}.feature_norm", joined)
        sample_tokens = torch.cat([phi[f"{name}.labels"][samples.labels], joined], 1)
        placeholders = phi[f"{name}.placeholders"]
        count, label_dim = placeholders.shape
        weight_tokens = placeholders
        if direction is not None:
            weight_tokens = torch.cat([placeholders, direction], 1)
        width = label_dim + length
        masked = None if visible is None else ~visible

        def stack(part: str) -> Transformer:
            return Transformer(phi, f"{name}.{part}", settings)

        if settings["kind"] == "separate":
            memory = stack("encoder")(sample_tokens, masked)
            weight_tokens = F.pad(weight_tokens, (0, width - weight_tokens.shape[1]))
            tokens = stack("decoder")(weight_tokens, None, memory, masked)
        else:
            width = max(width, sample_tokens.shape[1])
            tokens = torch.cat(
                [F.pad(x, (0, width - x.shape[1])) for x in (weight_tokens, sample_tokens)]
            )
            if masked is not None:
                masked = torch.cat([masked.new_zeros(count), masked])
            encoded = stack("encoder")(tokens, masked)
            if settings["kind"] == "encoder_decoder":
                tokens = stack("decoder")(tokens, masked, encoded, masked)
            else:
                tokens = encoded
        slices = tokens[:count, label_dim : label_dim + length]
        scale = phi.get(f"{name}.output_scale")
        return slices if scale is None else slices * scale


class ConvolutionGenerator(Generator):
    """Generates the weights of one convolution block."""

    def __init__(self, phi: Parameters, index: int, generator: Options, cnn: Options) -> None:
        """Take the options; `phi` holds no such generator where the block is only learned."""
        super().__init__(phi, f"generator.layer{index + 1}", generator)
        self.kernel_size, self.channels = cnn["kernel_size"], cnn["channels"]

    @property
    def exists(self) -> bool:
        """Whether weights of this block are generated."""
        return f"{self.name}.labels" in self.phi

    @property
    def uses_direction(self) -> bool:
        """Whether weight tokens hold a direction from the support gradient."""
        return self.exists and self.settings["support_gradient"]

    def generate(
        self, activations: Tensor, samples: Samples, direction: Tensor | None
    ) -> Parameters:
        """Generated weights by kind, from the block's input `[N, C, H, W]`."""
        features = activation_embedding(self.phi, self.name, activations, (2, 1))
        inputs = activations.shape[1]
        slices = self.slices(features, samples, self.slice_length(inputs), direction)
        return self.weights(slices, inputs)

    def slice_length(self, inputs: int) -> int:
        """Elements of one weight slice of a convolution of `inputs` channels (§4.1)."""
        if self.settings["allocation"] == "spatial":
            return inputs * self.channels
        extra = self.settings["generate_bias"] + 2 * self.settings["generate_batch_norm"]
        return inputs * self.kernel_size**2 + extra

    def zero_slices(self, inputs: int) -> Tensor:
        """Slices `[count, length]` that add nothing to the learned weights."""
        placeholders = self.phi[f"{self.name}.placeholders"]
        return placeholders.new_zeros(placeholders.shape[0], self.slice_length(inputs))

    def weights(self, slices: Tensor, inputs: int) -> Parameters:
        """Slices `[count, length]` → `kernel`, maybe `bias`, `gamma` and `beta` (§4.1)."""
        size = self.kernel_size
        if self.settings["allocation"] == "spatial":
            return {"kernel": slices.view(size, size, inputs, -1).permute(3, 2, 0, 1)}
        length = inputs * size * size
        weights = {"kernel": slices[:, :length].reshape(-1, inputs, size, size)}
        rest = list(slices[:, length:].unbind(1))
        if self.settings["generate_bias"]:
            weights["bias"] = rest.pop(0)
        if self.settings["generate_batch_norm"]:
            weights["gamma"], weights["beta"] = rest
        return weights


class LogitsGenerator(Generator):
    """Generates a dense layer from features to logits: the logits layer, or a warm-up head."""

    def generate(
        self, activations: Tensor, features: Tensor, samples: Samples
    ) -> tuple[Tensor, Tensor]:
        """W `[n, length]` and b `[n]`; `features` `[N, length]` are the layer's input."""
        sample_features = []
        if self.settings["logits_features"] != "embedded":
            sample_features.append(features)
        if self.settings["logits_features"] != "flat":
            sample_features += activation_embedding(self.phi, self.name, activations, (1,))
        length = features.shape[1] + 1
        slices = self.slices(sample_features, samples, length)
        if f"{self.name}.output_scale" in self.phi:
            # The initialisation of Appendix A: logits start no larger than with 8 features.
            slices = slices * min(1.0, 3.0 / length**0.5)
        return slices[:, :-1], slices[:, -1]

    def fits(self, length: int) -> bool:
        """Whether the Transformer has the token width of a layer with `length` features."""
        phi, name = self.phi, self.name

        def outputs(convolution: str) -> int:
            kernel = phi.get(f"{convolution}.kernel")
            return 0 if kernel is None else kernel.shape[0]

        features = outputs("image_embedding.layer4")
        if self.settings["logits_features"] != "embedded":
            features += length
        if self.settings["logits_features"] != "flat":
            features += outputs(f"{name}.activation_embedding.convolution1")
        separate = self.settings["kind"] == "separate"
        width = length + 1 if separate else max(length + 1, features)
        stack = "decoder" if separate else "encoder"
        found = phi[f"{name}.{stack}.layer1.attention.query.weight"].shape[1]
        return found == phi[f"{name}.placeholders"].shape[1] + width
