"""Plasma clouds by diamond-square (Fournier, Fussell & Carpenter, 1982), for many maps at once."""

import numpy as np

from benchmark.data.corruptions.filters import FloatArray


def plasma_noise_side(side: int) -> int:
    """Return the side of the noise that ``plasma`` needs for ``side`` pixels: a power of two."""
    return 1 << (side - 1).bit_length()


def plasma(noise: FloatArray, decay: float | FloatArray) -> FloatArray:
    """Turn (N, S, S) ``noise`` in [-1, 1], S a power of two >= 2, into N cloud maps in [0, 1].

    Every point is the mean of its four neighbours on the torus plus its own noise, whose
    amplitude falls by ``decay`` squared at each halving of the grid (squared because the
    published corruption scripts apply their amplitude twice). A larger decay is smoother. Each
    map spans [0, 1] exactly.
    """
    heights = np.zeros_like(noise)
    amplitude, step = np.ones((1, 1, 1)), noise.shape[1]
    fall = np.reshape(decay, (-1, 1, 1)) ** 2
    while step > 1:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        square = pairs + np.roll(pairs, -1, axis=2)
        centres = square / 4 + amplitude * noise[:, half::step, half::step]
        heights[:, half::step, half::step] = centres
        # The middles of the horizontal edges lie between two corners along axis 2 and two square
        # centres along axis 1; those of the vertical edges the other way round.
        for axis, row, column in ((2, 0, half), (1, half, 0)):
            ends = corners + np.roll(corners, -1, axis=axis)
            sides = centres + np.roll(centres, 1, axis=3 - axis)
            middles = (ends + sides) / 4 + amplitude * noise[:, row::step, column::step]
            heights[:, row::step, column::step] = middles
        amplitude, step = amplitude / fall, half
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights
