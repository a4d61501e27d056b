"""Named parameters, and the layers that several parts of the HyperTransformer share."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]
Options = dict[str, Any]
Moments = tuple[Tensor, Tensor]
"""Mean and variance of each channel, `[C]` each."""

BATCH_NORM_EPSILON = 1e-3
LAYER_NORM_EPSILON = 1e-6
LEAKY_SLOPE = 0.1


def below(tensors: Parameters, prefix: str) -> Parameters:
    """The tensors whose names start with `prefix`, under names without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def dense(phi: Parameters, name: str, values: Tensor) -> Tensor:
    """Compute x Wᵀ + b."""
    return F.linear(values, phi[f"{name}.weight"], phi[f"{name}.bias"])


def layer_norm(phi: Parameters, name: str, values: Tensor) -> Tensor:
    """Normalise the last axis."""
    weight, bias = phi[f"{name}.weight"], phi[f"{name}.bias"]
    return F.layer_norm(values, weight.shape, weight, bias, LAYER_NORM_EPSILON)


def batch_moments(images: Tensor, visible: Tensor | None) -> Moments:
    """Mean and biased variance of each channel of the visible images `[N, C, H, W]`."""
    if visible is not None:
        images = images[visible]
    return images.mean((0, 2, 3)), images.var((0, 2, 3), correction=0)


def running_moments(buffers: Parameters, name: str) -> Moments:
    """The moving averages of the batch-norm layer `name`."""
    return buffers[f"{name}.running_mean"], buffers[f"{name}.running_variance"]


def batch_norm(images: Tensor, moments: Moments, gamma: Tensor, beta: Tensor) -> Tensor:
    """Normalise `[N, C, H, W]` with the given moments, then scale and shift."""

    def channels(values: Tensor) -> Tensor:
        return values.view(1, -1, 1, 1)

    mean, variance = moments
    deviation = (channels(variance) + BATCH_NORM_EPSILON).sqrt()
    return (images - channels(mean)) / deviation * channels(gamma) + channels(beta)
