"""Corruptions by weather: snow, fog and spatter (frost has a file of its own).

Arguments as in noise.py.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.data.corruptions.constants import Constants
from benchmark.data.corruptions.digital import luma
from benchmark.data.corruptions.filters import FloatArray, convolve, gaussian_blur, trail_blur, zoom
from benchmark.data.corruptions.streams import Streams, per_image

WATER = np.array([175, 238, 238]) / 255  # pale turquoise
MUD = np.array([63, 42, 20]) / 255  # brown
_FURTHEST = 20  # pixels; the scripts do not tell distances from the edge beyond it apart
_WEAK, _STRONG = 50, 150  # lengths of gradients, in levels
_TANGENT = np.sqrt(2) - 1  # of 22.5 degrees; that of 67.5 is 2 more
_SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
_BESIDE = np.zeros((3, 3, 3), dtype=np.bool_)
_BESIDE[1] = True  # the eight neighbours in the same image
_RELIEF = np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
_MEAN = np.full((3, 3), 1 / 9)


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


def clouds(streams: Streams, side: int, decay: float | FloatArray) -> FloatArray:
    """Draw one plasma map per image, (N, side, side, 1) in [0, 1]; all `SIDES` are powers of two."""
    noise = per_image(streams, lambda stream: stream.uniform(-1, 1, (side, side)))
    return plasma(noise, decay)[..., None]


def fog(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Add a cloud map, then scale back to the old maximum. Constants: thickness, map decay."""
    thickness, decay = constants
    peak: FloatArray = x.max(axis=(1, 2, 3), keepdims=True)
    thick = thickness * clouds(streams, x.shape[1], decay)
    return (x + thick) * peak / (peak + thickness)


def spatter(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Cover the picture with drops of a liquid.

    Constants: mean, deviation and smoothness (sigma, pixels) of the liquid's field; the level below
    which there is no liquid; for water the most that is added at a drop's brightest point, for mud
    the sigma (pixels) of the softened specks; and 0 for water or 1 for mud.

    Water adds turquoise light that follows a relief of the drops: distance from the drops' outlines,
    equalised and embossed. Mud replaces the picture where the softened specks reach 0.8. Different
    from the scripts' OpenCV: distances are Euclidean instead of a chamfer estimate, means are not
    rounded on the way except before equalising, and an image without any drop stays as it is (there
    0 / 0). Grey images take the luma of the colours. Other arguments as in noise.py.
    """
    mean, deviation, smoothness, threshold, strength, mud = constants
    shape = (*x.shape[1:3], 1)
    field = per_image(streams, lambda stream: stream.normal(mean, deviation, shape))
    field = gaussian_blur(field, smoothness, "edge", 4)
    if mud:
        cover = gaussian_blur((field > threshold).astype(np.float64), strength, "edge", 4)
        cover = np.where(cover < 0.8, 0, cover)
        return x * (1 - cover) + cover * _colour(MUD, x.shape[3])
    levels = np.floor(255 * np.where(field < threshold, 0, np.clip(field, 0, 1)))
    drops: FloatArray = levels * relief(outlines(levels))
    peak: FloatArray = drops.max(axis=(1, 2, 3), keepdims=True)
    return x + strength * drops / np.where(peak == 0, 1, peak) * _colour(WATER, x.shape[3])


def _colour(colour: FloatArray, channels: int) -> FloatArray:
    return luma(colour) if channels == 1 else colour


def outlines(levels: FloatArray) -> NDArray[np.bool_]:
    """Where whole `levels` (N, H, W, 1) of 0..255 have an edge: Canny's detector (1986), unsmoothed.

    Gradients are Sobel's, as long as |across| + |down|. An edge is a pixel whose gradient is the
    longest along its direction and longer than `_WEAK`, and which is joined, also by corners, to such
    a pixel whose gradient is longer than `_STRONG`.
    """
    across, down = (convolve(levels, kernel, "edge")[..., 0] for kernel in (_SOBEL, _SOBEL.T))
    length = np.abs(across) + np.abs(down)
    weak = _longest(length, across, down) & (length > _WEAK)
    edges = ndimage.binary_propagation(weak & (length > _STRONG), _BESIDE, mask=weak)
    return np.asarray(edges)[..., None]


def _longest(length: FloatArray, across: FloatArray, down: FloatArray) -> NDArray[np.bool_]:
    """Where a gradient is longer than its neighbours along it, to 45 degrees; all are (N, H, W).

    Of two that are equally long it is the upper, or else the left one.
    """
    height, width = length.shape[1:]
    padded = np.pad(length, ((0, 0), (1, 1), (1, 1)))
    level = np.abs(down) < _TANGENT * np.abs(across)
    upright = np.abs(down) > (2 + _TANGENT) * np.abs(across)
    falling = across * down >= 0
    longest = []
    for r, c in ((0, 1), (1, 0), (1, 1), (1, -1)):
        before = padded[:, 1 - r : 1 - r + height, 1 - c : 1 - c + width]
        after = padded[:, 1 + r : 1 + r + height, 1 + c : 1 + c + width]
        longest.append((length > before) & (length >= after))
    return np.select([level, upright, falling, ~falling], longest, default=False)


def relief(edges: NDArray[np.bool_]) -> FloatArray:
    """How the light falls on drops with these `edges` (N, H, W, 1): the same shape, from 0 to 255."""
    away = np.stack([_distances(edge) for edge in edges])
    levels = convolve(np.minimum(away, _FURTHEST), _MEAN, "reflect")
    equal = _equalised(np.floor(levels + 1e-9))  # the mean of nine equal numbers may be just below
    return convolve(np.clip(convolve(equal, _RELIEF, "reflect"), 0, 255), _MEAN, "reflect")


def _distances(edge: NDArray[np.bool_]) -> FloatArray:
    """Distance in pixels to the nearest True of (H, W, 1); `_FURTHEST` where there is none."""
    if not edge.any():
        return np.full(edge.shape, float(_FURTHEST))
    distances: FloatArray = ndimage.distance_transform_edt(~edge[..., 0])
    return distances[..., None]


def _equalised(levels: FloatArray) -> FloatArray:
    """Spread whole `levels` 0.._FURTHEST of each image over 0..255 by their cumulative frequency.

    As OpenCV's equalizeHist: the lowest level present becomes 0; an image of one level stays as it is.
    """
    flat = levels.reshape(len(levels), -1)
    counts = (flat[:, :, None] <= np.arange(_FURTHEST + 1)).sum(axis=1)
    lowest = np.take_along_axis(counts, flat.min(axis=1).astype(np.int64)[:, None], axis=1)
    span = flat.shape[1] - lowest
    table = np.rint(255 * (counts - lowest) / np.maximum(span, 1))
    table = np.where(span == 0, np.arange(_FURTHEST + 1), table)
    return np.take_along_axis(table, flat.astype(np.int64), axis=1).reshape(levels.shape)
