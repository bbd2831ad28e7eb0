"""CIFAR's batch files, read without trusting them, and a hash of their content in any order.

A batch is a pickled dict, from Python 2 in the official files. The unpickler here knows lists, dicts,
text, numbers and arrays of whole numbers; every other name in the file is refused before it is called.
"""

import hashlib
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from benchmark.data.get.regular import refuse_larger
from benchmark.data.images import Split
from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError, reason


def read_split(info: DatasetInfo, files: Sequence[Path], key: str, size: int) -> Split:
    """The `size` images of the batches `files`, in their order, with the labels that `key` names.

    Raises `UserError` if a batch contains code, is damaged, or is not what the format is: uint8 rows of
    one colour plane after the other and as many labels from 0 on; and unless there are `size` images,
    the same number of every class.
    """
    side, channels = info.side, info.channels
    images = np.empty((size, side, side, channels), np.uint8)
    labels = np.empty(size, np.int64)
    filled = 0
    for pixels, numbers in (_batch(file, info, key) for file in files):
        stop = filled + len(pixels)
        if stop <= size:
            images[filled:stop] = pixels.reshape(-1, channels, side, side).transpose(0, 2, 3, 1)
            labels[filled:stop] = numbers
        filled = stop
    where = f"{info.label} in '{files[0].parent}', {' '.join(file.name for file in files)}"
    if filled != size:
        raise UserError(f"{where}: {filled} images, not {size}")
    counts, fair = np.bincount(labels, minlength=info.classes), size // info.classes
    if not (counts == fair).all():
        raise UserError(
            f"{where}: {counts.min()} to {counts.max()} images of a class, not {fair} of each"
        )
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def content_sha256(images: ArrayLike, labels: ArrayLike) -> str:
    """A hash of labelled images that does not depend on the order of the rows.

    `images` uint8 (N, ...), `labels` integers (N,). SHA-256 over the shape of one image and the sorted
    SHA-256 digests of the rows; a row is the bytes of its pixels, in C order, and of its label, as
    little-endian int64. So a changed pixel, a swapped label, a missing or a doubled row show; another
    order or another file format does not.
    """
    pixels, numbers = np.asarray(images), np.asarray(labels).astype("<i8")
    digests = []
    for row, label in zip(pixels, numbers, strict=True):
        digest = hashlib.sha256(np.ascontiguousarray(row).data)
        digest.update(label.tobytes())
        digests.append(digest.digest())
    digests.sort()
    return hashlib.sha256(str(pixels.shape[1:]).encode() + b"".join(digests)).hexdigest()


def _batch(path: Path, info: DatasetInfo, key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels uint8 (N, channels * side * side), colour planes one after the other, and labels (N,)."""
    try:
        with path.open("rb") as file:
            refuse_larger(os.fstat(file.fileno()).st_size, f"'{path}'", most=2**30)
            found = _Unpickler(file, path).load()
        batch = {k.decode() if isinstance(k, bytes) else k: value for k, value in found.items()}
        pixels, labels = _numbers(batch["data"]), _numbers(batch[key])
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"'{path}' is damaged ({reason(error)})") from error
    width = info.channels * info.side**2
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (width,) or labels.shape != pixels.shape[:1]:
        raise UserError(
            f"'{path}' has pixels {pixels.dtype}{pixels.shape} and labels {labels.shape}, not "
            f"uint8(N, {width}) and (N,)"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= info.classes):
        raise UserError(
            f"'{path}' has labels from {labels.min()} to {labels.max()}, not 0 to {info.classes - 1}"
        )
    return pixels, labels.astype(np.int64)


class _Unpickler(pickle._Unpickler):
    """Reads lists, dicts, text, numbers and arrays of integers; refuses every other name.

    The one written in Python: that in C reserves memory for the highest number in the file.

    Names of numpy get stand-ins, so that neither numpy's own unpickling code nor anything else that
    could act sees the file's content.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file, encoding="bytes")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        # numpy.core until numpy 1, numpy._core since 2.
        stand_in = _STAND_INS.get((module.replace("numpy.core.", "numpy._core."), name))
        if stand_in is None:
            raise UserError(
                f"'{self.path}' contains code ({module}.{name}) and is not read: no official batch does"
            )
        return stand_in


class _Kind:
    """Stands in for `numpy.dtype`: integers of 1 to 8 bytes."""

    def __init__(self, code: str | bytes, *_flags: object) -> None:
        text = code.decode() if isinstance(code, bytes) else code
        if text not in {f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)}:
            raise ValueError(f"values of kind {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands in for `numpy.ndarray` and what makes an empty one."""

    values: NDArray[Any]

    def __init__(self, *_what: object) -> None:
        """An array without values, which come by `__setstate__`."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, fortran, raw = state
        self.values = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if fortran else "C")


def _frombuffer(raw: bytes, kind: _Kind, shape: tuple[int, ...], order: str) -> _Array:
    """Stands in for what makes an array in pickles of protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", raw))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`: bytes in pickles of protocol 2."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encode,
}


def _numbers(values: object) -> NDArray[Any]:
    """An array of integers from a stand-in or a list."""
    array = values.values if isinstance(values, _Array) else np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueError("values that are not whole numbers")
    return array
