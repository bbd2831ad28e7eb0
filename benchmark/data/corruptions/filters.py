"""Blurs and resamplings of image batches, written so that no image can influence another.

Every function takes a float64 batch `x` of shape (N, H, W, C) and returns a new one. Only
elementwise sums and gathers are used, never a matrix product: BLAS may round differently for
different batch sizes, and the corruptions must be identical image by image. The order of the sums
is part of the results: a change of it may change their last bit.
"""

import math
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def convolve(x: FloatArray, kernel: FloatArray, border: Literal["reflect", "edge"]) -> FloatArray:
    """Correlate the rows and columns of `x` with a 2-D `kernel` of odd sides.

    `border` is numpy's padding name: "reflect" mirrors without repeating the edge pixel,
    "edge" repeats it.
    """
    height, width = x.shape[1:3]
    tall, wide = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(x, ((0, 0), (tall, tall), (wide, wide), (0, 0)), mode=border)
    total, term = np.zeros(x.shape), np.empty(x.shape)
    for row, column in np.argwhere(kernel != 0):
        window = padded[:, row : row + height, column : column + width]
        total += np.multiply(kernel[row, column], window, out=term)
    return total


def gaussian_taps(sigma: float, radius: int) -> FloatArray:
    """2 * `radius` + 1 samples of a Gaussian of `sigma` > 0 pixels, summing to 1."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(taps / taps.sum())


def gaussian_blur(
    x: FloatArray, sigma: float, border: Literal["reflect", "edge"], reach: float
) -> FloatArray:
    """Blur with a Gaussian of `sigma` pixels, cut off `reach` sigmas from its centre."""
    radius = int(reach * sigma + 0.5)
    if radius == 0:
        return x.copy()
    taps = gaussian_taps(sigma, radius)
    return convolve(convolve(x, taps[:, None], border), taps[None, :], border)


def disc_kernel(radius: float, smoothing: float) -> FloatArray:
    """A normalised disc of `radius` pixels, softened by a 3x3 Gaussian.

    A radius below 1 leaves one pixel, so that the blur is then all in `smoothing` (pixels).
    """
    reach = int(radius) + 1  # one ring of zeros for the softening to spread into
    offset = np.arange(-reach, reach + 1)
    disc = (offset[:, None] ** 2 + offset[None, :] ** 2 <= radius**2).astype(np.float64)
    taps = gaussian_taps(smoothing, 1)
    disc = disc[None, :, :, None] / disc.sum()
    return convolve(convolve(disc, taps[:, None], "edge"), taps[None, :], "edge")[0, :, :, 0]


def trail_blur(x: FloatArray, angles: FloatArray, radius: int, sigma: float) -> FloatArray:
    """Smear image n along `angles[n]` degrees: 2 * `radius` + 1 shifted copies, one-sided.

    The weights fall as a Gaussian of `sigma` pixels from the unshifted copy; shifts are whole
    pixels and edge pixels repeat. This stands in for the motion blur of ImageMagick.
    """
    count, height, width, channels = x.shape
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    direction = np.deg2rad(angles)
    down = np.ceil(steps[:, None] * np.sin(direction) - 0.5).astype(np.int64)
    right = np.ceil(steps[:, None] * np.cos(direction) - 0.5).astype(np.int64)

    # A shifted row is a run of the padded batch laid out as one line; `runs[start]` is that run.
    left, righter = max(0, -int(right.min())), max(0, int(right.max()))
    padded = np.pad(x, ((0, 0), (0, 0), (left, righter), (0, 0)), mode="edge")
    runs = sliding_window_view(padded.reshape(-1), width * channels)
    rows = np.clip(np.arange(height) + down[..., None], 0, height - 1)
    lines = np.arange(count)[:, None] * height + rows
    starts = (lines * padded.shape[2] + left + right[..., None]) * channels
    total = np.zeros((count, height, width * channels))
    for start, weight in zip(starts, weights, strict=True):
        term = runs[start]
        term *= weight
        total += term
    return total.reshape(x.shape)


def _mirrored(index: IntArray, size: int) -> IntArray:
    """Fold any whole `index` into 0..size-1 by mirroring at the first and last pixel."""
    period = 2 * (size - 1)
    low, high = int(index.min()), int(index.max())
    folded = np.abs(np.arange(low, high + 1)) % period
    table = np.minimum(folded, period - folded)
    return np.take(table, index - low)


def sample(x: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Read `x` at real-valued pixel positions, bilinearly, mirrored at the borders.

    `rows` and `columns` have shape (N, H', W'), or (1, H', W') for one grid for all images; the
    result is (N, H', W', C).
    """
    count, height, width, channels = x.shape
    top, left = np.floor(rows), np.floor(columns)
    lower, righter = (rows - top)[..., None], (columns - left)[..., None]
    row, column = top.astype(np.int64), left.astype(np.int64)
    row_0, row_1 = _mirrored(row, height) * width, _mirrored(row + 1, height) * width
    column_0, column_1 = _mirrored(column, width), _mirrored(column + 1, width)
    first = np.arange(count)[:, None, None] * (height * width)
    row_0, row_1 = row_0 + first, row_1 + first
    pixels = x.reshape(-1, channels)
    lefter, higher = 1 - righter, 1 - lower

    def line(start: IntArray) -> FloatArray:
        values = np.take(pixels, start + column_0, axis=0)
        values *= lefter
        others = np.take(pixels, start + column_1, axis=0)
        others *= righter
        values += others
        return values

    above, below = line(row_0), line(row_1)
    above *= higher
    below *= lower
    above += below
    return above


def zoom(x: FloatArray, factor: float) -> FloatArray:
    """Magnify by `factor` >= 1, keeping the size, in whole pixels as the published scripts do.

    A square of ceil(side / `factor`) pixels is cut from the middle, enlarged to the nearest whole
    number of pixels, corners onto corners, and trimmed to the old side. What is odd in either cut goes
    to the lower right, so that the picture may move by up to a pixel.
    """
    return _stretched(_stretched(x, factor, 2), factor, 1)


def _stretched(x: FloatArray, factor: float, axis: Literal[1, 2]) -> FloatArray:
    """`zoom` along one axis. Columns, then rows: the arithmetic of `sample`, with less to do."""
    size = x.shape[axis]
    cut = math.ceil(size / factor)
    enlarged = round(cut * factor)
    steps = np.arange(size) + (enlarged - size) // 2
    position = (size - cut) // 2 + steps * (cut - 1) / (enlarged - 1)
    before = np.floor(position)
    index = before.astype(np.int64)
    share = (position - before)[:, None] if axis == 2 else (position - before)[:, None, None]
    out = np.take(x, _mirrored(index, size), axis=axis)
    out *= 1 - share
    after = np.take(x, _mirrored(index + 1, size), axis=axis)
    after *= share
    out += after
    return out
