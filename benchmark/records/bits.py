"""Files of packed bits: their names, and what is in them."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HASH = 12
"""Digits of the hash in the name of a file of bits."""


def bits_path(path: Path, sha256: str) -> Path:
    """Where the bits with the hash `sha256`, of the record at `path`, are written."""
    return path.with_name(f"{path.stem}.{sha256[:HASH]}.npz")


def bits_beside(path: Path, sha256: str) -> Path:
    """Where they are read: `bits_path`, or the name in older trees if only that exists."""
    new, old = bits_path(path, sha256), path.with_suffix(".npz")
    return old if old.exists() and not new.exists() else new


def pack_bits(bits: Mapping[str, NDArray[Any]]) -> tuple[bytes, str]:
    """The bytes of a packed npz of equally long boolean arrays, and their sha256."""
    lengths = {len(array) for array in bits.values()}
    if len(lengths) != 1:
        raise ValueError(f"bits of one record have one length, not {sorted(lengths)}")
    buffer = io.BytesIO()
    packed = {name: np.packbits(array.astype(bool)) for name, array in bits.items()}
    np.savez_compressed(buffer, n=np.int64(lengths.pop()), **packed)  # type: ignore[arg-type]
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()
