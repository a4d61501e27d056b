"""Tests `python/libtorch.py` on made-up installations."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "libtorch.py"


def fake_libtorch(folder: Path, version: str) -> Path:
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "libtorch_cpu.so").touch()
    (folder / "build-version").write_text(version + "\n")
    return folder


def run(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (project / "python").mkdir(exist_ok=True)
    copy = shutil.copy(SCRIPT, project / "python")
    kept = {k: v for k, v in os.environ.items() if k not in ("LIBTORCH", "VIRTUAL_ENV")}
    command = [sys.executable, str(copy)]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True)


def test_links_the_libtorch_of_the_environment(tmp_path):
    libtorch = fake_libtorch(tmp_path / "somewhere", "2.13.0+cpu")
    assert run(tmp_path, LIBTORCH=str(libtorch)).returncode == 0
    assert (tmp_path / ".libtorch").resolve() == libtorch.resolve()


def test_refuses_another_version_and_says_which_is_wanted(tmp_path):
    libtorch = fake_libtorch(tmp_path / "old", "2.1.0")
    result = run(tmp_path, LIBTORCH=str(libtorch))
    assert result.returncode == 1
    assert "2.1.0" in result.stderr and "2.13" in result.stderr


def test_takes_an_active_pythons_torch(tmp_path):
    torch = fake_libtorch(tmp_path / "env/lib/python3.11/site-packages/torch", "2.13.0")
    assert run(tmp_path, VIRTUAL_ENV=str(tmp_path / "env")).returncode == 0
    assert (tmp_path / ".libtorch").resolve() == torch.resolve()


def test_is_silent_and_changes_nothing_the_second_time(tmp_path):
    libtorch = fake_libtorch(tmp_path / "somewhere", "2.13.0+cpu")
    run(tmp_path, LIBTORCH=str(libtorch))
    before = os.lstat(tmp_path / ".libtorch").st_ino
    again = run(tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert os.lstat(tmp_path / ".libtorch").st_ino == before
