"""The CNN that every method has: blocks of 3×3 convolution, batch-norm, ReLU and max-pooling.

That of MAML++ and of the paper (§5.1). Purely functional: weights come in as arguments.
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
    """Kernels (Glorot), γ = 1 and β = 0 of each block."""
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
    """Length of the features of square images."""
    return channels * (size >> LAYERS) ** 2


def features(
    weights: Parameters, images: Tensor, moments: Moments | None = None
) -> tuple[Tensor, Moments]:
    """`[N, C, H, W]` → features `[N, F]`, normalised by `moments` or else by the batch's own.

    Also the mean and variance, `[C]`, of each layer that were used.
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
    """Features of both sets, queries by their own statistics (`query`) or the support set's."""
    support_features, moments = features(weights, support)
    query_features, _ = features(weights, query, moments if mode == "support" else None)
    return support_features, query_features
