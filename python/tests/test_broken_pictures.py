"""What the program does with pictures that are cut off, of other kinds, turned, blank or huge."""

import io
import json
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image
from program import BINARY, ROOT
from safetensors import safe_open

MODEL = "models/omniglot-20way.safetensors"
SIDE = 64
COMMANDS = ["import", "generate", "classify", "evaluate-folder"]


def photograph(mode="RGB"):
    """A picture with detail everywhere, so that a JPEG of it has data to the last row."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8)
    return Image.fromarray(noise).resize((SIDE, SIDE), Image.BICUBIC).convert(mode)


def encoded(form, mode="RGB", **settings):
    content = io.BytesIO()
    photograph(mode).save(content, form, **settings)
    return content.getvalue()


BASELINE = encoded("JPEG", quality=90)
PROGRESSIVE = encoded("JPEG", quality=90, progressive=True)
RESTARTS = encoded("JPEG", quality=90, restart_marker_rows=1)
OTHERS = {
    "png": encoded("PNG"),
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
    "tiff": encoded("TIFF"),
    "webp": encoded("WEBP"),
}
END = b"\xff\xd9"


def part(content, percent):
    return content[: len(content) * percent // 100]


def filled(content, percent):
    kept = part(content, percent)
    return kept + bytes(len(content) - len(kept))


CUT = {
    "half.jpg": part(BASELINE, 50),
    "most.jpg": part(BASELINE, 90),
    "no end.jpg": BASELINE[:-2],
    "header.jpg": BASELINE[:700],
    "progressive.jpg": part(PROGRESSIVE, 50),
    "restarts.jpg": part(RESTARTS, 70),
    "zeros.jpg": filled(BASELINE, 50),
    "closed half.jpg": part(BASELINE, 50) + END,
    "closed most.jpg": part(BASELINE, 90) + END,
    "closed grey.jpg": part(encoded("JPEG", "L", quality=90), 70) + END,
    "no end.png": OTHERS["png"][:-12],
    "last byte.webp": OTHERS["webp"][:-1],
} | {f"half.{form}": part(content, 50) for form, content in OTHERS.items() if form != "gif"}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
# What a file is, and the words for it.
REFUSED = {name: (content, "is cut off") for name, content in CUT.items()} | {
    "half.gif": (part(OTHERS["gif"], 50), "is no readable JPEG, PNG, BMP, GIF, TIFF or WebP"),
    "empty.jpg": (b"", "is empty"),
    "page.jpg": (b"<!DOCTYPE html><html>404</html>", "is an HTML page"),
    "pointer.jpg": (LFS, "is a Git LFS pointer"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "HEIC"),
    "renamed.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "HEIC"),
    "drawing.png": (b'<?xml version="1.0"?><svg width="10"></svg>', "SVG"),
    "packed.jpg": (b"PK\x03\x04" + bytes(200), "is an archive"),
}
WHOLE = {
    "baseline.jpg": BASELINE,
    "progressive.jpg": PROGRESSIVE,
    "restarts.jpg": RESTARTS,
    "grey.jpg": encoded("JPEG", "L"),
    "cmyk.jpg": encoded("JPEG", "CMYK"),
    "full.jpg": encoded("JPEG", subsampling=0, quality=95),
    "trailing.jpg": BASELINE + b"\r\n<html>trailing</html>",
    "zeros.jpg": BASELINE + bytes(999),
    "two.jpg": encoded("MPO", save_all=True, append_images=[photograph()]),
    "no extension": BASELINE,
    "photo.jfif": BASELINE,
} | {f"whole.{form}": content for form, content in OTHERS.items()}


def run(*words):
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built: run `make build`")
    return subprocess.run([BINARY, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A CNN of the classes `a` and `b`."""
    folder = tmp_path_factory.mktemp("model")
    done = run(
        "generate", MODEL, "--support", tree(folder / "pictures"), "--output", folder / "cnn"
    )
    assert done.returncode == 0, done.stderr
    return folder / "cnn.onnx"


def tree(folder):
    """Two classes of two whole pictures."""
    for index, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            picture = np.asarray(photograph()) // (1 + index) + number
            Image.fromarray(picture).save(folder / name / f"{number}.png")
    return folder


def words(command, pictures, folder, model):
    """The command on a folder of class folders, and what it writes."""
    output = folder / f"{command}.safetensors"
    return {
        "import": ["data", "import", "folder", "--from", pictures, "--output", output],
        "generate": ["generate", MODEL, "--support", pictures, "--output", output],
        "classify": ["classify", model, pictures],
        "evaluate-folder": ["evaluate-folder", model, pictures, "--output", output],
    }[command]


# An import searches for pictures by their names.
@pytest.mark.parametrize(
    ("command", "name"),
    [
        (one, name)
        for one in COMMANDS
        for name in REFUSED
        if (one, name) != ("import", "photo.heic")
    ],
)
def test_a_broken_picture_is_refused_by_name_or_passed_over(command, name, model, tmp_path):
    content, told = REFUSED[name]
    pictures = tree(tmp_path / "pictures")
    (pictures / "a" / name).write_bytes(content)
    command_line = words(command, pictures, tmp_path, model)
    done = run(*command_line)
    assert done.returncode == 1, done.stdout
    assert f"{name}` " in done.stderr and told in done.stderr, done.stderr
    assert "internal fault" not in done.stderr
    done = run(*command_line, "--skip-broken")
    assert done.returncode == 0, done.stderr
    assert f"{name}` " in done.stderr, done.stderr
    assert "1 picture" in done.stderr or "broken pictures: 1 " in done.stderr, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_whole_pictures_of_every_kind_are_read(command, model, tmp_path):
    pictures = tree(tmp_path / "pictures")
    for name, content in WHOLE.items():
        (pictures / "a" / name).write_bytes(content)
    done = run(*words(command, pictures, tmp_path, model))
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr and "note" not in done.stderr, done.stderr


@pytest.mark.parametrize("command", ["import", "generate", "evaluate-folder"])
def test_a_class_without_a_whole_picture_is_an_error(command, model, tmp_path):
    pictures = tree(tmp_path / "pictures")
    for file in (pictures / "a").iterdir():
        file.write_bytes(b"")
    done = run(*words(command, pictures, tmp_path, model), "--skip-broken")
    assert done.returncode == 1
    assert "`a`" in done.stderr and "is empty" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == [pictures]


def classes_of(pack):
    with safe_open(pack, "np") as file:
        about = json.loads(file.metadata()["pack"])
        offsets, images = file.get_tensor("class_offsets"), file.get_tensor("images")
    spans = zip(about["class_names"], offsets, offsets[1:], strict=False)
    return about["notes"], {name: images[start:end] for name, start, end in spans}


def import_folder(pictures, pack, *more):
    done = run("data", "import", "folder", "--from", pictures, "--output", pack, *more)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_pack_without_its_broken_pictures_is_that_of_the_whole_ones(tmp_path):
    pictures = tree(tmp_path / "pictures")
    import_folder(pictures, tmp_path / "whole.safetensors")
    for name in ("a/0a.jpg", "a/9.jpg", "b/0a.jpg", "b/0b.jpg"):
        (pictures / name).write_bytes(CUT["half.jpg"])
    told = import_folder(pictures, tmp_path / "some.safetensors", "--skip-broken")
    assert "4 pictures passed over" in told and "and 1 more" in told, told
    _, whole = classes_of(tmp_path / "whole.safetensors")
    notes, some = classes_of(tmp_path / "some.safetensors")
    assert "4 pictures" in notes["broken"]
    for name, images in whole.items():
        np.testing.assert_array_equal(images, some[name])
    assert run("data", "verify", tmp_path / "some.safetensors").returncode == 0


def test_folder_imports_turn_pictures_upright(tmp_path):
    upright = Image.new("RGB", (40, 60), (220, 40, 40))
    upright.paste((40, 40, 220), (0, 30, 40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    for name in "ab":
        (tmp_path / "pictures" / name).mkdir(parents=True)
    upright.save(tmp_path / "pictures/a/upright.png")
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "pictures/b/phone.jpg", exif=exif, quality=95)
    pack = tmp_path / "pack.safetensors"
    import_folder(tmp_path / "pictures", pack, "--size", "32")
    notes, classes = classes_of(pack)
    assert notes["orientation"] == "upright by EXIF"
    for rows, colour in ((slice(0, 16), (220, 40, 40)), (slice(16, 32), (40, 40, 220))):
        for images in classes.values():
            mean = images[0, rows].reshape(-1, 3).mean(0)
            np.testing.assert_allclose(mean, colour, atol=3)


def test_blank_pictures_are_told_and_used(model, tmp_path):
    pictures = tree(tmp_path / "pictures")
    grey = np.asarray(photograph("L"))
    Image.fromarray(grey.astype(np.uint16)).save(pictures / "a/low.png")
    strokes = np.full((SIDE, SIDE, 4), 255, np.uint8)
    strokes[..., 3] = grey > 128
    Image.fromarray(strokes).save(pictures / "b/strokes.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(pictures / "b/sixteen.png")
    for command in COMMANDS:
        done = run(*words(command, pictures, tmp_path, model))
        assert done.returncode == 0, done.stderr
        warning = next(line for line in done.stderr.splitlines() if "blank" in line)
        assert "2 pictures" in warning, warning
        assert "low.png` (its 16-bit values are a small part" in warning, warning
        assert "strokes.png` (what it shows is white on transparency" in warning, warning
    verified = run("data", "verify", tmp_path / "import.safetensors")
    assert verified.returncode == 0
    assert "2 images show nothing, the first: a number 2, b number 3" in verified.stderr


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(model, tmp_path):
    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    # 16 bits in four channels, 2 GiB; the pixels are not even looked at.
    header = struct.pack(">IIBBBBB", 16384, 16384, 16, 6, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    pictures = tree(tmp_path / "pictures")
    (pictures / "a/huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    for command in COMMANDS:
        done = run(*words(command, pictures, tmp_path, model))
        assert done.returncode == 1
        assert "huge.png` is 16384×16384 pixels and takes 2048 MiB" in done.stderr, done.stderr
