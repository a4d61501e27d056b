"""The compiled program, for tests that run it."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = ROOT / "target" / "release" / "hypertransformer"


def program(*words):
    """Run the program in the repository and return what it prints; skip if it is not built."""
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built: run `make build`")
    command = [BINARY, *words]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def overrides(pack, settings):
    """The words that make a training of the synthetic experiment short, 5-way and on `pack`."""
    chosen = {
        "data.pack": pack,
        "episode.way": 5,
        "train.steps": 20,
        "train.warmup_steps": 5,
        "validation.episodes": 4,
    } | settings
    return [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]


def train(run, pack, settings, *more):
    """Train the synthetic experiment in a few steps; return the run's folder."""
    words = ["--run-dir", run, "--quiet", *overrides(pack, settings), *more]
    program("train", "experiments/synthetic.yaml", *words)
    return run


def export_episodes(path, pack, *more):
    """Write a list of 20 5-way episodes of test classes, unless `more` words say otherwise."""
    words = ["--way", "5", "--episodes", "20", "--output", path, *more]
    program("episodes", "export", pack, *map(str, words))
    return path
