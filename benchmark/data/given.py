"""Images that somebody brings: tensors, a torch Dataset or a DataLoader as a `Split`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmark.data.images import Split
from benchmark.data.info import Augmentation
from benchmark.errors import UserError

Given = "tuple[Tensor, Tensor] | TorchDataset[Any] | DataLoader[Any] | Split"


@dataclass(frozen=True, eq=False)
class Streamed(Split):
    """A DataLoader, which augments and shuffles by itself and is iterated anew for every epoch.

    `images` and `labels` are those of its first pass, which criticality is measured on.
    """

    loader: "DataLoader[Any]"

    def steps(self, batch_size: int) -> int:
        return len(self.loader)

    def epoch(
        self, batch_size: int, how: Augmentation, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.loader:
            x = checked(images, labels, "train").to(self.labels.device)
            yield x.batch(0, len(x))


def as_split(given: Any, name: str, device: torch.device) -> Split:
    """`given`, which errors call `name`, as images in memory on `device`.

    Args:
        given: `(images, labels)` with images (N, C, H, W), uint8 or floating point in [0,1]; a torch
            Dataset of such images with their labels; a DataLoader of batches of them; or a `Split`.

    Raises:
        UserError: for anything else, pixels outside [0,1], and labels that are no classes.
    """
    if isinstance(given, Split):
        return given.to(device)
    if isinstance(given, DataLoader):
        first = [checked(images, labels, name) for images, labels in given]
        images, labels = (
            torch.cat([getattr(each, part) for each in first]) for part in ("images", "labels")
        )
        return Streamed(images.to(device), labels.to(device), given)
    if isinstance(given, TorchDataset):
        return as_split(_stacked(given, name), name, device)
    try:
        images, labels = given
    except (TypeError, ValueError):
        raise UserError(
            f"{name} is a {type(given).__name__}; give (images, labels), a Dataset or a DataLoader"
        ) from None
    return checked(images, labels, name).to(device)


def checked(images: Any, labels: Any, name: str) -> Split:
    """Images (N, C, H, W) and labels (N,) as a `Split`. Raises `UserError` where they are not."""
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise UserError(f"{name}: images and labels are tensors; ToTensor makes them of pictures")
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise UserError(
            f"{name}: images are (N, C, H, W) and labels (N,), N > 0, not {tuple(images.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if labels.is_floating_point() or int(labels.min()) < 0:
        raise UserError(f"{name}: labels are whole numbers from 0 on, one class each")
    if images.is_floating_point():
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"{name}: pixels are in [{low:.3g}, {high:.3g}], not in [0, 1]; leave out "
                "Normalize and "
                "let the model normalise inside"
            )
    elif images.dtype != torch.uint8:
        raise UserError(f"{name}: pixels are uint8, or floating point in [0, 1], not {images.dtype}")
    return Split(images.detach().permute(0, 2, 3, 1).contiguous(), labels.long())


def _stacked(dataset: "TorchDataset[Any]", name: str) -> tuple[Tensor, Tensor]:
    items = [dataset[index] for index in range(len(dataset))]  # type: ignore[arg-type]
    if not items or not isinstance(items[0][0], Tensor):
        raise UserError(f"{name}: a Dataset of tensors; ToTensor makes them of pictures")
    labels = [int(label) for _, label in items]
    return torch.stack([image for image, _ in items]), torch.tensor(labels)
