"""The header of a .npy file, read without trusting it: no objects, nothing to unpickle."""

import io
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """What a file says of its array; the array begins after `length` bytes."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    length: int

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


def read_header(file: BinaryIO) -> Header:
    """The header that begins `file`, which is left at the array.

    Raises `ValueError` if there is none, or the array is of Python objects.
    """
    try:
        shape, fortran_order, dtype = _READERS[npy.read_magic(file)](file)
    except (KeyError, ValueError, SyntaxError, TokenError) as error:
        raise ValueError("no header of a .npy file") from error
    if dtype.hasobject:
        raise ValueError("Python objects, which are not read")
    return Header(shape, fortran_order, dtype, file.tell())


def header_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The header of an array in C order."""
    buffer = io.BytesIO()
    about = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(buffer, about)
    return buffer.getvalue()
