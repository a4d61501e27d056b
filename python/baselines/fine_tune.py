"""The CNN trained from scratch on each support set: the baseline that meta-learning must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.cnn import Parameters, features
from baselines.method import Classifier, Method


@dataclass
class FineTuneOptions:
    """Settings."""

    steps: int = 50
    """Number of Adam steps; each uses the whole support set."""
    rate: float = 0.01
    """Learning rate."""


class FineTune(Method):
    """Adam on the support set from random weights; there is no meta-training."""

    name = "fine_tune"
    batch_norm = "support"

    def __init__(
        self,
        weights: Parameters,
        way: int,
        feature_length: int,
        options: FineTuneOptions | None = None,
    ) -> None:
        """Keep the initial weights: those given for the CNN, zeros for the logits layer."""
        self.options = options or FineTuneOptions()
        self.parameters = {}
        self.buffers = {
            **weights,
            "logits.weight": torch.zeros(way, feature_length),
            "logits.bias": torch.zeros(way),
        }

    @torch.enable_grad()
    def classifier(self, support: Tensor, labels: Tensor) -> Classifier:
        """Train on the support set."""
        weights = {name: value.clone().requires_grad_() for name, value in self.buffers.items()}
        optimizer = torch.optim.Adam(weights.values(), self.options.rate)
        for _ in range(self.options.steps):
            found, _ = features(weights, support)
            logits = F.linear(found, weights["logits.weight"], weights["logits.bias"])
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
        weights = {name: value.detach() for name, value in weights.items()}
        _, moments = features(weights, support)

        def classify(query: Tensor) -> Tensor:
            found, _ = features(weights, query, moments)
            return F.linear(found, weights["logits.weight"], weights["logits.bias"])

        return classify
