"""Uses the page of `serve` as a user does: draw, see the class, download the CNN, run it."""

import base64
import io
import json
import math
import shutil
import subprocess
import urllib.error
import urllib.request

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from program import BINARY, ROOT

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def address():
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built: run `make build`")
    command = [BINARY, "serve", "--port", "0", "--threads", "1"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait()


def post(address, path, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def png():
    """A PNG of a black dot on white, in base64."""
    picture = Image.new("L", (20, 20), 255)
    picture.putpixel((10, 10), 0)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_wrong_requests_are_refused_with_the_reason(address):
    one = {"name": "a", "pictures": [png()]}
    many = {"name": "b", "pictures": [png()] * 400}
    cases = [
        (b"{", "not what the page sends"),
        ({"classes": []}, "at least two classes"),
        ({"classes": [one, one]}, "two classes are called `a`"),
        ({"classes": [one, {"name": " ", "pictures": [png()]}]}, "a name of 1 to 100"),
        ({"classes": [one, {"name": "b", "pictures": []}]}, "class `b` has no picture"),
        ({"classes": [one, {"name": "b", "pictures": ["AAAA"]}]}, "is no readable JPEG"),
        ({"classes": [one, {"name": "b", "pictures": ["?"]}]}, "is not in base64"),
        ({"classes": [one, many]}, "401 pictures, expected at most 400"),
        (
            {"classes": [{"name": str(i), "pictures": [png()]} for i in range(21)]},
            "trained for at most 20",
        ),
    ]
    for body, expected in cases:
        status, message = post(address, "/generate", body)
        assert status == 400 and expected in message, message
    assert post(address, "/generate", b" " * (17 << 20))[0] == 413
    assert post(address, "/nowhere", b"")[0] == 404


def stroke(page, canvas, points):
    """Draw a line through points of the unit square."""
    box = canvas.bounding_box()
    for index, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if index == 0:
            page.mouse.down()
    page.mouse.up()


def ring(shift):
    turns = [2 * math.pi * step / 24 for step in range(25)]
    return [[(0.5 + shift + 0.3 * math.cos(a), 0.5 + 0.3 * math.sin(a)) for a in turns]]


def cross(shift):
    return [[(0.2 + shift, 0.2), (0.8, 0.8)], [(0.8, 0.2 + shift), (0.2, 0.8)]]


def bars(shift):
    return [[(0.2, 0.3 + shift), (0.8, 0.3)], [(0.2, 0.7), (0.8, 0.7 + shift)]]


@pytest.fixture
def page():
    playwright = pytest.importorskip("playwright.sync_api", reason="`make test-page` installs it")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_page()
        browser.close()


def test_a_busy_server_is_shown_and_asked_again(address, page):
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "busy: wait"}}
    page.route("**/generate", lambda route: route.fulfill(**busy), times=1)
    page.goto(address)
    for row in page.query_selector_all(".class")[:2]:
        stroke(page, row.query_selector("canvas"), [(0.2, 0.2), (0.8, 0.8)])
    page.wait_for_selector("#status.fault:has-text('busy: wait')")
    page.wait_for_selector("#status:has-text('written from 2 drawings in')")


def test_the_drawn_classifier_reads_the_last_canvas_and_is_downloaded_as_onnx(
    address, page, tmp_path
):
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert "Draw at least two classes" in page.inner_text("#status")
    rows = page.query_selector_all(".class")
    for row, name, draw in zip(rows, ["ring", "cross", "bars"], [ring, cross, bars], strict=True):
        row.query_selector("input").fill(name)
        for shift, canvas in zip([0, 0.05, -0.05], row.query_selector_all("canvas"), strict=True):
            for points in draw(shift):
                stroke(page, canvas, points)
    question = page.query_selector("#question")
    for draw, name in [(cross, "cross"), (ring, "ring")]:
        page.click("#clear")
        page.wait_for_selector("#answers:not(:has(tr))", state="attached")
        for points in draw(0.03):
            stroke(page, question, points)
        page.wait_for_selector(f"#answers tr:first-child td:text-is('{name}')")
    page.wait_for_selector("#status:has-text('written from 9 drawings in')")
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "drawn.onnx")
    drawn = page.evaluate("document.getElementById('question').toDataURL().split(',')[1]")
    assert not faults
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), asked
    session = onnxruntime.InferenceSession(tmp_path / "drawn.onnx")
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    assert labels == ["ring", "cross", "bars"]
    picture = Image.open(io.BytesIO(base64.b64decode(drawn))).convert("L")
    small = picture.resize((28, 28), Image.Resampling.BILINEAR)
    pixels = (255 - np.asarray(small, np.float32)) / 255
    (logits,) = session.run(["logits"], {"pictures": pixels[None, None]})
    assert labels[logits[0].argmax()] == "ring"
