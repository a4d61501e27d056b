"""The interface that the training loop and the evaluation need of a method."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from baselines.cnn import Parameters
from baselines.data import TrainingData

Classifier = Callable[[Tensor], Tensor]
"""Query images `[Q, C, H, W]` → logits `[Q, n]`."""


class Method:
    """A few-shot learner: trained tensors, a loss, and a classifier from a support set."""

    name: str
    batch_norm: str
    """`query`, `support` or `running`: whose moments normalise the queries in evaluation."""
    learning_rate = 1e-3
    parameters: Parameters
    """Tensors that are trained."""
    buffers: Parameters
    """Other tensors that a checkpoint holds."""

    def loss(self, data: TrainingData, step: int, progress: float) -> Tensor:
        """Loss of a training step; `progress` is the fraction of the budget used so far."""
        raise NotImplementedError

    def rate_factor(self, progress: float) -> float:
        """Learning rate as a fraction of the highest: a half cosine down to 0."""
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def classifier(self, support: Tensor, labels: Tensor) -> Classifier:
        """Build a classifier from a support set `[N, C, H, W]` with labels `[N]`."""
        raise NotImplementedError

    @property
    def parameter_count(self) -> int:
        """Number of trained values."""
        return sum(tensor.numel() for tensor in self.parameters.values())
