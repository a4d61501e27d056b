"""Reads what the program leaves in a run folder: the model and what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from hypertransformer.checkpoint import read_checkpoint
from hypertransformer.module import HyperTransformerModule
from hypertransformer.settings import KNOWN, check_settings

CONFIGURATION = "config.yaml"


def load_run(run: str | Path, checkpoint: str = "best") -> HyperTransformerModule:
    """The trained model of a run folder, or of a bundle, on the CPU and in evaluation mode.

    `checkpoint` is `best` (by validation accuracy), `last` or `step-N`; a bundle has only one.

    Raises FileNotFoundError if the run or its checkpoint does not exist, ValueError if the folder
    is not that of a run or has settings that this package does not know, and if checkpoint and
    configuration belong to different models.
    """
    run = Path(run)
    if run.is_file():
        return HyperTransformerModule(read_checkpoint(run)).eval()
    configuration = run_file(run, CONFIGURATION)
    experiment = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    check_settings(experiment, configuration)
    path = run / "checkpoints" / f"{checkpoint}.safetensors"
    if not path.is_file():
        names = sorted(other.stem for other in path.parent.glob("*.safetensors"))
        raise FileNotFoundError(
            f"{run} has no checkpoint `{checkpoint}`: it has {', '.join(names) or 'none'}"
        )
    found = read_checkpoint(path)
    for section in (*KNOWN, "batch_norm"):
        if experiment[section] != found.experiment[section]:
            raise ValueError(
                f"{configuration}: {section} is {experiment[section]}, but {path} was trained with "
                f"{found.experiment[section]}: restore the file that the program wrote"
            )
    return HyperTransformerModule(found).eval()


def load_metrics(run: str | Path) -> list[dict[str, Any]]:
    """What was measured in training: one dict per line of `metrics.jsonl`, each with its `step`.

    The run may still be training. Raises FileNotFoundError or ValueError if it is not a run.
    """
    return lines(run_file(Path(run), "metrics.jsonl"))


def load_evaluation(run: str | Path, name: str) -> list[dict[str, Any]]:
    """The records of an evaluation: one dict per episode with `episode`, `accuracy` and `loss`.

    `name` is that of its files in the run folder, for example `evaluation-test-support`. Raises
    FileNotFoundError if there is no such evaluation, ValueError if this is not a run.
    """
    run = Path(run)
    run_file(run, CONFIGURATION)
    path = run / f"{name}.jsonl"
    if not path.is_file():
        names = sorted(other.stem for other in run.glob("evaluation-*.jsonl"))
        raise FileNotFoundError(
            f"{run} has no evaluation `{name}`: it has {', '.join(names) or 'none'}; "
            "`hypertransformer evaluate` writes one"
        )
    return lines(path)


def run_file(run: Path, name: str) -> Path:
    """The path of a file that every run folder has."""
    path = run / name
    if not run.exists():
        raise FileNotFoundError(f"{run} does not exist: expected a run folder or a bundle")
    if not path.is_file():
        raise ValueError(
            f"{run} is not a run folder: it has no {name}: expected one that "
            "`hypertransformer train` wrote"
        )
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file, one per line."""
    # A last line without its end is still being written.
    complete = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in complete]
