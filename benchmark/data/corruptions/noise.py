"""Corruptions that add noise to every value on its own.

Each takes x, (N, H, W, C) with values in [0, 1], one random stream per image and the constants of
its severity (benchmark/data/corruptions/constants.py), and returns the same shape before clipping.
"""

import numpy as np

from benchmark.data.corruptions.constants import Constants
from benchmark.data.corruptions.filters import FloatArray
from benchmark.data.corruptions.streams import Streams, per_image


def gaussian_noise(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Add normal noise. Constants: its standard deviation, on the [0, 1] scale."""
    (sigma,) = constants
    return x + sigma * per_image(streams, lambda stream: stream.standard_normal(x.shape[1:]))


def shot_noise(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Replace each value by a Poisson count around it. Constants: the count that means white."""
    (photons,) = constants
    counts = [stream.poisson(image * photons) for stream, image in zip(streams, x, strict=True)]
    return np.stack(counts) / photons


def impulse_noise(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Set values to 0 or 1, evenly likely. Constants: the chance that a value is replaced."""
    (amount,) = constants
    draws = per_image(streams, lambda stream: stream.random((2, *x.shape[1:])))
    salt = (draws[:, 1] < 0.5).astype(np.float64)
    return np.where(draws[:, 0] < amount, salt, x)


def speckle_noise(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Add normal noise in proportion to the value. Constants: its standard deviation at white."""
    (sigma,) = constants
    return x + x * sigma * per_image(streams, lambda stream: stream.standard_normal(x.shape[1:]))
