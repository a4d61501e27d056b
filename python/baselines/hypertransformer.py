"""The HyperTransformer in plain PyTorch: a second implementation, written from the paper.

One episode at a time, every operation as the words say, nothing folded or reordered. Only names and
the order of elements in a weight slice are taken from the Rust program, so that φ can be read from
its checkpoints and both can be compared (`parity.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from safetensors import safe_open
from torch import Tensor

from baselines.support_gradient import directions

Parameters = dict[str, Tensor]
Options = dict[str, Any]

BATCH_NORM_EPSILON = 1e-3
LAYER_NORM_EPSILON = 1e-6
LEAKY_SLOPE = 0.1

# Settings that a checkpoint may be older than, as they were before they could be chosen.
CNN_DEFAULTS: Options = {
    "stride": 1,
    "padding": "same",
    "pooling": "max",
    "pooled_layers": None,
    "activation": "relu",
    "head": "flatten",
}
GENERATOR_DEFAULTS: Options = {
    "allocation": "output",
    "generate_bias": False,
    "generate_batch_norm": False,
    "support_gradient": False,
    "kind": "encoder",
    "pre_norm": False,
    "logits_features": "embedded",
    "attention": "softmax",
    "inner_nonlinearity": "relu",
    "skip_last_nonlinearity": False,
    "per_layer": {},
}

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda values: F.leaky_relu(values, LEAKY_SLOPE),
    "gelu": F.gelu,
}


@dataclass
class Theta:
    """θ: the weights of the target CNN, and what its support set was normalised with."""

    layers: list[Parameters] = field(default_factory=list)
    """Of each block `kernel`, `gamma`, `beta`, maybe `bias`; `mean` and `variance`."""
    weight: Tensor = field(default_factory=lambda: torch.empty(0))
    """The logits layer, `[n, length]`."""
    bias: Tensor = field(default_factory=lambda: torch.empty(0))
    """`[n]`"""
    variation: Tensor | float = 0.0
    """Σ over layers of Σ generated² / Σ learned², for kernels that are the sum of both."""

    def squared_norm(self) -> Tensor:
        """Σ w² over kernels and logits weights."""
        kernels = [layer["kernel"] for layer in self.layers]
        return torch.stack([w.square().sum() for w in [*kernels, self.weight]]).sum()

    def named(self) -> Parameters:
        """Every weight by a name."""
        kept = ("kernel", "bias", "gamma", "beta")
        tensors = {
            f"layer{index}.{kind}": layer[kind]
            for index, layer in enumerate(self.layers, start=1)
            for kind in kept
            if kind in layer
        }
        return {**tensors, "logits.weight": self.weight, "logits.bias": self.bias}


@dataclass
class Prediction:
    """What one forward pass gives."""

    logits: Tensor
    """`[Q, n]`"""
    theta: Theta
    warm_up: list[Tensor]
    """In training: what the warm-up heads after the convolutions say, each `[Q, n]`."""
    real_classes: Tensor | None
    """In training: the real classes of the support images by s_φ, `[N, classes]`."""


def layer_norm(phi: Parameters, name: str, values: Tensor) -> Tensor:
    """Normalise the last axis."""
    weight, bias = phi[f"{name}.weight"], phi[f"{name}.bias"]
    return F.layer_norm(values, weight.shape, weight, bias, LAYER_NORM_EPSILON)


def dense(phi: Parameters, name: str, values: Tensor) -> Tensor:
    """Apply x Wᵀ + b."""
    return F.linear(values, phi[f"{name}.weight"], phi[f"{name}.bias"])


def statistics(images: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of `[N, C, H, W]`; hidden images do not count."""
    if seen is not None:
        images = images[seen]
    return images.mean((0, 2, 3)), images.var((0, 2, 3), correction=0)


def normalised(
    images: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor
) -> Tensor:
    """Batch-norm of `[N, C, H, W]` with given statistics."""

    def channels(values: Tensor) -> Tensor:
        return values.view(1, -1, 1, 1)

    deviation = (channels(variance) + BATCH_NORM_EPSILON).sqrt()
    return (images - channels(mean)) / deviation * channels(gamma) + channels(beta)


class Transformer:
    """A stack of encoder or decoder layers under one name."""

    def __init__(self, phi: Parameters, name: str, settings: Options) -> None:
        """Read how many layers there are from the names."""
        self.phi, self.name, self.settings = phi, name, settings
        self.heads, self.pre_norm = settings["heads"], settings["pre_norm"]
        self.layers = 0
        while f"{name}.layer{self.layers + 1}.attention.output.weight" in phi:
            self.layers += 1

    def __call__(
        self,
        tokens: Tensor,
        hidden: Tensor | None,
        memory: Tensor | None = None,
        memory_hidden: Tensor | None = None,
    ) -> Tensor:
        """Tokens `[S, D]`; `hidden` `[S]` is true for those that none may attend to."""
        for layer in range(1, self.layers + 1):
            name = f"{self.name}.layer{layer}"
            tokens = self.residual(
                f"{name}.attention_norm",
                tokens,
                lambda x, name=name: self.attention(f"{name}.attention", x, x, hidden),
            )
            if memory is not None:
                tokens = self.residual(
                    f"{name}.cross_attention_norm",
                    tokens,
                    lambda x, name=name: self.attention(
                        f"{name}.cross_attention", x, memory, memory_hidden
                    ),
                )
            if f"{name}.inner.weight" in self.phi:
                tokens = self.residual(
                    f"{name}.inner_norm",
                    tokens,
                    lambda x, layer=layer: self.perceptron(layer, x),
                )
        if self.pre_norm:
            tokens = layer_norm(self.phi, f"{self.name}.final_norm", tokens)
        return tokens

    def perceptron(self, layer: int, tokens: Tensor) -> Tensor:
        """Two dense layers, with a nonlinearity between them unless the last is to have none."""
        name = f"{self.name}.layer{layer}"
        hidden = dense(self.phi, f"{name}.inner", tokens)
        if layer < self.layers or not self.settings["skip_last_nonlinearity"]:
            hidden = NONLINEARITIES[self.settings["inner_nonlinearity"]](hidden)
        return dense(self.phi, f"{name}.outer", hidden)

    def residual(self, norm: str, tokens: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Add what the sublayer says, with a norm before it or after the sum."""
        if self.pre_norm:
            return tokens + sublayer(layer_norm(self.phi, norm, tokens))
        return layer_norm(self.phi, norm, tokens + sublayer(tokens))

    def attention(self, name: str, asking: Tensor, asked: Tensor, hidden: Tensor | None) -> Tensor:
        """Attention of `[S, D]` over `[M, E]`."""

        def split(part: str, values: Tensor) -> Tensor:
            values = dense(self.phi, f"{name}.{part}", values)
            return values.view(values.shape[0], self.heads, -1).transpose(0, 1)

        query, key, value = split("query", asking), split("key", asked), split("value", asked)
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        if hidden is not None:
            scores = scores.masked_fill(hidden, float("-inf"))
        sigmoid = self.settings["attention"] == "sigmoid"
        shares = scores.sigmoid() if sigmoid else scores.softmax(-1)
        mixed = (shares @ value).transpose(0, 1).flatten(1)
        return dense(self.phi, f"{name}.output", mixed)


class HyperTransformer:
    """Support set → θ, layer by layer → logits of the queries (Fig. 1)."""

    def __init__(self, experiment: Options, phi: Parameters, buffers: Parameters) -> None:
        """Take the resolved experiment and tensors by the names of a checkpoint."""
        self.phi, self.buffers = phi, buffers
        self.cnn = CNN_DEFAULTS | experiment["cnn"]
        self.generator = GENERATOR_DEFAULTS | experiment["generator"]
        self.batch_norm = experiment["batch_norm"]

    @staticmethod
    def load(checkpoint: Path) -> HyperTransformer:
        """Read a checkpoint of the Rust program."""
        with safe_open(checkpoint, "pt") as file:
            facts = json.loads(file.metadata()["checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

        def below(prefix: str) -> Parameters:
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }

        return HyperTransformer(
            yaml.safe_load(facts["experiment"]), below("phi."), below("buffers.")
        )

    def forward(
        self,
        support: Tensor,
        labels: Tensor,
        query: Tensor,
        *,
        mode: str | None = None,
        training: bool = False,
        seen: Tensor | None = None,
    ) -> Prediction:
        """Support set → θ → logits of the queries.

        `support` `[N, C, H, W]` with `labels` `[N]`, n for an unlabelled image; `seen` `[N]` is
        false for a hidden one. `mode` is `query`, `support` or `running`, which in training
        normalises each set by its own batch.
        """
        mode = mode or self.batch_norm
        moving = mode == "running" and not training
        theta, supports, image_features = self.generate(support, labels, moving, seen)
        # In the mode `running` a training batch is normalised by its own statistics.
        own = mode == "query" or (mode == "running" and training)
        queries = self.activations(theta, query, own)
        logits = self.features(queries[-1]) @ theta.weight.T + theta.bias
        warm_up: list[Tensor] = []
        real_classes = None
        for index in range(1, len(queries) - 1):
            name = f"warm_up_head{index}"
            if training and f"{name}.labels" in self.phi:
                support_means, query_means = (x[index].mean((2, 3)) for x in (supports, queries))
                weight, bias = self.dense_layer(
                    name, supports[index], support_means, image_features, labels, seen
                )
                warm_up.append(query_means @ weight.T + bias)
        if training and "real_class_head.weight" in self.phi:
            real_classes = dense(self.phi, "real_class_head", image_features[0])
        return Prediction(logits, theta, warm_up, real_classes)

    def classifier(self, support: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """The CNN that a support set makes: query images `[Q, C, H, W]` → logits `[Q, n]`."""
        theta, _, _ = self.generate(support, labels, self.batch_norm == "running", None)
        own = self.batch_norm == "query"

        def classify(query: Tensor) -> Tensor:
            features = self.features(self.activations(theta, query, own)[-1])
            return features @ theta.weight.T + theta.bias

        return classify

    def generate(
        self, support: Tensor, labels: Tensor, moving: bool, seen: Tensor | None
    ) -> tuple[Theta, list[Tensor], list[Tensor]]:
        """θ, each layer from what the layers before it made of the support set.

        Also the support images with what each block made of them, and s_φ, if there is one.
        `moving` normalises with moving averages.
        """
        image_features = self.image_embedding(support, moving, seen)
        theta, supports = Theta(), [support]
        with torch.enable_grad():
            beginnings = directions(self, support, labels, moving, seen)
        for index, beginning in enumerate(beginnings):
            before = supports[-1]
            weights = self.convolution(
                index, before, image_features, labels, seen, theta, beginning
            )
            supports.append(self.block_of_support(index, before, weights, moving, seen))
            theta.layers.append(weights)
        features = self.features(supports[-1])
        theta.weight, theta.bias = self.dense_layer(
            "generator.logits", supports[-1], features, image_features, labels, seen
        )
        return theta, supports, image_features

    def convolution(
        self,
        index: int,
        activations: Tensor,
        image_features: list[Tensor],
        labels: Tensor,
        seen: Tensor | None,
        theta: Theta,
        beginning: Tensor | None,
    ) -> Parameters:
        """θ of one convolution block: what is learned, plus what is generated."""
        weights, name = self.learned_weights(index), f"generator.layer{index + 1}"
        if f"{name}.labels" not in self.phi:
            return weights
        local = self.activation_embedding(name, activations, (2, 1))
        inputs = activations.shape[1]
        length = self.slice_length(name, inputs)
        features = [*local, *image_features]
        slices = self.slices(name, features, labels, seen, length, beginning)
        generated = self.weights_from(name, slices, inputs)
        if "kernel" in weights:
            change = generated["kernel"].square().sum()
            theta.variation = theta.variation + change / weights["kernel"].square().sum()
        for kind, value in generated.items():
            weights[kind] = weights[kind] + value if kind in weights else value
        return weights

    def dense_layer(
        self,
        name: str,
        activations: Tensor,
        features: Tensor,
        image_features: list[Tensor],
        labels: Tensor,
        seen: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """W `[n, length]` and b `[n]` of a generated layer from features to logits."""
        local = []
        if self.generator["logits_features"] != "embedded":
            local.append(features)
        if self.generator["logits_features"] != "flat":
            local += self.activation_embedding(name, activations, (1,))
        length = features.shape[1] + 1
        slices = self.slices(name, [*local, *image_features], labels, seen, length)
        if f"{name}.output_scale" in self.phi:
            # With the start of Appendix A logits begin as large as with 8 features.
            slices = slices * min(1.0, 3.0 / length**0.5)
        return slices[:, :-1], slices[:, -1]

    def activations(self, theta: Theta, images: Tensor, own: bool) -> list[Tensor]:
        """Query images, then what each block makes of them; `own`: by their own statistics."""
        found = [images]
        for index, weights in enumerate(theta.layers):
            # A copy: what the queries are normalised with is no part of θ.
            found.append(self.block(index, found[-1], dict(weights), note=own, seen=None))
        return found

    def block_of_support(
        self, index: int, images: Tensor, weights: Parameters, moving: bool, seen: Tensor | None
    ) -> Tensor:
        """Support images through a block; what they are normalised with is put to its weights."""
        if moving:
            below = f"cnn.layer{index + 1}.batch_norm.running"
            weights["mean"] = self.buffers[f"{below}_mean"]
            weights["variance"] = self.buffers[f"{below}_variance"]
        return self.block(index, images, weights, note=not moving, seen=seen)

    def block(
        self, index: int, images: Tensor, weights: Parameters, *, note: bool, seen: Tensor | None
    ) -> Tensor:
        """One block of the CNN; with `note` its batch's own statistics are taken and noted."""
        cnn = self.cnn
        for operation in cnn["block"]:
            if operation == "convolution":
                padding = cnn["kernel_size"] // 2 if cnn["padding"] == "same" else 0
                images = F.conv2d(
                    images, weights["kernel"], weights.get("bias"), cnn["stride"], padding
                )
            elif operation == "batch_norm":
                if note:
                    weights["mean"], weights["variance"] = statistics(images, seen)
                images = normalised(
                    images,
                    weights["mean"],
                    weights["variance"],
                    weights["gamma"],
                    weights["beta"],
                )
            elif operation == "activation":
                leaky = cnn["activation"] == "leaky_relu"
                images = F.leaky_relu(images, LEAKY_SLOPE) if leaky else F.relu(images)
            elif cnn["pooled_layers"] is None or index < cnn["pooled_layers"]:
                pool = F.max_pool2d if cnn["pooling"] == "max" else F.avg_pool2d
                images = pool(images, 2)
        return images

    def features(self, activations: Tensor) -> Tensor:
        """Last activations `[N, C, H, W]` → features of the logits layer `[N, length]`."""
        average = self.cnn["head"] == "average"
        return activations.mean((2, 3)) if average else activations.flatten(1)

    def learned_weights(self, index: int) -> Parameters:
        """What is learned of a block's weights."""
        below = f"cnn.layer{index + 1}."
        names = {
            "kernel": "kernel",
            "bias": "bias",
            "gamma": "batch_norm.weight",
            "beta": "batch_norm.bias",
        }
        return {
            kind: self.phi[below + name] for kind, name in names.items() if below + name in self.phi
        }

    def settings(self, name: str) -> Options:
        """The settings of a generator; those of warm-up heads are those of the logits layer."""
        layer = name.removeprefix("generator.layer")
        changes = self.generator["per_layer"].get(layer if layer.isdigit() else "logits", {})
        return {**self.generator, **changes}

    def weights_from(self, name: str, slices: Tensor, inputs: int) -> Parameters:
        """Slices `[count, length]` → generated weights of a convolution (§4.1)."""
        settings, size = self.settings(name), self.cnn["kernel_size"]
        if settings["allocation"] == "spatial":
            return {"kernel": slices.view(size, size, inputs, -1).permute(3, 2, 0, 1)}
        length = inputs * size * size
        weights = {"kernel": slices[:, :length].reshape(-1, inputs, size, size)}
        rest = list(slices[:, length:].unbind(1))
        if settings["generate_bias"]:
            weights["bias"] = rest.pop(0)
        if settings["generate_batch_norm"]:
            weights["gamma"], weights["beta"] = rest
        return weights

    def image_embedding(self, images: Tensor, moving: bool, seen: Tensor | None) -> list[Tensor]:
        """s_φ: four 3×3 convolutions with batch-norm and ReLU, then the mean over places."""
        if "image_embedding.layer1.kernel" not in self.phi:
            return []
        for layer, stride in enumerate([2, 2, 2, 1], start=1):
            name = f"image_embedding.layer{layer}"
            bias = self.phi.get(f"{name}.bias")
            images = F.conv2d(images, self.phi[f"{name}.kernel"], bias, stride, 1)
            norm = f"{name}.batch_norm"
            if f"{norm}.weight" in self.phi:
                if moving:
                    below = f"{norm}.running"
                    moments = self.buffers[f"{below}_mean"], self.buffers[f"{below}_variance"]
                else:
                    moments = statistics(images, seen)
                images = normalised(
                    images, *moments, self.phi[f"{norm}.weight"], self.phi[f"{norm}.bias"]
                )
            images = F.relu(images)
        return [images.mean((2, 3))]

    def activation_embedding(
        self, name: str, images: Tensor, strides: tuple[int, ...]
    ) -> list[Tensor]:
        """h_φl: convolutions whose outputs, before the ReLU, are averaged over places."""
        means = []
        for index, stride in enumerate(strides, start=1):
            convolution = f"{name}.activation_embedding.convolution{index}"
            if f"{convolution}.kernel" not in self.phi:
                break
            images = F.conv2d(
                F.relu(images) if index > 1 else images,
                self.phi[f"{convolution}.kernel"],
                self.phi[f"{convolution}.bias"],
                stride,
            )
            means.append(images.mean((2, 3)))
        return means

    def slices(
        self,
        name: str,
        features: list[Tensor],
        labels: Tensor,
        seen: Tensor | None,
        length: int,
        beginning: Tensor | None = None,
    ) -> Tensor:
        """Weight slices of a layer, `[count, length]`, read from its placeholders (Fig. 2).

        Weight tokens hold `beginning`, of the same shape, after the placeholders.
        """
        phi, settings = self.phi, self.settings(name)
        joined = torch.cat(features, 1)
        if f"{name}.feature_norm.weight" in phi:
            joined = layer_norm(phi, f"{name}.feature_norm", joined)
        samples = torch.cat([phi[f"{name}.labels"][labels], joined], 1)
        placeholders = phi[f"{name}.placeholders"]
        count, label_dim = placeholders.shape
        weights = placeholders
        if beginning is not None:
            weights = torch.cat([placeholders, beginning], 1)
        width = label_dim + length
        hidden = None if seen is None else ~seen

        def stack(part: str) -> Transformer:
            return Transformer(phi, f"{name}.{part}", settings)

        if settings["kind"] == "separate":
            memory = stack("encoder")(samples, hidden)
            weights = F.pad(weights, (0, width - weights.shape[1]))
            tokens = stack("decoder")(weights, None, memory, hidden)
        else:
            width = max(width, samples.shape[1])
            padded = [F.pad(x, (0, width - x.shape[1])) for x in (weights, samples)]
            tokens = torch.cat(padded)
            if hidden is not None:
                hidden = torch.cat([hidden.new_zeros(count), hidden])
            encoded = stack("encoder")(tokens, hidden)
            if settings["kind"] == "encoder_decoder":
                tokens = stack("decoder")(tokens, hidden, encoded, hidden)
            else:
                tokens = encoded
        slices = tokens[:count, label_dim : label_dim + length]
        scale = phi.get(f"{name}.output_scale")
        return slices if scale is None else slices * scale

    def slice_length(self, name: str, inputs: int) -> int:
        """Elements of one weight slice of a convolution (§4.1)."""
        cnn, settings = self.cnn, self.settings(name)
        if settings["allocation"] == "spatial":
            return inputs * cnn["channels"]
        extra = settings["generate_bias"] + 2 * settings["generate_batch_norm"]
        return inputs * cnn["kernel_size"] ** 2 + extra
