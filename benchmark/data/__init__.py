"""Datasets by name: facts about each, and loading into uint8 tensors in memory.

A new dataset is its facts in `info.py`, one file with a `load`, and a line in `DATASETS` and `load`.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.info import CIFAR10, CIFAR100, DIGITS, TINY_IMAGENET, DatasetInfo
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.data.images import Dataset

DATASETS: dict[str, DatasetInfo] = {
    info.name: info for info in (DIGITS, CIFAR10, CIFAR100, TINY_IMAGENET)
}


def dataset_info(name: str) -> DatasetInfo:
    """Facts about dataset `name`. Raises `UserError` if there is none of that name."""
    if name not in DATASETS:
        raise UserError(f"unknown dataset '{name}'; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def load(name: str, directory: Path) -> "Dataset":
    """Dataset `name`, read from `directory` where it needs files. Raises `UserError` on bad data."""
    info = dataset_info(name)
    if info is DIGITS:
        from benchmark.data import digits

        data = digits.load()
    elif info is TINY_IMAGENET:
        from benchmark.data import tiny_imagenet

        data = tiny_imagenet.load(directory)
    else:
        from benchmark.data import cifar

        data = cifar.load(info, directory)
    return replace(data, directory=directory)
