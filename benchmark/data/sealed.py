"""A folder of .npy files and a `manifest.json` with the sha256 of each.

Every file gets its name in one rename once it is on disk. Headers are read without trusting them: no
Python objects, nothing to unpickle.
"""

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from benchmark.errors import UserError
from benchmark.records.files import Frozen, write_atomically

MANIFEST = "manifest.json"
_READERS: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


class Manifest(Frozen):
    """The content of a `manifest.json`; subclasses have the fields."""

    def write(self, folder: Path) -> None:
        write_atomically(folder / MANIFEST, (self.model_dump_json(indent=1) + "\n").encode())


def write_array(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike, blocks: Iterable[NDArray[Any]]
) -> str:
    """Write an array of `shape`, given as `blocks` of its rows, to `path`; returns the file's sha256.

    The caller holds a lock: one process at a time writes the file.
    """
    part, rows = path.with_name(f".{path.name}.part"), 0
    header = io.BytesIO()
    about = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(header, about)
    digest = hashlib.sha256(header.getvalue())
    try:
        with part.open("wb") as file:
            file.write(header.getvalue())
            for block in blocks:
                assert block.dtype == dtype and block.shape[1:] == shape[1:]
                content = np.ascontiguousarray(block).data
                file.write(content)
                digest.update(content)
                rows += len(block)
            assert rows == shape[0]
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest()


def read_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike, sha256: str) -> NDArray[Any]:
    """The array in the file `path`, read into memory.

    Raises `OSError`, or `ValueError` unless shape, type and hash of the file are these.
    """
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ValueError("another content")
        file.seek(0)
        if (header := read_header(file))[:3] != (shape, False, np.dtype(dtype)):
            raise ValueError(f"{header}")
        return np.fromfile(file, dtype).reshape(shape)


def mapped_array(path: Path, shape: tuple[int, ...], types: str, right: str) -> NDArray[Any]:
    """The array in the file `path`, memory-mapped copy-on-write.

    `types` are the numpy codes to accept. Raises `UserError`, which ends with what is `right`.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
        if header.shape != shape or header.dtype.char not in types:
            raise UserError(f"'{path}' has {header}; {right}")
        order: Literal["F", "C"] = "F" if header.fortran_order else "C"
        return np.memmap(path, header.dtype, "c", header.length, shape, order)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is truncated or damaged ({error}); {right}") from error


class Header(NamedTuple):
    """Shape, memory order and type of an array, which begins after `length` bytes."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.length + math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


def read_header(file: IO[bytes]) -> Header:
    """The header that begins `file`, which is left at the array.

    Raises `ValueError` if there is none, or for Python objects.
    """
    try:
        shape, fortran_order, dtype = _READERS[npy.read_magic(file)](file)
    except (LookupError, TypeError, ValueError, SyntaxError, TokenError) as error:
        raise ValueError("no header of a .npy file") from error
    if dtype.hasobject:
        raise ValueError("Python objects, which are not read")
    return Header(shape, fortran_order, dtype, file.tell())
