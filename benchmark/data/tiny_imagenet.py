"""Tiny-ImageNet-200: decoded once into a cache beside the published zip, then held as uint8.

The set is that of Stanford's CS231N (Le & Yang, 2015; cs231n.stanford.edu/tiny-imagenet-200.zip).
Its val/ is the test part, since the labels of its test/ were never published.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from benchmark.data.image_cache import ImageCache, Manifest
from benchmark.data.images import Dataset, Split
from benchmark.data.info import TINY_IMAGENET
from benchmark.data.jpegs import Pixels, decode_all, decoder
from benchmark.data.tiny_imagenet_source import ROOT, Layout, Part, Source, index, opened
from benchmark.progress import Progress, silent

OFFICIAL = Layout()
FILES = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
BLOCK = 1000  # images decoded at a time
THREADS = min(8, os.cpu_count() or 1)


def load(directory: Path, layout: Layout = OFFICIAL) -> Dataset:
    """100,000 training and 10,000 test images of 64x64x3 from `directory`.

    Takes them from the cache `tiny-imagenet-cache/`; where that is not there, makes it of
    `tiny-imagenet-200.zip` or else of the unpacked folder `tiny-imagenet-200/`, and downloads the
    zip if there is neither. Order and numbers of classes are those of `tiny_imagenet_source.index`.
    Raises `UserError` if the files are neither there nor to be had, or are not what they should be.
    """
    cache = _cache(directory)
    if not cache.whole:
        prepare(_source(directory), directory, layout)
    manifest = cache.manifest()
    return Dataset(
        TINY_IMAGENET,
        _split(cache, manifest, "train", layout.classes * layout.train_per_class, layout),
        _split(cache, manifest, "test", layout.test_images, layout),
    )


def prepare(
    source: Path,
    directory: Path,
    layout: Layout = OFFICIAL,
    progress: Progress = silent,
    accepted: Collection[str] = (),
) -> None:
    """Decode the published zip or unpacked folder `source` into the cache under `directory`.

    Leaves a whole cache as it is. The md5 of a zip is checked before anything is decoded: it has to
    be the published one or one of `accepted`, and the manifest tells it. For an
    unpacked folder no hash is published: its structure is checked, and the manifest calls it a
    `tree`. A process killed on the way leaves no cache; only one at a time works on it.
    Raises `UserError` that names the first thing wrong with `source`, or if 1.4 GB cannot be written.
    """
    from benchmark.data.get.download import writing

    cache = _cache(directory)
    with writing(directory), FileLock(directory / ".tiny-imagenet-cache.lock"):
        if not cache.whole:  # another process may have made it in the meantime
            _make(cache, source, layout, progress, accepted)


def present(directory: Path) -> bool:
    """Whether the cache, the zip or the unpacked folder is there; looks at names only."""
    return _cache(directory).whole or _on_disk(directory) is not None


def class_names(directory: Path) -> tuple[str, ...] | None:
    """WordNet ids in the order of the class numbers, by the cache; None if there is none."""
    cache = _cache(directory)
    return cache.manifest().classes if cache.whole else None


def _cache(directory: Path) -> ImageCache:
    return ImageCache(directory / "tiny-imagenet-cache", FILES)


def _on_disk(directory: Path) -> Path | None:
    if (archive := directory / f"{ROOT}.zip").is_file():
        return archive
    return tree if ((tree := directory / ROOT) / "wnids.txt").is_file() else None


def _source(directory: Path) -> Path:
    if (found := _on_disk(directory)) is not None:
        return found
    from benchmark.data.get.archives import ARCHIVES
    from benchmark.data.get.download import fetch

    return fetch(ARCHIVES["tiny-imagenet"], directory)


def _checked_md5(place: Path, accepted: Collection[str]) -> str:
    from benchmark.data.get.archives import ARCHIVES
    from benchmark.data.get.download import md5, verify_archive

    if accepted and (found := md5(place)) in accepted:
        return found
    verify_archive(ARCHIVES["tiny-imagenet"], place)
    return ARCHIVES["tiny-imagenet"].md5


def _make(
    cache: ImageCache, place: Path, layout: Layout, progress: Progress, accepted: Collection[str]
) -> None:
    md5 = None if place.is_dir() else _checked_md5(place, accepted)
    with opened(place) as source:
        found = index(source, layout)
        parts = {"train": found.train, "test": found.test}
        with cache.new() as writer:
            hashes = {}
            for name, part in parts.items():
                count, images, labels = len(part.labels), f"{name}_images.npy", f"{name}_labels.npy"
                shape = (count, layout.side, layout.side, 3)
                blocks = _decoded(source, name, part, layout.side, progress)
                hashes[images] = writer.array(images, shape, np.uint8, blocks)
                hashes[labels] = writer.array(labels, (count,), np.int64, [part.labels])
            writer.manifest(
                Manifest(
                    source="tree" if md5 is None else "zip",
                    md5=md5,
                    classes=found.classes,
                    images={name: len(part.labels) for name, part in parts.items()},
                    decoder=decoder(),
                    sha256=hashes,
                )
            )


def _decoded(source: Source, name: str, part: Part, side: int, progress: Progress) -> Iterator[Pixels]:
    for start in range(0, len(part.names), BLOCK):
        names = part.names[start : start + BLOCK]
        yield decode_all(names, source.read, side, THREADS)
        progress("tiny-imagenet", start + len(names), len(part.names), f"{name} images decoded")


def _split(cache: ImageCache, manifest: Manifest, name: str, count: int, layout: Layout) -> Split:
    images, labels = (f"{name}_{kind}.npy" for kind in ("images", "labels"))
    shape = (count, layout.side, layout.side, 3)
    return Split(
        torch.from_numpy(cache.array(images, shape, np.uint8, manifest.sha256[images])),
        torch.from_numpy(cache.array(labels, (count,), np.int64, manifest.sha256[labels])),
    )
