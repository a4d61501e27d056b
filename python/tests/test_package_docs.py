"""Tests what docs/python.md says of the package: what it needs, and that its examples run."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys

import pytest
from program import ROOT, export_episodes, program

PACKAGE = ROOT / "python" / "hypertransformer"


needs_torch = pytest.mark.skipif(
    not importlib.util.find_spec("torch"),
    reason="no torch: `make parity` installs it and runs these tests",
)


def test_the_package_needs_only_what_it_says():
    allowed = {"hypertransformer", "numpy", "safetensors", "torch", "yaml"}
    allowed |= sys.stdlib_module_names
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path


def code_blocks(language):
    """The code in this language in docs/python.md."""
    text = (ROOT / "docs" / "python.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@needs_torch
def test_the_examples_in_the_documentation_run(run, glyphs, tmp_path):
    code = "\n".join(code_blocks("python"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "runs" / "synthetic").symlink_to(run)
    (tmp_path / "data" / "synthetic.safetensors").symlink_to(glyphs)
    export_episodes(tmp_path / "episodes.safetensors", glyphs)
    export_episodes(tmp_path / "training.safetensors", glyphs, "--split", "train")
    program("evaluate", run, "--episodes", "20", "--output", run / "evaluation-quick.json")
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(ROOT / "python"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    here, recorded = re.findall(r"[\d.]+(?= %)", done.stdout)
    assert here == recorded
    assert (tmp_path / "tuned.pt").exists()


@needs_torch
@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_variant_in_the_documentation_fits_the_code(tmp_path):
    (change,) = code_blocks("diff")
    files = set(re.findall(r"^\+\+\+ b/(.+)$", change, re.MULTILINE))
    for file in files | {str(path.relative_to(ROOT)) for path in PACKAGE.glob("*.py")}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=change, text=True, check=True)
    code = (
        "import torch\n"
        "from hypertransformer.settings import CHOICES\n"
        "from hypertransformer.transformer import ATTENTION_WEIGHTS\n"
        "assert 'relu' in CHOICES['generator.attention']\n"
        "scores = torch.tensor([2.0, -1.0, -torch.inf])\n"
        "assert ATTENTION_WEIGHTS['relu'](scores).tolist() == [2, 0, 0]"
    )
    environment = {"PYTHONPATH": str(tmp_path / "python")}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
