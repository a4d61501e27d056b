"""Runs every `*.onnx` of a folder in onnxruntime and compares its logits with the expected ones.

`NAME.cases.safetensors` beside `NAME.onnx` holds `pictures` [N, C, H, W] and `logits` [N, n].
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

TOLERANCE = 1e-4


def check(path):
    """Largest difference of a logit; raises an error if the checker rejects the model."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    cases = load_file(path.with_suffix(".cases.safetensors"))
    (found,) = session.run(["logits"], {"pictures": cases["pictures"]})
    # The batch size is free, and a picture's logits do not depend on the rest of its batch.
    (alone,) = session.run(["logits"], {"pictures": cases["pictures"][:1]})
    np.testing.assert_allclose(alone[0], found[0], atol=1e-5)
    return np.abs(found - cases["logits"]).max()


def main(folder):
    """Print the number of models and the largest difference; exit with an error if any differs."""
    differences = {path.name: check(path) for path in sorted(Path(folder).glob("*.onnx"))}
    wrong = {name: value for name, value in differences.items() if not value < TOLERANCE}
    if wrong or not differences:
        sys.exit(f"logits differ by more than {TOLERANCE}: {wrong} of {len(differences)} models")
    print(f"{len(differences)} models, largest difference {max(differences.values()):.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
