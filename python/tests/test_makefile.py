"""What `make` gives to the program, without running it."""

import shlex
import shutil
import subprocess

import pytest
from program import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")

# A blank, quotes, a dollar sign and what a shell would run.
NAME = """it's "a $HOME" `b`"""


def commands(target, **variables):
    """The words of each command that `make` would run for the program."""
    chosen = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "--dry-run", "--no-print-directory", target, *chosen]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [line for line in printed.splitlines() if line.startswith("target/release/")]
    return [shlex.split(line)[1:] for line in lines]


def test_names_with_blanks_quotes_and_dollar_signs_reach_the_program_whole():
    [data] = commands("data", DATASET="folder", FROM=NAME)
    assert data[data.index("--from") + 1] == NAME
    train, evaluate = commands("train", EXPERIMENT=f"{NAME}.yaml", RUN=f"runs/{NAME}")
    assert train[:4] == ["train", f"{NAME}.yaml", "--run-dir", f"runs/{NAME}"]
    assert evaluate[:2] == ["evaluate", f"runs/{NAME}"]
    assert evaluate[-1] == f"runs/{NAME}/evaluation-quick.json"


def test_the_run_is_named_after_the_experiment():
    train, _ = commands("train", EXPERIMENT="my dir/my experiment.yaml")
    assert train[train.index("--run-dir") + 1] == "runs/my experiment"


def test_an_existing_run_is_continued(tmp_path):
    run = tmp_path / "a run"
    run.mkdir()
    assert "--resume" not in commands("train", RUN=run)[0]
    (run / "config.yaml").touch()
    assert "--resume" in commands("train", RUN=run)[0]
    assert "--resume" not in commands("train", RUN=run, ARGS="--force")[0]
