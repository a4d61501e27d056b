"""RFS (Tian et al. 2020): a CNN trained on all training classes, then logistic regression.

The CNN is trained with ordinary supervision; on a support set only a logistic regression is fitted,
to features scaled to length 1. With `generations` the CNN is distilled into a fresh copy of itself,
repeatedly. Features are normalised with moving averages (`running`), so evaluation is inductive.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from baselines import cnn
from baselines.cnn import Moments, Parameters
from baselines.data import TrainingData
from baselines.method import Classifier, Method

MOMENTUM = 0.1


@dataclass
class RfsOptions:
    """Settings; the defaults are those of the paper where it states them."""

    batch: int = 64
    generations: int = 0
    """Number of distillations; all trainings share the budget equally."""
    temperature: float = 4.0
    """Temperature of the student's and the teacher's softmax."""
    alpha: float = 0.5
    """Weight of the cross-entropy; 1 − alpha is that of the divergence from the teacher."""
    regularisation: float = 1.0
    """C of the logistic regression."""


class Rfs(Method):
    """Supervised pre-training and logistic regression."""

    name = "rfs"
    batch_norm = "running"
    learning_rate = 5e-3

    def __init__(
        self,
        weights: Parameters,
        classes: int,
        feature_length: int,
        options: RfsOptions | None = None,
    ) -> None:
        """Start from the given weights of the CNN."""
        self.options = options or RfsOptions()
        scale = 1 / math.sqrt(feature_length)
        generator = torch.Generator().manual_seed(0)
        start = torch.empty(classes, feature_length).uniform_(-scale, scale, generator=generator)
        self.start = {**weights, "logits.weight": start, "logits.bias": torch.zeros(classes)}
        self.parameters = {name: value.clone() for name, value in self.start.items()}
        self.buffers = {"generation": torch.zeros((), dtype=torch.int64)}
        for layer in range(1, cnn.LAYERS + 1):
            shape = weights[f"layer{layer}.gamma"].shape
            self.buffers[f"layer{layer}.mean"] = torch.zeros(shape)
            self.buffers[f"layer{layer}.variance"] = torch.ones(shape)
        if self.options.generations > 0:
            self.buffers |= {f"teacher.{name}": value.clone() for name, value in self.start.items()}

    def rate_factor(self, progress: float) -> float:
        """A half cosine for each generation."""
        return super().rate_factor(self.generation(progress) % 1.0)

    def generation(self, progress: float) -> float:
        """The generation in training, plus the fraction of it that is done."""
        trainings = self.options.generations + 1
        return min(progress * trainings, trainings - 1e-9)

    def loss(self, data: TrainingData, step: int, progress: float) -> Tensor:
        """Cross-entropy of a batch of training images, and divergence from the teacher."""
        if int(self.generation(progress)) > int(self.buffers["generation"]):
            self.begin_generation()
        images, labels = data.batch(step, self.options.batch)
        found, used = cnn.features(self.parameters, images)
        self.note(used)
        logits = F.linear(found, self.parameters["logits.weight"], self.parameters["logits.bias"])
        loss = F.cross_entropy(logits, labels)
        if self.buffers["generation"] == 0:
            return loss
        with torch.no_grad():
            teacher = {
                name.removeprefix("teacher."): value
                for name, value in self.buffers.items()
                if name.startswith("teacher.")
            }
            taught = cnn.features(teacher, images)[0]
            taught = F.linear(taught, teacher["logits.weight"], teacher["logits.bias"])
        warmth = self.options.temperature
        distance = F.kl_div(
            F.log_softmax(logits / warmth, 1),
            F.log_softmax(taught / warmth, 1),
            reduction="batchmean",
            log_target=True,
        )
        alpha = self.options.alpha
        return alpha * loss + (1 - alpha) * warmth**2 * distance

    @torch.no_grad()
    def begin_generation(self) -> None:
        """Make the student the teacher, and start a new student."""
        self.buffers["generation"] += 1
        for name, value in self.parameters.items():
            self.buffers[f"teacher.{name}"].copy_(value)
            value.copy_(self.start[name])

    @torch.no_grad()
    def note(self, used: Moments) -> None:
        """Update the moving averages."""
        for layer, (mean, variance) in enumerate(used, start=1):
            self.buffers[f"layer{layer}.mean"].lerp_(mean, MOMENTUM)
            self.buffers[f"layer{layer}.variance"].lerp_(variance, MOMENTUM)

    def embedded(self, images: Tensor) -> Tensor:
        """Features `[N, F]`, each of length 1."""
        moments = [
            (self.buffers[f"layer{layer}.mean"], self.buffers[f"layer{layer}.variance"])
            for layer in range(1, cnn.LAYERS + 1)
        ]
        return F.normalize(cnn.features(self.parameters, images, moments)[0], dim=1)

    def classifier(self, support: Tensor, labels: Tensor) -> Classifier:
        """Fit the logistic regression."""
        regression = LogisticRegression(C=self.options.regularisation, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(self.embedded(support).detach().numpy(), labels.numpy())

        def classify(query: Tensor) -> Tensor:
            found = regression.decision_function(self.embedded(query).detach().numpy())
            if found.ndim == 1:
                # With two classes scikit-learn returns the score of the second one only.
                return torch.stack([-torch.from_numpy(found), torch.from_numpy(found)], 1)
            return torch.from_numpy(found)

        return classify
