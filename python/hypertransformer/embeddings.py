"""Features of support images for the generators: of the images, and of a layer's activations."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from hypertransformer.layers import Parameters, batch_moments, batch_norm, running_moments


def image_embedding(
    phi: Parameters, buffers: Parameters, images: Tensor, running: bool, visible: Tensor | None
) -> list[Tensor]:
    """s_φ: four 3×3 convolutions with batch-norm and ReLU, averaged over positions.

    One tensor `[N, features]`, or none where the model has no image embedding. `running` normalises
    with moving averages.
    """
    if "image_embedding.layer1.kernel" not in phi:
        return []
    for layer, stride in enumerate([2, 2, 2, 1], start=1):
        name = f"image_embedding.layer{layer}"
        bias = phi.get(f"{name}.bias")
        images = F.conv2d(images, phi[f"{name}.kernel"], bias, stride, 1)
        norm = f"{name}.batch_norm"
        if f"{norm}.weight" in phi:
            moments = running_moments(buffers, norm) if running else batch_moments(images, visible)
            images = batch_norm(images, moments, phi[f"{norm}.weight"], phi[f"{norm}.bias"])
        images = F.relu(images)
    return [images.mean((2, 3))]


def activation_embedding(
    phi: Parameters, name: str, activations: Tensor, strides: tuple[int, ...]
) -> list[Tensor]:
    """h_φl of the generator `name`: convolutions over a layer's input, up to one per stride.

    One tensor `[N, features]` per convolution: its output before the ReLU, averaged over positions.
    """
    means = []
    for index, stride in enumerate(strides, start=1):
        convolution = f"{name}.activation_embedding.convolution{index}"
        if f"{convolution}.kernel" not in phi:
            break
        activations = F.conv2d(
            F.relu(activations) if index > 1 else activations,
            phi[f"{convolution}.kernel"],
            phi[f"{convolution}.bias"],
            stride,
        )
        means.append(activations.mean((2, 3)))
    return means
