"""JPEG and PNG files of one known size as uint8 arrays."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from benchmark.errors import UserError

Pixels = NDArray[np.uint8]
BROKEN = (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError)
"""What Pillow raises for files that are no pictures or are damaged."""


def decode(content: bytes, side: int, name: str, kind: str = "JPEG") -> Pixels:
    """The picture in `content` as uint8 (side, side, 3); a grey one gets three equal channels.

    The values are those of torchvision's image folders, which read with Pillow and convert to RGB
    too. Raises `UserError` with `name` if it is no whole file of `kind`, JPEG or PNG, or not `side`
    pixels wide and high.
    """
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as picture:
            if picture.size != (side, side):  # known from the header, before anything is decoded
                width, height = picture.size
                raise UserError(f"'{name}' has {width}x{height} pixels; {side}x{side} are right")
            return np.asarray(picture.convert("RGB"))
    except BROKEN as error:
        reason = f"not a {kind} file" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"'{name}' cannot be decoded ({reason})") from error


def decode_all(
    names: Sequence[str], read: Callable[[str], bytes], side: int, threads: int, kind: str = "JPEG"
) -> Pixels:
    """The pictures `names`, in that order, as uint8 (N, side, side, 3).

    `read` gives the content of a name and is called from `threads` threads. Raises `UserError` as
    `decode` does.
    """
    images = np.empty((len(names), side, side, 3), np.uint8)

    def fill(row: int) -> None:
        images[row] = decode(read(names[row]), side, names[row], kind)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(names))):
            pass  # only to meet an error; `map` then drops what has not begun
    return images


def decoder() -> str:
    """The libraries that decode, whose versions may change last bits of pixels."""
    turbo = features.version_feature("libjpeg_turbo")
    library = features.version_codec("jpg") if turbo is None else f"turbo {turbo}"
    return f"pillow {features.version_module('pil')}, libjpeg {library}"
