"""Data sets in the layouts they are handed out in, written small by numpy, imported."""

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = ROOT / "target" / "release" / "hypertransformer"
LISTS = ROOT / "src" / "data" / "import"
PARTS = {"train": "train", "val": "validation", "test": "test"}
CLASSES, IMAGES = 3, 4
# The pictures of a class are not neighbours in any file.
LABELS = np.tile(np.arange(CLASSES), IMAGES)

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} is not built: `make build`")


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, whose pickles most of the field's files are."""

    def save_string(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_string, str: save_string}


def pickled(value, protocol):
    if protocol != "python 2":
        return pickle.dumps(value, protocol=protocol)
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"numpy._core", b"numpy.core")


def colour(part, label, number):
    """The one colour of a picture."""
    return [40 * list(PARTS).index(part) + 10 * label, 10 * number, 7]


def pixels(part, side):
    """[12, side, side, 3], in the order of LABELS."""
    colours = [colour(part, label, place // CLASSES) for place, label in enumerate(LABELS)]
    image = np.array(colours, dtype=np.uint8)
    return np.broadcast_to(image[:, None, None, :], (len(LABELS), side, side, 3)).copy()


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **({"quality": 100} if kind == "JPEG" else {}))
    return stream.getvalue()


def listed(name, part, count=CLASSES):
    """The first classes of a part in a list of the program's, by their names."""
    lines = (LISTS / f"{name}.txt").read_text().split("\n")
    return [line.split(" ")[1] for line in lines if line.startswith(PARTS[part])][:count]


def add_to_tar(tar, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def mini_cache(folder, protocol):
    for part in PARTS:
        names = listed("mini_imagenet_ravi", part)
        places = {
            name: np.flatnonzero(LABELS == label).tolist() for label, name in enumerate(names)
        }
        value = {"image_data": pixels(part, 84), "class_dict": places}
        (folder / f"mini-imagenet-cache-{part}.pkl").write_bytes(pickled(value, protocol))


def metaoptnet(stem, side, names=None):
    def write(folder, protocol):
        for part in PARTS:
            value = {"data": pixels(part, side), "labels": LABELS.tolist()}
            if names:
                value["catname2label"] = {n: i for i, n in enumerate(listed(names, part))}
            name = part.replace("train", "train_phase_train") if stem.startswith("mini") else part
            (folder / f"{stem}_{name}.pickle").write_bytes(pickled(value, protocol))

    return write


def tiered_labels(folder, protocol, part):
    value = {
        "label_specific": LABELS,
        "label_general": LABELS // 2,
        "label_specific_str": [f"{part} {label}" for label in range(CLASSES)],
        "label_general_str": ["some", "others"],
    }
    (folder / f"{part}_labels.pkl").write_bytes(pickled(value, protocol))


def tiered_png(folder, protocol):
    for part in PARTS:
        pngs = [np.frombuffer(encoded(image), dtype=np.uint8) for image in pixels(part, 84)]
        (folder / f"{part}_images_png.pkl").write_bytes(pickled(pngs, protocol))
        tiered_labels(folder, protocol, part)


def tiered_npz(folder, protocol):
    for part in PARTS:
        save = np.savez if part == "train" else np.savez_compressed
        save(folder / f"{part}_images.npz", images=pixels(part, 84))
        tiered_labels(folder, protocol, part)


def ilsvrc(folder, protocol):
    """A tar for each class, in one tar."""
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as whole:
        for part in PARTS:
            others = ["n99999999"] if part == "train" else []
            for label, wnid in enumerate([*listed("tiered_imagenet_ren", part), *others]):
                one = io.BytesIO()
                with tarfile.open(fileobj=one, mode="w") as tar:
                    for number in range(IMAGES):
                        image = np.full((50, 60, 3), colour(part, label, number), dtype=np.uint8)
                        add_to_tar(tar, f"{wnid}_{number}.JPEG", encoded(image, "JPEG"))
                add_to_tar(whole, f"{wnid}.tar", one.getvalue())


def cub(folder, protocol):
    with tarfile.open(folder / "CUB_200_2011.tgz", "w:gz") as tar:
        for part in PARTS:
            for label, name in enumerate(listed("cub_easyfsl", part)):
                for number in range(IMAGES):
                    image = np.full((50, 60, 3), colour(part, label, number), dtype=np.uint8)
                    path = f"./CUB_200_2011/images/{name}/{number}.jpg"
                    add_to_tar(tar, path, encoded(image, "JPEG"))


def cifar_classes(source):
    """For each fine label the part, the label in it, and the superclass."""
    if source == "cifar-fs":
        names = [(part, name) for part in PARTS for name in listed("cifar_fs", part, 100)]
        fine = [name for _, name in names]
        return fine, [f"above {i}" for i in range(20)], [(part, 0) for part, _ in names]
    coarse = [(part, name) for part in PARTS for name in listed("fc100", part, 100)]
    fine = [f"{name} {i}" for _, name in coarse for i in range(5)]
    return fine, [name for _, name in coarse], [(coarse[i // 5][0], i // 5) for i in range(100)]


def cifar_official(source, images=1):
    """cifar-100-python; every picture has its fine label as red, its number modulo 256 as green."""

    def write(folder, protocol):
        fine, coarse, places = cifar_classes(source)
        meta = {"fine_label_names": fine, "coarse_label_names": coarse}
        (folder / "meta").write_bytes(pickled(meta, protocol))
        for name, count in (("train", 500 * images), ("test", 100 * images)):
            labels = np.arange(count) % 100
            planes = np.zeros((count, 3, 1024), dtype=np.uint8)
            planes[:, 0] = labels[:, None]
            planes[:, 1] = (np.arange(count) // 100 % 256)[:, None]
            value = {
                "data": planes.reshape(count, 3072),
                "fine_labels": labels.tolist(),
                "coarse_labels": [places[label][1] for label in labels],
            }
            (folder / name).write_bytes(pickled(value, protocol))

    return write


def class_folders(mode):
    def write(folder, protocol):
        ending = mode.replace("w:", ".").rstrip(".w")
        with tarfile.open(folder / f"pictures.tar{ending}", mode) as tar:
            for part in PARTS:
                for image in pixels(part, 84):
                    name = f"pictures/{part}/{image[0, 0, 0]:03}/{image[0, 0, 1]:03}.png"
                    add_to_tar(tar, name, encoded(image))

    return write


def leo(folder, protocol):
    for part in PARTS:
        value = {
            "embeddings": pixels(part, 1)[:, 0, 0].astype(np.float32),
            "labels": LABELS,
            "keys": [f"{label}-n0-n0_{place}" for place, label in enumerate(LABELS)],
        }
        (folder / f"{part}_embeddings.pkl").write_bytes(pickled(value, protocol))


def npy_pairs(folder, protocol):
    for part in PARTS:
        np.save(folder / f"{part}_embeddings.npy", pixels(part, 1)[:, 0, 0].astype(np.float64))
        np.save(folder / f"{part}_labels.npy", LABELS.astype(">i4"))


def idx(array):
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def idx_files(name):
    """Twice twenty pictures, ten classes; EMNIST's lie on their side."""

    def write(folder, protocol):
        image = np.zeros((20, 28, 28), dtype=np.uint8)
        image[:, 2, 20] = 9  # row 2, column 20
        image[:, 0, 0] = np.arange(20)
        image = image.transpose(0, 2, 1) if name else image
        for part in ("train", "test" if name else "t10k"):
            for kind, array in (("images-idx3", image), ("labels-idx1", np.arange(20) % 10)):
                path, content = folder / f"{name}{part}-{kind}-ubyte", idx(array)
                if part == "train":
                    path, content = path.with_name(path.name + ".gz"), gzip.compress(content)
                path.write_bytes(content)

    return write


FORMS = {
    "mini cache": ("mini-imagenet", mini_cache),
    "mini metaoptnet": (
        "mini-imagenet",
        metaoptnet("miniImageNet_category_split", 84, "mini_imagenet_ravi"),
    ),
    "tiered png": ("tiered-imagenet", tiered_png),
    "tiered npz": ("tiered-imagenet", tiered_npz),
    "tiered ilsvrc": ("tiered-imagenet", ilsvrc),
    "cifar-fs metaoptnet": ("cifar-fs", metaoptnet("CIFAR_FS", 32)),
    "fc100 metaoptnet": ("fc100", metaoptnet("FC100", 32)),
    "cub": ("cub", cub),
    "tar": ("folder", class_folders("w")),
    "tar.gz": ("folder", class_folders("w:gz")),
    "leo": ("embeddings", leo),
    "npy": ("embeddings", npy_pairs),
    "cifar official": ("cifar-fs", cifar_official("cifar-fs")),
    "idx": ("idx", idx_files("")),
}
UNKNOWN = {"embeddings", "folder", "idx"}  # sources whose numbers nobody knows
PICKLED = {"mini cache", "mini metaoptnet", "tiered png", "cifar-fs metaoptnet", "leo"}
CASES = [
    (form, protocol)
    for form in list(FORMS)[:-2]
    for protocol in ((2, 4, 5, "python 2") if form in PICKLED else (4,))
]


def run_import(source, origin, output, *more):
    command = [BINARY, "data", "import", source, "--from", origin, "--output", output, *more]
    return subprocess.run(command, cwd=output.parent, capture_output=True, text=True)


def read_pack(path):
    with safe_open(path, "np") as file:
        return file.get_tensor("images"), file.get_tensor("class_offsets"), describe(file)


def describe(file):
    return json.loads(file.metadata()["pack"])


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
    assert far <= (3 if form in ("tiered ilsvrc", "cub") else 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["origin", "pack.safetensors"]


@pytest.mark.parametrize("source", ["cifar-fs", "fc100"])
def test_the_official_cifar_archive_is_whole_and_shared_out(source, tmp_path):
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
def test_idx_files_are_imported_and_emnist_stands_upright(name, tmp_path):
    output = tmp_path / "pack.safetensors"
    idx_files(name)(tmp_path, 4)
    result = run_import("idx", tmp_path, output)
    assert result.returncode == 0, result.stderr
    images, offsets, description = read_pack(output)
    assert list(offsets) == list(range(0, 41, 4))
    assert (images[:, 2, 20, 0] == 9).all() and not images[:, 20, 2, 0].any()
    assert images[:4, 0, 0, 0].tolist() == [0, 10, 0, 10]
    assert [len(part) for part in description["splits"]["seeded"].values()] == [7, 1, 2]
    assert description["notes"]["ink"].startswith("high")


def test_idx_pictures_on_light_ground_are_not_taken_for_ink(tmp_path):
    pictures = np.full((20, 28, 28), 250, dtype=np.uint8)
    pictures[:, 10:20, 10:20] = 0
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pictures))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(20) % 10))
    result = run_import("idx", tmp_path, tmp_path / "pack.safetensors")
    assert result.returncode == 0, result.stderr
    assert "ink" not in read_pack(tmp_path / "pack.safetensors")[2]["notes"]


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
