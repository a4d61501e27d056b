"""Tells how far logits and gradient of the Rust program are from the PyTorch reference.

    python python/compare_reference.py FILE

FILE is one safetensors file that a test writes: an episode's images and labels, `phi.*`, and what
the program found: `logits` and `gradient.*` of the mean cross-entropy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from reference import logits


def main() -> None:
    """Print the largest differences as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    tensors = load_file(parser.parse_args().file)
    names = [name.removeprefix("phi.") for name in tensors if name.startswith("phi.")]
    phi = {name: tensors[f"phi.{name}"].requires_grad_() for name in names}
    answers = logits(phi, tensors["support"], tensors["support_labels"], tensors["query"])
    loss = F.cross_entropy(answers, tensors["query_labels"])
    gradients = torch.autograd.grad(loss, list(phi.values()))
    pairs = [(tensors[f"gradient.{name}"], g) for name, g in zip(names, gradients, strict=True)]
    longest = max(gradient.abs().max() for gradient in gradients)
    differences = {
        "logits": (answers - tensors["logits"]).abs().max().item(),
        "gradient": max(((a - b).abs().max() / longest).item() for a, b in pairs),
    }
    print(json.dumps(differences))


if __name__ == "__main__":
    main()
