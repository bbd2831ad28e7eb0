"""Datasets by name: facts about each, and loading into uint8 tensors held in memory.

`DATASETS` is the registry; a new dataset is its facts in `info.py`, one file with a `load(directory)`
and one line here.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.info import CIFAR10, CIFAR100, DIGITS, TINY_IMAGENET, DatasetInfo
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.data.images import Dataset


def _digits(_directory: Path) -> "Dataset":
    from benchmark.data.digits import load

    return load()


def _cifar10(directory: Path) -> "Dataset":
    from benchmark.data.cifar import load

    return load(CIFAR10, directory)


def _cifar100(directory: Path) -> "Dataset":
    from benchmark.data.cifar import load

    return load(CIFAR100, directory)


def _tiny_imagenet(directory: Path) -> "Dataset":
    from benchmark.data.tiny_imagenet import load

    return load(directory)


DATASETS: dict[str, DatasetInfo] = {
    info.name: info for info in (DIGITS, CIFAR10, CIFAR100, TINY_IMAGENET)
}
_LOADERS: dict[str, Callable[[Path], "Dataset"]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "tiny-imagenet": _tiny_imagenet,
}


def dataset_info(name: str) -> DatasetInfo:
    """Facts about dataset `name`. Raises `UserError` if there is none of that name."""
    if name not in DATASETS:
        raise UserError(f"unknown dataset '{name}'; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def load(name: str, directory: Path) -> "Dataset":
    """Dataset `name`, read from `directory` where it needs files. Raises `UserError` on bad data."""
    return replace(_LOADERS[dataset_info(name).name](directory), directory=directory)
