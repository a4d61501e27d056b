"""Trains every method with the same budget and evaluates all on the same episodes.

    python -m baselines.compare experiments/table1/omniglot-1shot-8ch.yaml --channels 4 8 16

The experiment defines pack, episodes and augmentation. The HyperTransformer is trained by the Rust
program, its rivals here. Budgets are CPU minutes on one thread, validation included. After an
interruption the same command continues where it stopped. Existing results are reused as long as
budget, seed, experiment and episodes stay the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from baselines import cnn
from baselines.data import TrainingData, exported
from baselines.evaluation import MakeClassifier, evaluate
from baselines.fine_tune import FineTune
from baselines.maml import Maml
from baselines.method import Method
from baselines.metric import MatchingNet, ProtoNet
from baselines.report import Result, write_report
from baselines.rfs import Rfs
from baselines.training import Budget, train
from hypertransformer.data import Episodes, Pack
from hypertransformer.forward import HyperTransformer

HYPERTRANSFORMER = "hypertransformer"
METHODS = (HYPERTRANSFORMER, "maml++", "protonet", "matching", "rfs", "fine_tune")
CALIBRATION_STEPS = 60
VALIDATIONS = 10


class Comparison:
    """A comparison on one data set, with one budget and one list of episodes."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Read the experiment and export its episodes."""
        self.arguments = arguments
        inspected = self.program("inspect", str(arguments.experiment), "--json")
        self.experiment = json.loads(inspected)["experiment"]
        episode, data = self.experiment["episode"], self.experiment["data"]
        if episode["unlabeled"]:
            sys.exit(
                "error: episode.unlabeled: the rivals cannot use unlabelled images: set it to 0"
            )
        if episode["augment_evaluation"]:
            sys.exit(
                "error: episode.augment_evaluation: exported episodes are never augmented: "
                "set it to false"
            )
        self.pack = Pack(Path(data["pack"]))
        # Before anything else, because it raises an error for options that it cannot draw.
        self.data = TrainingData.of(self.pack, self.experiment, seed=arguments.seed)
        self.name = Path(data["pack"]).stem
        self.runs = arguments.runs / self.name
        self.runs.mkdir(parents=True, exist_ok=True)
        self.test = self.episodes("test", arguments.episodes)
        self.validation = self.episodes("validation", 100)

    def program(self, *words: str) -> str:
        """Run the Rust program and return what it prints."""
        command = [str(self.arguments.binary), *words]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if found.returncode:
            sys.exit(found.returncode)
        return found.stdout

    def episodes(self, part: str, count: int) -> Episodes:
        """The list of episodes that `evaluate` uses (seed 0)."""
        path = self.runs / f"episodes-{part}-{count}.safetensors"
        return exported(self.arguments.binary, self.pack, self.experiment, part, count, path)

    def settings(self, method: str, channels: int) -> dict[str, Any]:
        """Everything a result depends on; if any of it changes, a new run is started."""
        arguments, experiment = self.arguments, self.experiment
        return {
            "method": method,
            "channels": channels,
            "minutes": arguments.minutes,
            "seed": arguments.seed,
            "threads": arguments.threads,
            "pack": self.pack.metadata["content_hash"],
            "data": experiment["data"],
            "episode": experiment["episode"],
            # Of the experiment, the rivals use only data and episodes.
            "experiment": experiment if method == HYPERTRANSFORMER else None,
        }

    def result(self, method: str, channels: int) -> Result:
        """Train and evaluate a method, or read its saved result."""
        settings = self.settings(method, channels)
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        folder = self.runs / f"{method}-{channels}ch-{digest}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(settings, indent=1))
        measured = folder / f"result-{self.arguments.episodes}.json"
        if measured.exists():
            print(f"{method}, {channels} channels: reused from {folder}", file=sys.stderr)
            return Result(**json.loads(measured.read_text()))
        title = f"{method}, {channels} channels"
        make, mode, parameters, minutes = (
            self.hypertransformer(channels, folder)
            if method == HYPERTRANSFORMER
            else self.rival(method, channels, folder, title)
        )
        accuracies, milliseconds = evaluate(make, self.test, title=title)
        episode = self.experiment["episode"]
        result = Result(
            method=method,
            channels=channels,
            parameters=parameters,
            minutes=minutes,
            milliseconds=milliseconds,
            batch_norm=mode,
            way=episode["way"],
            shot=episode["shot"],
            accuracies=accuracies.tolist(),
        )
        measured.write_text(json.dumps(asdict(result)))
        print(f"{title}: {result.accuracy} %", file=sys.stderr)
        return result

    def rival(
        self, name: str, channels: int, folder: Path, title: str
    ) -> tuple[MakeClassifier, str, int, float]:
        """Train a method of this package."""
        method = self.method(name, channels)
        minutes = 0.0
        if method.parameters:
            budget = Budget(self.arguments.minutes, validations=VALIDATIONS)
            progress = train(method, self.data, self.validation, budget, folder, title)
            minutes = progress.seconds / 60
        return method.classifier, method.batch_norm, method.parameter_count, minutes

    def method(self, name: str, channels: int) -> Method:
        """A method of this package before training."""
        weights = cnn.initial_weights(self.pack.channels, channels, self.arguments.seed)
        length = cnn.feature_length(channels, self.pack.images.shape[1])
        way = self.experiment["episode"]["way"]
        make: dict[str, Callable[[], Method]] = {
            "maml++": lambda: Maml(weights, way, length),
            "protonet": lambda: ProtoNet(weights),
            "matching": lambda: MatchingNet(weights),
            "rfs": lambda: Rfs(weights, len(self.data.classes), length),
            "fine_tune": lambda: FineTune(weights, way, length),
        }
        return make[name]()

    def hypertransformer(
        self, channels: int, folder: Path
    ) -> tuple[MakeClassifier, str, int, float]:
        """Train with the Rust program and read the checkpoint into PyTorch."""
        run, plan = folder / "run", folder / "plan.json"
        if not plan.exists():
            shutil.rmtree(folder / "calibration", ignore_errors=True)
            seconds = self.train_run(channels, CALIBRATION_STEPS, folder / "calibration")
            steps = int(60 * self.arguments.minutes / seconds * CALIBRATION_STEPS)
            steps = max(steps, 2 * VALIDATIONS)
            plan.write_text(json.dumps({"steps": steps, "seconds": 0.0, "done": False}))
            shutil.rmtree(folder / "calibration")
        state = json.loads(plan.read_text())
        if not state["done"]:
            start = children_seconds()
            try:
                self.train_run(channels, state["steps"], run)
                state["done"] = True
            finally:
                state["seconds"] += children_seconds() - start
                plan.write_text(json.dumps(state))
        model = HyperTransformer.load(run / "checkpoints" / "best.safetensors")
        parameters = sum(value.numel() for value in model.phi.values())
        return model.classifier, model.batch_norm, parameters, state["seconds"] / 60

    def train_run(self, channels: int, steps: int, run: Path) -> float:
        """Train, or resume an existing run; returns the CPU seconds that it took."""
        every = steps // VALIDATIONS
        settings = {
            "cnn.channels": channels,
            "train.steps": steps,
            "train.warmup_steps": min(self.experiment["train"]["warmup_steps"], steps // 10),
            "train.seed": self.arguments.seed,
            "train.checkpoint_every": max(every, 1),
            "validation.every": max(every, 1),
            "validation.episodes": 100 if steps > CALIBRATION_STEPS else 2,
        }
        words = ["train", str(self.arguments.experiment), "--run-dir", str(run)]
        words.append(
            "--resume" if (run / "checkpoints" / "last.safetensors").exists() else "--force"
        )
        words += ["--threads", str(self.arguments.threads)]
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        start = children_seconds()
        self.program(*words)
        return children_seconds() - start


def children_seconds() -> float:
    """CPU seconds of all finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Compare and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("experiment", type=Path, help="experiment of the HyperTransformer")
    add("--channels", type=int, nargs="+", default=[4, 8, 16])
    add("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="NAME")
    add("--minutes", type=float, default=10.0, help="CPU minutes per method and number of channels")
    add("--episodes", type=int, default=1000, help="test episodes")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--runs", type=Path, default=Path("runs/compare"))
    add("--output", type=Path, help="folder of the report [default: results/<pack>]")
    add("--binary", type=Path, default=Path("target/release/hypertransformer"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    comparison = Comparison(arguments)
    results = [
        comparison.result(method, channels)
        for channels in arguments.channels
        for method in arguments.methods
    ]
    output = arguments.output or Path("results") / comparison.name
    budget = {"minutes": arguments.minutes, "seed": arguments.seed, "threads": arguments.threads}
    write_report(output, comparison.test.facts, budget, results)
    print((output / "table.md").read_text())


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted: the same command continues from the last validation", file=sys.stderr)
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
