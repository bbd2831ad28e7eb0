"""Tiny-ImageNet-200: decoded once into a cache beside the published zip, then kept in memory as uint8.

The set is that of Stanford's CS231N (Le & Yang, 2015; cs231n.stanford.edu/tiny-imagenet-200.zip).
Its val/ is the test part, since the labels of its test/ were never published.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark.data.get import download
from benchmark.data.get.archives import ARCHIVES
from benchmark.data.images import Dataset, Split
from benchmark.data.info import TINY_IMAGENET
from benchmark.data.jpegs import Pixels, decode_all, decoder
from benchmark.data.sealed import MANIFEST, Manifest, read_array, write_array
from benchmark.data.tiny_imagenet_source import ROOT, ImageFiles, Layout, Part, index, opened
from benchmark.errors import UserError
from benchmark.progress import Progress, silent
from benchmark.records.records import Sha256

OFFICIAL = Layout()
CACHE = "tiny-imagenet-cache"
FILES = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
BLOCK = 1000  # images decoded at a time
THREADS = min(8, os.cpu_count() or 1)


class CacheManifest(Manifest):
    """What the cache was decoded from and holds.

    `source` is `zip` (of the published `md5`) or `tree` (an unpacked folder, for which no hash is
    published). `classes` are the class names in the order of their numbers, `images` the number of
    images of each part, `decoder` the libraries that decoded, `sha256` the hash of each file. In
    caches of schema 1 the training images lay class by class.
    """

    schema_version: Literal[2] = 2
    source: Literal["zip", "tree"]
    md5: str | None
    classes: tuple[str, ...]
    images: dict[str, int]
    decoder: str
    sha256: dict[str, Sha256]


def load(directory: Path, layout: Layout = OFFICIAL) -> Dataset:
    """100,000 training and 10,000 test images of 64x64x3 from `directory`.

    Takes them from the cache `tiny-imagenet-cache/`; where that is not there, makes it of
    `tiny-imagenet-200.zip` or else of the unpacked folder `tiny-imagenet-200/`, and downloads the
    zip if there is neither. Order and numbers of classes are those of `tiny_imagenet_source.index`.
    Raises `UserError` if the files are neither there nor to be had, or are not what they should be.
    """
    if not decoded(directory):
        source = _on_disk(directory) or download.fetch(ARCHIVES["tiny-imagenet"], directory)
        prepare(source, directory, layout)
    hashes = _manifest(directory).sha256

    def split(name: str, count: int) -> Split:
        shape = (count, layout.side, layout.side, 3)
        images = _array(directory, f"{name}_images.npy", shape, np.uint8, hashes)
        labels = _array(directory, f"{name}_labels.npy", (count,), np.int64, hashes)
        return Split(torch.from_numpy(images), torch.from_numpy(labels))

    train = split("train", layout.classes * layout.train_per_class)
    return Dataset(TINY_IMAGENET, train, split("test", layout.classes * layout.test_per_class))


def prepare(
    source: Path,
    directory: Path,
    layout: Layout = OFFICIAL,
    progress: Progress = silent,
    accepted: Collection[str] = (),
) -> None:
    """Decode the published zip or unpacked folder `source` into the cache under `directory`.

    Leaves a whole cache as it is. The md5 of a zip has to be the published one or one of `accepted`;
    of an unpacked folder only the structure can be checked. A process killed on the way leaves no
    cache; only one at a time works on it.
    Raises `UserError` that names the first thing wrong with `source`, or if 1.4 GB cannot be written.
    """
    with download.staging(directory, CACHE) as new:
        if not decoded(directory):  # another process may have made it in the meantime
            _make(new, directory / CACHE, source, layout, progress, accepted)


def decoded(directory: Path) -> bool:
    """Whether every file of the cache is there; `load` checks their contents."""
    return all((directory / CACHE / name).is_file() for name in (*FILES, MANIFEST))


def present(directory: Path) -> bool:
    """Whether the cache, the zip or the unpacked folder is there; looks at names only."""
    return decoded(directory) or _on_disk(directory) is not None


def class_names(directory: Path) -> tuple[str, ...] | None:
    """WordNet ids in the order of the class numbers, by the cache; None if there is none."""
    return _manifest(directory).classes if decoded(directory) else None


def _on_disk(directory: Path) -> Path | None:
    if (archive := directory / f"{ROOT}.zip").is_file():
        return archive
    return tree if ((tree := directory / ROOT) / "wnids.txt").is_file() else None


def _checked_md5(place: Path, accepted: Collection[str]) -> str:
    if accepted and (found := download.hash_of(place, "md5")) in accepted:
        return found
    download.verify_archive(ARCHIVES["tiny-imagenet"], place)
    return ARCHIVES["tiny-imagenet"].md5


def _make(
    new: Path, cache: Path, place: Path, layout: Layout, progress: Progress, accepted: Collection[str]
) -> None:
    md5 = None if place.is_dir() else _checked_md5(place, accepted)
    with opened(place) as files:
        classes, *found = index(files, layout)
        parts, hashes = dict(zip(("train", "test"), found, strict=True)), {}
        for name, part in parts.items():
            count, images, labels = len(part.labels), f"{name}_images.npy", f"{name}_labels.npy"
            shape = (count, layout.side, layout.side, 3)
            blocks = _decoded(files, name, part, layout.side, progress)
            hashes[images] = write_array(new / images, shape, np.uint8, blocks)
            hashes[labels] = write_array(new / labels, (count,), np.int64, [part.labels])
    CacheManifest(
        source="tree" if md5 is None else "zip",
        md5=md5,
        classes=classes,
        images={name: len(part.labels) for name, part in parts.items()},
        decoder=decoder(),
        sha256=hashes,
    ).write(new)
    if cache.exists():
        shutil.rmtree(cache)
    new.rename(cache)


def _decoded(
    files: ImageFiles, name: str, part: Part, side: int, progress: Progress
) -> Iterator[Pixels]:
    for start in range(0, len(part.names), BLOCK):
        names = part.names[start : start + BLOCK]
        yield decode_all(names, files.read, side, THREADS)
        progress("tiny-imagenet", start + len(names), len(part.names), f"{name} images decoded")


def _manifest(directory: Path) -> CacheManifest:
    try:
        content = (directory / CACHE / MANIFEST).read_bytes()
        manifest = CacheManifest.model_validate_json(content)
    except (OSError, ValidationError) as error:
        raise _damaged(directory, MANIFEST) from error
    if set(manifest.sha256) != set(FILES):
        raise _damaged(directory, MANIFEST)
    return manifest


def _array(
    directory: Path, name: str, shape: tuple[int, ...], dtype: type, hashes: dict[str, str]
) -> NDArray[Any]:
    try:
        return read_array(directory / CACHE / name, shape, dtype, hashes[name])
    except (OSError, ValueError) as error:
        raise _damaged(directory, name) from error


def _damaged(directory: Path, name: str) -> UserError:
    folder = directory / CACHE
    return UserError(f"'{folder / name}' is damaged; delete the folder '{folder}' to make it again")
