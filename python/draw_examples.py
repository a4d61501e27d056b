"""Writes the pictures in examples/: glyphs of the synthetic data set, dark ink on light paper.

target/release/hypertransformer data import synthetic --size 105 --output data/big.safetensors
.venv-python/bin/python python/draw_examples.py data/big.safetensors examples/glyphs
"""

import json
import sys
from pathlib import Path

from PIL import Image
from safetensors import safe_open

CLASSES = 6
SUPPORT, QUERY = 3, 4


def main(pack, folder):
    """Write images of the first test classes of the pack."""
    with safe_open(pack, "np") as file:
        facts = json.loads(file.metadata()["pack"])
        offsets, images = file.get_tensor("class_offsets"), file.get_tensor("images")
    for index in facts["splits"]["default"]["test"][:CLASSES]:
        name = facts["class_names"][index]
        drawn = images[offsets[index] :][: SUPPORT + QUERY, :, :, 0]
        for number, pixels in enumerate(drawn, start=1):
            part = "support" if number <= SUPPORT else "query"
            path = Path(folder) / part / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - pixels).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
