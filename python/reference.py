"""The logits-layer HyperTransformer of the `fast` preset in plain PyTorch, written from the paper.

An independent second implementation: every operation as the words say, nothing folded or
reordered. It reads φ from a checkpoint of the Rust program, so that both can be compared, and is
what PyTorch eager is timed with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]

BATCH_NORM_EPSILON = 1e-3
LAYER_NORM_EPSILON = 1e-6


def layer_norm(phi: Parameters, name: str, values: Tensor) -> Tensor:
    """Normalise the last axis."""
    weight, bias = phi[f"{name}.weight"], phi[f"{name}.bias"]
    return F.layer_norm(values, weight.shape, weight, bias, LAYER_NORM_EPSILON)


def dense(phi: Parameters, name: str, values: Tensor) -> Tensor:
    """Apply x Wᵀ + b."""
    return F.linear(values, phi[f"{name}.weight"], phi[f"{name}.bias"])


def image_embedding(phi: Parameters, images: Tensor) -> Tensor:
    """s_φ: four 3×3 convolutions with batch-norm and ReLU, then the mean over places."""
    for layer, stride in enumerate([2, 2, 2, 1], start=1):
        name = f"image_embedding.layer{layer}"
        images = F.conv2d(images, phi[f"{name}.kernel"], None, stride, 1)
        weight, bias = phi[f"{name}.batch_norm.weight"], phi[f"{name}.batch_norm.bias"]
        images = F.batch_norm(images, None, None, weight, bias, True, 0.0, BATCH_NORM_EPSILON)
        images = F.relu(images)
    return images.mean((2, 3))


def features(phi: Parameters, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Flattened final activations of both sets, normalised by the statistics of the support set."""
    layers = sum(name.startswith("cnn.") and name.endswith(".kernel") for name in phi)
    for layer in range(1, layers + 1):
        name = f"cnn.layer{layer}"
        support, query = (F.conv2d(x, phi[f"{name}.kernel"], padding=1) for x in (support, query))
        mean = support.mean((0, 2, 3), keepdim=True)
        deviation = (support.var((0, 2, 3), False, keepdim=True) + BATCH_NORM_EPSILON).sqrt()
        weight = phi[f"{name}.batch_norm.weight"].view(1, -1, 1, 1)
        bias = phi[f"{name}.batch_norm.bias"].view(1, -1, 1, 1)
        support, query = (
            F.max_pool2d(F.relu((x - mean) / deviation * weight + bias), 2)
            for x in (support, query)
        )
    return support.flatten(1), query.flatten(1)


def encoder_layer(phi: Parameters, name: str, tokens: Tensor, heads: int) -> Tensor:
    """Self-attention and a perceptron, each with a residual and a norm after it."""

    def split(values: Tensor) -> Tensor:
        return values.view(values.shape[0], heads, -1).transpose(0, 1)

    query, key, value = (
        split(dense(phi, f"{name}.attention.{part}", tokens)) for part in ("query", "key", "value")
    )
    attention = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)
    mixed = (attention @ value).transpose(0, 1).flatten(1)
    mixed = dense(phi, f"{name}.attention.output", mixed)
    tokens = layer_norm(phi, f"{name}.attention_norm", tokens + mixed)
    inner = F.relu(dense(phi, f"{name}.inner", tokens))
    return layer_norm(phi, f"{name}.inner_norm", tokens + dense(phi, f"{name}.outer", inner))


def logits(
    phi: Parameters, support: Tensor, labels: Tensor, query: Tensor, heads: int = 2
) -> Tensor:
    """Support images `[N, C, H, W]` with labels `[N]`, query images `[Q, C, H, W]` → `[Q, n]`."""
    name = "generator.logits"
    support_features, query_features = features(phi, support, query)
    samples = torch.cat([support_features, image_embedding(phi, support)], 1)
    samples = layer_norm(phi, f"{name}.feature_norm", samples)
    label_embeddings, placeholders = phi[f"{name}.labels"], phi[f"{name}.placeholders"]
    samples = torch.cat([label_embeddings[labels], samples], 1)
    way, label_dim = placeholders.shape
    slice_length = support_features.shape[1] + 1
    width = max(samples.shape[1], label_dim + slice_length)
    samples, weights = (F.pad(x, (0, width - x.shape[1])) for x in (samples, placeholders))
    tokens = torch.cat([weights, samples])
    layers = sum(name.endswith(".attention.output.weight") for name in phi)
    for layer in range(1, layers + 1):
        tokens = encoder_layer(phi, f"{name}.encoder.layer{layer}", tokens, heads)
    slices = tokens[:way, label_dim : label_dim + slice_length] * phi[f"{name}.output_scale"]
    return query_features @ slices[:, :-1].T + slices[:, -1]
