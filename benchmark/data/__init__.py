"""Datasets by name: facts about each, and loading into uint8 tensors in memory.

A new dataset is its facts in `info.py`, one file with a `load`, and a line in `DATASETS` and `LOADERS`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.info import CIFAR10, CIFAR100, DIGITS, TINY_IMAGENET, DatasetInfo
from benchmark.errors import unknown

if TYPE_CHECKING:
    from benchmark.data.images import Dataset

DATASETS: dict[str, DatasetInfo] = {
    info.name: info for info in (DIGITS, CIFAR10, CIFAR100, TINY_IMAGENET)
}


def dataset_info(name: str) -> DatasetInfo:
    """Facts about dataset `name`. Raises `UserError` if there is none of that name."""
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    return DATASETS[name]


def load(name: str, directory: Path) -> "Dataset":
    """Dataset `name`, read from `directory` where it needs files. Raises `UserError` on bad data."""
    return replace(LOADERS[dataset_info(name).name](directory), directory=directory)


def _digits(_directory: Path) -> "Dataset":
    from benchmark.data import digits

    return digits.load()


def _cifar(info: DatasetInfo, directory: Path) -> "Dataset":
    from benchmark.data import cifar

    return cifar.load(info, directory)


def _tiny_imagenet(directory: Path) -> "Dataset":
    from benchmark.data import tiny_imagenet

    return tiny_imagenet.load(directory)


LOADERS: dict[str, Callable[[Path], "Dataset"]] = {
    "digits": _digits,
    "cifar10": partial(_cifar, CIFAR10),
    "cifar100": partial(_cifar, CIFAR100),
    "tiny-imagenet": _tiny_imagenet,
}
"""What reads a dataset from the data folder, where it needs files."""
