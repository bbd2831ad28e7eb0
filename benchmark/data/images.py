"""Images in memory, batches augmented by one gather, pixels in [0,1] on the way out."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.info import Augmentation, DatasetInfo


@dataclass(frozen=True, eq=False)
class Split:
    """`images` (N, H, W, C), uint8 or float32 in [0,1], and `labels` int64 (N,), on one device.

    `enterable`: an epoch can be resumed after any batch, with the bytes of an uninterrupted one.
    """

    enterable: ClassVar[bool] = True
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))

    def first(self, count: int | None) -> "Split":
        """The first `count` images (None: all)."""
        return self if count is None else Split(self.images[:count], self.labels[:count])

    def at(self, places: Tensor) -> "Split":
        """The images at `places`, int64 indices."""
        places = places.to(self.labels.device)
        return Split(self.images[places], self.labels[places])

    def steps(self, batch_size: int) -> int:
        """How many batches of `batch_size` an epoch has; the last one may be smaller."""
        return math.ceil(len(self) / batch_size)

    def epoch(
        self,
        batch_size: int,
        how: Augmentation,
        generator: torch.Generator,
        step: int = 0,
        drawn: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in random order, augmented by `how`: pixels (B, C, H, W) and labels (B,).

        All that is random is drawn from `generator`, the order first, then batch by batch. The first
        `step` batches are skipped; `drawn` is the state of `generator` after them.
        """
        order = torch.randperm(len(self), generator=generator, device="cpu").to(self.labels.device)
        if drawn is not None:
            generator.set_state(drawn)
        for rows in torch.split(order, batch_size)[step:]:
            yield augment(self.images[rows], how, generator), self.labels[rows]

    def batch(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Images `start` to `stop` as pixels and their labels."""
        return pixels(self.images[start:stop]), self.labels[start:stop]

    def sha256(self) -> str:
        """Hash of pixels and labels, independent of how they are stored on disk."""
        digest = hashlib.sha256()
        digest.update(str(tuple(self.images.shape)).encode())
        for part in (self.images, self.labels):
            digest.update(as_array(part).data)  # as it lies, without a copy
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Training and test split of one dataset, and the data folder it was read from.

    Evaluations look at the first `limit` test images (None: all), which are `judged`.
    """

    info: DatasetInfo
    train: Split
    test: Split
    directory: Path | None = None
    limit: int | None = None

    @property
    def judged(self) -> Split:
        return self.test.first(self.limit)

    def to(self, device: torch.device) -> "Dataset":
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def as_array(tensor: Tensor) -> NDArray[Any]:
    """`tensor` as it lies, on the CPU; bfloat16, which numpy has not, as the integers of its bits."""
    here = tensor.detach().cpu().contiguous()
    return (here.view(torch.int16) if here.dtype == torch.bfloat16 else here).numpy()


def pixels(images: Tensor) -> Tensor:
    """Images (B, H, W, C) as float32 (B, C, H, W) in [0,1], in channels-last memory order.

    uint8 is divided by 255; what is in floating point stays what it is.
    """
    channels_first = images.permute(0, 3, 1, 2)
    if images.is_floating_point():
        return channels_first.to(torch.float32)
    return channels_first.to(torch.float32).div_(255)


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """A random crop of each padded image, mirrored with probability 1/2 if `how.flip`.

    `images` (B, H, W, C); returns float32 (B, C, H, W) in [0,1]. Each image gets its own
    shift, drawn from `generator` (on the CPU, so that the draws do not depend on the device).
    """
    count, height, width = images.shape[:3]
    shifts = torch.randint(-how.pad, how.pad + 1, (2, count), generator=generator, device="cpu")
    flips = torch.rand(count, generator=generator, device="cpu") < 0.5
    rows = torch.arange(height, device="cpu") + shifts[0, :, None]
    columns = torch.arange(width, device="cpu") + shifts[1, :, None]
    if how.flip:
        columns = torch.where(flips[:, None], columns.flip(1), columns)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    if how.mode == "reflect":
        rows = (height - 1) - ((height - 1) - rows.abs()).abs()
        columns = (width - 1) - ((width - 1) - columns.abs()).abs()
    index = torch.arange(count, device="cpu")[:, None, None]
    rows = rows.clamp(0, height - 1)[:, :, None]
    columns = columns.clamp(0, width - 1)[:, None, :]
    device = images.device
    crops = images[index.to(device), rows.to(device), columns.to(device)]
    if how.mode == "zero":
        crops = crops * inside.to(device)[..., None]
    return pixels(crops)
