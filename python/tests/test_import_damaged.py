"""Imports layouts of `layouts.py` that are damaged or incomplete, and checks the messages."""

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from layouts import (
    BINARY,
    FORMS,
    LABELS,
    UNKNOWN,
    add_to_tar,
    idx,
    listed,
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


def halve(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


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


def no_picture(*places):
    """An archive of one file that is not a picture, in nested tars."""

    def rewrite(path):
        content = b"no picture"
        for place in reversed(places):
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as tar:
                add_to_tar(tar, place, content)
            content = stream.getvalue()
        path.write_bytes(content)

    return rewrite


def nothing(path):
    """Leave the file as it is: the layout has too few pictures anyway."""


CUB = f"CUB_200_2011/images/{listed('cub_easyfsl', 'train')[0]}/1.jpg"
ILSVRC = listed("tiered_imagenet_ren", "train")[0]

# Errors with --partial too.
BROKEN = [
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
    (
        "tiered png",
        "train_images_png.pkl",
        hold([np.zeros(40, np.uint8)] * 12),
        "train_images_png.pkl: number 0` is no readable JPEG, PNG",
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
        "has no labels: `train_labels.pkl` should be next to it",
    ),
    (
        "tiered png",
        "train_labels.pkl",
        change(label_specific=LABELS + 1),
        "the label 3 for picture 2, expected less than 3",
    ),
    ("tiered png", "train_labels.pkl", page, "is an HTML page"),
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
        "leo",
        "val_embeddings.pkl",
        change(embeddings=np.zeros((12, 3), np.uint8)),
        "has uint8 [12, 3] under `embeddings`, expected float32",
    ),
    ("npy", "val_embeddings.npy", cut, "it is damaged, fetch it again"),
    ("npy", "val_labels.npy", Path.unlink, "there is no `val_labels.npy`"),
    ("npy", "val_embeddings.npy", page, "is an HTML page"),
    (
        "npy",
        "val_embeddings.npy",
        lambda path: np.save(path, np.zeros((12, 3), np.int32)),
        "has int32 [12, 3] under `embeddings`, expected float32",
    ),
    (
        "leo",
        "val_embeddings.pkl",
        change(keys=["n01532829"] * 12),
        "has the key `n01532829`, expected number-class-file",
    ),
    (
        "cifar-fs metaoptnet",
        "CIFAR_FS_val.pickle",
        change(data=np.zeros((12, 32, 32, 3))),
        "has float64 [12, 32, 32, 3] under `data`, expected uint8",
    ),
    (
        "fc100 metaoptnet",
        "FC100_test.pickle",
        change(labels=[0] * 5),
        "has 5 labels for 12 pictures",
    ),
    (
        "tiered npz of others",
        "val_labels.pkl",
        change(labels=[3] * 5),
        "has 5 labels for 12 pictures",
    ),
    ("cub", "CUB_200_2011.tgz", no_picture(CUB), "is no readable JPEG, PNG"),
    (
        "tiered ilsvrc",
        "ILSVRC2012_img_train.tar",
        no_picture(f"{ILSVRC}.tar", f"{ILSVRC}_1.JPEG"),
        "is no readable JPEG, PNG",
    ),
    ("tar", "pictures.tar", no_picture("pictures/train/1/1.png"), "is no readable JPEG, PNG"),
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
    ("idx", "t10k-labels-idx1-ubyte", Path.unlink, "has no `t10k-labels-idx1-ubyte` next to it"),
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
PICKLES = [
    ("mini cache", "mini-imagenet-cache-val.pkl"),
    ("mini metaoptnet", "miniImageNet_category_split_val.pickle"),
    ("tiered png", "train_images_png.pkl"),
    ("tiered npz of others", "val_labels.pkl"),
    ("cifar-fs metaoptnet", "CIFAR_FS_val.pickle"),
    ("fc100 metaoptnet", "FC100_test.pickle"),
    ("cifar official", "train"),
    ("cifar official", "meta"),
    ("leo", "val_embeddings.pkl"),
]
ARCHIVES = [
    ("tiered npz", "val_images.npz", "is cut short"),
    ("tiered ilsvrc", "ILSVRC2012_img_train.tar", "is cut short"),
    ("cub", "CUB_200_2011.tgz", "could not be unpacked"),
    ("tar", "pictures.tar", "is cut short"),
    ("tar.gz", "pictures.tar.gz", "could not be unpacked"),
]
BROKEN += [
    (form, name, damage, told)
    for form, name in PICKLES
    for damage, told in (
        (cut, "is cut short"),
        (page, "is an HTML page"),
        (hold(Hostile()), "wants to call `posix.system`"),
        (hold(Hostile(), 2), "wants to call `posix.system`"),
    )
]
BROKEN += [(form, name, page, "is an HTML page") for form, name, _ in ARCHIVES]
BROKEN += [(form, name, halve, told) for form, name, told in ARCHIVES]
# Errors that --partial turns into notes.
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
    """Import a damaged layout: the finished process, and the files that it leaves."""
    source, write = FORMS[form]
    origin, output = folder / "origin", folder / "pack.safetensors"
    origin.mkdir()
    write(origin, 4)
    damage(origin / name)
    result = run_import(source, origin, output, *more)
    return result, {path.name for path in folder.iterdir()} - {"origin"}


@pytest.mark.parametrize(("form", "name", "damage", "told"), BROKEN)
def test_unusable_files_are_reported_and_leave_nothing(form, name, damage, told, tmp_path):
    partial = [] if FORMS[form][0] in UNKNOWN else ["--partial"]
    result, left = damaged(form, name, damage, tmp_path, *partial)
    assert (result.returncode, left) == (1, set())
    assert told in result.stderr


@pytest.mark.parametrize(("form", "name", "damage", "told"), MISSING)
@pytest.mark.parametrize("partial", [[], ["--partial"]])
def test_missing_data_are_an_error_or_a_note_with_partial(
    form, name, damage, told, partial, tmp_path
):
    result, left = damaged(form, name, damage, tmp_path, *partial)
    assert told in result.stderr
    assert (result.returncode, left) == ((0, {"pack.safetensors"}) if partial else (1, set()))
    if partial:
        assert told in read_pack(tmp_path / "pack.safetensors")[2]["notes"]["partial"]
