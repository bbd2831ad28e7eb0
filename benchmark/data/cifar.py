"""CIFAR-10 and CIFAR-100: the official files, or others whose content is the official one.

Files that torchvision's checksums accept are read by torchvision. Others (pickled again, or with rows
in another order) are read by `cifar_batches`, which runs nothing that a file holds, and are accepted
only if the hash of their content, which does not depend on the order, is the official one or one that
the user accepted by `python -m benchmark data accept`.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from benchmark.data.cifar_batches import content_sha256, read_split
from benchmark.data.get.archives import ARCHIVES, of_folder
from benchmark.data.get.download import fetch, writing
from benchmark.data.get.unpack import unpack
from benchmark.data.images import Dataset, Split
from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.records.files import locked, write_atomically

ACCEPTED = "accepted.json"
SIZES = {"train": 50_000, "test": 10_000}
"""Images of a split, the same number of every class (https://www.cs.toronto.edu/~kriz/cifar.html)."""

KNOWN_CONTENT: dict[str, tuple[str, str]] = {
    "cifar10": (
        "dec5f6d589952c86afa6fd8d52856708140ae44ade6e6f6e0616fd36ff981037",
        "44b0c80e1b75671a06d08160e0c03c6c4c797bc131570a6f44e459378ebec261",
    ),
    "cifar100": (
        "1601886e5ca2fe605304b991743eda604eda52f5a912b4fd7280d2f451cac258",
        "ab426eaa246916c79faa4a0b56cfae9b09d1b1809b8731da9d515061d39d303f",
    ),
}
"""`content_sha256` of the training and the test split, images as (H, W, C). That of CIFAR-10 was taken
from files that torchvision's checksums accept; that of CIFAR-100 (fine labels) from a copy whose rows
stand partly in another order, so that it rests on that copy's images and labels being the official
ones."""

BATCHES = {
    "cifar10": ([f"data_batch_{k}" for k in range(1, 6)], ["test_batch"], "labels"),
    "cifar100": (["train"], ["test"], "fine_labels"),
}
"""The files of the training and of the test split, and the key of the labels in them."""


def load(info: DatasetInfo, directory: Path) -> Dataset:
    """50,000 training and 10,000 test images of 32x32x3 from `directory`, downloaded if missing.

    Images are in the order of the files. Raises `UserError` when the files are neither there nor to be
    had, are damaged, contain code, or have a content that is neither official nor accepted.
    """
    if not present(info, directory):
        _obtain(info, directory)
    return _recognised(info, directory)[0]


def present(info: DatasetInfo, directory: Path) -> bool:
    """Whether every batch of `info` is in `directory`, whatever it holds."""
    train, test, _ = BATCHES[info.name]
    return all((_folder(info, directory) / name).is_file() for name in train + test)


def verify(info: DatasetInfo, directory: Path) -> str:
    """How the files of `info` in `directory` are known to be right, in a few words.

    Raises `UserError` as `load`; never downloads.
    """
    return _recognised(info, directory)[1]


def content(info: DatasetInfo, directory: Path) -> str:
    """The one hash for both splits of the files in `directory`; `known_content` is the official one.

    Raises `UserError` as `read_split`.
    """
    return _joined(_hashes(*_read(info, directory)))


def known_content(info: DatasetInfo) -> str:
    """The official value of `content`."""
    return _joined(KNOWN_CONTENT[info.name])


def accept(info: DatasetInfo, directory: Path, accepted: str) -> None:
    """Let `load` take the files of `info` in `directory`, whose `content` must be `accepted`.

    A later change of them is refused again. Raises `UserError` for another content, or as `content`.
    """
    if (found := content(info, directory)) != accepted:
        raise UserError(f"the content hash under '{directory}' is {found}, not {accepted}")
    note, folder = {"content_sha256": accepted}, _folder(info, directory)
    with writing(folder):
        write_atomically(folder / ACCEPTED, (json.dumps(note) + "\n").encode())


def _folder(info: DatasetInfo, directory: Path) -> Path:
    return directory / ARCHIVES[info.name].gives


def _official(info: DatasetInfo, directory: Path) -> Dataset | None:
    """The dataset as torchvision reads it; None where it is not there or not byte for byte official."""
    from torchvision import datasets

    reader = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[info.name]

    def split(train: bool) -> Split:
        source = reader(directory, train=train, download=False)
        images = torch.from_numpy(np.ascontiguousarray(source.data))
        return Split(images, torch.tensor(source.targets, dtype=torch.int64))

    try:
        return Dataset(info, split(train=True), split(train=False))
    except (OSError, RuntimeError):
        return None


def _obtain(info: DatasetInfo, directory: Path) -> None:
    """Unpack the archive in `directory`, downloaded if it is not there."""
    source = ARCHIVES[info.name]
    try:
        with writing(directory), locked(directory / f".{info.name}.lock"):
            if not present(info, directory):  # another process may have been faster
                unpack(source, fetch(source, directory), directory)
    except UserError as error:
        where = f"{info.label} is not complete under '{directory}'"
        raise UserError(f"{where}: {error}; or name another folder by --data-dir") from error


def _recognised(info: DatasetInfo, directory: Path) -> tuple[Dataset, str]:
    """The dataset in `directory`, and by what it is known to be right."""
    if (official := _official(info, directory)) is not None:
        return official, "official files"
    folder = _folder(info, directory)
    try:
        train, test = _read(info, directory)
    except UserError as error:
        anew = f"python -m benchmark data get {info.name}{of_folder(directory)}"
        raise UserError(f"{error}; move '{folder}' away and get it anew: {anew}") from error
    found, known = _hashes(train, test), KNOWN_CONTENT[info.name]
    if found == known:
        return Dataset(info, train, test), "official content in files of another layout"
    if _joined(found) == _accepted(folder):
        return Dataset(info, train, test), f"content that you accepted ({ACCEPTED})"
    differing = [name for name, one, other in zip(SIZES, found, known, strict=True) if one != other]
    raise UserError(
        f"{info.label} in '{folder}' is well formed but its content is not the official one "
        f"({' and '.join(differing)}): content hash {_joined(found)}, official {_joined(known)}; to "
        f"use it all the same: python -m benchmark data accept {info.name} {_joined(found)}"
        f"{of_folder(directory)}"
    )


def _hashes(train: Split, test: Split) -> tuple[str, str]:
    return content_sha256(train.images, train.labels), content_sha256(test.images, test.labels)


def _joined(hashes: tuple[str, str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _accepted(folder: Path) -> str | None:
    try:
        note = json.loads((folder / ACCEPTED).read_bytes())
        return str(note["content_sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{folder / ACCEPTED}' cannot be read ({error}); delete it") from error


def _read(info: DatasetInfo, directory: Path) -> tuple[Split, Split]:
    *splits, key = BATCHES[info.name]
    folder = _folder(info, directory)
    train, test = (
        read_split(info, [folder / file for file in files], key, SIZES[name])
        for name, files in zip(SIZES, splits, strict=True)
    )
    return train, test
