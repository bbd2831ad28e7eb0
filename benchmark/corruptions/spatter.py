"""Corruption by spatter: drops of water, or specks of mud at the higher severities."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.corruptions.colour import luma
from benchmark.corruptions.constants import Constants
from benchmark.corruptions.filters import FloatArray, convolve, gaussian_blur
from benchmark.corruptions.streams import Streams, per_image

WATER = np.array([175, 238, 238]) / 255  # pale turquoise
MUD = np.array([63, 42, 20]) / 255  # brown
_FURTHEST = 20  # pixels; the scripts do not tell distances from the edge beyond it apart
_RELIEF = np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
_MEAN = np.full((3, 3), 1 / 9)


def spatter(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Cover the picture with drops of a liquid.

    Constants: mean, deviation and smoothness (sigma, pixels) of the liquid's field; the level below
    which there is no liquid; for water the most that is added at a drop's brightest point, for mud
    the sigma (pixels) of the softened specks; and 0 for water or 1 for mud.

    Water adds turquoise light that follows a relief of the drops: distance from the drops' edges,
    equalised and embossed. Mud replaces the picture where the softened specks reach 0.8. Different
    from the scripts' OpenCV: an edge is a liquid pixel beside one without liquid instead of Canny's
    outline, distances are Euclidean instead of a chamfer estimate, means are not rounded on the way
    except before equalising, and an image without any drop stays as it is (there 0 / 0). Grey
    images take the luma of the colours. Other arguments as in corruption_noise.py.
    """
    mean, deviation, smoothness, threshold, strength, mud = constants
    shape = (*x.shape[1:3], 1)
    field = per_image(streams, lambda stream: stream.normal(mean, deviation, shape))
    field = gaussian_blur(field, smoothness, "edge", 4)
    if mud:
        cover = gaussian_blur((field > threshold).astype(np.float64), strength, "edge", 4)
        cover = np.where(cover < 0.8, 0, cover)
        return x * (1 - cover) + cover * _colour(MUD, x.shape[3])
    liquid = np.where(field < threshold, 0, field)
    drops = liquid * relief(liquid > 0)
    peak: FloatArray = drops.max(axis=(1, 2), keepdims=True)
    return x + strength * drops / np.where(peak == 0, 1, peak) * _colour(WATER, x.shape[3])


def _colour(colour: FloatArray, channels: int) -> FloatArray:
    return luma(colour) if channels == 1 else colour


def relief(wet: NDArray[np.bool_]) -> FloatArray:
    """How the light falls on the drops `wet` (N, H, W, 1): the same shape, from 0 to 255."""
    dry = np.pad(~wet, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    beside = dry[:, :-2, 1:-1] | dry[:, 2:, 1:-1] | dry[:, 1:-1, :-2] | dry[:, 1:-1, 2:]
    away = np.stack([_distances(edge) for edge in wet & beside])
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
