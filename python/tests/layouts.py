"""Small made-up data sets in the layouts in which the real ones are distributed."""

import gzip
import io
import json
import pickle
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = ROOT / "target" / "release" / "hypertransformer"
LISTS = ROOT / "src" / "import" / "sources"
PARTS = {"train": "train", "val": "validation", "test": "test"}
CLASSES, IMAGES = 3, 4
# So that the pictures of a class are not adjacent in any file.
LABELS = np.tile(np.arange(CLASSES), IMAGES)


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, which wrote most of the files of the field."""

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
    """The colour of all pixels of a picture."""
    return [40 * list(PARTS).index(part) + 10 * label, 10 * number, 7]


def pixels(part, side):
    """Pictures [12, side, side, 3] in the order of LABELS."""
    colours = [colour(part, label, place // CLASSES) for place, label in enumerate(LABELS)]
    image = np.array(colours, dtype=np.uint8)
    return np.broadcast_to(image[:, None, None, :], (len(LABELS), side, side, 3)).copy()


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **({"quality": 100} if kind == "JPEG" else {}))
    return stream.getvalue()


def listed(name, part, count=CLASSES):
    """Names of the first classes of a part in one of the program's lists."""
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


def tiered_zenodo(folder, protocol):
    tiered_png(folder, protocol)
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"tiered-imagenet-{path.name}"))


def tiered_npz(folder, protocol):
    """As OpenCV wrote it: channels in the order blue, green, red."""
    for part in PARTS:
        save = np.savez if part == "train" else np.savez_compressed
        save(folder / f"{part}_images.npz", images=pixels(part, 84)[..., ::-1])
        tiered_labels(folder, protocol, part)


def tiered_npz_of_others(folder, protocol):
    """With labels that continue from part to part."""
    tiered_npz(folder, protocol)
    for place, part in enumerate(PARTS):
        value = {"labels": (LABELS + CLASSES * place).tolist()}
        (folder / f"{part}_labels.pkl").write_bytes(pickled(value, protocol))


def ilsvrc(folder, protocol):
    """A tar that holds one tar per class."""
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


def unpacked(write, depth):
    """The same layout with its tars unpacked, each to a folder of its name."""

    def write_unpacked(folder, protocol):
        write(folder, protocol)
        for _ in range(depth):
            for path in [*folder.rglob("*.tar"), *folder.rglob("*.tgz")]:
                with tarfile.open(path) as tar:
                    tar.extractall(path.with_suffix(""))
                path.unlink()

    return write_unpacked


def cub(folder, protocol):
    with tarfile.open(folder / "CUB_200_2011.tgz", "w:gz") as tar:
        for part in PARTS:
            for label, name in enumerate(listed("cub_easyfsl", part)):
                for number in range(IMAGES):
                    image = np.full((50, 60, 3), colour(part, label, number), dtype=np.uint8)
                    path = f"./CUB_200_2011/images/{name}/{number}.jpg"
                    add_to_tar(tar, path, encoded(image, "JPEG"))


def cifar_classes(source):
    """Names of fine and coarse labels; for each fine label its part and its coarse label."""
    if source == "cifar-fs":
        names = [(part, name) for part in PARTS for name in listed("cifar_fs", part, 100)]
        fine = [name for _, name in names]
        return fine, [f"above {i}" for i in range(20)], [(part, 0) for part, _ in names]
    coarse = [(part, name) for part in PARTS for name in listed("fc100", part, 100)]
    fine = [f"{name} {i}" for _, name in coarse for i in range(5)]
    return fine, [name for _, name in coarse], [(coarse[i // 5][0], i // 5) for i in range(100)]


def cifar_official(source, images=1):
    """cifar-100-python; a picture's red is its fine label, its green its number modulo 256."""

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
        keys = np.array(
            [f"{place}-n{label:08}-n{label:08}_{place}" for place, label in enumerate(LABELS)]
        )
        value = {
            "embeddings": pixels(part, 1)[:, 0, 0].astype(np.float32),
            "keys": keys.astype("S") if protocol == "python 2" else keys,
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
    """Twenty training and twenty test pictures of ten classes; EMNIST's are transposed."""

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
    "tiered zenodo": ("tiered-imagenet", tiered_zenodo),
    "tiered npz": ("tiered-imagenet", tiered_npz),
    "tiered npz of others": ("tiered-imagenet", tiered_npz_of_others),
    "tiered ilsvrc": ("tiered-imagenet", ilsvrc),
    "tiered ilsvrc tars": ("tiered-imagenet", unpacked(ilsvrc, 1)),
    "tiered ilsvrc folders": ("tiered-imagenet", unpacked(ilsvrc, 2)),
    "cifar-fs metaoptnet": ("cifar-fs", metaoptnet("CIFAR_FS", 32)),
    "fc100 metaoptnet": ("fc100", metaoptnet("FC100", 32)),
    "cub": ("cub", cub),
    "cub unpacked": ("cub", unpacked(cub, 1)),
    "tar": ("folder", class_folders("w")),
    "tar.gz": ("folder", class_folders("w:gz")),
    "leo": ("embeddings", leo),
    "npy": ("embeddings", npy_pairs),
    "cifar official": ("cifar-fs", cifar_official("cifar-fs")),
    "idx": ("idx", idx_files("")),
}
UNKNOWN = {"embeddings", "folder", "idx"}  # sources without known counts


def run_import(source, origin, output, *more):
    command = [BINARY, "data", "import", source, "--from", origin, "--output", output, *more]
    return subprocess.run(command, cwd=output.parent, capture_output=True, text=True)


def read_pack(path):
    with safe_open(path, "np") as file:
        return file.get_tensor("images"), file.get_tensor("class_offsets"), describe(file)


def describe(file):
    return json.loads(file.metadata()["pack"])
