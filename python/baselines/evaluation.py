"""The evaluation that all methods share: accuracy and time per episode, mean and interval."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from baselines.method import Classifier
from hypertransformer.data import Episode, Episodes

MakeClassifier = Callable[[Tensor, Tensor], Classifier]


@dataclass
class Interval:
    """A mean and the half-width of its 95 % interval, 1.96 · s / √episodes."""

    mean: float
    half: float

    @staticmethod
    def of(values: np.ndarray) -> Interval:
        """Mean and interval of one value per episode, two episodes or more."""
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        return Interval(float(values.mean()), float(half))

    def __str__(self) -> str:
        """In percent, as in the tables of results."""
        return f"{100 * self.mean:.2f} ± {100 * self.half:.2f}"


@torch.no_grad()
def accuracy(make: MakeClassifier, episode: Episode) -> tuple[float, float]:
    """Accuracy on the queries, and CPU milliseconds from support set to classifier."""
    start = time.process_time()
    classify = make(episode.support, episode.support_labels)
    spent = 1000 * (time.process_time() - start)
    answers = classify(episode.query).argmax(1)
    return (answers == episode.query_labels).double().mean().item(), spent


def evaluate(
    make: MakeClassifier, episodes: Episodes, count: int | None = None, title: str | None = None
) -> tuple[np.ndarray, float]:
    """Accuracy of each episode, and median CPU milliseconds; `title` shows a progress bar."""
    count = len(episodes) if count is None else min(count, len(episodes))
    indices = range(count)
    if title is not None:
        indices = tqdm(indices, desc=title, unit="episode", leave=False)
    found = [accuracy(make, episodes[index]) for index in indices]
    accuracies, spent = zip(*found, strict=True)
    return np.array(accuracies), statistics.median(spent)
