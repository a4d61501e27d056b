"""What convolutions that look at the task could be worth: gradient steps on the support set.

    python -m baselines.gradient_adaptation runs/omniglot-5shot-4ch-logits-fast

A run that generates its logits layer alone is trained on, twice with the same episodes: as it is,
and with the convolutions moved by a few gradient steps on the support set, in every episode, before
the logits layer is generated (MAML's way, second order, step sizes learned). The gap between both
on validation classes says what there is to gain for a generator of convolutions that knew as much
as those steps. Their loss asks that each support image be nearest to the mean of its class without
itself, so it needs two shots or more.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from tqdm import tqdm

from baselines.data import Episode, EpisodeList, Pack, TrainingData, exported
from baselines.evaluation import Interval
from baselines.hypertransformer import HyperTransformer, Parameters
from baselines.support_gradient import SHARPNESS, leave_one_out_loss

EPISODES_A_STEP = 4
LEARNING_RATE = 1e-3
FIRST_STEP = 0.01
"""Of the norm of a kernel, what the first gradient steps move it by."""


class Adapting(HyperTransformer):
    """Its learned convolutions take gradient steps before the logits layer is generated."""

    def __init__(self, model: HyperTransformer, way: int, steps: int) -> None:
        """Start from a trained model; `steps` 0 leaves it as it is."""
        self.__dict__.update(model.__dict__)
        self.phi = {name: value.clone().requires_grad_() for name, value in model.phi.items()}
        self.way, self.steps, self.moved = way, steps, list[Tensor]()
        layers = self.cnn["layers"]
        self.step_sizes = torch.full((max(steps, 1), layers), FIRST_STEP, requires_grad=True)
        self.scale = torch.tensor(math.log(SHARPNESS), requires_grad=True)

    def learned_weights(self, index: int) -> Parameters:
        """With the kernel as the last gradient step left it."""
        weights = super().learned_weights(index)
        return {**weights, "kernel": self.moved[index]} if self.moved else weights

    def answers(self, episode: Episode) -> Tensor:
        """Logits of the queries, kernels adapted."""
        self.moved = []
        for step in range(self.steps):
            self.moved = self.stepped(episode, step)
        return self.forward(episode.support, episode.support_labels, episode.query).logits

    def stepped(self, episode: Episode, step: int) -> list[Tensor]:
        """The kernels after one more step."""
        images, kernels = episode.support, []
        for index in range(self.cnn["layers"]):
            weights = self.learned_weights(index)
            kernels.append(weights["kernel"])
            images = self.block(index, images, weights, note=True, seen=None)
        loss = leave_one_out_loss(
            self.features(images), episode.support_labels, self.way, self.scale.exp()
        )
        gradients = torch.autograd.grad(loss, kernels, create_graph=True)
        sizes = self.step_sizes[step]
        return [
            kernel - size * gradient * (kernel.norm() / gradient.norm()).detach()
            for kernel, gradient, size in zip(kernels, gradients, sizes, strict=True)
        ]


def train(model: Adapting, data: TrainingData, steps: int, title: str) -> None:
    """Adam with a warm-up and a half cosine."""
    own = [model.step_sizes, model.scale]
    groups = [{"params": list(model.phi.values())}, {"params": own}]
    optimizer = torch.optim.Adam(groups, LEARNING_RATE, betas=(0.9, 0.99))

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for step in tqdm(range(steps), desc=title, unit="step", leave=False):
        optimizer.zero_grad()
        for number in range(EPISODES_A_STEP):
            episode = data.episode(step * EPISODES_A_STEP + number)
            loss = F.cross_entropy(model.answers(episode), episode.query_labels)
            (loss / EPISODES_A_STEP).backward()
        torch.nn.utils.clip_grad_norm_([*model.phi.values(), *own], 1.0)
        optimizer.step()
        schedule.step()


class Answers:
    """Which queries of each episode were answered right, and which are support images too."""

    def __init__(self, model: Adapting, episodes: EpisodeList, title: str) -> None:
        """Ask all."""
        right, known = [], []
        for index in tqdm(range(len(episodes)), desc=title, unit="episode", leave=False):
            episode = episodes[index]
            answers = model.answers(episode).detach().argmax(1)
            right.append((answers == episode.query_labels).numpy())
            support, query = (episodes.columns[name][index] for name in ("support", "query"))
            known.append(np.isin(query, support))
        self.right, self.known = np.stack(right), np.stack(known)

    def accuracies(self) -> np.ndarray:
        """Of each episode."""
        return self.right.mean(1)

    def __str__(self) -> str:
        """In percent; apart for queries that are support images, where there are any."""
        text = str(Interval.of(self.accuracies()))
        if self.known.any():
            on, off = self.right[self.known].mean(), self.right[~self.known].mean()
            text += f" ({100 * on:.2f} on support images, {100 * off:.2f} on others)"
        return text


def main() -> None:
    """Train twice, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., argparse.Action] = parser.add_argument
    add("run", type=Path, help="run folder; logits alone generated, trained")
    add("--inner", type=int, default=3, help="gradient steps on the support set")
    add("--steps", type=int, default=400, help=f"training steps of {EPISODES_A_STEP} episodes")
    add("--episodes", type=int, default=400, help="validation episodes")
    add("--overlapping", action="store_true", help="queries may be support images, as in the paper")
    add("--binary", type=Path, default=Path("target/release/hypertransformer"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = yaml.safe_load((arguments.run / "config.yaml").read_text())
    episode = experiment["episode"]
    if experiment["generator"]["generates"] != "logits" or episode["shot"] < 2:
        sys.exit(f"error: {arguments.run}: expected a run that generates logits alone, 2 shots up")
    pack = Pack(Path(experiment["data"]["pack"]))
    drawn = {"overlapping": True} if arguments.overlapping else {}
    data = TrainingData.of(pack, experiment, **drawn)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episodes.safetensors"
        more = ["--overlapping"] if arguments.overlapping else []
        asked = (arguments.binary, pack, experiment, "validation", arguments.episodes, path)
        episodes = exported(*asked, *more)
    trained = HyperTransformer.load(arguments.run / "checkpoints" / "best.safetensors")
    found = {}
    for title, inner in (("as it is", 0), (f"{arguments.inner} gradient steps", arguments.inner)):
        model = Adapting(trained, episode["way"], inner)
        if inner == 0:
            print(f"start: {Answers(model, episodes, 'start')} %", flush=True)
        train(model, data, arguments.steps, title)
        found[inner] = Answers(model, episodes, title)
        print(f"trained on, {title}: {found[inner]} %", flush=True)
    gained = Interval.of(found[arguments.inner].accuracies() - found[0].accuracies())
    sizes = np.array2string(100 * model.step_sizes.detach().numpy(), precision=2)
    print(f"gained: {gained} points, in pairs over {len(episodes)} validation episodes")
    print(f"step sizes, % of a kernel's norm, a row a step:\n{sizes}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
