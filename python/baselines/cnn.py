"""The CNN of every rival: blocks of 3×3 convolution, batch-norm, ReLU and max-pooling.

It is the CNN of MAML++ and of the paper (§5.1), written as functions that take the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]
Moments = list[tuple[Tensor, Tensor]]

LAYERS = 4
EPSILON = 1e-3
MODES = ("query", "support", "running")


def initial_weights(image_channels: int, channels: int, seed: int) -> Parameters:
    """For each block a Glorot-uniform kernel, γ = 1 and β = 0."""
    generator = torch.Generator().manual_seed(seed)
    weights: Parameters = {}
    for layer in range(LAYERS):
        inputs = image_channels if layer == 0 else channels
        kernel = torch.empty(channels, inputs, 3, 3)
        torch.nn.init.xavier_uniform_(kernel, generator=generator)
        weights[f"layer{layer + 1}.kernel"] = kernel
        weights[f"layer{layer + 1}.gamma"] = torch.ones(channels)
        weights[f"layer{layer + 1}.beta"] = torch.zeros(channels)
    return weights


def feature_length(channels: int, size: int) -> int:
    """Number of features of a square image."""
    return channels * (size >> LAYERS) ** 2


def features(
    weights: Parameters, images: Tensor, moments: Moments | None = None
) -> tuple[Tensor, Moments]:
    """Images `[N, C, H, W]` → features `[N, F]`, and the moments that batch-norm used.

    Batch-norm uses `moments`, a mean and a variance `[C]` for each layer, or by default those of
    the batch.
    """
    used: Moments = []
    for layer in range(LAYERS):
        name = f"layer{layer + 1}"
        images = F.conv2d(images, weights[f"{name}.kernel"], padding=1)
        if moments is None:
            variance, mean = torch.var_mean(images, (0, 2, 3), correction=0)
        else:
            mean, variance = moments[layer]
        used.append((mean, variance))
        scale = weights[f"{name}.gamma"] * (variance + EPSILON).rsqrt()
        shift = weights[f"{name}.beta"] - mean * scale
        images = images * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        images = F.max_pool2d(F.relu(images), 2)
    return images.flatten(1), used


def both_features(
    weights: Parameters, support: Tensor, query: Tensor, mode: str
) -> tuple[Tensor, Tensor]:
    """Features of both sets; queries are normalised with the moments of the set named by `mode`."""
    support_features, moments = features(weights, support)
    query_features, _ = features(weights, query, moments if mode == "support" else None)
    return support_features, query_features
