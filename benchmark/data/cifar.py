"""CIFAR-10 through torchvision: its download, its integrity check, held in memory as uint8."""

from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10

from benchmark.data import DatasetInfo
from benchmark.data.images import Dataset, Split
from benchmark.errors import UserError


def load(info: DatasetInfo, directory: Path) -> Dataset:
    """50,000 training and 10,000 test images of 32x32x3 from `directory`, downloaded if missing.

    Raises `UserError` when the files are neither there nor to be had.
    """
    try:
        return Dataset(info, *(_read(directory, train, download=False) for train in (True, False)))
    except (OSError, RuntimeError):
        pass  # not there, or not whole: torchvision has checked every file's hash
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".cifar10.lock"):
            return Dataset(info, *(_read(directory, train, download=True) for train in (True, False)))
    except (OSError, RuntimeError, HTTPException) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"CIFAR-10 is not complete under '{directory}' and cannot be downloaded ({reason}); put "
            "the official cifar-10-python.tar.gz there or name another folder by --data-dir"
        ) from error


def _read(directory: Path, train: bool, download: bool) -> Split:
    source = CIFAR10(directory, train=train, download=download)
    images = torch.from_numpy(np.ascontiguousarray(source.data))
    return Split(images, torch.tensor(source.targets, dtype=torch.int64))
