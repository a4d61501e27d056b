"""The direction that a weight token can hold after its placeholder (`generator.support_gradient`).

It is the direction in which a loss on the support set would move the slice that the token becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 4.0

SupportFeatures = Callable[[Sequence[Tensor | None]], Tensor]
"""Generated slices of each convolution (None: nothing is added) → features `[N, length]`."""


def leave_one_out_loss(features: Tensor, labels: Tensor, way: int, scale: Tensor | float) -> Tensor:
    """Cross-entropy of classifying each of `[N, length]` by its distance to the class means.

    The mean of an image's own class leaves that image out. A class of one image is compared with
    the image itself; a class without images cannot be chosen.
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
    features: SupportFeatures,
    slices: Sequence[Tensor | None],
    labels: Tensor,
    way: int,
    visible: Tensor | None,
) -> list[Tensor | None]:
    """Negative gradients of the loss at `slices`, which are zeros; None where `slices` has None.

    `[count, length]` each, scaled to a mean square of 1, without gradients of their own. Images
    that are unlabelled or not `visible` do not count in the loss.
    """
    moved = {
        index: zeros.requires_grad_() for index, zeros in enumerate(slices) if zeros is not None
    }
    with torch.enable_grad():
        support_features = features(slices)
        counted = labels < way
        if visible is not None:
            counted &= visible
        loss = leave_one_out_loss(support_features[counted], labels[counted], way, SHARPNESS)
        gradients = torch.autograd.grad(loss, list(moved.values()))
    found: list[Tensor | None] = [None] * len(slices)
    for index, gradient in zip(moved, gradients, strict=True):
        scaled = -gradient / gradient.abs().max().clamp(min=1e-30)
        found[index] = scaled / scaled.square().mean().sqrt().clamp(min=1e-15)
    return found
