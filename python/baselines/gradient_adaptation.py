"""Estimates what task-specific convolutions could gain, with gradient steps on the support set.

    python -m baselines.gradient_adaptation runs/omniglot-5shot-4ch-logits

Takes a trained run that generates only its logits layer and trains it further, twice, on the same
episodes: once unchanged, and once with a few gradient steps of the convolutions on the support set
of every episode before the logits layer is generated (as in second-order MAML, with learned step
sizes). The difference on validation classes estimates what a generator of convolutions could gain
that had the information of those steps. Their loss classifies each support image by its distance to
the class means, leaving the image itself out of its own class's mean, so it needs two or more
shots.
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

from baselines.data import TrainingData, exported
from baselines.evaluation import Interval
from hypertransformer.data import Episode, Episodes, Pack
from hypertransformer.forward import HyperTransformer
from hypertransformer.support_gradient import SHARPNESS, leave_one_out_loss
from hypertransformer.target_cnn import block, block_name, learned_weights, logits_features

EPISODES_PER_STEP = 4
LEARNING_RATE = 1e-3
FIRST_STEP = 0.01
"""Initial step size, as a fraction of a kernel's norm."""


class Adapting:
    """A model whose learned convolutions take gradient steps before its logits layer is generated.

    The step sizes and the scale of the distances in the loss are learned with φ.
    """

    def __init__(self, model: HyperTransformer, way: int, steps: int) -> None:
        """Start from a trained model; with 0 `steps` its convolutions stay as they are."""
        self.phi = {name: value.clone().requires_grad_() for name, value in model.phi.items()}
        self.model, self.way, self.steps = model.with_phi(self.phi), way, steps
        layers = model.cnn["layers"]
        self.step_sizes = torch.full((max(steps, 1), layers), FIRST_STEP, requires_grad=True)
        self.scale = torch.tensor(math.log(SHARPNESS), requires_grad=True)

    def answers(self, episode: Episode) -> Tensor:
        """Logits of the queries after all gradient steps."""
        model = self.model
        for step in range(self.steps):
            model = self.stepped(model, episode, step)
        return model.forward(episode.support, episode.support_labels, episode.query).logits

    def loss(self, model: HyperTransformer, episode: Episode) -> tuple[Tensor, list[Tensor]]:
        """Loss of a model on the support set, and the kernels that gradient steps move."""
        images, kernels = episode.support, []
        for index in range(model.cnn["layers"]):
            weights = learned_weights(model.phi, index)
            kernels.append(weights["kernel"])
            images, _ = block(model.cnn, index, images, weights)
        features = logits_features(model.cnn, images)
        scale = self.scale.exp()
        return leave_one_out_loss(features, episode.support_labels, self.way, scale), kernels

    def stepped(self, model: HyperTransformer, episode: Episode, step: int) -> HyperTransformer:
        """The model after one more gradient step of its kernels."""
        loss, kernels = self.loss(model, episode)
        gradients = torch.autograd.grad(loss, kernels, create_graph=True)
        moved = {
            f"{block_name(index)}.kernel": kernel
            - size * gradient * (kernel.norm() / gradient.norm()).detach()
            for index, (kernel, gradient, size) in enumerate(
                zip(kernels, gradients, self.step_sizes[step], strict=True)
            )
        }
        return model.with_phi({**model.phi, **moved})


def train(model: Adapting, data: TrainingData, steps: int, title: str) -> None:
    """Train with Adam: a short warm-up, then a half cosine."""
    own = [model.step_sizes, model.scale]
    groups = [{"params": list(model.phi.values())}, {"params": own}]
    optimizer = torch.optim.Adam(groups, LEARNING_RATE, betas=(0.9, 0.99))

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for step in tqdm(range(steps), desc=title, unit="step", leave=False):
        optimizer.zero_grad()
        for number in range(EPISODES_PER_STEP):
            episode = data.episode(step * EPISODES_PER_STEP + number)
            loss = F.cross_entropy(model.answers(episode), episode.query_labels)
            (loss / EPISODES_PER_STEP).backward()
        torch.nn.utils.clip_grad_norm_([*model.phi.values(), *own], 1.0)
        optimizer.step()
        schedule.step()


class Answers:
    """For each query, whether it was classified correctly and whether it is a support image too."""

    def __init__(self, model: Adapting, episodes: Episodes, title: str) -> None:
        """Classify all queries."""
        right, known = [], []
        for index in tqdm(range(len(episodes)), desc=title, unit="episode", leave=False):
            episode = episodes[index]
            answers = model.answers(episode).detach().argmax(1)
            right.append((answers == episode.query_labels).numpy())
            support, query = (episodes.columns[name][index] for name in ("support", "query"))
            known.append(np.isin(query, support))
        self.right, self.known = np.stack(right), np.stack(known)

    def accuracies(self) -> np.ndarray:
        """Accuracy of each episode."""
        return self.right.mean(1)

    def __str__(self) -> str:
        """In percent; where queries are support images, also these and the others separately."""
        text = str(Interval.of(self.accuracies()))
        if self.known.any():
            on, off = self.right[self.known].mean(), self.right[~self.known].mean()
            text += f" ({100 * on:.2f} on support images, {100 * off:.2f} on others)"
        return text


def main() -> None:
    """Train twice and print the difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., argparse.Action] = parser.add_argument
    add("run", type=Path, help="folder of a trained run that generates only its logits layer")
    add("--inner", type=int, default=3, help="gradient steps on the support set")
    add("--steps", type=int, default=400, help=f"training steps of {EPISODES_PER_STEP} episodes")
    add("--episodes", type=int, default=400, help="validation episodes")
    add("--overlapping", action="store_true", help="queries may be support images, as in the paper")
    add("--binary", type=Path, default=Path("target/release/hypertransformer"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = yaml.safe_load((arguments.run / "config.yaml").read_text())
    episode = experiment["episode"]
    if experiment["generator"]["generates"] != "logits" or episode["shot"] < 2:
        sys.exit(
            f"error: {arguments.run}: expected a run that generates only its logits layer, "
            "with two or more shots"
        )
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
    for title, inner in (("unchanged", 0), (f"{arguments.inner} gradient steps", arguments.inner)):
        model = Adapting(trained, episode["way"], inner)
        if inner == 0:
            print(f"start: {Answers(model, episodes, 'start')} %", flush=True)
        train(model, data, arguments.steps, title)
        found[inner] = Answers(model, episodes, title)
        print(f"trained further, {title}: {found[inner]} %", flush=True)
    gained = Interval.of(found[arguments.inner].accuracies() - found[0].accuracies())
    sizes = np.array2string(100 * model.step_sizes.detach().numpy(), precision=2)
    print(f"gain: {gained} points, paired over {len(episodes)} validation episodes")
    print(f"step sizes in % of a kernel's norm, one row per step:\n{sizes}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
