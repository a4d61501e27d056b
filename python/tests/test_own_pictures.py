"""Tests `generate` and `classify` on pictures of every format, and the CNN in onnxruntime."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from program import ROOT, program
from safetensors import safe_open

MODEL = "models/omniglot-20way.safetensors"
GLYPHS = ROOT / "examples" / "glyphs"


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    out = tmp_path_factory.mktemp("cnn") / "glyphs"
    program("generate", MODEL, "--support", GLYPHS / "support", "--output", out, "--threads", "1")
    return out


def classify(model, files):
    lines = program("classify", model, *files, "--json", "--top", "20").splitlines()
    return [json.loads(line) for line in lines]


def test_onnxruntime_follows_the_preprocessing_in_the_metadata(cnn):
    onnx.checker.check_model(onnx.load(cnn.with_suffix(".onnx")), full_check=True)
    session = onnxruntime.InferenceSession(cnn.with_suffix(".onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    labels = json.loads(facts["labels"])
    assert "resized to 28x28 with a triangle" in facts["preprocessing"]
    files = sorted(GLYPHS.glob("query/*/*.png"))
    pictures = [Image.open(file).convert("L").resize((28, 28), Image.BILINEAR) for file in files]
    pixels = np.stack([(255 - np.asarray(picture, np.float32)) / 255 for picture in pictures])
    (logits,) = session.run(["logits"], {"pictures": pixels[:, None]})
    odds = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probabilities = odds / odds.sum(1, keepdims=True)
    for row, answer in zip(probabilities, classify(cnn.with_suffix(".onnx"), files), strict=True):
        # Pillow and the image crate round resized pixels differently, by one grey level.
        ours = dict(answer["top"])
        assert np.abs(row - [ours[label] for label in labels]).max() < 0.02
        assert answer["label"] == labels[row.argmax()]


def test_safetensors_hold_what_the_onnx_model_holds(cnn):
    graph = onnx.load(cnn.with_suffix(".onnx")).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    with safe_open(cnn.with_suffix(".safetensors"), "np") as file:
        assert set(file.keys()) == set(tensors)
        for name, values in tensors.items():
            np.testing.assert_array_equal(file.get_tensor(name), values)
        description = json.loads(file.metadata()["cnn"])
    assert [layer["operation"] for layer in description["layers"]][:3] == [
        "convolution",
        "max_pool",
        "relu",
    ]
    count = sum(values.size for values in tensors.values())
    assert json.loads(cnn.with_suffix(".json").read_text())["parameters"] == count


def test_every_format_and_kind_of_pixel_is_read_alike(cnn, tmp_path):
    original = GLYPHS / "query" / "glyph0001" / "4.png"
    grey = Image.open(original).convert("L")
    clear = Image.merge("LA", (Image.new("L", grey.size, 0), grey.point(lambda value: 255 - value)))
    saved = {
        "grey.bmp": grey,
        "grey.gif": grey,
        "grey.tiff": grey,
        "colour.png": grey.convert("RGB"),
        "palette.png": grey.convert("P"),
        "transparent.png": clear,
        "cmyk.jpg": grey.convert("RGB").convert("CMYK"),
        "cmyk.tiff": grey.convert("RGB").convert("CMYK"),
        "grey.jpg": grey,
        "sixteen.png": Image.fromarray(np.asarray(grey, np.uint16) * 257),
        "sixteen.tiff": Image.fromarray(np.asarray(grey, np.uint16) * 257),
        "two-frames.gif": grey,
    }
    for name, picture in saved.items():
        extra = {"quality": 95} if name.endswith(".jpg") else {}
        if name == "two-frames.gif":
            extra = {"save_all": True, "append_images": [Image.new("L", grey.size, 255)]}
        picture.save(tmp_path / name, **extra)
    grey.save(tmp_path / "lossless.webp", lossless=True)
    turned = grey.transpose(Image.Transpose.ROTATE_90).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(tmp_path / "phone.jpg", quality=95, exif=exif)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 14
    expected = classify(cnn.with_suffix(".onnx"), [original])[0]["probability"]
    for answer in classify(cnn.with_suffix(".onnx"), files):
        assert answer["label"] == "glyph0001", answer
        lossy = answer["file"].endswith(".jpg")
        assert abs(answer["probability"] - expected) < (0.02 if lossy else 1e-4), answer


def test_a_picture_that_is_not_square_is_padded_not_squashed(cnn, tmp_path):
    grey = Image.open(GLYPHS / "query" / "glyph0001" / "4.png").convert("L")
    tall = grey.crop((15, 0, 90, 105))
    wide = Image.new("L", (105, 105), 255)
    wide.paste(tall, (15, 0))
    tall.save(tmp_path / "tall.png")
    wide.save(tmp_path / "wide.png")
    tall, wide = classify(
        cnn.with_suffix(".safetensors"), [tmp_path / "tall.png", tmp_path / "wide.png"]
    )
    assert tall["top"] == wide["top"]
