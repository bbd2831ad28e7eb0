"""Blurs and resamplings of image batches, written so that no image can influence another.

Every function takes a float64 batch ``x`` of shape (N, H, W, C) and returns a new one. Only
elementwise sums and gathers are used, never a matrix product: BLAS may round differently for
different batch sizes, and the corruptions must be identical image by image.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def convolve(x: FloatArray, kernel: FloatArray, border: Literal["reflect", "edge"]) -> FloatArray:
    """Correlate the rows and columns of ``x`` with a 2-D ``kernel`` of odd sides.

    ``border`` is numpy's padding name: "reflect" mirrors without repeating the edge pixel,
    "edge" repeats it.
    """
    height, width = x.shape[1:3]
    tall, wide = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(x, ((0, 0), (tall, tall), (wide, wide), (0, 0)), mode=border)
    total = np.zeros_like(x)
    for row, column in np.argwhere(kernel != 0):
        weight = kernel[row, column]
        total += weight * padded[:, row : row + height, column : column + width]
    return total


def gaussian_taps(sigma: float, radius: int) -> FloatArray:
    """Return 2 * ``radius`` + 1 samples of a Gaussian of ``sigma`` > 0 pixels, summing to 1."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(taps / taps.sum())


def gaussian_blur(
    x: FloatArray, sigma: float, border: Literal["reflect", "edge"], reach: float
) -> FloatArray:
    """Blur with a Gaussian of ``sigma`` pixels, cut off ``reach`` sigmas from its centre."""
    radius = int(reach * sigma + 0.5)
    if radius == 0:
        return x.copy()
    taps = gaussian_taps(sigma, radius)
    return convolve(convolve(x, taps[:, None], border), taps[None, :], border)


def disc_kernel(radius: float, smoothing: float) -> FloatArray:
    """Return a normalised disc of ``radius`` pixels, softened by a 3x3 Gaussian.

    A radius below 1 leaves one pixel, so that the blur is then all in ``smoothing`` (pixels).
    """
    reach = int(radius) + 1  # one ring of zeros for the softening to spread into
    offset = np.arange(-reach, reach + 1)
    disc = (offset[:, None] ** 2 + offset[None, :] ** 2 <= radius**2).astype(np.float64)
    taps = gaussian_taps(smoothing, 1)
    disc = disc[None, :, :, None] / disc.sum()
    return convolve(convolve(disc, taps[:, None], "edge"), taps[None, :], "edge")[0, :, :, 0]


def trail_blur(x: FloatArray, angles: FloatArray, radius: int, sigma: float) -> FloatArray:
    """Smear image n along ``angles[n]`` degrees: 2 * ``radius`` + 1 shifted copies, one-sided.

    The weights fall as a Gaussian of ``sigma`` pixels from the unshifted copy; shifts are whole
    pixels and edge pixels repeat. This stands in for the motion blur of ImageMagick.
    """
    height, width = x.shape[1:3]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    direction = np.deg2rad(angles)
    image = np.arange(len(x))[:, None, None]
    total = np.zeros_like(x)
    for step, weight in zip(steps, weights, strict=True):
        down = np.ceil(step * np.sin(direction) - 0.5).astype(np.int64)
        right = np.ceil(step * np.cos(direction) - 0.5).astype(np.int64)
        rows = np.clip(np.arange(height) + down[:, None], 0, height - 1)
        columns = np.clip(np.arange(width) + right[:, None], 0, width - 1)
        total += weight * x[image, rows[:, :, None], columns[:, None, :]]
    return total


def _mirrored(index: IntArray, size: int) -> IntArray:
    """Fold any whole ``index`` into 0..size-1 by mirroring at the first and last pixel."""
    period = 2 * (size - 1)
    folded = np.abs(index) % period
    return np.asarray(np.minimum(folded, period - folded))


def sample(x: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Read ``x`` at real-valued pixel positions, bilinearly, mirrored at the borders.

    ``rows`` and ``columns`` have shape (N, H, W), or (1, H, W) for one grid for all images.
    """
    top, left = np.floor(rows), np.floor(columns)
    lower, righter = (rows - top)[..., None], (columns - left)[..., None]
    row, column = top.astype(np.int64), left.astype(np.int64)
    row_0, row_1 = _mirrored(row, x.shape[1]), _mirrored(row + 1, x.shape[1])
    column_0, column_1 = _mirrored(column, x.shape[2]), _mirrored(column + 1, x.shape[2])
    image = np.arange(len(x))[:, None, None]
    above = x[image, row_0, column_0] * (1 - righter) + x[image, row_0, column_1] * righter
    below = x[image, row_1, column_0] * (1 - righter) + x[image, row_1, column_1] * righter
    return above * (1 - lower) + below * lower


def zoom(x: FloatArray, factor: float) -> FloatArray:
    """Magnify by ``factor`` >= 1 about the image centre, keeping the size.

    The published scripts crop whole pixels first, which on 8 pixels would shift the picture;
    here the sampling grid is scaled instead.
    """
    rows, columns = (
        (np.arange(size) - (size - 1) / 2) / factor + (size - 1) / 2 for size in x.shape[1:3]
    )
    grid = np.broadcast_arrays(rows[None, :, None], columns[None, None, :])
    return sample(x, grid[0], grid[1])
