"""Corruptions by weather: snow and fog (frost and spatter have files of their own).

Arguments as in corruption_noise.py.
"""

import numpy as np

from benchmark.data.corruptions.colour import luma
from benchmark.data.corruptions.constants import Constants
from benchmark.data.corruptions.filters import FloatArray, trail_blur, zoom
from benchmark.data.corruptions.plasma import plasma, plasma_noise_side
from benchmark.data.corruptions.streams import Streams, per_image


def snow(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Lift the picture towards white and add falling flakes.

    Constants: mean and deviation of the flake field, its magnification, the level below which it
    is cut to 0, radius and sigma of the flakes' smear (pixels), and the share of the picture kept
    as it was. Flakes fall at an angle drawn from -135..-45 degrees and appear twice, the second
    time turned by half a turn.
    """
    mean, deviation, factor, threshold, radius, sigma, keep = constants
    shape = (*x.shape[1:3], 1)
    field = per_image(streams, lambda stream: stream.normal(mean, deviation, shape))
    angles = per_image(streams, lambda stream: stream.uniform(-135, -45))
    field = zoom(field, factor)
    flakes = np.where(field < threshold, 0, np.clip(field, 0, 1))
    flakes = trail_blur(flakes, angles, int(radius), sigma)
    pale = np.maximum(x, luma(x) * 1.5 + 0.5)
    return keep * x + (1 - keep) * pale + flakes + flakes[:, ::-1, ::-1]


def clouds(streams: Streams, side: int, decay: float | FloatArray) -> FloatArray:
    """Draw one plasma map per image, (N, side, side, 1) in [0, 1]."""
    size = plasma_noise_side(side)
    noise = per_image(streams, lambda stream: stream.uniform(-1, 1, (size, size)))
    return plasma(noise, decay)[:, :side, :side, None]


def fog(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Add a cloud map, then scale back to the old maximum. Constants: thickness, map decay."""
    thickness, decay = constants
    peak: FloatArray = x.max(axis=(1, 2, 3), keepdims=True)
    thick = thickness * clouds(streams, x.shape[1], decay)
    return (x + thick) * peak / (peak + thickness)
