"""Finds libtorch 2.13, or installs it into .venv, and links `.libtorch` to it.

In this order: LIBTORCH in the environment, an active virtual environment that has torch 2.13, the
pinned wheel in `.venv`. Returns at once if `.libtorch` is already right.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".libtorch"
WANTED = "2.13."


def version(libtorch: Path) -> str | None:
    """Version of the libtorch in this folder; None if there is none."""
    if not (libtorch / "lib" / "libtorch_cpu.so").exists():
        return None
    if (libtorch / "build-version").exists():
        return (libtorch / "build-version").read_text().strip()
    for line in (libtorch / "version.py").read_text().splitlines():
        if line.startswith("__version__ = "):
            return line.split("=")[1].strip().strip("'\"")
    return None


def usable(libtorch: Path) -> bool:
    """Whether this is a libtorch of the wanted version."""
    return (version(libtorch) or "").startswith(WANTED)


def from_environment() -> Path | None:
    """The folder that LIBTORCH names; exits with an error if it is not the wanted version."""
    given = os.environ.get("LIBTORCH")
    # .cargo/config.toml sets LIBTORCH to our link.
    if not given or Path(given).absolute() == LINK:
        return None
    found = version(Path(given))
    if found is None:
        sys.exit(f"error: LIBTORCH is {given}, which has no lib/libtorch_cpu.so")
    if not found.startswith(WANTED):
        sys.exit(f"error: LIBTORCH is {given}, version {found}; expected {WANTED}*")
    return Path(given).resolve()


def from_active_python() -> Path | None:
    """Torch of an active virtual environment, found by its files without importing it."""
    environment = os.environ.get("VIRTUAL_ENV")
    if not environment:
        return None
    found = Path(environment).glob("lib/python3.*/site-packages/torch")
    return next((path for path in found if usable(path)), None)


def install(venv: Path) -> Path:
    """Create the virtual environment and install the pinned wheel."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        sys.exit(
            "error: the pinned wheel is for Linux on x86-64: unpack a libtorch 2.13 for this "
            "machine and set LIBTORCH to it"
        )
    if subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False).returncode:
        sys.exit(
            "error: could not create .venv: run `sudo apt-get install python3-venv` and try again"
        )
    gpu = Path("/proc/driver/nvidia/version").exists()
    requirements = "requirements-torch.txt" if gpu else "requirements-libtorch.txt"
    options = [] if gpu else ["--no-deps"]
    print(f"installing libtorch 2.13 into {venv} ({requirements})", file=sys.stderr)
    pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, *options, "-r", str(ROOT / "python" / requirements)]
    if subprocess.run(command, check=False).returncode:
        sys.exit("error: pip could not install libtorch: check the network connection")
    found = next(venv.glob("lib/python3.*/site-packages/torch"), None)
    if found is None or not usable(found):
        sys.exit(f"error: no libtorch {WANTED}* in {venv}: remove the folder and try again")
    return found


def main() -> None:
    """Link `.libtorch`, installing libtorch if it is not found."""
    given = from_environment()
    if given is None and LINK.is_symlink() and usable(LINK):
        return
    installed = (ROOT / ".venv").glob("lib/python3.*/site-packages/torch")
    found = given or from_active_python() or next((p for p in installed if usable(p)), None)
    found = found or install(ROOT / ".venv")
    if LINK.is_symlink() and LINK.resolve() == found:
        return
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(found)
    print(f"libtorch {version(found)}: {found}", file=sys.stderr)


if __name__ == "__main__":
    main()
