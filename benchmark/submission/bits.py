"""Files of packed bits, read without trusting them."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmark.data.sealed import read_header

LARGEST_BITS = 2**26
"""Bytes of all arrays of a file, at most."""


def unpacked(packed: bytes) -> Iterator[tuple[str, Any]]:
    """Boolean arrays (N,) by name.

    Nothing is read before its size is known to be what its header claims. Raises `ValueError`, among
    others, for what is not such a file.
    """
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST_BITS:
            raise ValueError(f"its arrays have more than {LARGEST_BITS:,} bytes")
        for member in archive.infolist():
            with archive.open(member) as file:
                if (header := read_header(file)).size != member.file_size:
                    raise ValueError(f"{member.filename} is said to be {header}, which it is not")
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        members = {name: np.asarray(arrays[name]) for name in arrays.files}
    n = members.pop("n", None)
    if n is None or n.shape != () or n.dtype.kind not in "iu":
        raise ValueError("it does not say its number n of images")
    count = int(n)
    for name, array in members.items():
        if count < 1 or array.dtype != np.uint8 or array.shape != (-(-count // 8),):
            raise ValueError(f"{name} is {array.dtype}{array.shape}, which is not {count} packed bits")
        yield name, np.unpackbits(array, count=count).astype(bool)
