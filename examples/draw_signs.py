"""Draws signs, a small data set of class folders: FOLDER/sign07/003.png. Needs Python only.

A sign is four strokes that differ from sign to sign. In each of its pictures it is turned, moved
and scaled a little, and has other colours, so only the strokes tell what it is. The same numbers
give the same pictures.
"""

import argparse
import math
import random
import struct
import zlib
from itertools import pairwise
from pathlib import Path

SIDE = 48


def main():
    """Draw what the command line asks for."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    span = {"type": int, "nargs": 2, "metavar": ("FIRST", "END"), "required": True}
    arguments.add_argument("--signs", help="numbers of the signs, without END", **span)
    arguments.add_argument("--pictures", help="numbers of the pictures of each", **span)
    chosen = arguments.parse_args()
    for sign in range(*chosen.signs):
        folder = chosen.folder / f"sign{sign:02}"
        folder.mkdir(parents=True, exist_ok=True)
        for picture in range(*chosen.pictures):
            (folder / f"{picture:03}.png").write_bytes(png(draw(sign, picture)))


def draw(sign, picture):
    """The rows of a picture, each of SIDE pixels in three bytes."""
    shape = random.Random(f"sign {sign}")
    corners = [(shape.uniform(-0.34, 0.34), shape.uniform(-0.34, 0.34)) for _ in range(5)]
    chance = random.Random(f"sign {sign}, picture {picture}")
    paper = bytes(chance.randrange(150, 256) for _ in range(3))
    ink = bytes(chance.randrange(0, 100) for _ in range(3))
    angle, scale = chance.gauss(0, 0.12), SIDE * chance.uniform(0.85, 1.15)
    middle = [SIDE * (0.5 + chance.uniform(-0.06, 0.06)) for _ in range(2)]
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    points = [
        (middle[0] + cosine * x - sine * y, middle[1] + sine * x + cosine * y)
        for x, y in ((x + chance.gauss(0, 0.02), y + chance.gauss(0, 0.02)) for x, y in corners)
    ]
    rows = [bytearray(paper * SIDE) for _ in range(SIDE)]
    for (x, y), (to_x, to_y) in pairwise(points):
        for step in range(2 * SIDE):
            part = step / (2 * SIDE)
            column, row = x + part * (to_x - x), y + part * (to_y - y)
            for i in range(max(0, round(row) - 1), min(SIDE, round(row) + 2)):
                first, end = max(0, round(column) - 1), min(SIDE, round(column) + 2)
                rows[i][3 * first : 3 * end] = ink * max(0, end - first)
    return rows


def png(rows):
    """A PNG file of these rows."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)  # 8 bits, RGB
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


if __name__ == "__main__":
    main()
