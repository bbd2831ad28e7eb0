"""The published corrupted copies of the test sets: CIFAR-10-C, CIFAR-100-C and Tiny-ImageNet-C.

Dan Hendrycks and Thomas Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019). They lie in a folder of that name under the data folder. `SHA256SUMS` in it
holds the hashes of what was unpacked from an archive whose md5 had been checked.
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmark.data.corruptions.published_sets import (
    LABELS,
    SUFFIX,
    CifarCorruptions,
    CorruptedSet,
    TinyCorruptions,
    compare_hash,
    corruption_paths,
    how_to_get,
    how_to_mend,
)
from benchmark.data.get.sha256sums import NAME, read_sums, sha256_of, write_sums
from benchmark.data.info import CIFAR10, CIFAR100, TINY_IMAGENET, DatasetInfo
from benchmark.errors import UserError

TEST_IMAGES = 10_000


def official(
    info: DatasetInfo,
    directory: Path,
    test_labels: NDArray[Any] | None = None,
    *,
    images: int = TEST_IMAGES,
) -> CorruptedSet:
    """The published corrupted copies of the test set of `info` under the data folder `directory`.

    `test_labels` (N,) are those of the test set; where rows of the copies correspond to it (CIFAR),
    they must be the same. `images` is how many one severity has. Raises `UserError` if the dataset
    has no such copies, they are not there, or their labels are wrong.
    """
    if info.corruptions is None:
        raise UserError(f"there are no published corrupted copies of {info.label}")
    folder = _folder(info.corruptions, directory)
    if SUFFIX[info.corruptions]:
        return CifarCorruptions(info, folder, images, test_labels)
    return TinyCorruptions(info, folder, images)


def check(title: str, directory: Path, images: int | None = None) -> None:
    """Raise `UserError` unless what is there of `title` under `directory` has the shapes and labels of
    the published files.

    `images` as in `official` (None: those of the published sets). Pictures are counted, not decoded.
    """
    info = next(each for each in (CIFAR10, CIFAR100, TINY_IMAGENET) if each.corruptions == title)
    official(info, directory, images=TEST_IMAGES if images is None else images).check()


def describe(title: str, directory: Path) -> str | None:
    """What of `title` is under `directory`, in one line; None for nothing. Looks at names only."""
    found = corruption_paths(title, directory / title)
    if not found:
        return None
    hashes = "hashes on file" if (directory / title / NAME).exists() else "no hashes on file"
    return f"{len(found)} corruption{'s' if len(found) > 1 else ''}, {hashes}"


def record_hashes(title: str, directory: Path) -> None:
    """Write `SHA256SUMS` for `title`; to be called when a verified archive has been unpacked.

    Raises `UserError` if a file is no longer the one of an earlier `SHA256SUMS`, which then stays.
    """
    folder = _folder(title, directory)
    known = read_sums(folder) or {}
    hashes = {path.name: sha256_of(path) for path in _hashed(title, folder)}
    for name in known.keys() & hashes:
        compare_hash(title, folder / name, known, hashes[name])
    write_sums(folder, known | hashes)


def verify(title: str, directory: Path) -> None:
    """Read every file of `title` again and compare with `SHA256SUMS`.

    Raises `UserError` for the first file that is missing, not listed or not the same, and where there
    are no hashes to compare with.
    """
    folder = _folder(title, directory)
    sums = read_sums(folder)
    if sums is None:
        raise UserError(
            f"'{folder}' has no {NAME}, so nothing is known of it; {how_to_mend(title, folder)}"
        )
    paths = {path.name: path for path in _hashed(title, folder)}
    for name in sorted(sums.keys() | paths):
        if name not in paths:
            raise UserError(f"'{folder / name}' is missing; {how_to_mend(title, folder)}")
        compare_hash(title, paths[name], sums, sha256_of(paths[name]))


def _folder(title: str, directory: Path) -> Path:
    if not (folder := directory / title).is_dir():
        raise UserError(f"'{folder}' is not there; {how_to_get(title, directory)}")
    return folder


def _hashed(title: str, folder: Path) -> list[Path]:
    """What `SHA256SUMS` is to list: the corruptions, and the labels where they are a file."""
    labels = folder / LABELS
    return corruption_paths(title, folder) + [labels] * (bool(SUFFIX[title]) and labels.is_file())
