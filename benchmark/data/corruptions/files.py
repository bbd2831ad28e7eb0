"""Corrupted copies of a test set on disk: one `<corruption>.npy` each, laid out as CIFAR-10-C.

`manifest.json` beside them holds their origin and every file's sha256. It is written after each file,
so that a killed writer goes on where it was. Readers take nothing that the manifest does not list.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.corruptions.constants import SEVERITY_LEVELS
from benchmark.data.corruptions.generator import OPERATIONS, SPEC, corrupt, unfit
from benchmark.data.get.sha256sums import known_sha256
from benchmark.data.sealed import MANIFEST, Manifest, mapped_array, write_array
from benchmark.errors import UserError
from benchmark.progress import Progress, silent
from benchmark.records.files import locked, read_model
from benchmark.records.records import Sha256


class CorruptionManifest(Manifest):
    """What the files of a folder are.

    `shape` (N, H, W, C) and `source_sha256` are those of the images before corruption; `files` holds
    the sha256 of `<corruption>.npy` by corruption.
    """

    generator: dict[str, Any]
    dataset: str
    seed: int
    shape: tuple[int, int, int, int]
    source_sha256: Sha256
    files: dict[str, Sha256]

    @property
    def source(self) -> dict[str, Any]:
        """All but the files: what must agree for the files to serve."""
        return self.model_dump(exclude={"files"})


def images_sha256(images: NDArray[np.uint8]) -> str:
    """Hash of the pixels and shape of `images`, whatever their memory layout."""
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def write_files(
    images: NDArray[np.uint8],
    folder: Path,
    name_of_dataset: str,
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> None:
    """Write the 19 corruptions of `images`, uint8 (N, H, W, C), into `folder`.

    Each file is uint8 (5 N, H, W, C), severity 1 first; the ids of the images are 0..N-1. Files that
    are there and whole are kept. Raises `UserError` if the images are `unfit`, the folder holds the
    files of something else, its manifest is damaged, or it cannot be written. Writers wait for each
    other.
    """
    if (why := unfit(images.shape, str(images.dtype))) is not None:
        raise UserError(why)
    fresh = CorruptionManifest(
        generator=SPEC,
        dataset=name_of_dataset,
        seed=seed,
        shape=images.shape,
        source_sha256=images_sha256(images),
        files={},
    )
    ids = np.arange(len(images), dtype=np.int64)
    make = partial(corrupt, images, seed=seed, ids=ids, threads=threads)
    shape = (len(SEVERITY_LEVELS) * len(images), *images.shape[1:])
    total = len(OPERATIONS) * len(SEVERITY_LEVELS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".write.lock"):
            manifest = _manifest(folder) or fresh
            if manifest.source != fresh.source:
                there = {key for key in fresh.source if manifest.source[key] != fresh.source[key]}
                raise UserError(
                    f"'{folder}' holds corruptions of another {', '.join(sorted(there))}; name another "
                    "folder or move it away"
                )
            for done, name in enumerate(OPERATIONS, start=1):
                known = manifest.files.get(name)
                if known is None or not _is_whole(folder / f"{name}.npy", known):
                    blocks = (make(name, severity) for severity in SEVERITY_LEVELS)
                    digest = write_array(folder / f"{name}.npy", shape, np.uint8, blocks)
                    files = manifest.files | {name: digest}
                    manifest = manifest.model_copy(update={"files": files})
                    manifest.write(folder)
                progress("corruption files", done * len(SEVERITY_LEVELS), total, name)
    except OSError as error:
        what = f"cannot write corruptions into '{folder}' ({error.strerror})"
        raise UserError(f"{what}; free space there or name another folder") from error


def read_file(
    folder: Path, name: str, severity: int, *, seed: int, source_sha256: str
) -> NDArray[np.uint8] | None:
    """The copies under corruption `name` at `severity` 1..5, uint8 (N, H, W, C), read when used.

    None unless the manifest of `folder` is of this generator and `seed`, of images whose
    `images_sha256` is `source_sha256`, and has that corruption. Each file's sha256 is verified once per
    process. Changing the array does not change the file. Raises `UserError` if the manifest or the file
    is damaged or the file is missing.
    """
    if severity not in SEVERITY_LEVELS:
        raise ValueError(f"severity {severity!r} is not one of {SEVERITY_LEVELS}")
    manifest = _manifest(folder)
    if manifest is None or name not in manifest.files:
        return None
    made = manifest.generator, manifest.seed, manifest.source_sha256
    if made != (SPEC, seed, source_sha256):
        return None
    path = folder / f"{name}.npy"
    count = manifest.shape[0]
    shape = (len(SEVERITY_LEVELS) * count, *manifest.shape[1:])
    if not _is_whole(path, manifest.files[name]):
        raise UserError(f"'{path}' is missing or damaged; write the corruption files again")
    right = f"uint8 of shape {shape} is right; write the corruption files again"
    copies = mapped_array(path, shape, "B", right)
    return copies[(severity - 1) * count : severity * count]


def _manifest(folder: Path) -> CorruptionManifest | None:
    """The manifest of `folder`, None if there is none. Raises `UserError` if it is damaged."""
    remedy = "move it away and write the corruption files again"
    return read_model(CorruptionManifest, folder / MANIFEST, "is damaged", remedy)


def _is_whole(path: Path, sha256: str) -> bool:
    """Whether `path` has that content; hashed again only if the file has changed since."""
    try:
        return known_sha256(path) == sha256
    except OSError:
        return False
