"""Writes examples/: glyphs of the synthetic data set as pictures, dark ink on light paper.

target/release/hypertransformer data import synthetic --size 105 --output data/glyphs-105.safetensors
.venv-python/bin/python python/draw_examples.py data/glyphs-105.safetensors examples/glyphs
"""

import json
import struct
import sys
import zlib
from pathlib import Path

from safetensors import safe_open

# Test classes that are easy to tell apart by eye.
CLASSES = 6
SUPPORT, QUERY = 3, 4


def png(pixels):
    """Bytes of a grey PNG of the array [rows, columns]."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def main(pack, folder):
    """Draws from test classes of the pack."""
    with safe_open(pack, "np") as file:
        facts = json.loads(file.metadata()["pack"])
        offsets, images = file.get_tensor("class_offsets"), file.get_tensor("images")
    for index in facts["splits"]["default"]["test"][:CLASSES]:
        name = facts["class_names"][index]
        drawn = images[offsets[index] :][: SUPPORT + QUERY, :, :, 0]
        for number, pixels in enumerate(drawn):
            part = "support" if number < SUPPORT else "query"
            path = Path(folder) / part / name / f"{number + 1}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(255 - pixels))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
