"""Memory-mapped packs, and exported lists of episodes."""

from __future__ import annotations

import json
import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor


@dataclass
class Episode:
    """One few-shot task."""

    support: Tensor
    """`[N, C, H, W]`, 0 to 1"""
    support_labels: Tensor
    """`[N]`, class slots from 0 to n − 1"""
    query: Tensor
    """`[Q, C, H, W]`"""
    query_labels: Tensor
    """`[Q]`"""


class Pack:
    """A data set as one safetensors file, which is mapped and never read whole."""

    def __init__(self, path: Path) -> None:
        """Read the header."""
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(mapped[:8], "little")
        header = json.loads(mapped[8 : 8 + length])
        if header["images"]["dtype"] != "U8":
            raise ValueError(f"{path}: expected a pack of images, not of embeddings")

        def tensor(name: str, kind: type) -> np.ndarray:
            start = 8 + length + header[name]["data_offsets"][0]
            shape = header[name]["shape"]
            return np.frombuffer(mapped, kind, math.prod(shape), start).reshape(shape)

        self.path = path
        self.images = tensor("images", np.uint8)
        self.offsets = tensor("class_offsets", np.int64)
        self.metadata = json.loads(header["__metadata__"]["pack"])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.images.shape[3]

    def tensor(self, indices: np.ndarray) -> Tensor:
        """Images `[N, C, H, W]`, 0 to 1."""
        bytes_ = torch.from_numpy(self.images[indices])
        return bytes_.permute(0, 3, 1, 2).to(torch.float32).contiguous() / 255

    def classes(self, part: str, scheme: str | None = None) -> list[int]:
        """Classes of `train`, `validation` or `test`."""
        return self.metadata["splits"][scheme or self.metadata["default_split"]][part]


class Episodes:
    """A list of episodes written by `hypertransformer episodes export`."""

    def __init__(self, pack: Pack, path: Path) -> None:
        """Open the list; raise ValueError if it was drawn from another pack."""
        with safe_open(path, "np") as file:
            self.facts: dict[str, Any] = json.loads(file.metadata()["episodes"])
            self.columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        expected, found = self.facts["pack_content_hash"], pack.metadata["content_hash"]
        if expected != found:
            raise ValueError(
                f"{path} lists images of the pack with content {expected}, but {pack.path} has "
                f"{found}: export the list again"
            )
        self.pack = pack

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.columns["support"])

    def __getitem__(self, index: int) -> Episode:
        """Read episode `index` with its pixels."""
        row = {name: values[index] for name, values in self.columns.items()}
        return Episode(
            self.pack.tensor(row["support"]),
            torch.from_numpy(row["support_labels"]),
            self.pack.tensor(row["query"]),
            torch.from_numpy(row["query_labels"]),
        )
