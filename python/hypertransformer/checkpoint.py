"""Reads checkpoints and bundles: one safetensors file each, with every tensor by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors import SafetensorError, safe_open

from hypertransformer.layers import Options, Parameters, below
from hypertransformer.settings import OTHER_VERSION, check_settings

# Those that the program can have written.
FORMAT_VERSIONS = (1, 2)


@dataclass
class Checkpoint:
    """A trained model and the experiment that it belongs to."""

    experiment: Options
    """All settings."""
    step: int
    """Training steps done."""
    phi: Parameters
    """φ, what was trained, by name."""
    buffers: Parameters
    """The moving averages of batch-norm, by name."""
    preparation: Options | None
    """How pictures are prepared, with `channels`, `height` and `width`. Only a bundle has it."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint or a bundle.

    The checksum is not checked, because that needs BLAKE3; the program does it (`evaluate`).

    Raises FileNotFoundError if there is none, ValueError if it is incomplete, if it is another
    file, or if it has settings that this package does not know.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: expected a checkpoint or a bundle")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            model = [name for name in file.keys() if not name.startswith("optimizer.")]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in model}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({error}): copy it again, or name another "
            "checkpoint"
        ) from error
    if "checkpoint" not in metadata:
        raise ValueError(
            f"{path} is not a checkpoint: its metadata has no `checkpoint`: expected a file of the "
            "folder `checkpoints` of a run, or one that `hypertransformer bundle` wrote"
        )
    facts = json.loads(metadata["checkpoint"])
    if facts["format_version"] not in FORMAT_VERSIONS:
        raise ValueError(
            f"{path} has format version {facts['format_version']}, expected at most "
            f"{FORMAT_VERSIONS[-1]}: {OTHER_VERSION}"
        )
    experiment = yaml.safe_load(facts["experiment"])
    check_settings(experiment, path)
    return Checkpoint(
        experiment,
        facts["step"],
        below(tensors, "phi."),
        below(tensors, "buffers."),
        facts.get("preparation"),
    )
