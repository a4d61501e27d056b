"""Memory-mapped packs, and exported lists of episodes, as data sets of torch."""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset, Subset

PARTS = ("train", "validation", "test")


class Episode(NamedTuple):
    """One few-shot task. A DataLoader stacks several, with a first dimension for the task."""

    support: Tensor
    """`[N, C, H, W]`, 0 to 1"""
    support_labels: Tensor
    """`[N]`, class slots from 0 to n − 1; n for an unlabelled image"""
    query: Tensor
    """`[Q, C, H, W]`"""
    query_labels: Tensor
    """`[Q]`"""


class Pack(Dataset[tuple[Tensor, int]]):
    """A pack as pairs of an image `[C, H, W]`, 0 to 1, and its class, an index of `class_names`.

    The file is mapped and never read whole. Images are in the order of their classes. Embeddings
    are images `[D, 1, 1]` with their own values.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the header.

        Raises FileNotFoundError if there is no such file, ValueError if it is not a pack.
        """
        self.path = Path(path)
        self.metadata, names = described(self.path, "pack", "import it with `data import`")
        """The description that the pack has of itself: names, splits, source, licence, notes."""
        for name in ("images", "class_offsets"):
            if name not in names:
                raise ValueError(f"{path} is not a pack: it has no tensor {name}: import it again")
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(mapped[:8], "little")
        header = json.loads(mapped[8 : 8 + length])

        def tensor(name: str, kinds: dict[str, type]) -> np.ndarray:
            found, shape = header[name]["dtype"], header[name]["shape"]
            if found not in kinds:
                raise ValueError(
                    f"{path}: {name} has the type {found}, expected {' or '.join(kinds)}: "
                    "import the pack again"
                )
            start = 8 + length + header[name]["data_offsets"][0]
            return np.frombuffer(mapped, kinds[found], math.prod(shape), start).reshape(shape)

        self.images = tensor("images", {"U8": np.uint8, "F32": np.float32})
        """`[N, H, W, C]`, bytes, or numbers if they are embeddings"""
        self.offsets = tensor("class_offsets", {"I64": np.int64})
        """`[classes + 1]`: the images of class i are those from offset i to offset i + 1"""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read image `index` and its class."""
        index = range(len(self))[index]
        image = self.tensor(np.array([index]))[0]
        return image, int(np.searchsorted(self.offsets, index, "right")) - 1

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        """Let worker processes map the file themselves instead of sending them its contents."""
        return type(self), (self.path,)

    @property
    def holds_embeddings(self) -> bool:
        """Whether it holds vectors computed elsewhere instead of images."""
        return self.images.dtype != np.uint8

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour; the length of embeddings."""
        return self.images.shape[3]

    @property
    def class_names(self) -> list[str]:
        """The name of each class."""
        return self.metadata["class_names"]

    def tensor(self, indices: np.ndarray) -> Tensor:
        """The images at `indices`, `[N, C, H, W]`, 0 to 1."""
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2).float().contiguous()
        return images if self.holds_embeddings else images / 255

    def classes(self, part: str, scheme: str | None = None) -> list[int]:
        """Classes of `train`, `validation` or `test`, in a split of the pack or its default one.

        Raises ValueError if there is no such part or split.
        """
        splits = self.metadata["splits"]
        scheme = scheme or self.metadata["default_split"]
        if scheme not in splits:
            raise ValueError(
                f"{self.path} has no split {scheme}: expected one of {', '.join(splits)}"
            )
        if part not in PARTS:
            raise ValueError(f"part: {part}, expected one of {', '.join(PARTS)}")
        return splits[scheme][part]

    def part(self, part: str, scheme: str | None = None) -> Subset[tuple[Tensor, int]]:
        """The images of the classes of `train`, `validation` or `test`, as pairs like the pack's.

        Raises ValueError if there is no such part or split.
        """
        classes = self.classes(part, scheme)
        ranges = [range(*self.offsets[class_ : class_ + 2]) for class_ in classes]
        return Subset(self, [index for one in ranges for index in one])


class Episodes(Dataset[Episode]):
    """A list of episodes written by `hypertransformer episodes export`."""

    def __init__(self, pack: Pack, path: str | Path) -> None:
        """Open the list.

        Raises FileNotFoundError if there is no such file, ValueError if it is not a list of
        episodes or was drawn from another pack.
        """
        path = Path(path)
        self.facts, names = described(path, "episodes", "write one with `episodes export`")
        """How the episodes were drawn: sizes, split, seed."""
        with safe_open(path, "np") as file:
            self.columns = {name: file.get_tensor(name) for name in names}
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


def described(path: Path, key: str, advice: str) -> tuple[dict[str, Any], list[str]]:
    """The JSON object under `key` in the metadata of a safetensors file, and the tensors' names.

    Raises FileNotFoundError if there is no such file; ValueError, with `advice`, if it is another
    file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {advice}")
    try:
        with safe_open(path, "np") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({error}): copy it again, or {advice}"
        ) from error
    if key not in metadata:
        raise ValueError(
            f"{path} has no `{key}` in its metadata, only {', '.join(metadata) or 'nothing'}: "
            f"{advice}"
        )
    return json.loads(metadata[key]), names
