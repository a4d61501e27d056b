"""Layouts of `layouts.py`, damaged or in part: what the program says."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from layouts import (
    BINARY,
    FORMS,
    LABELS,
    UNKNOWN,
    idx,
    pickled,
    read_pack,
    run_import,
)

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} is not built: `make build`")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-here",)


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: -min(200, len(content) // 2)])


def page(path):
    path.write_bytes(b"<!DOCTYPE html><html>quota exceeded</html>")


def hold(value, protocol=4):
    return lambda path: path.write_bytes(pickled(value, protocol))


def change(**entries):
    def rewrite(path):
        path.write_bytes(pickled({**pickle.loads(path.read_bytes()), **entries}, 4))

    return rewrite


def change_npz(**arrays):
    return lambda path: np.savez(path, **arrays)


def nothing(path):
    """There are too few as it is."""


# Told with --partial too.
BROKEN = [
    ("mini cache", "mini-imagenet-cache-val.pkl", cut, "is cut short"),
    ("mini cache", "mini-imagenet-cache-val.pkl", page, "is an HTML page"),
    ("mini cache", "mini-imagenet-cache-val.pkl", hold(Hostile()), "wants to call `posix.system`"),
    (
        "mini cache",
        "mini-imagenet-cache-val.pkl",
        hold(Hostile(), 2),
        "wants to call `posix.system`",
    ),
    ("mini cache", "mini-imagenet-cache-val.pkl", hold([1], 0), "is no pickle of protocol 2 to 5"),
    (
        "mini cache",
        "mini-imagenet-cache-val.pkl",
        hold({"a": 1}),
        "no entry `image_data`; it has `a`",
    ),
    (
        "mini cache",
        "mini-imagenet-cache-val.pkl",
        change(image_data=np.zeros((12, 84, 84, 3))),
        "has float64 [12, 84, 84, 3] under `image_data`, expected uint8 [N, 84, 84, 3]",
    ),
    (
        "mini cache",
        "mini-imagenet-cache-val.pkl",
        change(image_data=np.zeros((12, 64, 64, 3), np.uint8)),
        "has uint8 [12, 64, 64, 3] under",
    ),
    (
        "mini cache",
        "mini-imagenet-cache-val.pkl",
        change(class_dict={"n01855672": [0, 12]}),
        "picture 12 for class `n01855672`, expected each of 0 to 11 once",
    ),
    (
        "mini metaoptnet",
        "miniImageNet_category_split_test.pickle",
        change(labels=[0] * 11 + [-1]),
        "label -1 for picture 11, expected 0 or more",
    ),
    (
        "mini metaoptnet",
        "miniImageNet_category_split_test.pickle",
        change(labels=[0] * 600),
        "has 600 labels for 12 pictures",
    ),
    (
        "mini metaoptnet",
        "miniImageNet_category_split_test.pickle",
        change(labels=["a"] * 12),
        "no list of whole numbers under `labels`",
    ),
    ("tiered png", "train_images_png.pkl", cut, "is cut short"),
    ("tiered png", "train_images_png.pkl", page, "is an HTML page"),
    (
        "tiered png",
        "train_images_png.pkl",
        hold([np.zeros(40, np.uint8)] * 12),
        "train_images_png.pkl: number 0` is no readable JPEG or PNG",
    ),
    (
        "tiered png",
        "train_images_png.pkl",
        hold([np.zeros(40)] * 12),
        "has float64 [40] as picture 0",
    ),
    ("tiered png", "train_images_png.pkl", hold(eval), "wants to call `builtins.eval`"),
    (
        "tiered png",
        "train_labels.pkl",
        Path.unlink,
        "has no labels: `train_labels.pkl` should lie beside it",
    ),
    (
        "tiered png",
        "train_labels.pkl",
        change(label_specific=LABELS + 1),
        "the label 3 for picture 2, expected less than 3",
    ),
    ("tiered png", "train_labels.pkl", page, "is an HTML page"),
    ("tiered npz", "val_images.npz", cut, "is cut short or damaged"),
    (
        "tiered npz",
        "val_images.npz",
        change_npz(images=np.zeros((2, 84, 84))),
        "has float64 [2, 84, 84] under `images`",
    ),
    (
        "tiered npz",
        "val_images.npz",
        change_npz(pictures=LABELS),
        "has no array `images`; it has `pictures.npy`",
    ),
    (
        "tiered ilsvrc",
        "ILSVRC2012_img_train.tar",
        lambda path: path.write_bytes(path.read_bytes()[:9000]),
        "is cut short",
    ),
    ("cub", "CUB_200_2011.tgz", cut, "could not be unpacked"),
    ("cub", "CUB_200_2011.tgz", page, "is an HTML page"),
    ("leo", "val_embeddings.pkl", hold(Hostile()), "wants to call `posix.system`"),
    (
        "leo",
        "val_embeddings.pkl",
        change(embeddings=np.zeros((12, 3), np.uint8)),
        "has uint8 [12, 3] under `embeddings`, expected float32",
    ),
    ("npy", "val_embeddings.npy", cut, "it is damaged, fetch it again"),
    ("npy", "val_labels.npy", Path.unlink, "there is no `val_labels.npy`"),
    ("cifar official", "train", cut, "is cut short"),
    (
        "cifar official",
        "train",
        change(fine_labels=[100] * 500),
        "the label 100 for picture 0, expected 0 to 99",
    ),
    (
        "cifar official",
        "train",
        change(data=np.zeros((500, 1024), np.uint8)),
        "expected uint8 [N, 3072]",
    ),
    ("cifar official", "meta", Path.unlink, "there is no `meta`"),
    ("cifar official", "meta", change(fine_label_names=["a"]), "does not have 100 names"),
    ("idx", "train-images-idx3-ubyte.gz", cut, "could not be unpacked"),
    ("idx", "t10k-images-idx3-ubyte", cut, "has 15480 bytes of content, expected [20, 28, 28]"),
    ("idx", "t10k-labels-idx1-ubyte", page, "is an HTML page"),
    ("idx", "t10k-labels-idx1-ubyte", Path.unlink, "has no `t10k-labels-idx1-ubyte` beside it"),
    (
        "idx",
        "t10k-labels-idx1-ubyte",
        lambda path: path.write_bytes(idx(np.arange(9))),
        "has 9 labels for 20 pictures",
    ),
    (
        "idx",
        "t10k-images-idx3-ubyte",
        lambda path: path.rename(path.with_name("kmnist-" + path.name)),
        "files of ``, `kmnist`",
    ),
]
# What --partial lets pass.
MISSING = [
    (
        "mini cache",
        "mini-imagenet-cache-val.pkl",
        Path.unlink,
        "there is no `mini-imagenet-cache-val.pkl`",
    ),
    ("mini cache", "mini-imagenet-cache-val.pkl", nothing, "train has 3 classes, expected 64"),
    (
        "mini cache",
        "mini-imagenet-cache-val.pkl",
        change(class_dict={"n01532829": [0]}),
        "class n01532829 is in validation, expected train",
    ),
    ("tiered png", "train_images_png.pkl", nothing, "train has 12 images, expected 448695"),
    (
        "tiered ilsvrc",
        "ILSVRC2012_img_train.tar",
        nothing,
        "validation has 3 classes, expected 97 (missing: `n",
    ),
    ("cub", "CUB_200_2011.tgz", nothing, "it has 36 images, expected 11788"),
    ("cifar-fs metaoptnet", "CIFAR_FS_val.pickle", nothing, "train has 3 classes, expected 64"),
    ("cifar official", "train", nothing, "`train` has 500 images, expected 50000"),
]


def damaged(form, name, damage, folder, *more):
    """What the program says to it, and what it leaves."""
    source, write = FORMS[form]
    origin, output = folder / "origin", folder / "pack.safetensors"
    origin.mkdir()
    write(origin, 4)
    damage(origin / name)
    result = run_import(source, origin, output, *more)
    return result, {path.name for path in folder.iterdir()} - {"origin"}


@pytest.mark.parametrize(("form", "name", "damage", "told"), BROKEN)
def test_what_cannot_be_used_is_told_and_leaves_nothing(form, name, damage, told, tmp_path):
    partial = [] if FORMS[form][0] in UNKNOWN else ["--partial"]
    result, left = damaged(form, name, damage, tmp_path, *partial)
    assert (result.returncode, left) == (1, set())
    assert told in result.stderr


@pytest.mark.parametrize(("form", "name", "damage", "told"), MISSING)
@pytest.mark.parametrize("partial", [[], ["--partial"]])
def test_what_is_missing_is_an_error_or_with_partial_a_note(
    form, name, damage, told, partial, tmp_path
):
    result, left = damaged(form, name, damage, tmp_path, *partial)
    assert told in result.stderr
    assert (result.returncode, left) == ((0, {"pack.safetensors"}) if partial else (1, set()))
    if partial:
        assert told in read_pack(tmp_path / "pack.safetensors")[2]["notes"]["partial"]
