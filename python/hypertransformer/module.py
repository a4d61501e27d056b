"""A trained HyperTransformer as a module of torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypertransformer.checkpoint import Checkpoint
from hypertransformer.forward import HyperTransformer
from hypertransformer.generator import LogitsGenerator
from hypertransformer.layers import Parameters
from hypertransformer.settings import BATCH_NORM_MODES
from hypertransformer.target_cnn import Theta, feature_length

# Squares whose sides are tried to tell which images a model takes.
LONGEST_SIDE = 512


class HyperTransformerModule(nn.Module):
    """A support set → θ, the weights of a small CNN → logits of queries.

    Parameters and buffers have the names of the checkpoint, so it can be fine-tuned, moved and
    saved as any module. Dropout is never applied, and moving averages are never updated.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Take over the tensors of a checkpoint."""
        super().__init__()
        self.experiment = checkpoint.experiment
        self.step = checkpoint.step
        self.preparation = checkpoint.preparation
        for name, value in checkpoint.phi.items():
            holder, last = submodule(self, name)
            holder.register_parameter(last, nn.Parameter(value))
        for name, value in checkpoint.buffers.items():
            holder, last = submodule(self, name)
            holder.register_buffer(last, value)

    def theta(
        self, support_images: Tensor, support_labels: Tensor, *, batch_norm: str | None = None
    ) -> Theta:
        """Generate the weights of the CNN from a support set; `Theta.named` has them by name.

        `support_images` is `[N, C, H, W]`, 0 to 1. `support_labels` is `[N]`, int64: class slots
        from 0 to `way` − 1, and `way` for unlabelled images if the run was trained with such.
        `batch_norm`, by default the run's, is whose statistics normalise the queries: `query`,
        `support` or `running`. In training mode `running` uses the batch's own.

        Raises ValueError if images or labels do not suit the run.
        """
        mode = batch_norm or self.experiment["batch_norm"]
        if mode not in BATCH_NORM_MODES:
            raise ValueError(f"batch_norm: {mode}, expected one of {', '.join(BATCH_NORM_MODES)}")
        self.check_images("support_images", support_images)
        self.check_labels(support_labels, len(support_images))
        forward = self.computation()
        return forward.generate(support_images, support_labels, mode, training=self.training)[0]

    def logits(self, theta: Theta, query_images: Tensor) -> Tensor:
        """Classify `[Q, C, H, W]` by the CNN with weights `theta` → logits `[Q, way]`.

        Raises ValueError if images do not suit the run.
        """
        self.check_images("query_images", query_images)
        return self.computation().classify(theta, query_images)

    def forward(
        self,
        support_images: Tensor,
        support_labels: Tensor,
        query_images: Tensor,
        *,
        batch_norm: str | None = None,
    ) -> Tensor:
        """Generate a CNN from a support set and classify queries with it → logits `[Q, way]`.

        Arguments and errors are those of `theta` and `logits`.
        """
        theta = self.theta(support_images, support_labels, batch_norm=batch_norm)
        return self.logits(theta, query_images)

    def computation(self) -> HyperTransformer:
        """The functions that compute a forward pass, on the present parameters."""
        return HyperTransformer(self.experiment, self.phi, dict(self.named_buffers()))

    @property
    def phi(self) -> Parameters:
        """All parameters by name."""
        return dict(self.named_parameters())

    @property
    def way(self) -> int:
        """n, the number of classes."""
        return self.experiment["episode"]["way"]

    def check_labels(self, labels: Tensor, images: int) -> None:
        """Raise ValueError if labels do not suit the run or the number of images."""
        if labels.shape != (images,) or labels.dtype != torch.int64:
            raise ValueError(
                f"support_labels: shape {list(labels.shape)} and {labels.dtype}, expected "
                f"[{images}] and torch.int64: one class slot for each support image"
            )
        rows = len(self.get_parameter("generator.logits.labels"))
        wrong = labels[(labels < 0) | (labels >= rows)]
        if len(wrong):
            unlabelled = f"; {self.way} is for unlabelled images" if rows > self.way else ""
            raise ValueError(
                f"support_labels: {int(wrong[0])}, expected 0 to {rows - 1}: the run is "
                f"{self.way}-way{unlabelled}. Number the classes of an episode from 0."
            )

    def check_images(self, name: str, images: Tensor) -> None:
        """Raise ValueError if images do not suit the run; messages call them `name`."""
        kind = self.get_parameter("generator.logits.labels").dtype
        if images.dtype != kind:
            raise ValueError(
                f"{name}: {images.dtype}, expected {kind} as the parameters, with values from "
                "0 to 1: divide bytes by 255"
            )
        if images.dim() != 4 or not len(images):
            raise ValueError(
                f"{name}: shape {list(images.shape)}, expected [N, C, H, W] with N of 1 or more"
            )
        shape = tuple(images.shape[1:])
        if self.preparation is not None:
            expected = tuple(self.preparation[key] for key in ("channels", "height", "width"))
            if shape != expected:
                raise ValueError(
                    f"{name}: images of {by(shape)}, expected {by(expected)} as in training: "
                    "resize them"
                )
            return
        channels = self.channels
        if channels is not None and shape[0] != channels:
            raise ValueError(
                f"{name}: {shape[0]} channels, expected {channels}: [N, C, H, W] with 1 channel is "
                "grey and with 3 is colour"
            )
        if not self.fits(*shape):
            sides = [side for side in range(1, LONGEST_SIDE) if self.fits(shape[0], side, side)]
            known = f"; squares may have sides of {sides[0]} to {sides[-1]}" if sides else ""
            raise ValueError(
                f"{name}: images of {by(shape)} give a logits layer of another size than in "
                f"training: resize them to the size of the images in the run's pack{known}"
            )

    def fits(self, channels: int, height: int, width: int) -> bool:
        """Whether images of this shape give a logits layer of the size that was trained."""
        forward = self.computation()
        generator = LogitsGenerator(forward.phi, "generator.logits", forward.generator)
        return generator.fits(feature_length(forward.cnn, channels, height, width))

    @property
    def channels(self) -> int | None:
        """C of the images, if the shape of a parameter says it."""
        phi = self.phi
        convolutions = ["cnn.layer1", "image_embedding.layer1"]
        first = "layer1" if self.experiment["cnn"]["layers"] else "logits"
        convolutions.append(f"generator.{first}.activation_embedding.convolution1")
        names = [f"{name}.kernel" for name in convolutions if f"{name}.kernel" in phi]
        return phi[names[0]].shape[1] if names else None


def submodule(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the tensor `name`, made where it is missing, and the name in it."""
    *path, last = name.split(".")
    for part in path:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root, last


def by(shape: tuple[int, ...]) -> str:
    """A shape as it is read: 1×28×28."""
    return "×".join(map(str, shape))
