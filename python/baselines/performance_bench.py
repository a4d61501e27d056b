"""The measurements of `make bench`: the Rust program and PyTorch on the same models."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from baselines.machine import cores, gemm_rate, milliseconds
from hypertransformer.forward import HyperTransformer

# Time per episode of eager PyTorch divided by that of the authors' TensorFlow 1 graph, both on one
# thread of the same machine; 28×28, 20-way 1-shot, 60 queries.
AUTHORS_RATIO = {
    (8, "logits"): 25.0 / 9.7,
    (8, "all"): 50.5 / 15.7,
    (16, "logits"): 38.1 / 9.8,
    (16, "all"): 72.8 / 21.5,
    (64, "logits"): 144 / 33.6,
    (64, "all"): 397 / 115,
}


@dataclass(frozen=True)
class Column:
    """A model and the shape of its episodes."""

    size: int
    channels: int
    generates: str

    @property
    def title(self) -> str:
        """Title of its progress bar."""
        return f"{self.size}×{self.size}, {self.channels} channels, {self.generates}"

    @property
    def image_channels(self) -> int:
        """1 (grey) for 28×28 images, 3 for larger ones."""
        return 1 if self.size == 28 else 3

    @property
    def episode(self) -> tuple[int, int, int]:
        """Way, shot and queries per class."""
        return (20, 1, 3) if self.size == 28 else (5, 1, 15)

    @property
    def settings(self) -> list[str]:
        """Command-line overrides of the synthetic experiment."""
        way, shot, query = self.episode
        values = {
            "cnn.channels": self.channels,
            "generator.generates": self.generates,
            "episode.way": way,
            "episode.shot": shot,
            "episode.query": query,
            "episode.evaluation_query": query,
        }
        return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


# Episodes per step, unless the measurement says otherwise.
TASKS_PER_STEP = 16


class Bench:
    """Runs the Rust program and PyTorch on this machine."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        """Measure GEMM rates; `folder` is for packs of random pictures."""
        self.arguments, self.folder = arguments, folder
        self.on_gpu = arguments.device != "cpu"
        words = ["bench", "products", "--device", arguments.device, "--json"]
        with cores(1, arguments.device):
            self.gemm = 1e9 * json.loads(self.program(*words))["gflops"]
        self.pytorch_gemm = gemm_rate(arguments.device, 8192 if self.on_gpu else 1024)

    def program(self, *words: str) -> str:
        """Run the Rust program and return what it prints."""
        command = [str(self.arguments.binary), *words]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if found.returncode:
            sys.exit(f"error: {' '.join(command)}: exit code {found.returncode}")
        return found.stdout

    def pack(self, size: int) -> list[str]:
        """Overrides that name a pack with images of this size."""
        if size == 28:
            return []
        path = self.folder / f"random-{size}.safetensors"
        if not path.exists():
            write_random_pictures(self.folder / "pictures", size)
            words = ["data", "import", "folder", "--from", str(self.folder / "pictures")]
            self.program(*words, "--size", str(size), "--output", str(path))
        return ["--set", f"data.pack={path}", "--set", "episode.rotations=none"]

    def least_episodes(self, column: Column) -> int:
        """Smallest number of episodes to time in the Rust program."""
        return episodes_for(column, 30 if self.arguments.quick else 120)

    def ours(
        self,
        column: Column,
        what: str,
        threads: int,
        *more: str,
        episodes: int | None = None,
    ) -> dict[str, Any]:
        """Result of the program's `bench`, by default with `least_episodes`."""
        episodes = episodes or self.least_episodes(column)
        words = [*column.settings, *self.pack(column.size), *more]
        words += ["--device", self.arguments.device, "--json"]
        words += ["--threads", str(threads), "--episodes", str(episodes)]
        with cores(threads, self.arguments.device):
            return json.loads(self.program("bench", what, *words))

    def whole_steps(
        self, column: Column, what: str, threads: int, tasks: int, steps: int | None = None
    ) -> float:
        """Milliseconds per episode of the Rust program.

        It runs whole steps, because part of a step might not give work to all threads.
        """
        steps = steps or (40 if self.on_gpu else math.ceil(self.least_episodes(column) / tasks))
        more = ("--set", f"train.tasks_per_step={tasks}")
        found = self.ours(column, what, threads, *more, episodes=tasks * steps)
        return found["milliseconds_per_episode"]

    def checkpoint(self, column: Column) -> Path:
        """Checkpoint of a model after one training step, for PyTorch to read."""
        run = self.folder / "run"
        words = ["--run-dir", str(run), "--force", "--quiet", *column.settings]
        for setting in ("train.steps=1", "train.warmup_steps=0", "validation.episodes=2"):
            words += ["--set", setting]
        self.program("train", "experiments/synthetic.yaml", *words, *self.pack(column.size))
        return run / "checkpoints" / "last.safetensors"

    def measure(self, column: Column) -> dict[str, Any]:
        """Milliseconds per episode: for each contender a list with one value per round."""
        model = HyperTransformer.load(self.checkpoint(column))
        for tensors in (model.phi, model.buffers):
            tensors.update({k: tensor.to(self.arguments.device) for k, tensor in tensors.items()})
        words = [*column.settings, *self.pack(column.size)]
        inspected = json.loads(
            self.program("inspect", "experiments/synthetic.yaml", "--json", *words)
        )["model"]
        found: dict[str, list[float]] = {}
        contenders = self.contenders(column, model)
        bar = tqdm(range(self.arguments.rounds), desc=column.title, unit="round", leave=False)
        for _ in bar:
            for name, time_it in contenders.items():
                found.setdefault(name, []).append(time_it())
        way, shot, query = column.episode
        queries = way * query * inspected["cnn_multiply_adds"]
        forward = inspected["generator_multiply_adds"] + queries
        return {
            **asdict(column),
            "milliseconds": found,
            "multiply_adds": forward,
            # The backward pass costs twice the forward pass; a multiply-add is two operations.
            "limit_milliseconds": 1000 * 3 * 2 * forward / self.gemm,
            "authors_ratio": AUTHORS_RATIO.get((column.channels, column.generates))
            if column.size == 28 and not self.on_gpu
            else None,
        }

    def contenders(self, column: Column, model: HyperTransformer) -> dict[str, Callable[[], float]]:
        """The functions that are timed in each round, by name."""

        def rust(what: str, threads: int = 1, tasks: int = TASKS_PER_STEP) -> Callable[[], float]:
            return lambda: self.whole_steps(column, what, threads, tasks)

        episodes = episodes_for(column, 10 if self.arguments.quick else 30)
        device = self.arguments.device
        step = training_step(model, column, device)

        def pytorch(work: Callable[[], Any], threads: int = 1) -> Callable[[], float]:
            return lambda: milliseconds(work, episodes, threads, device)

        timed = {
            "step": rust("step", threads=self.rust_threads),
            "PyTorch step": pytorch(step),
            "PyTorch channels-last step": pytorch(
                training_step(channels_last(model), column, device, layout=torch.channels_last)
            ),
            "step, T = 4": rust("step", threads=self.rust_threads, tasks=4),
            "step, T = 1": rust("step", tasks=1),
            "evaluation": rust("evaluation", threads=self.rust_threads),
            "PyTorch evaluation": pytorch(evaluation_step(model, column, device)),
        }
        # Batches of larger images need more memory than most GPUs have.
        if self.on_gpu and column.size == 28:
            timed["step, T = 64"] = rust("step", threads=self.rust_threads, tasks=64)
            batched = pytorch(training_step(model, column, device, tasks=TASKS_PER_STEP))
            timed["PyTorch vmap step"] = lambda: batched() / TASKS_PER_STEP
        if self.arguments.threads > 1:
            timed["step, 2 threads"] = rust("step", threads=2)
            timed["PyTorch step, 2 threads"] = pytorch(step, 2)
        if self.arguments.compile:
            layout = torch.channels_last
            compiled = training_step(model, column, device, layout=layout, compiled=True)
            timed["PyTorch compiled step"] = pytorch(compiled)
        return timed

    @property
    def rust_threads(self) -> int:
        """Threads of the Rust program: 8 to draw episodes for a GPU, or 1 to compute on the CPU."""
        return 8 if self.on_gpu else 1


def episodes_for(column: Column, small: int) -> int:
    """Number of episodes: `small` for a small model, fewer for larger ones."""
    work = (column.size / 28) ** 2 * max(1, column.channels / 16)
    return max(4, int(small / work))


def write_random_pictures(folder: Path, size: int) -> None:
    """Write pictures of coloured noise: 60 classes of 20."""
    from PIL import Image

    torch.manual_seed(0)
    for number in range(60):
        (folder / f"class{number:02}").mkdir(parents=True)
        for index in range(20):
            pixels = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / f"class{number:02}" / f"{index:02}.png")


def batch(column: Column, device: str, tasks: int | None = None) -> tuple[torch.Tensor, ...]:
    """Random support and query sets of one episode or `tasks`; times do not depend on pixels."""
    way, shot, query = column.episode
    shape = (column.image_channels, column.size, column.size)
    first = () if tasks is None else (tasks,)

    def images(count: int) -> torch.Tensor:
        return torch.rand(*first, count, *shape, device=device)

    def labels(each: int) -> torch.Tensor:
        labels = torch.arange(way, device=device).repeat_interleave(each)
        return labels.expand(*first, -1)

    return images(way * shot), labels(shot), images(way * query), labels(query)


def channels_last(model: HyperTransformer) -> HyperTransformer:
    """The same model with learned kernels in channels-last layout."""

    def laid_out(parameter: torch.Tensor) -> torch.Tensor:
        parameter = parameter.detach().clone()
        if parameter.dim() == 4:
            parameter = parameter.contiguous(memory_format=torch.channels_last)
        return parameter

    return model.with_phi({name: laid_out(value) for name, value in model.phi.items()})


def training_step(
    model: HyperTransformer,
    column: Column,
    device: str,
    *,
    tasks: int | None = None,
    layout: torch.memory_format = torch.contiguous_format,
    compiled: bool = False,
) -> Callable[[], Any]:
    """Forward and backward pass of one episode, or of `tasks` by `torch.vmap`."""
    phi = [parameter.requires_grad_() for parameter in model.phi.values()]
    support, support_labels, query, query_labels = batch(column, device, tasks)
    support, query = (images.contiguous(memory_format=layout) for images in (support, query))
    if compiled:
        # Otherwise sizes that differ from the last column's become symbolic, and the code slower.
        torch.compiler.reset()

    def answer(support: torch.Tensor, labels: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return model.forward(support, labels, query, training=True).logits

    def loss() -> torch.Tensor:
        answers = answer if tasks is None else torch.vmap(answer)
        logits = answers(support, support_labels, query)
        return F.cross_entropy(logits.flatten(0, -2), query_labels.flatten())

    loss = torch.compile(loss) if compiled else loss
    return lambda: torch.autograd.grad(loss(), phi)


def evaluation_step(model: HyperTransformer, column: Column, device: str) -> Callable[[], Any]:
    """Forward pass of one episode."""
    support, support_labels, query, _ = batch(column, device)

    def answer() -> torch.Tensor:
        with torch.no_grad():
            return model.forward(support, support_labels, query).logits

    return answer
