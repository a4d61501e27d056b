"""What the training loop and the evaluation ask of a method."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from baselines.cnn import Parameters
from baselines.data import TrainingData

Classifier = Callable[[Tensor], Tensor]
"""Query images `[Q, C, H, W]` → logits `[Q, n]`."""


class Method:
    """A few-shot learner: tensors that training moves, a loss, and what a support set makes."""

    name: str
    batch_norm: str
    """`query`, `support` or `running`: whose statistics normalise the queries in evaluation."""
    learning_rate = 1e-3
    parameters: Parameters
    """What gradients move."""
    buffers: Parameters
    """What else is saved."""

    def loss(self, data: TrainingData, step: int, progress: float) -> Tensor:
        """Loss of a training step; `progress` goes from 0 to 1 over the budget."""
        raise NotImplementedError

    def rate_factor(self, progress: float) -> float:
        """Share of the highest learning rate: a half cosine down to 0."""
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def classifier(self, support: Tensor, labels: Tensor) -> Classifier:
        """From a support set `[N, C, H, W]` with labels `[N]` to a classifier that is ready."""
        raise NotImplementedError

    @property
    def parameter_count(self) -> int:
        """Numbers that training moves."""
        return sum(tensor.numel() for tensor in self.parameters.values())
