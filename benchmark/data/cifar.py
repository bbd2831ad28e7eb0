"""CIFAR-10 through torchvision: its download, its integrity check, held in memory as uint8."""

from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10

from benchmark.data import CIFAR10 as INFO
from benchmark.data.images import Dataset, Split
from benchmark.errors import UserError


def load(directory: Path) -> Dataset:
    """50,000 training and 10,000 test images of 32x32x3 from `directory`, downloaded if missing.

    Raises `UserError` when the files are neither there nor to be had.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".cifar10.lock"):
            splits = [_read(directory, train) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"CIFAR-10 is not complete under '{directory}' and cannot be downloaded ({reason}); put "
            "the official cifar-10-python.tar.gz there or name another folder by --data-dir"
        ) from error
    return Dataset(INFO, *splits)


def _read(directory: Path, train: bool) -> Split:
    try:
        source = CIFAR10(directory, train=train, download=False)
    except RuntimeError:
        source = CIFAR10(directory, train=train, download=True)
    return Split(
        torch.from_numpy(np.ascontiguousarray(source.data)),
        torch.tensor(source.targets, dtype=torch.int64),
    )
