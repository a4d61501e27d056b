"""Prototypical networks (Snell et al. 2017) and matching networks (Vinyals et al. 2016).

Both compare features of the CNN. Nothing is adapted, so batch-norm can be inductive in training and
evaluation (`support`: queries are normalised with the support set's moments).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from baselines.cnn import Parameters, both_features, features
from baselines.data import TrainingData
from baselines.method import Classifier, Method


class MetricMethod(Method):
    """Episodic training of the CNN only; subclasses define how features are compared."""

    def __init__(self, weights: Parameters, batch_norm: str = "support") -> None:
        """Start from the given weights of the CNN."""
        if batch_norm not in ("query", "support"):
            raise ValueError(f"{self.name}: batch-norm {batch_norm}: expected query or support")
        self.parameters, self.buffers, self.batch_norm = weights, {}, batch_norm

    def loss(self, data: TrainingData, step: int, progress: float) -> Tensor:
        """Mean cross-entropy of the queries of an episode."""
        episode = data.episode(step)
        support, query = both_features(
            self.parameters, episode.support, episode.query, self.batch_norm
        )
        logits = self.logits(support, episode.support_labels, query)
        return F.cross_entropy(logits, episode.query_labels)

    def classifier(self, support: Tensor, labels: Tensor) -> Classifier:
        """Run the CNN on the support set."""
        found, moments = features(self.parameters, support)
        given = moments if self.batch_norm == "support" else None
        return lambda query: self.logits(found, labels, features(self.parameters, query, given)[0])

    def logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """Support features `[N, F]`, labels `[N]`, query features `[Q, F]` → logits `[Q, n]`."""
        raise NotImplementedError


class ProtoNet(MetricMethod):
    """Classifies by the nearest class mean."""

    name = "protonet"

    def logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """Compute −‖query − class mean‖²."""
        member = F.one_hot(labels).to(support.dtype)
        means = member.T @ support / member.sum(0).unsqueeze(1)
        return -(query.unsqueeze(1) - means).square().sum(2)


class MatchingNet(MetricMethod):
    """Attention over the support set by cosine similarity, without full-context embeddings."""

    name = "matching"

    def logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """Logarithm of the attention to each class."""
        similarity = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
        member = F.one_hot(labels).to(support.dtype)
        return (similarity.softmax(1) @ member).log()
