"""Imports every layout of `layouts.py`, undamaged."""

import subprocess
import tarfile

import numpy as np
import pytest
from layouts import (
    BINARY,
    CLASSES,
    FORMS,
    IMAGES,
    PARTS,
    ROOT,
    UNKNOWN,
    cifar_classes,
    cifar_official,
    colour,
    idx,
    idx_files,
    read_pack,
    run_import,
    tiered_png,
)

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} is not built: `make build`")

PICKLED = {
    "mini cache",
    "mini metaoptnet",
    "tiered png",
    "tiered npz of others",
    "cifar-fs metaoptnet",
    "fc100 metaoptnet",
    "leo",
}
CASES = [
    (form, protocol)
    for form in FORMS
    if form not in ("cifar official", "idx")  # these have tests of their own
    for protocol in ((2, 4, 5, "python 2") if form in PICKLED else (4,))
]


@pytest.mark.parametrize(("form", "protocol"), CASES)
def test_every_form_is_imported_class_by_class(form, protocol, tmp_path):
    source, write = FORMS[form]
    origin, output = tmp_path / "origin", tmp_path / "pack.safetensors"
    origin.mkdir()
    write(origin, protocol)
    partial = [] if source in UNKNOWN else ["--partial"]
    result = run_import(source, origin, output, *partial)
    assert result.returncode == 0, result.stderr
    assert ("warning: not the whole data set" in result.stderr) == bool(partial)
    images, offsets, description = read_pack(output)
    assert list(offsets) == list(range(0, 9 * IMAGES + 1, IMAGES))
    split = description["splits"][description["default_split"]]
    assert split == {"train": [0, 1, 2], "validation": [3, 4, 5], "test": [6, 7, 8]}
    places = [(part, label, n) for part in PARTS for label in range(CLASSES) for n in range(IMAGES)]
    expected = np.array([colour(*place) for place in places])
    far = np.abs(images.astype(float) - expected[:, None, None, :]).max()
    assert far <= (3 if form.startswith(("tiered ilsvrc", "cub")) else 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["origin", "pack.safetensors"]


def test_arrays_of_one_part_next_to_complete_pickles_are_ignored(tmp_path):
    origin, output = tmp_path / "origin", tmp_path / "pack.safetensors"
    origin.mkdir()
    FORMS["tiered png"][1](origin, 4)
    np.savez(origin / "train_images.npz", images=np.zeros((1, 84, 84, 3), np.uint8))
    result = run_import("tiered-imagenet", origin, output, "--partial")
    assert result.returncode == 0, result.stderr
    assert "npz" not in result.stderr
    assert len(read_pack(output)[0]) == 9 * IMAGES


@pytest.mark.parametrize("source", ["cifar-fs", "fc100"])
def test_the_official_cifar_archive_is_complete_and_divided_into_parts(source, tmp_path):
    origin, output = tmp_path / "cifar-100-python", tmp_path / "pack.safetensors"
    origin.mkdir()
    cifar_official(source, images=100)(origin, "python 2")
    archive = tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(origin, origin.name)
    result = run_import(source, archive, output)
    assert result.returncode == 0, result.stderr
    images, offsets, description = read_pack(output)
    assert list(offsets) == list(range(0, 60_001, 600))
    fine, _, places = cifar_classes(source)
    (split,) = description["splits"].values()
    for part, expected in zip(
        PARTS, {"cifar-fs": (64, 16, 20), "fc100": (60, 20, 20)}[source], strict=True
    ):
        names = {description["class_names"][index] for index in split[PARTS[part]]}
        assert len(names) == expected
        assert names == {name for name, place in zip(fine, places, strict=True) if place[0] == part}
    for index, name in enumerate(description["class_names"]):
        of_class = images[offsets[index] : offsets[index + 1]]
        assert (of_class[..., 0] == fine.index(name)).all() and not of_class[..., 2].any()
        assert (of_class[:500, 0, 0, 1] == np.arange(500) % 256).all()


@pytest.mark.parametrize("name", ["", "emnist-balanced-"])
def test_idx_files_are_imported_and_emnist_is_upright(name, tmp_path):
    output = tmp_path / "pack.safetensors"
    idx_files(name)(tmp_path, 4)
    if name:
        result = run_import("idx", tmp_path, output)
        counts = "has 10 classes, 20 training and 20 test pictures, expected 47 classes, 112800"
        assert result.returncode == 1 and counts in result.stderr
        assert not output.exists()
    result = run_import("idx", tmp_path, output, "--partial")
    assert result.returncode == 0, result.stderr
    images, offsets, description = read_pack(output)
    assert list(offsets) == list(range(0, 41, 4))
    assert (images[:, 2, 20, 0] == 9).all() and not images[:, 20, 2, 0].any()
    assert images[:4, 0, 0, 0].tolist() == [0, 10, 0, 10]
    assert [len(part) for part in description["splits"]["seeded"].values()] == [7, 1, 2]
    assert description["notes"]["ink"].startswith("high")


def test_idx_pictures_on_a_light_background_are_not_ink(tmp_path):
    pictures = np.full((20, 28, 28), 250, dtype=np.uint8)
    pictures[:, 10:20, 10:20] = 0
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pictures))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(20) % 10))
    result = run_import("idx", tmp_path, tmp_path / "pack.safetensors")
    assert result.returncode == 0, result.stderr
    assert "ink" not in read_pack(tmp_path / "pack.safetensors")[2]["notes"]


def test_a_small_tiered_imagenet_is_imported_trained_on_and_evaluated(tmp_path):
    tiered_png(tmp_path, 2)
    pack, run = tmp_path / "tiered-imagenet.safetensors", tmp_path / "run"
    imported = run_import("tiered-imagenet", tmp_path, pack, "--partial")
    assert imported.returncode == 0, imported.stderr
    small = ["episode.way=2", "episode.query=2", "episode.evaluation_query=2", "train.steps=3"]
    settings = [f"data.pack={pack}", "validation.episodes=2", "train.warmup_steps=0", *small]
    experiment = "experiments/table1/tiered-imagenet-1shot-8ch.yaml"
    for command in (
        ["train", experiment, "--run-dir", run, *(x for s in settings for x in ("--set", s))],
        ["evaluate", run, "--episodes", "4"],
    ):
        done = subprocess.run([BINARY, *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
