"""The target CNN: its weights θ, and images → features of the logits layer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from hypertransformer.layers import (
    LEAKY_SLOPE,
    Moments,
    Options,
    Parameters,
    batch_moments,
    batch_norm,
)


@dataclass
class Theta:
    """θ: the weights of the target CNN, and the moments of its support activations."""

    layers: list[Parameters] = field(default_factory=list)
    """For each block `kernel`, `gamma`, `beta` and, if it has one, `bias`."""
    moments: list[Moments | None] = field(default_factory=list)
    """For each block what its support activations were normalised with."""
    own_moments: bool = False
    """Whether queries are normalised with their own moments instead."""
    weight: Tensor = field(default_factory=lambda: torch.empty(0))
    """The logits layer, `[n, length]`."""
    bias: Tensor = field(default_factory=lambda: torch.empty(0))
    """`[n]`"""
    variation: Tensor | float = 0.0
    """‖generated‖² / ‖learned‖², summed over the kernels that are the sum of both parts."""

    def squared_norm(self) -> Tensor:
        """Σ w² over kernels and logits weights."""
        kernels = [layer["kernel"] for layer in self.layers]
        return torch.stack([w.square().sum() for w in [*kernels, self.weight]]).sum()

    def named(self) -> Parameters:
        """Every weight by its name."""
        kinds = ("kernel", "bias", "gamma", "beta")
        tensors = {
            f"layer{index}.{kind}": layer[kind]
            for index, layer in enumerate(self.layers, start=1)
            for kind in kinds
            if kind in layer
        }
        return {**tensors, "logits.weight": self.weight, "logits.bias": self.bias}


def block_name(index: int) -> str:
    """Prefix of the learned parameters of block `index`."""
    return f"cnn.layer{index + 1}"


def learned_weights(phi: Parameters, index: int) -> Parameters:
    """The weights of block `index` that are learned."""
    names = {
        "kernel": "kernel",
        "bias": "bias",
        "gamma": "batch_norm.weight",
        "beta": "batch_norm.bias",
    }
    prefix = block_name(index)
    return {
        kind: phi[f"{prefix}.{name}"] for kind, name in names.items() if f"{prefix}.{name}" in phi
    }


def pools(cnn: Options, index: int) -> bool:
    """Whether the pooling of block `index` takes place."""
    return cnn["pooled_layers"] is None or index < cnn["pooled_layers"]


def block(
    cnn: Options,
    index: int,
    images: Tensor,
    weights: Parameters,
    moments: Moments | None = None,
    visible: Tensor | None = None,
) -> tuple[Tensor, Moments | None]:
    """Block `index` applied to `[N, C, H, W]`, and the moments that its batch-norm used.

    Without `moments` batch-norm uses those of the batch, of which it leaves out images that are not
    `visible`.
    """
    for operation in cnn["block"]:
        if operation == "convolution":
            padding = cnn["kernel_size"] // 2 if cnn["padding"] == "same" else 0
            images = F.conv2d(
                images, weights["kernel"], weights.get("bias"), cnn["stride"], padding
            )
        elif operation == "batch_norm":
            if moments is None:
                moments = batch_moments(images, visible)
            images = batch_norm(images, moments, weights["gamma"], weights["beta"])
        elif operation == "activation":
            leaky = cnn["activation"] == "leaky_relu"
            images = F.leaky_relu(images, LEAKY_SLOPE) if leaky else F.relu(images)
        elif pools(cnn, index):
            pool = F.max_pool2d if cnn["pooling"] == "max" else F.avg_pool2d
            images = pool(images, 2)
    return images, moments


def query_activations(cnn: Options, theta: Theta, images: Tensor) -> list[Tensor]:
    """Query images, then the output of each block."""
    activations = [images]
    for index, weights in enumerate(theta.layers):
        moments = None if theta.own_moments else theta.moments[index]
        activations.append(block(cnn, index, activations[-1], weights, moments)[0])
    return activations


def logits_features(cnn: Options, activations: Tensor) -> Tensor:
    """Output of the last block `[N, C, H, W]` → features of the logits layer `[N, length]`."""
    average = cnn["head"] == "average"
    return activations.mean((2, 3)) if average else activations.flatten(1)


def feature_length(cnn: Options, channels: int, height: int, width: int) -> int:
    """Number of features of the logits layer for images `[C, H, W]`; 0 if a map is empty."""
    size = cnn["kernel_size"]
    padding = size // 2 if cnn["padding"] == "same" else 0
    for index in range(cnn["layers"]):
        channels = cnn["channels"]
        for operation in cnn["block"]:
            if operation == "convolution":
                height, width = (
                    max(0, (side + 2 * padding - size) // cnn["stride"] + 1)
                    for side in (height, width)
                )
            elif operation == "pool" and pools(cnn, index):
                height, width = height // 2, width // 2
            if not (height and width):
                return 0
    return channels if cnn["head"] == "average" else channels * height * width
