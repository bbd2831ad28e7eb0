"""Corruptions that map each pixel's colour, resample or re-encode; arguments as in noise.py.

Hue and saturation of a grey picture (C = 1) are those of the colour picture with three equal
channels, and the result is the luma of what becomes of that picture.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.corruptions.constants import Constants
from benchmark.data.corruptions.filters import FloatArray, gaussian_blur, sample
from benchmark.data.corruptions.streams import Streams, per_image


def luma(x: FloatArray) -> FloatArray:
    """The grey version of (..., C), as (..., 1), with the ITU-R BT.601 weights."""
    if x.shape[-1] == 1:
        return x
    return 0.299 * x[..., :1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:]


def brightness(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Raise the value channel of HSV at fixed hue and saturation. Constants: the rise.

    With one channel this is an addition. Black has no hue and becomes grey.
    """
    (rise,) = constants
    value: FloatArray = x.max(axis=3, keepdims=True)
    black = value == 0
    ratio: FloatArray = np.where(black, 1, x / np.where(black, 1, value))
    return ratio * np.clip(value + rise, 0, 1)


def contrast(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Pull every value towards its channel's mean. Constants: the share of contrast kept."""
    (kept,) = constants
    # One image at a time: numpy may add in another order when the batch is longer.
    mean: FloatArray = np.stack([image.mean(axis=(0, 1), keepdims=True) for image in x])
    return (x - mean) * kept + mean


def saturate(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Map the saturation S of HSV to a * S + b at fixed hue and value. Constants: a and b.

    Greys have no hue; where b > 0 they turn reddish, hue 0 being red in the scripts' HSV. With one
    channel, a has therefore no effect and b > 0 darkens.
    """
    factor, rise = constants
    grey = x.shape[3] == 1
    value: FloatArray = x.max(axis=3, keepdims=True)
    chroma = value - x.min(axis=3, keepdims=True)
    colourless = chroma == 0
    saturation = chroma / np.where(colourless, 1, value)
    wanted = np.clip(saturation * factor + rise, 0, 1)
    red = np.array([0.0, 1.0, 1.0])
    # How far each channel lies below the value, as a share of the chroma; fixed by the hue.
    below = np.where(colourless, red, (value - x) / np.where(colourless, 1, chroma))
    out = value * (1 - wanted * below)
    return luma(out) if grey else out


def elastic_transform(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Apply a random affine map, then a smooth random displacement.

    Constants, all in units of the image side: amplitude and smoothness (sigma) of the
    displacement, and the largest shift of the three points that define the affine map.
    """
    amplitude, smoothness, shift = (constant * x.shape[1] for constant in constants)
    height, width = x.shape[1:3]
    jitter = per_image(streams, lambda stream: stream.uniform(-shift, shift, (3, 2)))

    centre, arm = height / 2, height // 3
    points = centre + arm * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    targets = np.concatenate([points + jitter, np.ones((len(x), 3, 1))], axis=2)
    back = np.linalg.solve(targets, np.broadcast_to(points, (len(x), 3, 2)))[:, :, :, None, None]
    rows, columns = np.indices((height, width), dtype=np.float64)
    source = back[:, 0] * rows + back[:, 1] * columns + back[:, 2]
    x = sample(x, source[:, 0], source[:, 1])
    if amplitude == 0:
        return x

    field = per_image(streams, lambda stream: stream.uniform(-1, 1, (height, width, 2)))
    field = amplitude * gaussian_blur(field, smoothness, "reflect", 3)
    return sample(x, rows + field[..., 0], columns + field[..., 1])


def _pictures(x: FloatArray) -> list[Image.Image]:
    """(N, H, W, C) in [0, 1] as grey (C = 1) or RGB (C = 3) Pillow images, rounded to 8 bits."""
    levels = np.rint(x * 255).astype(np.uint8)
    return [Image.fromarray(image) for image in (levels[..., 0] if x.shape[3] == 1 else levels)]


def _floats(pictures: Sequence[Image.Image], shape: tuple[int, ...]) -> FloatArray:
    """Pillow images back as an array of `shape` (N, H, W, C) in [0, 1]."""
    levels: NDArray[np.uint8] = np.stack([np.asarray(picture) for picture in pictures])
    return levels.reshape(shape) / 255


def pixelate(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Shrink and enlarge with a box filter. Constants: the height and the width kept, as shares.

    The published scripts shrink both alike. On 8 pixels that leaves too few sizes, and going from
    6 to 5 even lowers the error, so that some of our steps shrink only one way.
    """
    height, width = x.shape[1:3]
    small = (int(width * constants[1]), int(height * constants[0]))
    box = Image.Resampling.BOX
    coarse = [image.resize(small, box).resize((width, height), box) for image in _pictures(x)]
    return _floats(coarse, x.shape)


def jpeg_compression(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Encode and decode as JPEG. Constants: Pillow's quality, 1..95."""
    (quality,) = constants
    decoded = []
    for image in _pictures(x):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(quality))
        decoded.append(Image.open(stream, formats=["JPEG"]))
    return _floats(decoded, x.shape)
