"""Runs the commands of the Slurm tutorial that need no cluster, with small settings."""

import os
import re
import subprocess

import pytest
from program import BINARY, ROOT, overrides

TUTORIAL = ROOT / "docs" / "tutorials" / "slurm-sweep.md"


def marked_commands():
    """The shell commands that are marked as tested."""
    return re.findall(r"<!-- tested -->\n```sh\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)


def test_the_commands_of_the_slurm_tutorial_run(glyphs, tmp_path):
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built: run `make build`")
    for name in ("target", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    small = overrides(glyphs, {"train.steps": 6, "train.warmup_steps": 2})
    shown = []
    for command in marked_commands():
        assert "--set train.steps=2000" in command or " results " in command
        short = " ".join([*small, "--episodes 10"])
        command = command.replace("--set train.steps=2000", short)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        done = subprocess.run(
            ["sh", "-e", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    planned, _, left, tables = shown
    assert len(planned.splitlines()) == 6
    assert not left
    assert "| 3 | 10 | support |" in tables and r"\begin{tabular}" in tables
