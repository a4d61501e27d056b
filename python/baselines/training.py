"""The training loop of all rivals: Adam with a cosine schedule, within a budget, resumable.

The budget is CPU time of this process including validation, because wall-clock time would depend on
other load on the machine.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from baselines.cnn import Parameters
from baselines.data import TrainingData
from baselines.evaluation import Interval, evaluate
from baselines.method import Method
from hypertransformer.data import Episodes

LOG_SECONDS = 1.0


@dataclass
class Budget:
    """When training ends: after `steps` if given, otherwise after `minutes` of CPU time."""

    minutes: float
    steps: int | None = None
    validations: int = 10
    validation_episodes: int = 100

    def progress(self, seconds: float, step: int) -> float:
        """Fraction of the budget used: 0 at the start, 1 at the end."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)


@dataclass
class Progress:
    """State of training that is saved beside the tensors."""

    step: int = 0
    seconds: float = 0.0
    validations: int = 0
    best_accuracy: float = -1.0
    best_step: int = 0


def save(path: Path, method: Method, optimizer: torch.optim.Adam, progress: Progress) -> None:
    """Write everything that a resumed run needs, atomically."""
    tensors = {f"parameters.{name}": value.detach() for name, value in method.parameters.items()}
    tensors |= {f"buffers.{name}": value for name, value in method.buffers.items()}
    for name, parameter in method.parameters.items():
        for kind, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{kind}"] = value
    tensors = {name: value.contiguous().clone() for name, value in tensors.items()}
    partial = path.with_name(f".partial-{path.name}")
    save_file(tensors, partial, {"progress": json.dumps(vars(progress))})
    os.replace(partial, path)


@torch.no_grad()
def load(path: Path, method: Method, optimizer: torch.optim.Adam | None = None) -> Progress:
    """Read what `save` wrote into the method and its optimizer."""
    with safe_open(path, "pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
        saved: Parameters = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for kind in ("parameters", "buffers"):
        for name, value in getattr(method, kind).items():
            value.copy_(saved[f"{kind}.{name}"])
    if optimizer is not None:
        for name, parameter in method.parameters.items():
            kinds = ("step", "exp_avg", "exp_avg_sq")
            state = {kind: saved[f"optimizer.{name}.{kind}"] for kind in kinds}
            optimizer.state[parameter] = state
    return progress


def train(
    method: Method,
    data: TrainingData,
    validation: Episodes,
    budget: Budget,
    folder: Path,
    title: str,
) -> Progress:
    """Train, or resume from the folder's checkpoint; then load the best weights by validation."""
    folder.mkdir(parents=True, exist_ok=True)
    last, best = folder / "last.safetensors", folder / "best.safetensors"
    for parameter in method.parameters.values():
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(method.parameters.values(), method.learning_rate)
    progress = load(last, method, optimizer) if last.exists() else Progress()
    writer = SummaryWriter(str(folder), purge_step=progress.step)
    bar = tqdm(total=100, desc=title, unit="%", leave=False)
    start, logged = time.process_time() - progress.seconds, 0.0
    done = budget.progress(progress.seconds, progress.step)
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = method.learning_rate * method.rate_factor(done)
        loss = method.loss(data, progress.step, done)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.step += 1
        progress.seconds = time.process_time() - start
        done = budget.progress(progress.seconds, progress.step)
        bar.update(min(100, int(100 * done)) - bar.n)
        if progress.seconds - logged > LOG_SECONDS:
            logged = progress.seconds
            writer.add_scalar("train/loss", loss.item(), progress.step)
            writer.add_scalar("train/learning_rate", group["lr"], progress.step)
        if done * budget.validations >= progress.validations + 1 or done >= 1:
            found, _ = evaluate(method.classifier, validation, budget.validation_episodes)
            accuracy = Interval.of(found)
            progress.validations = int(done * budget.validations)
            writer.add_scalar("validation/accuracy", accuracy.mean, progress.step)
            bar.set_postfix_str(f"validation {accuracy} %")
            progress.seconds = time.process_time() - start
            if accuracy.mean >= progress.best_accuracy:
                progress.best_accuracy, progress.best_step = accuracy.mean, progress.step
                save(best, method, optimizer, progress)
            save(last, method, optimizer, progress)
    bar.close()
    writer.close()
    if best.exists():
        load(best, method)
    return progress
