"""Images that somebody brings: tensors, a torch Dataset or a DataLoader as a `Split`."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import index
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmark.data.images import Split
from benchmark.data.info import Augmentation
from benchmark.errors import UserError


@dataclass(frozen=True, eq=False)
class Streamed(Split):
    """A DataLoader, which augments and shuffles by itself and is iterated anew for every epoch. Drawing
    from torch's own generator, as `fit` seeds it, it gives the same batches again, from the first on.

    `images` and `labels` are the beginning of its first pass, which criticality is measured on; no more
    is kept in memory. Labels are below `classes`.
    """

    enterable: ClassVar[bool] = False
    loader: "DataLoader[Any]"
    classes: int | None = None

    def steps(self, batch_size: int) -> int:
        return len(self.loader)

    def epoch(
        self,
        batch_size: int,
        how: Augmentation,
        generator: torch.Generator,
        step: int = 0,
        drawn: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if step:  # not `enterable`: all are done
            return
        batches = 0
        for images, labels in _batches(self.loader, "train"):
            x = checked(images, labels, "train").to(self.labels.device)
            below(x, self.classes, "train")
            yield x.batch(0, len(x))
            batches += 1
        if not batches:
            raise UserError("train: the DataLoader is exhausted after one pass; it has to begin anew")


def as_split(given: Any, name: str, device: torch.device, kept: int | None = None) -> Split:
    """`given`, which errors call `name`, as images in memory on `device`.

    Args:
        given: `(images, labels)` with images (N, C, H, W), uint8 or floating point in [0,1]; a torch
            Dataset of such images with their labels; a DataLoader of batches of them; or a `Split`.
        kept: how many images of a DataLoader have to be in memory (None: all); whole batches are.

    Raises:
        UserError: for anything else, pixels outside [0,1], and labels that are no classes.
    """
    if isinstance(given, Split):
        return given.to(device)
    if isinstance(given, DataLoader):
        return _begun(given, name, device, kept)
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
        raise UserError(f"{name}: images and labels are tensors; torch.from_numpy makes them of arrays")
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise UserError(
            f"{name}: images are (N, C, H, W) and labels (N,), N > 0, not {tuple(images.shape)} and "
            f"{tuple(labels.shape)}"
        )
    whole = not (labels.is_floating_point() or labels.is_complex())
    if not whole or int(labels.long().min()) < 0:
        raise UserError(f"{name}: labels are whole numbers from 0 on, one class each")
    if images.is_floating_point():
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"{name}: pixels are in [{low:.9g}, {high:.9g}], not in [0, 1]; leave out "
                "Normalize and let the model normalise inside"
            )
    elif images.dtype != torch.uint8:
        raise UserError(f"{name}: pixels are uint8, or floating point in [0, 1], not {images.dtype}")
    return Split(images.detach().permute(0, 2, 3, 1).contiguous(), labels.long())


def below(split: Split, classes: int | None, name: str) -> None:
    """Raise `UserError` if a label of `split`, which errors call `name`, is none of `classes`."""
    if classes is not None and (most := int(split.labels.max())) >= classes:
        raise UserError(f"{name}: a label is {most}, and there are {classes} classes")


def _begun(loader: "DataLoader[Any]", name: str, device: torch.device, kept: int | None) -> Streamed:
    """`loader` with the first `kept` images of a pass (None: all)."""
    try:
        len(loader)
    except TypeError:
        raise UserError(f"{name}: the DataLoader has no length; give its dataset a __len__") from None
    first, count = [], 0
    for images, labels in _batches(loader, name):
        first.append(checked(images, labels, name).to(device))
        count += len(first[-1])
        if kept is not None and count >= kept:
            break
    if not first:
        raise UserError(f"{name}: the DataLoader gives no batch")
    images, labels = (torch.cat([getattr(x, part) for x in first]) for part in ("images", "labels"))
    return Streamed(images, labels, loader)


def _batches(loader: "DataLoader[Any]", name: str) -> Iterator[tuple[Any, Any]]:
    for batch in loader:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise UserError(
                f"{name}: the DataLoader gives {type(batch).__name__}; its batches are (images, labels)"
            )
        yield batch[0], batch[1]


def _stacked(dataset: "TorchDataset[Any]", name: str) -> tuple[Tensor, Tensor]:
    """A Dataset, read once. Raises `UserError` unless it has pairs of images of one size and labels."""
    try:
        items = [dataset[place] for place in range(len(dataset))]  # type: ignore[arg-type]
        images, labels = zip(*((image, index(label)) for image, label in items), strict=True)
        return torch.stack(images), torch.tensor(labels)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{name}: the Dataset does not give pairs of an image tensor (C, H, W) of one size and a "
            f"label ({type(error).__name__}); ToTensor makes tensors of pictures"
        ) from error
