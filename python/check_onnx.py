"""Runs every `*.onnx` of a folder in onnxruntime and compares its logits with those beside it.

`NAME.cases.safetensors` holds `pictures` [N, C, H, W] and the `logits` [N, n] that are expected.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

TOLERANCE = 1e-4


def check(path):
    """The largest difference; raises where the checker refuses the model."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    cases = load_file(path.with_suffix(".cases.safetensors"))
    (found,) = session.run(["logits"], {"pictures": cases["pictures"]})
    # The batch dimension is free: one picture alone gets the answer it got among others.
    (alone,) = session.run(["logits"], {"pictures": cases["pictures"][:1]})
    np.testing.assert_allclose(alone[0], found[0], atol=1e-5)
    return np.abs(found - cases["logits"]).max()


def main(folder):
    """Prints how many models agree, and the largest difference."""
    differences = {path.name: check(path) for path in sorted(Path(folder).glob("*.onnx"))}
    wrong = {name: value for name, value in differences.items() if not value < TOLERANCE}
    if wrong or not differences:
        sys.exit(f"differences of logits beyond {TOLERANCE}: {wrong} of {len(differences)} models")
    print(f"{len(differences)} models, largest difference {max(differences.values()):.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
