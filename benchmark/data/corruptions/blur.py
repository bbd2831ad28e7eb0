"""Corruptions that blur; arguments as in noise.py."""

import numpy as np
from numpy.typing import NDArray

from benchmark.data.corruptions import filters
from benchmark.data.corruptions.constants import Constants
from benchmark.data.corruptions.filters import FloatArray, IntArray
from benchmark.data.corruptions.streams import Streams, per_image


def defocus_blur(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Blur with a softened disc. Constants: disc radius and softening sigma, in pixels."""
    radius, smoothing = constants
    return filters.convolve(x, filters.disc_kernel(radius, smoothing), "reflect")


def glass_blur(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Blur, displace pixels locally, blur again.

    Constants: blur sigma (pixels), largest displacement (pixels), passes, and the share of the
    pixels displaced (1 in the published scripts). A displaced pixel is overwritten by one of its
    neighbours, not swapped with it: that is what the scripts do to colour images.
    """
    sigma, reach, passes, share = constants
    delta, rounds = int(reach), int(passes)
    count, height, width, channels = x.shape
    size = (rounds, height, width)
    offsets = np.stack([stream.integers(-delta, delta, (2, *size)) for stream in streams])
    moved = per_image(streams, lambda stream: stream.random(size)) < share
    first = np.arange(count)[:, None, None] * (height * width)
    out = filters.gaussian_blur(x, sigma, "edge", 4).reshape(-1, channels)
    for pass_ in range(rounds):
        steps = np.where(moved[:, pass_], offsets[:, 0, pass_] * width + offsets[:, 1, pass_], 0)
        out = np.take(out, first + overwriting(steps, delta), axis=0).reshape(-1, channels)
    return filters.gaussian_blur(out.reshape(x.shape), sigma, "edge", 4)


def overwriting(steps: NDArray[np.int64], margin: int) -> IntArray:
    """Where each pixel's value comes from when pixels are overwritten one by one, last row first.

    `steps` (N, H, W) is how far each pixel reads from itself, in pixels of the image laid out row by
    row. The pixels are visited from the last to the first, but for `margin` + 1 rows and columns
    at the start and `margin` - 1 at the end, which keep their values. Returns positions (N, H, W).

    A pixel that reads behind itself (a step > 0) gets what was written there before. So it takes
    its value from where that pixel did, and so on: chains, followed for all pixels at once.
    """
    count, height, width = steps.shape
    visited = np.zeros((height, width), dtype=np.bool_)
    visited[margin + 1 : height - margin + 1, margin + 1 : width - margin + 1] = True
    own = np.arange(steps.size).reshape(steps.shape)
    read = own + np.where(visited, steps, 0)
    rewritten = (read > own) & np.take(np.broadcast_to(visited, steps.shape), read)
    last = np.where(rewritten, read, own)
    while (further := np.take(last, last)).tobytes() != last.tobytes():
        last = further
    found: IntArray = np.take(read, last) - np.arange(count)[:, None, None] * (height * width)
    return found


def motion_blur(x: FloatArray, streams: Streams, constants: Constants) -> FloatArray:
    """Smear along an angle drawn from -45..45 degrees. Constants: radius and sigma, in pixels."""
    radius, sigma = constants
    angles = per_image(streams, lambda stream: stream.uniform(-45, 45))
    return filters.trail_blur(x, angles, int(radius), sigma)


def zoom_blur(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Average with magnified copies. Constants: end (excluded) and step of the factors from 1.

    The factors are `numpy.arange(1, end, step)` as in the scripts; by rounding it may include the end.
    """
    end, step = constants
    factors = np.arange(1, end, step)
    # All images side by side as channels of one: every image is zoomed alike, and runs are longer.
    height, width = x.shape[1:3]
    together = np.ascontiguousarray(x.transpose(1, 2, 3, 0)).reshape(1, height, width, -1)
    total = together.copy()
    for factor in factors:
        total += filters.zoom(together, float(factor))
    total /= len(factors) + 1
    return total.reshape(height, width, x.shape[3], len(x)).transpose(3, 0, 1, 2)


def gaussian_blur(x: FloatArray, _streams: Streams, constants: Constants) -> FloatArray:
    """Blur with a Gaussian, edge pixels repeated. Constants: its sigma, in pixels."""
    (sigma,) = constants
    return filters.gaussian_blur(x, sigma, "edge", 4)
