"""Corruption by frost: a procedural stand-in, or pictures of the user's as in the published scripts.

The scripts lay a random crop of one of five photographs over the image. Their origin is not stated,
so that none come with this suite.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.corruptions.constants import Constants
from benchmark.data.corruptions.digital import luma
from benchmark.data.corruptions.filters import FloatArray, sample
from benchmark.data.corruptions.streams import Streams
from benchmark.data.corruptions.weather import clouds
from benchmark.data.jpegs import BROKEN, Pixels
from benchmark.errors import UserError

# By image side; 32 and 64 as make_cifar_c.py and make_tinyimagenet_c.py, 8 is ours.
SCALES = {8: 0.05, 32: 0.2, 64: 0.3}
# Decay of the plasma map (small is rough), thinness of its ridges, brightness of the ground and of the
# crests. They differ in strength as the scripts' five pictures do: chosen for the PSNR on CIFAR-10.
TEXTURES = (
    (1.6, 2, 0.42, 1),
    (1.4, 1, 0.2, 0.69),
    (1.2, 0.5, 0.53, 0.94),
    (1.8, 1.5, 0.25, 0.92),
    (2.4, 0.7, 0.46, 0.95),
)
SUFFIXES = (".jpeg", ".jpg", ".png")
PICTURES = 5  # of a folder; the scripts come with six but draw an index below five


def frost(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Lay procedural frost over the picture: no photographs, as the generator's `SPEC` says.

    The stand-in is a grey veil with bright filaments, the ridges of a plasma map; which of `TEXTURES`
    it is, is drawn for every image. Constants: weight of the picture and weight of the frost.
    Arguments as in noise.py.
    """
    kept, added = constants
    drawn = [TEXTURES[stream.integers(len(TEXTURES))] for stream in streams]
    decay, sharpness, ground, crest = np.transpose(drawn)[..., None, None, None]
    height = clouds(streams, x.shape[1], decay)
    ridges = np.maximum(1 - sharpness * np.abs(2 * height - 1), 0) ** 2
    layer: FloatArray = ground + (crest - ground) * ridges
    return kept * x + added * layer


class PhotographedFrost:
    """The operation with `pictures`, as the published scripts have it, for images of one `side`.

    `pictures` are (H, W, 3) uint8 of any sizes that leave at least `side` pixels each way when scaled
    by `SCALES[side]`, as `load_frost` gives them; their luma is laid over grey images. For every image
    a picture and a crop of it are drawn.

    Scaling reads bilinearly at the centres of the new pixels, without smoothing first, as the
    scripts' OpenCV call does.
    """

    def __init__(self, pictures: Sequence[Pixels], side: int) -> None:
        self._pictures = [_scaled(picture, side) for picture in pictures]

    def __call__(self, x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
        """Constants: weight of the picture and weight of the frost."""
        kept, added = constants
        layer = np.stack([self._crop(stream, x.shape[1]) for stream in streams])
        return kept * x + added * (luma(layer) if x.shape[3] == 1 else layer)

    def _crop(self, stream: np.random.Generator, side: int) -> FloatArray:
        picture = self._pictures[stream.integers(len(self._pictures))]
        top = stream.integers(picture.shape[0] - side, endpoint=True)
        left = stream.integers(picture.shape[1] - side, endpoint=True)
        return picture[top : top + side, left : left + side]


def least_picture_side(side: int) -> int:
    """The least height and width of a frost picture for images of `side` pixels."""
    return math.ceil(side / SCALES[side])


def _scaled(picture: Pixels, side: int) -> FloatArray:
    """One picture in [0, 1] at its reduced size."""
    scale = SCALES[side]
    rows, columns = (
        np.clip((np.arange(round(size * scale)) + 0.5) / scale - 0.5, 0, size - 1)
        for size in picture.shape[:2]
    )
    grid = np.broadcast_arrays(rows[None, :, None], columns[None, None, :])
    small: FloatArray = sample(picture[None] / 255, grid[0], grid[1])[0]
    return small


def load_frost(folder: Path, side: int = 64) -> tuple[list[Pixels], str]:
    """The first `PICTURES` .jpg, .jpeg and .png files of `folder` by name, and a sha256.

    They are (H, W, 3) uint8. The hash is of the pixels in that order: it names the pictures in records
    and depends on the JPEG decoder, not on file names. The pictures must serve images of up to `side`
    pixels. Raises `UserError` if the folder has none, or one is unreadable or too small.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}'; name one with .jpg or .png frost pictures")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"'{folder}' has no .jpg, .jpeg or .png file; put frost pictures there")
    pictures, digest, least = [], hashlib.sha256(), least_picture_side(side)
    for path in paths[:PICTURES]:
        try:
            with Image.open(path) as image:
                picture = np.asarray(image.convert("RGB"))
        except BROKEN as error:
            raise UserError(f"'{path}' cannot be read as a picture; replace or remove it") from error
        height, width = picture.shape[:2]
        if min(height, width) < least:
            raise UserError(
                f"'{path}' is {width}x{height} pixels; images of side {side} need at least "
                f"{least}x{least}"
            )
        digest.update(str(picture.shape).encode())
        digest.update(picture.tobytes())
        pictures.append(picture)
    return pictures, digest.hexdigest()
