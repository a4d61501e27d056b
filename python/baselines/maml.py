"""MAML++ (Antoniou et al. 2019) on `torch.func`: a few gradient steps on the support set.

Of the paper's six changes to MAML it has: multi-step loss, derivative-order annealing, per-step
batch-norm (γ, β and moving averages for each step), a learning rate for each tensor and step, and a
cosine schedule of the outer learning rate. As published it is transductive: queries are normalised
with the moments of their own batch (`query`). The modes `support` and `running` (moving averages of
each step) are inductive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines import cnn
from baselines.cnn import MODES, Moments, Parameters
from baselines.data import TrainingData
from baselines.method import Classifier, Method

MOMENTUM = 0.1


@dataclass
class MamlOptions:
    """Settings; the defaults are those of the paper."""

    steps: int = 5
    """Gradient steps on the support set."""
    rate: float = 0.1
    """Initial learning rate of each tensor in each step."""
    second_order: bool = True
    """Whether the outer gradient differentiates the inner ones once annealing is over."""
    first_order_share: float = 0.3
    """Fraction of training that is first-order (derivative-order annealing: 50 of 150 epochs)."""
    multi_step_share: float = 0.1
    """Fraction of training in which the loss after every step counts (15 of 150 epochs)."""


class Maml(Method):
    """MAML++."""

    name = "maml++"

    def __init__(
        self,
        weights: Parameters,
        way: int,
        feature_length: int,
        options: MamlOptions | None = None,
        batch_norm: str = "query",
    ) -> None:
        """Start from the given weights of the CNN and a logits layer of zeros."""
        if batch_norm not in MODES:
            raise ValueError(f"{self.name}: batch-norm {batch_norm}: expected one of {MODES}")
        self.options, self.batch_norm = options or MamlOptions(), batch_norm
        steps = self.options.steps
        self.parameters, self.buffers = {}, {}
        adapted = {
            "logits.weight": torch.zeros(way, feature_length),
            "logits.bias": torch.zeros(way),
        }
        for name, value in weights.items():
            if name.endswith(".kernel"):
                adapted[name] = value
            else:
                # γ and β of each step: meta-learned, but not adapted to the task.
                self.parameters[name] = value.repeat(steps, 1)
        self.adapted = list(adapted)
        self.parameters |= adapted
        for name in adapted:
            self.parameters[f"rate.{name}"] = torch.full((steps,), self.options.rate)
        for layer in range(1, cnn.LAYERS + 1):
            shape = self.parameters[f"layer{layer}.gamma"].shape
            self.buffers[f"layer{layer}.mean"] = torch.zeros(shape)
            self.buffers[f"layer{layer}.variance"] = torch.ones(shape)

    def forward(
        self, fast: Parameters, step: int, images: Tensor, moments: Moments | None = None
    ) -> tuple[Tensor, Moments]:
        """Logits with adapted weights and the γ and β of a step; also the moments used."""
        normalisation = {
            name: value[step]
            for name, value in self.parameters.items()
            if name.endswith((".gamma", ".beta"))
        }
        found, used = cnn.features({**fast, **normalisation}, images, moments)
        return F.linear(found, fast["logits.weight"], fast["logits.bias"]), used

    def adapt(
        self, support: Tensor, labels: Tensor, second_order: bool
    ) -> Iterator[tuple[Parameters, Moments]]:
        """Yield the weights after each gradient step, and the support moments that it used."""
        fast = {name: self.parameters[name] for name in self.adapted}
        for step in range(self.options.steps):

            def loss(fast: Parameters, step: int = step) -> tuple[Tensor, Moments]:
                logits, used = self.forward(fast, step, support)
                return F.cross_entropy(logits, labels), used

            gradients, used = torch.func.grad(loss, has_aux=True)(fast)
            if not second_order:
                gradients = {name: value.detach() for name, value in gradients.items()}
            fast = {
                name: value - self.parameters[f"rate.{name}"][step] * gradients[name]
                for name, value in fast.items()
            }
            yield fast, used

    def step_weights(self, progress: float) -> list[float]:
        """Weight of the query loss after each step (multi-step loss)."""
        steps = self.options.steps
        share = self.options.multi_step_share
        left = max(0.0, 1 - progress / share) if share > 0 else 0.0
        early = left / steps
        return [early] * (steps - 1) + [1 - early * (steps - 1)]

    def loss(self, data: TrainingData, step: int, progress: float) -> Tensor:
        """Query loss of an episode after adaptation."""
        episode = data.episode(step)
        annealed = progress >= self.options.first_order_share
        second_order = self.options.second_order and annealed
        total = torch.zeros(())
        weights = self.step_weights(progress)
        adaptation = self.adapt(episode.support, episode.support_labels, second_order)
        for inner, (fast, used) in enumerate(adaptation):
            self.note(inner, used)
            if weights[inner] > 0:
                moments = None
                if self.batch_norm == "support":
                    _, moments = self.forward(fast, inner, episode.support)
                logits, _ = self.forward(fast, inner, episode.query, moments)
                total = total + weights[inner] * F.cross_entropy(logits, episode.query_labels)
        return total

    @torch.no_grad()
    def note(self, step: int, used: Moments) -> None:
        """Update the moving averages of a step."""
        for layer, (mean, variance) in enumerate(used, start=1):
            self.buffers[f"layer{layer}.mean"][step].lerp_(mean, MOMENTUM)
            self.buffers[f"layer{layer}.variance"][step].lerp_(variance, MOMENTUM)

    def classifier(self, support: Tensor, labels: Tensor) -> Classifier:
        """Adapt with all gradient steps; first-order, which gives the same weights."""
        *_, (fast, _) = self.adapt(support, labels, second_order=False)
        last = self.options.steps - 1
        moments: Moments | None = None
        if self.batch_norm == "support":
            _, moments = self.forward(fast, last, support)
        elif self.batch_norm == "running":
            moments = [
                (
                    self.buffers[f"layer{layer}.mean"][last],
                    self.buffers[f"layer{layer}.variance"][last],
                )
                for layer in range(1, cnn.LAYERS + 1)
            ]
        return lambda query: self.forward(fast, last, query, moments)[0]
