"""Corruptions that map each pixel's colour, wherever it is; arguments as in corruption_noise.py.

Hue and saturation of a grey picture (C = 1) are those of the colour picture with three equal
channels, and the result is the luma of what becomes of that picture.
"""

import numpy as np

from benchmark.data.corruptions.constants import Constants
from benchmark.data.corruptions.filters import FloatArray
from benchmark.data.corruptions.streams import Streams


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
