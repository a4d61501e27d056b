"""The HyperTransformer in plain PyTorch: a second implementation, written from the paper.

It computes one episode at a time and every operation as the paper states it, with nothing fused or
reordered. Only parameter names and the order of elements in a weight slice are taken from the Rust
program, so that this code can read its checkpoints and the two can be compared (`parity.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hypertransformer.checkpoint import read_checkpoint
from hypertransformer.embeddings import image_embedding
from hypertransformer.generator import (
    ConvolutionGenerator,
    LogitsGenerator,
    Samples,
)
from hypertransformer.layers import Moments, Options, Parameters, dense, running_moments
from hypertransformer.settings import CNN_DEFAULTS, GENERATOR_DEFAULTS
from hypertransformer.support_gradient import directions
from hypertransformer.target_cnn import (
    Theta,
    block,
    block_name,
    learned_weights,
    logits_features,
    query_activations,
)


@dataclass
class Prediction:
    """The result of a forward pass."""

    logits: Tensor
    """`[Q, n]`"""
    theta: Theta
    warm_up: list[Tensor]
    """In training: logits of the warm-up head after each convolution, `[Q, n]` each."""
    real_classes: Tensor | None
    """In training: logits of the support images over all training classes, `[N, classes]`."""


class HyperTransformer:
    """Support set → θ, layer by layer → logits of the queries (Fig. 1)."""

    def __init__(self, experiment: Options, phi: Parameters, buffers: Parameters) -> None:
        """Take the resolved experiment, and tensors under the names of a checkpoint."""
        self.phi, self.buffers = phi, buffers
        self.cnn = CNN_DEFAULTS | experiment["cnn"]
        self.generator = GENERATOR_DEFAULTS | experiment["generator"]
        self.batch_norm = experiment["batch_norm"]

    @staticmethod
    def load(checkpoint: Path) -> HyperTransformer:
        """Read a checkpoint of the Rust program."""
        read = read_checkpoint(checkpoint)
        return HyperTransformer(read.experiment, read.phi, read.buffers)

    def with_phi(self, phi: Parameters) -> HyperTransformer:
        """The same model with other values of φ."""
        other = copy.copy(self)
        other.phi = phi
        return other

    def forward(
        self,
        support: Tensor,
        labels: Tensor,
        query: Tensor,
        *,
        mode: str | None = None,
        training: bool = False,
        visible: Tensor | None = None,
    ) -> Prediction:
        """Support set → θ → logits of the queries.

        `support` is `[N, C, H, W]` with `labels` `[N]`, n for an unlabelled image; `visible` `[N]`
        is false for images that are masked out. `mode` (by default the experiment's) is the
        batch-norm mode: `query`, `support` or `running`; in training `running` normalises each set
        with its own batch.
        """
        theta, supports, samples = self.generate(
            support, labels, mode, training=training, visible=visible
        )
        queries = query_activations(self.cnn, theta, query)
        logits = logits_features(self.cnn, queries[-1]) @ theta.weight.T + theta.bias
        warm_up: list[Tensor] = []
        real_classes = None
        for index in range(1, len(queries) - 1):
            name = f"warm_up_head{index}"
            if training and f"{name}.labels" in self.phi:
                support_means, query_means = (x[index].mean((2, 3)) for x in (supports, queries))
                head = LogitsGenerator(self.phi, name, self.generator)
                weight, bias = head.generate(supports[index], support_means, samples)
                warm_up.append(query_means @ weight.T + bias)
        if training and "real_class_head.weight" in self.phi:
            real_classes = dense(self.phi, "real_class_head", samples.embeddings[0])
        return Prediction(logits, theta, warm_up, real_classes)

    def classifier(self, support: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """The CNN generated from a support set: query images `[Q, C, H, W]` → logits `[Q, n]`."""
        theta, _, _ = self.generate(support, labels)
        return lambda query: self.classify(theta, query)

    def classify(self, theta: Theta, query: Tensor) -> Tensor:
        """Query images `[Q, C, H, W]` → logits `[Q, n]`, by the CNN with weights θ."""
        features = logits_features(self.cnn, query_activations(self.cnn, theta, query)[-1])
        return features @ theta.weight.T + theta.bias

    def generate(
        self,
        support: Tensor,
        labels: Tensor,
        mode: str | None = None,
        *,
        training: bool = False,
        visible: Tensor | None = None,
    ) -> tuple[Theta, list[Tensor], Samples]:
        """θ, each layer from the support activations that the layers before it produce.

        Also the support images followed by the output of each block, and what the generators know
        of each image. Arguments are those of `forward`.
        """
        mode = mode or self.batch_norm
        running = mode == "running" and not training
        embeddings = image_embedding(self.phi, self.buffers, support, running, visible)
        samples = Samples(labels, embeddings, visible)
        generators = [
            ConvolutionGenerator(self.phi, index, self.generator, self.cnn)
            for index in range(self.cnn["layers"])
        ]
        slice_directions = self.slice_directions(generators, support, samples, running)
        theta, supports = Theta(own_moments=mode != "support" and not running), [support]
        for index, (generator, direction) in enumerate(
            zip(generators, slice_directions, strict=True)
        ):
            weights = learned_weights(self.phi, index)
            if generator.exists:
                generated = generator.generate(supports[-1], samples, direction)
                if "kernel" in weights:
                    change = generated["kernel"].square().sum()
                    theta.variation = theta.variation + change / weights["kernel"].square().sum()
                for kind, value in generated.items():
                    weights[kind] = weights[kind] + value if kind in weights else value
            output, moments = self.support_block(index, supports[-1], weights, running, visible)
            supports.append(output)
            theta.layers.append(weights)
            theta.moments.append(moments)
        features = logits_features(self.cnn, supports[-1])
        logits_generator = LogitsGenerator(self.phi, "generator.logits", self.generator)
        theta.weight, theta.bias = logits_generator.generate(supports[-1], features, samples)
        return theta, supports, samples

    def support_block(
        self,
        index: int,
        images: Tensor,
        weights: Parameters,
        running: bool,
        visible: Tensor | None,
    ) -> tuple[Tensor, Moments | None]:
        """Block `index` applied to support activations, and the moments that it used."""
        moments = None
        if running:
            moments = running_moments(self.buffers, f"{block_name(index)}.batch_norm")
        return block(self.cnn, index, images, weights, moments, visible)

    def slice_directions(
        self,
        generators: list[ConvolutionGenerator],
        support: Tensor,
        samples: Samples,
        running: bool,
    ) -> list[Tensor | None]:
        """What the weight tokens of each convolution hold after their placeholders, if anything.

        `running` normalises with moving averages.
        """
        if not any(generator.uses_direction for generator in generators):
            return [None] * len(generators)

        def inputs(index: int) -> int:
            return support.shape[1] if index == 0 else self.cnn["channels"]

        def features(slices: list[Tensor | None]) -> Tensor:
            images = support
            for index, added in enumerate(slices):
                weights = learned_weights(self.phi, index)
                if added is not None:
                    generated = generators[index].weights(added, inputs(index))
                    weights = {kind: w + generated.get(kind, 0.0) for kind, w in weights.items()}
                images, _ = self.support_block(index, images, weights, running, samples.visible)
            return logits_features(self.cnn, images)

        zeros = [
            generator.zero_slices(inputs(index)) if generator.uses_direction else None
            for index, generator in enumerate(generators)
        ]
        way = self.phi["generator.logits.placeholders"].shape[0]
        return directions(features, zeros, samples.labels, way, samples.visible)
