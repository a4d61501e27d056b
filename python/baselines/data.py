"""Episodes that the program exports, and episodes and batches to train on."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hypertransformer.data import Episode, Episodes, Pack


def exported(
    binary: Path,
    pack: Pack,
    experiment: dict[str, Any],
    part: str,
    count: int,
    path: Path,
    *more: str,
) -> Episodes:
    """Write the list that `evaluate` uses for this experiment (seed 0) to `path`, and open it."""
    episode, scheme = experiment["episode"], experiment["data"]["split"]
    words = ["episodes", "export", str(pack.path), "--split", part]
    words += ["--way", str(episode["way"]), "--shot", str(episode["shot"])]
    words += ["--query", str(episode["evaluation_query"]), "--episodes", str(count)]
    words += ["--output", str(path), *more]
    if scheme is not None:
        words += ["--scheme", scheme]
    code = subprocess.run([str(binary), *words], check=False).returncode
    if code:
        sys.exit(code)
    return Episodes(pack, path)


@dataclass
class Jitter:
    """Ranges of a random affine map for each image (`episode.jitter` of an experiment)."""

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0

    def apply(self, images: Tensor, random: np.random.Generator) -> Tensor:
        """Map each of `[N, C, H, W]` independently; bilinear, with zeros outside."""
        if not any((self.rotation, self.scale, self.shear, self.shift)):
            return images
        count = len(images)

        def draw(most: float) -> Tensor:
            return torch.from_numpy(random.uniform(-most, most, count)).to(images.dtype)

        angle, scale, shear = (
            draw(math.radians(self.rotation)),
            1 + draw(self.scale),
            draw(self.shear),
        )
        cosine, sine = angle.cos() * scale, angle.sin() * scale
        # grid_sample's coordinates run from −1 to 1, so a fraction of the image is twice as much.
        rows = [
            torch.stack([cosine, cosine * shear - sine, 2 * draw(self.shift)], 1),
            torch.stack([sine, sine * shear + cosine, 2 * draw(self.shift)], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)


@dataclass
class TrainingData:
    """Episodes and batches of the training classes; each depends only on the seed and its index."""

    pack: Pack
    way: int
    shot: int
    query: int
    scheme: str | None = None
    rotations: str = "none"
    jitter: Jitter = field(default_factory=Jitter)
    seed: int = 0
    overlapping: bool = False
    """Whether queries may be support images too, as in the authors' program."""

    @staticmethod
    def of(pack: Pack, experiment: dict[str, Any], **more: Any) -> TrainingData:
        """Draw as the experiment does; `more` sets or overrides other fields."""
        episode = experiment["episode"]
        if episode["photo"] is not None:
            raise ValueError(
                "episode.photo: the rivals do not have this augmentation: set it to null"
            )
        sampling = episode["query_sampling"]
        if sampling not in ("balanced", "overlapping"):
            raise ValueError(
                f"episode.query_sampling: {sampling}: the rivals draw equally many queries "
                "per class: expected balanced or overlapping"
            )
        more = {"overlapping": sampling == "overlapping"} | more
        return TrainingData(
            pack,
            episode["way"],
            episode["shot"],
            episode["query"],
            experiment["data"]["split"],
            episode["rotations"],
            Jitter(**episode["jitter"]),
            **more,
        )

    def __post_init__(self) -> None:
        """Check the options and look up the classes."""
        if self.pack.holds_embeddings:
            raise ValueError(f"{self.pack.path}: expected a pack of images, not of embeddings")
        if self.rotations not in ("none", "per_class"):
            raise ValueError(f"episode.rotations: {self.rotations}: expected none or per_class")
        self.classes = self.pack.classes("train", self.scheme)

    def episode(self, index: int) -> Episode:
        """Episode `index`, with the same number of queries for each class."""
        random = np.random.default_rng([self.seed, 1, index])
        chosen = random.choice(self.classes, self.way, replace=False)
        per_class = self.shot + self.query
        images = np.empty((self.way, per_class), np.int64)
        for slot, class_ in enumerate(chosen):
            start, end = self.pack.offsets[class_ : class_ + 2]
            parts = (self.shot, self.query) if self.overlapping else (per_class,)
            drawn = [random.choice(end - start, count, replace=False) for count in parts]
            images[slot] = start + np.concatenate(drawn)
        pixels = self.pack.tensor(images.reshape(-1))
        if self.rotations == "per_class":
            turns = random.integers(4, size=self.way)
            turned = [
                torch.rot90(own, int(turn), (2, 3))
                for own, turn in zip(pixels.split(per_class), turns, strict=True)
            ]
            pixels = torch.cat(turned)
        pixels = self.jitter.apply(pixels, random)
        pixels = pixels.view(self.way, per_class, *pixels.shape[1:])
        slots = torch.arange(self.way)
        return Episode(
            pixels[:, : self.shot].flatten(0, 1),
            slots.repeat_interleave(self.shot),
            pixels[:, self.shot :].flatten(0, 1),
            slots.repeat_interleave(self.query),
        )

    def batch(self, index: int, size: int) -> tuple[Tensor, Tensor]:
        """`size` training images, and the index of each one's class among the training classes."""
        random = np.random.default_rng([self.seed, 2, index])
        places = random.integers(len(self.classes), size=size)
        classes = np.asarray(self.classes)[places]
        starts, ends = self.pack.offsets[classes], self.pack.offsets[classes + 1]
        images = starts + (random.random(size) * (ends - starts)).astype(np.int64)
        pixels = self.jitter.apply(self.pack.tensor(images), random)
        return pixels, torch.from_numpy(places)
