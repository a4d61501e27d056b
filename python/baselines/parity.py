"""Tells how far the Rust program is from PyTorch, in double precision.

    python -m baselines.parity FOLDER

FOLDER holds a folder a case, written by tests/parity.rs: `checkpoint.safetensors`, and
`episode.safetensors` with an episode and what the program found of it: `logits`, `theta.*` and
`gradient.*`; or `training.safetensors` with the episodes of a few training steps and `phi.*` after
them. `case.json` says how.
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

from baselines.hypertransformer import HyperTransformer, Options, Parameters

PENALTY = 0.01


def objective(model: HyperTransformer, episode: Parameters, case: Options) -> tuple[Tensor, Tensor]:
    """Loss of an episode, every term of training with a weight, and its logits."""
    seen = episode.get("seen")
    training = case["training"]
    prediction = model.forward(
        episode["support"],
        episode["support_labels"],
        episode["query"],
        mode=case["mode"],
        training=training,
        seen=None if seen is None else seen.bool(),
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


def below(tensors: Parameters, prefix: str) -> Parameters:
    """The tensors whose names start so, without the prefix."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def farthest(left: Tensor, right: Tensor) -> float:
    """Largest difference of an element."""
    if left.shape != right.shape:
        raise ValueError(f"{tuple(left.shape)} is not {tuple(right.shape)}")
    return (left - right).abs().max().item()


def compare_episode(model: HyperTransformer, folder: Path, case: Options) -> dict[str, float]:
    """Largest differences of θ, of logits and, as a share of its longest element, the gradient."""
    tensors = load_file(folder / "episode.safetensors")
    loss, logits = objective(model, tensors, case)
    gradients = torch.autograd.grad(loss, list(model.phi.values()), allow_unused=True)
    longest = max(gradient.abs().max() for gradient in gradients if gradient is not None)
    expected = below(tensors, "gradient.")
    theta = below(tensors, "theta.")
    if theta.keys() != case["theta"].keys():
        raise ValueError(f"theta: {sorted(theta)} is not {sorted(case['theta'])}")
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
    """φ as two groups of AdamW: what weight decay shrinks, and what it leaves alone."""

    def decays(name: str) -> bool:
        matrix = name.endswith((".kernel", ".weight")) and "norm" not in name
        return matrix or case["weight_decay_on"] == "all"

    return [
        {"params": [phi[name] for name in phi if decays(name)], "weight_decay": case["weight_decay"]},
        {"params": [phi[name] for name in phi if not decays(name)], "weight_decay": 0.0},
    ]


def compare_training(model: HyperTransformer, folder: Path, case: Options) -> dict[str, float]:
    """Largest difference of φ after the steps, with PyTorch's own optimizers."""
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
            # `clip_grad_norm_` adds 1e-6 to the norm.
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
