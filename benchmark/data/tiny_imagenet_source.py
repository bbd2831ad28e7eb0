"""Tiny-ImageNet-200 as it is published: which image is where, and of which class.

Names of files are relative to `tiny-imagenet-200/`, whether that is a folder or lies in a zip.
"""

import threading
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.get.regular import read_regular, refuse_larger, regular_files
from benchmark.data.get.unpack import DAMAGE
from benchmark.errors import UserError, reason

ROOT = "tiny-imagenet-200"
ANNOTATIONS = "val/val_annotations.txt"
SUFFIX = ".JPEG"


@dataclass(frozen=True)
class Layout:
    """How much there is of everything; the default is the published set (Le & Yang, 2015)."""

    classes: int = 200
    train_per_class: int = 500
    test_per_class: int = 50
    side: int = 64


class Tree:
    """An unpacked folder, which messages call `place`, and the `names` of its files."""

    def __init__(self, place: Path) -> None:
        self.place = place
        parts = [part for part in ("train", "val") if (place / part).is_dir()]  # test has no labels
        images = (f"{part}/{name}" for part in parts for name in regular_files(place / part))
        self.names = frozenset((*images, *(path.name for path in place.glob("*.txt"))))

    def read(self, name: str) -> bytes:
        """The content of a file, from any thread. Raises `UserError` if it cannot be read."""
        return read_regular(self.place / name)


class Zip:
    """The published zip file, read without unpacking it; otherwise as `Tree`."""

    def __init__(self, place: Path, archive: zipfile.ZipFile) -> None:
        self.place = place
        self._archive = archive
        self._lock = threading.Lock()  # zipfile does not promise that threads may share it
        inside = f"{ROOT}/"
        self.names = frozenset(
            name.removeprefix(inside) for name in archive.namelist() if name.startswith(inside)
        )

    def read(self, name: str) -> bytes:
        try:
            with self._lock:
                member = self._archive.getinfo(f"{ROOT}/{name}")
                refuse_larger(member.file_size, f"{name!r} in '{self.place}'")
                return self._archive.read(member)
        except (*DAMAGE, OSError, KeyError) as error:
            raise UserError(f"cannot read {name!r} in '{self.place}' ({reason(error)})") from error


ImageFiles = Tree | Zip


@contextmanager
def opened(place: Path) -> Iterator[ImageFiles]:
    """The set in `place`, a folder or a zip. Raises `UserError` if it is neither."""
    if place.is_dir():
        yield Tree(place)
        return
    try:
        archive = zipfile.ZipFile(place)
    except (*DAMAGE, OSError) as error:
        raise UserError(f"'{place}' is not a whole zip file ({reason(error)}); get it again") from error
    with archive:
        yield Zip(place, archive)


@dataclass(frozen=True, eq=False)
class Part:
    """Names of image files and the class number of each, int64 (N,)."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]


def index(source: ImageFiles, layout: Layout) -> tuple[tuple[str, ...], Part, Part]:
    """Names of the classes (WordNet ids) by number, and the training and the test part of `source`.

    Classes are numbered in the order of their sorted names, as torchvision's `ImageFolder` numbers
    the folders in train/, so that published checkpoints fit. Training images of a class are in its
    order, by name as text (`_0`, `_1`, `_10`, ...), and classes take turns: the first images, which
    small scales measure and choose on, are of all. Test images are those of val/, by the number in
    their name (`val_0`, `val_1`, `val_2`, ...), whatever the order of the annotations.
    Raises `UserError` unless classes and images are as many as in `layout`.
    """
    classes = _classes(source, layout)
    return classes, _train(source, classes, layout), _test(source, classes, layout)


def _classes(source: ImageFiles, layout: Layout) -> tuple[str, ...]:
    listed = _text(source, "wnids.txt").split()
    classes = tuple(sorted(set(listed)))
    if len(classes) != layout.classes or len(listed) != layout.classes:
        raise UserError(
            f"wnids.txt in '{source.place}' has {len(listed)} entries, {len(classes)} of them "
            f"different; {layout.classes} are right"
        )
    return classes


def _train(source: ImageFiles, classes: tuple[str, ...], layout: Layout) -> Part:
    found: dict[str, list[str]] = defaultdict(list)
    for name in source.names:
        match name.split("/"):
            case ["train", wnid, "images", file] if file.endswith(SUFFIX):
                found[wnid].append(file)
    if strangers := sorted(set(found) - set(classes)):
        raise UserError(f"train/{strangers[0]} in '{source.place}' is not a class of wnids.txt")
    by_class: list[list[str]] = []
    for wnid in classes:
        files, folder = sorted(found[wnid]), f"train/{wnid}/images"
        if len(files) != layout.train_per_class:
            raise UserError(
                f"{folder} in '{source.place}' has {len(files)} images, not {layout.train_per_class}"
            )
        if stranger := next((file for file in files if not file.startswith(f"{wnid}_")), None):
            raise UserError(f"{folder}/{stranger} in '{source.place}' is not of that class by its name")
        by_class.append([f"{folder}/{file}" for file in files])
    names = tuple(name for turn in zip(*by_class, strict=True) for name in turn)
    return Part(names, np.tile(np.arange(len(classes)), layout.train_per_class))


def _test(source: ImageFiles, classes: tuple[str, ...], layout: Layout) -> Part:
    # Labels are never taken from folders. In the set as published every picture of val/ lies in the
    # one folder val/images: ImageFolder on val/ finds a single class there, "images", and gives its
    # number 0 to all of them, so that a network which is always right scores 1 in 200. A user of
    # RiFT's code, which reads val/ so, got 0.23 % robust accuracy, and 23 % once the pictures were
    # sorted into a folder per class (microsoft/robustlearn, issue 59).
    numbers = {wnid: number for number, wnid in enumerate(classes)}
    wnids: dict[str, str] = {}
    for number, line in enumerate(_text(source, ANNOTATIONS).splitlines(), start=1):
        where = f"line {number} of {ANNOTATIONS} in '{source.place}'"
        match line.split("\t"):
            case [""]:
                continue
            case [file, wnid, *_]:  # then the four corners of the box that holds the object
                if wnid not in numbers:
                    raise UserError(f"{where} names '{wnid}', which is not a class of wnids.txt")
                if file in wnids:
                    raise UserError(f"{where} names {file} a second time; once is right")
                wnids[file] = wnid
            case _:
                raise UserError(f"{where} is not a file name, a tab, a class and the corners of a box")
    counts = Counter(wnids.values())
    for wnid in classes:
        if counts[wnid] != layout.test_per_class:
            raise UserError(
                f"{ANNOTATIONS} in '{source.place}' names {counts[wnid]} images of {wnid}; "
                f"{layout.test_per_class} are right"
            )
    files = sorted(wnids, key=lambda file: (len(file), file))  # numbers have no leading zeros
    names = tuple(_place(source, file, wnids[file]) for file in files)
    return Part(names, np.array([numbers[wnids[file]] for file in files], np.int64))


def _place(source: ImageFiles, file: str, wnid: str) -> str:
    """Where a test image lies: as published, or where others sort it for `ImageFolder`."""
    for folder in ("val/images", f"val/{wnid}/images", f"val/{wnid}"):
        if f"{folder}/{file}" in source.names:
            return f"{folder}/{file}"
    raise UserError(
        f"{file} of {ANNOTATIONS} is neither in val/images nor in val/{wnid} in '{source.place}'"
    )


def _text(source: ImageFiles, name: str) -> str:
    if name not in source.names:
        raise UserError(f"'{source.place}' has no {name}; {ROOT} has wnids.txt, train/, {ANNOTATIONS}")
    try:
        return source.read(name).decode("ascii")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} in '{source.place}' is not plain text") from error
