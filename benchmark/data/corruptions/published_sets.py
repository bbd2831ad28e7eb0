"""A folder of published corrupted copies of a test set: what is in it, and whether it is genuine."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.get.sha256sums import NAME, known_sha256, read_sums
from benchmark.data.info import DatasetInfo
from benchmark.data.jpegs import Pixels
from benchmark.errors import UserError

SEVERITIES = 5
SUFFIX = {"CIFAR-10-C": ".npy", "CIFAR-100-C": ".npy", "Tiny-ImageNet-C": ""}
"""How the file of a corruption ends, by the name of the set; nothing where it is a folder."""
LABELS = "labels.npy"

Labels = NDArray[np.int64]


class CorruptedSet(ABC):
    """Corrupted copies, `images` at each severity, of the test set of `info`, in `folder`.

    Where `SHA256SUMS` stands beside the files, each is checked against it, once per process, before
    it is used; `verified` says whether it does.
    """

    def __init__(self, info: DatasetInfo, folder: Path, images: int) -> None:
        assert info.corruptions is not None
        self.info, self.folder, self.images = info, folder, images
        self.title = info.corruptions
        self._sums = read_sums(folder)

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions that are there, sorted."""
        return tuple(
            path.name.removesuffix(SUFFIX[self.title])
            for path in corruption_paths(self.title, self.folder)
        )

    @property
    def verified(self) -> bool:
        """Whether hashes of files from a checked archive are there to compare with."""
        return self._sums is not None

    def sha256(self, name: str) -> str:
        """Hash of all severities of `name`: of its file, or of its folder as `sha256sums` has it.

        Raises `UserError` if it is not there.
        """
        return known_sha256(self._path(name))

    def copy(self, name: str, severity: int, threads: int = 1) -> tuple[Pixels, Labels]:
        """Images uint8 (N, H, W, C) and labels (N,) of corruption `name` at `severity` 1 to 5.

        Every call reads them anew. JPEG files are decoded in `threads` threads. Raises `UserError`
        if they are missing, not what they should be, or not those of `SHA256SUMS`.
        """
        if severity not in range(1, SEVERITIES + 1):
            raise UserError(f"severity {severity} is not one of 1 to {SEVERITIES}")
        path = self._path(name)
        self._verify(path)
        return self._read(path, severity, threads)

    @abstractmethod
    def _read(self, path: Path, severity: int, threads: int) -> tuple[Pixels, Labels]:
        """What `copy` returns, from the file or folder of a corruption."""

    def _path(self, name: str) -> Path:
        path = self.folder / f"{name}{SUFFIX[self.title]}"
        if name not in self.names:
            raise UserError(f"'{path}' is missing; {how_to_mend(self.title, self.folder)}")
        return path

    def _verify(self, path: Path) -> None:
        if self._sums is not None:
            compare_hash(self.title, path, self._sums, known_sha256(path))


def corruption_paths(title: str, folder: Path) -> list[Path]:
    """The file or folder of each corruption in `folder`, by name."""
    found = sorted(folder.glob(f"[!.]*{SUFFIX[title]}"))
    if SUFFIX[title]:
        return [path for path in found if path.is_file() and path.name != LABELS]
    return [path for path in found if path.is_dir()]


def compare_hash(title: str, path: Path, sums: dict[str, str], found: str) -> None:
    """Raise `UserError` unless `found` is the hash of `path` in `sums`."""
    if path.name not in sums:
        raise UserError(
            f"'{path}' is not listed in {NAME} beside it; remove the file, or that list to use files "
            "of your own"
        )
    if sums[path.name] != found:
        raise UserError(
            f"'{path}' is not what was unpacked: its sha256 is not the one in {NAME}; "
            f"{how_to_mend(title, path.parent)}"
        )


def how_to_get(title: str, directory: Path) -> str:
    """How to have `title` in the data folder `directory`; the end of a message."""
    files, command = _archives(title)
    return f"unpack {files} in '{directory}', or run: {command}"


def how_to_mend(title: str, folder: Path) -> str:
    """How to have the right files in `folder`, which holds others; the end of a message."""
    files, command = _archives(title)
    return f"take it from {files}, or delete '{folder}' and run: {command}"


def _archives(title: str) -> tuple[str, str]:
    """The archives that unpack to `title`, and the command that gets them."""
    from benchmark.data.get.archives import ARCHIVES

    archives = [archive for archive in ARCHIVES.values() if archive.gives == title]
    files = " and ".join(f"{archive.file} (md5 {archive.md5})" for archive in archives)
    return files, f"python -m benchmark data get {' '.join(archive.name for archive in archives)}"
