"""The published corrupted copies of the test sets: CIFAR-10-C, CIFAR-100-C and Tiny-ImageNet-C.

Dan Hendrycks and Thomas Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019). They lie in a folder of that name under the data folder. `SHA256SUMS` in it
holds the hashes of what was put there: from an archive of the published md5, or of an accepted hash.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.corruptions.constants import SEVERITY_LEVELS
from benchmark.data.get.archives import ARCHIVES, of_folder
from benchmark.data.get.regular import read_regular
from benchmark.data.get.sha256sums import ACCEPTED, NAME, known_sha256, read_sums, sha256_of, write_sums
from benchmark.data.info import CIFAR10, CIFAR100, TINY_IMAGENET, DatasetInfo
from benchmark.data.jpegs import Pixels, decode_all
from benchmark.data.sealed import mapped_array
from benchmark.errors import UserError

SEVERITIES = len(SEVERITY_LEVELS)
TEST_IMAGES = 10_000
SUFFIX = {"CIFAR-10-C": ".npy", "CIFAR-100-C": ".npy", "Tiny-ImageNet-C": ""}
"""How the file of a corruption ends, by the set's name and folder; nothing where it is a folder."""
LABELS = "labels.npy"
Labels = NDArray[np.int64]


class CorruptedSet(ABC):
    """Corrupted copies, `images` at each severity, of the test set of `info`, in `folder`.

    Where `SHA256SUMS` stands beside the files, each is checked against it, once per process, before
    it is used.
    """

    def __init__(self, info: DatasetInfo, folder: Path, images: int) -> None:
        self.info, self.folder, self.images = info, folder, images
        self._sums = read_sums(folder)

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions that are there, sorted."""
        suffix = SUFFIX[self.folder.name]
        return tuple(path.name.removesuffix(suffix) for path in _corruption_paths(self.folder))

    @property
    def verified(self) -> bool:
        """Whether hashes of files from published archives are there to compare with."""
        return self._sums is not None and not any(self.folder.glob(f"*{ACCEPTED}"))

    def sha256(self, name: str) -> str:
        """Hash of all severities of `name`: of its file, or of its folder as `sha256sums` has it.
        Raises `UserError` if it is not there."""
        return known_sha256(self._path(name))

    def copy(self, name: str, severity: int, threads: int = 1) -> tuple[Pixels, Labels]:
        """Images uint8 (N, H, W, C) and labels (N,) of corruption `name` at `severity` 1 to 5.

        Every call reads them anew. JPEG files are decoded in `threads` threads. Raises `UserError`
        if they are missing, not what they should be, or not those of `SHA256SUMS`.
        """
        if severity not in SEVERITY_LEVELS:
            raise UserError(f"severity {severity} is not one of 1 to {SEVERITIES}")
        path = self._path(name)
        self._verify(path)
        return self._read(path, severity, threads)

    def check(self) -> None:
        """Raise `UserError` unless every corruption that is there, and there is one, has its form."""
        if not self.names:
            raise self._wrong(self.folder, "holds no corruption")
        for name in self.names:
            self._check(self._path(name))

    @abstractmethod
    def _check(self, path: Path) -> object:
        """`check` for the file or folder of one corruption."""

    @abstractmethod
    def _read(self, path: Path, severity: int, threads: int) -> tuple[Pixels, Labels]:
        """What `copy` returns, from the file or folder of a corruption."""

    def _path(self, name: str) -> Path:
        path = self.folder / f"{name}{SUFFIX[self.folder.name]}"
        if name not in self.names:
            raise self._wrong(path, "is missing")
        return path

    def _verify(self, path: Path) -> None:
        if self._sums is not None:
            _compare(path, self._sums, known_sha256(path))

    def _wrong(self, path: Path, what: str) -> UserError:
        return UserError(f"'{path}' {what}; {_how_to_mend(self.folder)}")


class CifarCorruptions(CorruptedSet):
    """CIFAR-10-C and CIFAR-100-C: one .npy file per corruption, and `labels.npy`.

    A file holds the five severities of the whole test set one after the other. The labels, those of the
    test set in its order five times over, are checked at once, against `test_labels` too where they
    are given.
    """

    def __init__(
        self, info: DatasetInfo, folder: Path, images: int, test_labels: NDArray[Any] | None
    ) -> None:
        super().__init__(info, folder, images)
        path, count = folder / LABELS, SEVERITIES * images
        if not path.is_file():
            raise self._wrong(path, "is missing")
        self._verify(path)
        right = f"integers of shape ({count},) are right"
        stored = mapped_array(path, (count,), np.typecodes["AllInteger"], right)
        if stored.min() < 0 or stored.max() >= info.classes:
            right = f"those of {info.label} are from 0 to {info.classes - 1}"
            raise UserError(f"'{path}' has labels from {stored.min()} to {stored.max()}; {right}")
        five: Labels = stored.astype(np.int64).reshape(SEVERITIES, images)
        self._labels: Labels = np.array(five[0])
        if (five != self._labels).any():
            raise UserError(f"'{path}' is not the same {images} labels {SEVERITIES} times over")
        if test_labels is not None and not np.array_equal(self._labels, test_labels):
            what = f"the labels of the {info.label} test set in its order"
            raise UserError(f"'{path}' does not have {what}")

    def check(self) -> None:
        counts, fair = np.bincount(self._labels), self.images // self.info.classes
        if (counts != fair).any():
            there = f"'{self.folder / LABELS}' has {counts.min()} to {counts.max()} images of a class"
            raise UserError(f"{there}; {fair} of each are right")
        super().check()

    def _check(self, path: Path) -> NDArray[Any]:
        shape = (SEVERITIES * self.images, self.info.side, self.info.side, self.info.channels)
        return mapped_array(path, shape, "B", f"uint8 of shape {shape} is right")

    def _read(self, path: Path, severity: int, _threads: int) -> tuple[Pixels, Labels]:
        stored = self._check(path)
        first = (severity - 1) * self.images
        return np.array(stored[first : first + self.images], order="C"), self._labels.copy()


class TinyCorruptions(CorruptedSet):
    """Tiny-ImageNet-C: `<corruption>/<severity>/<class>/*.JPEG`, as many images of each class.

    Classes are numbered in the order of their sorted names, as those of Tiny-ImageNet, and images
    are ordered by class, then by name. Its photographs are others than those of the test part of
    Tiny-ImageNet (hendrycks/robustness, issue 39), so that its rows do not correspond to it.
    """

    def _check(self, path: Path) -> None:
        for severity in SEVERITY_LEVELS:
            self._pictures(path / str(severity))

    def _read(self, path: Path, severity: int, threads: int) -> tuple[Pixels, Labels]:
        names = self._pictures(path / str(severity))
        images = decode_all(names, lambda name: read_regular(Path(name)), self.info.side, threads)
        classes = np.arange(self.info.classes, dtype=np.int64)
        return images, np.repeat(classes, self.images // self.info.classes)

    def _pictures(self, folder: Path) -> list[str]:
        """The files of one severity, by class and name, as many of each class."""
        names, per_class = [], self.images // self.info.classes
        for wnid in self._classes(folder):
            pictures = sorted(str(file) for file in (folder / wnid).glob("[!.]*.JPEG"))
            if len(pictures) != per_class:
                raise self._wrong(folder / wnid, f"has {len(pictures)} images; {per_class} are right")
            names += pictures
        return names

    def _classes(self, folder: Path) -> list[str]:
        from benchmark.data.tiny_imagenet import class_names

        if not folder.is_dir():
            raise self._wrong(folder, "is missing")
        classes = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
        if len(classes) != self.info.classes:
            # The frost of the archive in Zenodo's record 2536630 has 1000 classes, that of record
            # 8206060 has 200 (hendrycks/robustness, issue 60).
            raise self._wrong(folder, f"has {len(classes)} classes; {self.info.classes} are right")
        known = class_names(self.folder.parent)
        if known is not None and list(known) != classes:
            odd = min(set(classes) ^ set(known))
            raise UserError(f"'{folder}' does not have the classes of {self.info.label}: see {odd}")
        return classes


def official(
    info: DatasetInfo,
    directory: Path,
    test_labels: NDArray[Any] | None = None,
    *,
    images: int | None = None,
) -> CorruptedSet:
    """The published corrupted copies of the test set of `info` under the data folder `directory`.

    `test_labels` (N,) are those of the test set; where rows of the copies correspond to it (CIFAR),
    they must be the same. `images` is how many one severity has (None: `TEST_IMAGES`). Raises
    `UserError` if the dataset has no such copies, they are not there, or their labels are wrong.
    """
    if info.corruptions is None or info.corruptions not in SUFFIX:
        raise UserError(f"there are no published corrupted copies of {info.label}")
    folder = _folder(info.corruptions, directory)
    images = TEST_IMAGES if images is None else images
    if SUFFIX[info.corruptions]:
        return CifarCorruptions(info, folder, images, test_labels)
    return TinyCorruptions(info, folder, images)


def check(title: str, directory: Path) -> None:
    """Raise `UserError` unless what is there of `title` under `directory` has the shapes and labels of
    the published files. Pictures are counted, not decoded."""
    info = next(each for each in (CIFAR10, CIFAR100, TINY_IMAGENET) if each.corruptions == title)
    official(info, directory).check()


def describe(title: str, directory: Path) -> str | None:
    """What of `title` is under `directory`, in one line; None for nothing. Looks at names only."""
    if not (found := _corruption_paths(directory / title)):
        return None
    hashes = "hashes on file" if (directory / title / NAME).exists() else "no hashes on file"
    return f"{len(found)} corruption{'s' if len(found) > 1 else ''}, {hashes}"


def record_hashes(unpacked: Path, folder: Path) -> None:
    """Write `SHA256SUMS` into `unpacked`, which holds a verified archive and is to become `folder`.

    What is listed there already stays so; what is there and not listed, nobody has verified. Raises
    `UserError` if a file is not the one that is listed there.
    """
    known = read_sums(folder) or {}
    hashes = {path.name: sha256_of(path) for path in _hashed(unpacked)}
    for name in known.keys() & hashes:
        _compare(folder / name, known, hashes[name])
    write_sums(unpacked, known | hashes)


def verify(title: str, directory: Path) -> None:
    """Read every file of `title` again and compare with `SHA256SUMS`.

    Raises `UserError` for the first file that is missing, not listed or not the same, and where there
    are no hashes to compare with.
    """
    folder = _folder(title, directory)
    if (sums := read_sums(folder)) is None:
        raise UserError(f"'{folder}' has no {NAME}, so nothing is known of it; {_how_to_mend(folder)}")
    paths = {path.name: path for path in _hashed(folder)}
    for name in sorted(sums.keys() | paths):
        if name not in paths:
            raise UserError(f"'{folder / name}' is missing; {_how_to_mend(folder)}")
        _compare(paths[name], sums, sha256_of(paths[name]))


def _folder(title: str, directory: Path) -> Path:
    if not (folder := directory / title).is_dir():
        files, command = _archives(title)
        place = f"unpack {files} in '{directory}', or run: {command}{of_folder(directory)}"
        raise UserError(f"'{folder}' is not there; {place}")
    return folder


def _hashed(folder: Path) -> list[Path]:
    """What `SHA256SUMS` is to list: the corruptions, and the labels where they are a file."""
    listed = [folder / LABELS] if SUFFIX[folder.name] and (folder / LABELS).is_file() else []
    return [*_corruption_paths(folder), *listed]


def _corruption_paths(folder: Path) -> list[Path]:
    """The file or folder of each corruption in `folder`, by name."""
    suffix = SUFFIX[folder.name]
    found = sorted(folder.glob(f"[!.]*{suffix}"))
    if suffix:
        return [path for path in found if path.is_file() and path.name != LABELS]
    return [path for path in found if path.is_dir()]


def _compare(path: Path, sums: dict[str, str], found: str) -> None:
    """Raise `UserError` unless `found` is the hash of `path` in `sums`."""
    if path.name not in sums:
        raise UserError(
            f"'{path}' is not listed in {NAME}; remove it, or that list to use files of your own"
        )
    if sums[path.name] != found:
        raise UserError(f"'{path}' is not what was unpacked; {_how_to_mend(path.parent)}")


def _how_to_mend(folder: Path) -> str:
    """How to have the right files in `folder`, which holds others; the end of a message."""
    files, command = _archives(folder.name)
    return f"take it from {files}, or delete '{folder}' and run: {command}{of_folder(folder.parent)}"


def _archives(title: str) -> tuple[str, str]:
    """The archives that unpack to `title`, and the command that gets them."""
    archives = [archive for archive in ARCHIVES.values() if archive.gives == title]
    files = " and ".join(f"{archive.file} (md5 {archive.md5})" for archive in archives)
    return files, f"python -m benchmark data get {' '.join(archive.name for archive in archives)}"
