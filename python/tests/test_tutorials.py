"""Runs the commands of docs/tutorials/ in order, as a reader would, but short.

Each tutorial runs in a folder of its own, with links to what a clone has. A command that fails
fails the test.
"""

import os
import re
import subprocess
import sys

import pytest
from program import BINARY, ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
OMNIGLOT = ROOT.parent / "shared" / "data" / "omniglot"

# What is replaced in the commands of every tutorial, and by what. All else runs as it is written.
# A replacement that no longer occurs in any tutorial is an error.
SHORTER = {
    "make build": "test -x target/release/hypertransformer",
    "make tensorboard": "ls runs/*/events.out.tfevents.*",
    "python3 ": f"'{sys.executable}' ",
    # Trainings: 20 steps, the first of them stopped after 10.
    "train.steps=13000": "train.steps=20 --set validation.episodes=4",
    "train.steps=1000": "train.steps=20 --set validation.episodes=4",
    "{steps: 1000}": "{steps: 20}",
    "{every: 250}": "{every: 20, episodes: 4}",
    "--until-step 3000": "--until-step 10",
    "--until-step 500": "--until-step 10",
    # Evaluations: 20 episodes.
    "--episodes 10000": "--episodes 20",
    "--episodes 4000": "--episodes 20",
    "--episodes 2000": "--episodes 20",
    "--episodes 1000": "--episodes 20",
    # Pictures drawn by Python: half of them.
    "--pictures 0 20": "--pictures 0 10",
}
# The data set of reproduce-a-cell.md.
REAL = {"path/to/omniglot": f"'{OMNIGLOT}'"}
# Glyphs in its place, which have no class split named `paper`.
DRAWN = {
    "data import omniglot --from path/to/omniglot": "data import synthetic",
    "omniglot-1shot-8ch.yaml": "omniglot-1shot-8ch.yaml --set data.split=null",
}
# Tutorials with a test of their own.
ELSEWHERE = {"slurm-sweep.md"}


def commands(tutorial):
    """The commands in the `sh` blocks of a tutorial, in order."""
    text = (TUTORIALS / tutorial).read_text()
    return "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def replace(script, replacements):
    for text, replacement in replacements.items():
        script = script.replace(text, replacement)
    return script


def follow(tutorial, folder, replacements):
    """Run the commands of a tutorial in this folder and return what they print."""
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built: run `make build`")
    for name in ("examples", "experiments", "models", "target/release/hypertransformer"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    (folder / "data").mkdir()
    script = replace(replace(commands(tutorial), replacements), SHORTER)
    # With -x the shell prints each command before it runs it.
    command = ["bash", "-euxo", "pipefail", "-c", script]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{tutorial}: the last command after a + failed:\n{done.stdout}"
    return done.stdout


@pytest.mark.skipif(not OMNIGLOT.is_dir(), reason="no Omniglot in ../shared/data/omniglot")
def test_reproduce_a_cell_on_omniglot(tmp_path):
    printed = follow("reproduce-a-cell.md", tmp_path, REAL)
    assert "1150 train, 50 validation, 423 test classes" in printed
    assert "| 87.2 (Table 1) |" in printed
    assert (tmp_path / "target" / "episode.png").exists()


def test_reproduce_a_cell_on_glyphs_in_place_of_omniglot(tmp_path):
    follow("reproduce-a-cell.md", tmp_path, DRAWN)


def test_your_own_data(tmp_path):
    printed = follow("your-own-data.md", tmp_path, {})
    assert "42 train, 6 validation, 12 test classes" in printed
    assert re.search(r"\d+ of 50 right", printed)
    assert (tmp_path / "target" / "new-signs.html").exists()


def test_your_own_variant(tmp_path):
    printed = follow("your-own-variant.md", tmp_path, {})
    assert re.search(r"image_embedding: 0 +# no-image-embedding.yaml", printed)
    assert re.search(r"over 3 seeds, .* over episodes: (ahead|behind|open)", printed)


def test_every_tutorial_is_listed_and_has_a_test():
    pages = {page.name for page in TUTORIALS.glob("*.md")} - {"README.md"}
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (TUTORIALS / "README.md").read_text()))
    assert listed == pages
    assert pages - ELSEWHERE == {"reproduce-a-cell.md", "your-own-data.md", "your-own-variant.md"}


def test_every_replacement_occurs_in_a_tutorial():
    pages = [page.name for page in TUTORIALS.glob("*.md") if page.name not in ELSEWHERE]
    script = "".join(commands(page) for page in pages)
    assert [text for text in SHORTER | REAL | DRAWN if text not in script] == []
