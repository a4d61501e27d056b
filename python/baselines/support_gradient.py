"""What weight tokens can hold after μ (`generator.support_gradient`), one episode at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from baselines.hypertransformer import HyperTransformer

SHARPNESS = 4.0


def leave_one_out_loss(features: Tensor, labels: Tensor, way: int, scale: Tensor | float) -> Tensor:
    """Cross-entropy of distances `[N, length]` to the class means, to its own without itself.

    A class of one is compared with itself; one of none is no choice.
    """
    members = F.one_hot(labels, way).to(features.dtype)
    counts = members.sum(0)
    sums = members.T @ features
    means = sums / counts.clamp(min=1)[:, None]
    others = (features[:, None] - means).square().mean(-1)
    alone = counts[labels] == 1
    rest = (sums[labels] - features) / (counts[labels] - 1).clamp(min=1)[:, None]
    own = (features - torch.where(alone[:, None], features, rest)).square().mean(-1)
    distances = torch.where(members.bool(), own[:, None], others)
    logits = (-scale * distances).masked_fill(counts == 0, float("-inf"))
    return F.cross_entropy(logits, labels)


def directions(
    model: HyperTransformer, support: Tensor, labels: Tensor, moving: bool, seen: Tensor | None
) -> list[Tensor | None]:
    """Of each convolution whose weight tokens hold it: where its slices should move.

    `[count, length]` each, with mean square 1; constants. `moving`, `seen`: see `forward`.
    """
    names = [f"generator.layer{index + 1}" for index in range(model.cnn["layers"])]
    found: list[Tensor | None] = [None] * len(names)
    asked = [
        f"{name}.placeholders" in model.phi and model.settings(name)["support_gradient"]
        for name in names
    ]
    if not any(asked):
        return found
    changes: dict[int, Tensor] = {}
    images = support
    for index, name in enumerate(names):
        weights, inputs = model.learned_weights(index), images.shape[1]
        if asked[index]:
            placeholders = model.phi[f"{name}.placeholders"]
            shape = placeholders.shape[0], model.slice_length(name, inputs)
            changes[index] = placeholders.new_zeros(shape).requires_grad_()
            generated = model.weights_from(name, changes[index], inputs)
            weights = {kind: value + generated.get(kind, 0.0) for kind, value in weights.items()}
        images = model.block_of_support(index, images, weights, moving, seen)
    features, way = model.features(images), model.phi["generator.logits.placeholders"].shape[0]
    counted = labels < way
    if seen is not None:
        counted &= seen
    loss = leave_one_out_loss(features[counted], labels[counted], way, SHARPNESS)
    gradients = torch.autograd.grad(loss, list(changes.values()))
    for index, gradient in zip(changes, gradients, strict=True):
        scaled = -gradient / gradient.abs().max().clamp(min=1e-30)
        found[index] = scaled / scaled.square().mean().sqrt().clamp(min=1e-15)
    return found
