"""Prints the largest differences between the Rust program and PyTorch, in double precision.

    python -m baselines.parity FOLDER

FOLDER holds one folder per case, written by tests/it/parity.rs, with `checkpoint.safetensors`,
`case.json` (the settings) and one of two files. `episode.safetensors` holds an episode and the
program's results for it: `logits`, `theta.*` and `gradient.*`. `training.safetensors` holds the
episodes of a few training steps and the resulting `phi.*`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from hypertransformer.forward import HyperTransformer
from hypertransformer.layers import Options, Parameters, below

PENALTY = 0.01


def objective(model: HyperTransformer, episode: Parameters, case: Options) -> tuple[Tensor, Tensor]:
    """Loss of an episode with every term that training can have, and its logits."""
    visible = episode.get("seen")
    training = case["training"]
    prediction = model.forward(
        episode["support"],
        episode["support_labels"],
        episode["query"],
        mode=case["mode"],
        training=training,
        visible=None if visible is None else visible.bool(),
    )
    labels = episode["query_labels"]
    loss = F.cross_entropy(prediction.logits, labels, label_smoothing=0.1)
    loss = loss + PENALTY * prediction.theta.squared_norm()
    loss = loss + PENALTY * prediction.theta.variation
    for logits in prediction.warm_up:
        loss = loss + F.cross_entropy(logits, labels)
    if prediction.real_classes is not None:
        loss = loss + F.cross_entropy(prediction.real_classes, episode["real_classes"])
    case["theta"] = prediction.theta.named()
    return loss, prediction.logits


def farthest(left: Tensor, right: Tensor) -> float:
    """Largest absolute difference of two elements."""
    if left.shape != right.shape:
        raise ValueError(f"shapes differ: {tuple(left.shape)} and {tuple(right.shape)}")
    return (left - right).abs().max().item()


def compare_episode(model: HyperTransformer, folder: Path, case: Options) -> dict[str, float]:
    """Largest differences of θ, logits and gradient (relative to its largest element)."""
    tensors = load_file(folder / "episode.safetensors")
    loss, logits = objective(model, tensors, case)
    gradients = torch.autograd.grad(loss, list(model.phi.values()), allow_unused=True)
    longest = max(gradient.abs().max() for gradient in gradients if gradient is not None)
    expected = below(tensors, "gradient.")
    theta = below(tensors, "theta.")
    if theta.keys() != case["theta"].keys():
        raise ValueError(f"names in theta differ: {sorted(theta)} and {sorted(case['theta'])}")
    return {
        "logits": farthest(logits, tensors["logits"]),
        "theta": max(farthest(theta[name], value) for name, value in case["theta"].items()),
        "gradient": max(
            farthest(torch.zeros_like(expected[name]) if found is None else found, expected[name])
            / longest.item()
            for name, found in zip(model.phi, gradients, strict=True)
        ),
    }


def decay_groups(phi: Parameters, case: Options) -> list[dict[str, Any]]:
    """φ as two parameter groups of AdamW: with weight decay and without."""

    def decays(name: str) -> bool:
        matrix = name.endswith((".kernel", ".weight")) and "norm" not in name
        return matrix or case["weight_decay_on"] == "all"

    return [
        {
            "params": [phi[name] for name in phi if decays(name)],
            "weight_decay": case["weight_decay"],
        },
        {"params": [phi[name] for name in phi if not decays(name)], "weight_decay": 0.0},
    ]


def compare_training(model: HyperTransformer, folder: Path, case: Options) -> dict[str, float]:
    """Largest difference of φ after the training steps, with PyTorch's own optimizers."""
    tensors = load_file(folder / "training.safetensors")
    phi = list(model.phi.values())
    rate = case["learning_rate"]
    if case["optimizer"] == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            decay_groups(model.phi, case), rate, (0.9, case["beta2"])
        )
    else:
        momentum = 0.9 if case["optimizer"] == "momentum" else 0.0
        optimizer = torch.optim.SGD(phi, rate, momentum)
    before = [value.detach().clone() for value in phi]
    for step in range(case["steps"]):
        optimizer.zero_grad()
        loss, _ = objective(model, below(tensors, f"step{step}."), case)
        loss.backward()
        gradients = [value.grad for value in phi if value.grad is not None]
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        for gradient in gradients:
            # Not by `clip_grad_norm_`, which adds 1e-6 to the norm.
            gradient.mul_((case["clip_norm"] / norm).clamp(max=1))
        optimizer.step()
    expected = below(tensors, "phi.")
    return {
        "moved": max(farthest(a, b.detach()) for a, b in zip(before, phi, strict=True)),
        "phi": max(farthest(expected[name], value.detach()) for name, value in model.phi.items()),
    }


def main() -> None:
    """Print the largest differences of each case as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    torch.set_num_threads(1)
    found = {}
    for folder in sorted(parser.parse_args().folder.iterdir()):
        case = json.loads((folder / "case.json").read_text())
        model = HyperTransformer.load(folder / "checkpoint.safetensors")
        model.phi = {name: value.double().requires_grad_() for name, value in model.phi.items()}
        model.buffers = {name: value.double() for name, value in model.buffers.items()}
        compare = compare_training if "steps" in case else compare_episode
        found[folder.name] = compare(model, folder, case)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
