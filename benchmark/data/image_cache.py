"""A folder of decoded images: .npy files and a manifest with the hash of each, checked when read.

The folder appears under its name in one rename once everything in it is on disk, so that one with
that name is never a half-written one.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import ValidationError

from benchmark.data.npy_files import header_bytes, read_header
from benchmark.errors import UserError
from benchmark.records.files import Frozen, write_atomically
from benchmark.records.records import Sha256

BLOCK = 2**23  # bytes read and hashed at a time


class Manifest(Frozen):
    """What a cache was made from and holds.

    `source` is `zip` (of the published `md5`) or `tree` (an unpacked folder, for which no hash is
    published). `classes` are the class names in the order of their numbers, `images` the number of
    images of each part, `decoder` the libraries that decoded, `sha256` the hash of each file.
    """

    schema_version: Literal[1] = 1
    source: Literal["zip", "tree"]
    md5: str | None
    classes: tuple[str, ...]
    images: dict[str, int]
    decoder: str
    sha256: dict[str, Sha256]


@dataclass(frozen=True)
class ImageCache:
    """The cache in `folder`, which consists of `files` and `manifest.json`."""

    folder: Path
    files: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every file is there; their contents are checked by `array`."""
        return all((self.folder / name).is_file() for name in (*self.files, "manifest.json"))

    def manifest(self) -> Manifest:
        """Raises `UserError` if the manifest cannot be read or lacks a file's hash."""
        path = self.folder / "manifest.json"
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise self._damaged(path.name) from error
        if set(manifest.sha256) != set(self.files):
            raise self._damaged(path.name)
        return manifest

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike, sha256: str) -> NDArray[Any]:
        """The array in file `name`. Raises `UserError` unless shape, type and hash are these.

        Read once, straight into the array, while another thread hashes what has been read.
        """
        try:
            array = _read(self.folder / name, shape, np.dtype(dtype), sha256)
        except (OSError, ValueError) as error:
            raise self._damaged(name) from error
        if array is None:
            raise self._damaged(name)
        return array

    @contextmanager
    def new(self) -> Iterator["CacheWriter"]:
        """Write the cache anew: what `with` yields becomes `folder` unless the block fails.

        Whoever calls holds a lock that keeps others from doing the same. Replaces what is in
        `folder`, and clears away what a killed process left.
        """
        from benchmark.data.get.download import staging

        with staging(self.folder.parent, self.folder.name) as part:
            yield CacheWriter(part)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            part.rename(self.folder)

    def _damaged(self, name: str) -> UserError:
        return UserError(
            f"'{self.folder / name}' is damaged; delete the folder '{self.folder}' and the same "
            "command makes it again"
        )


@dataclass(frozen=True)
class CacheWriter:
    """Writes the files of a cache that has not got its name yet."""

    folder: Path

    def array(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike, blocks: Iterable[NDArray[Any]]
    ) -> str:
        """Write an array of `shape`, given as `blocks` of its rows, and return the file's sha256."""
        digest, rows = hashlib.sha256(), 0
        with (self.folder / name).open("wb") as file:
            header = header_bytes(shape, np.dtype(dtype))
            file.write(header)
            digest.update(header)
            for block in blocks:
                assert block.dtype == dtype and block.shape[1:] == shape[1:]
                content = np.ascontiguousarray(block).data
                file.write(content)
                digest.update(content)
                rows += len(block)
            assert rows == shape[0]
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def manifest(self, manifest: Manifest) -> None:
        content = manifest.model_dump_json(indent=1) + "\n"
        write_atomically(self.folder / "manifest.json", content.encode())


def _read(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], sha256: str) -> NDArray[Any] | None:
    """The array in `path`, None if it is not the one that is described."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        header = read_header(file)
        if (header.shape, header.fortran_order, header.dtype) != (shape, False, dtype):
            return None
        file.seek(0)
        digest.update(file.read(header.length))
        array = np.empty(shape, dtype)
        content = array.data.cast("B")
        with ThreadPoolExecutor(1) as hasher:  # one thread, so that the blocks keep their order
            for start in range(0, len(content), BLOCK):
                block = content[start : start + BLOCK]
                if file.readinto(block) != len(block):
                    return None
                hasher.submit(digest.update, block)
        if file.read(1) or digest.hexdigest() != sha256:
            return None
    return array
