"""Intervals over images and over seeds, and exact tests of two models.

Two models that were evaluated on the same images are compared image by image, which is far sharper
than comparing two accuracies with an error bar each. What is shown of records comes from
`benchmark/report/estimates.py`, which chooses among these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95
RESAMPLES = 10_000
_DRAWN_AT_ONCE = 2**22  # numbers held in memory while resampling
_DIGITS = 12  # sums of fractions that differ by rounding only are the same


@dataclass(frozen=True)
class Interval:
    """A confidence interval of an accuracy or of a difference of accuracies (fractions)."""

    low: float
    high: float

    @property
    def sign(self) -> int:
        """+1 if the interval lies above zero, -1 if below, 0 if it contains zero."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class PValues:
    """p-values of one test per seed."""

    values: tuple[float, ...]


def wilson(k: int, n: int) -> Interval:
    """Wilson's score interval of a share, `k` of `n`, without continuity correction (Wilson 1927).

    It holds the shares p that a z test of k against n p would not reject. It stays in [0, 1] and has a
    width at k = 0 and k = n too. Raises `ValueError` unless 0 <= k <= n and n > 0.
    """
    if not 0 <= k <= n or n <= 0:
        raise ValueError(f"not a share: {k} of {n}")
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = k / n
    centre = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The ends at k = 0 and k = n are exact, and rounding must not lead past them.
    low = 0.0 if k == 0 else (centre - half) / scale
    return Interval(low, 1.0 if k == n else (centre + half) / scale)


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p of McNemar's test: `b` images that only one model gets right, `c` that only
    the other does.

    If both are equally good, `b` is binomial(b + c, 1/2) (McNemar 1947, in its exact form); 1.0 if no
    image tells them apart. Raises `ValueError` for a negative count.
    """
    from scipy.stats import binomtest

    if min(b, c) < 0:
        raise ValueError(f"counts of images are not negative: {b}, {c}")
    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def over_images(differences: ArrayLike, seed: int) -> Interval:
    """Percentile bootstrap over test images of the mean difference of two models, or of one accuracy.

    `differences` are (N,) values per image, first model minus second (-1, 0, 1, or fractions where an
    evaluation has several trials per image; of one model, the share of its trials that were right), or
    (S, N) for S seeds or networks. These share the test images, so that an image is one unit of
    resampling with the mean of its S values; what training another time would change is not part of
    this interval. `RESAMPLES` resamples are drawn with `seed`; swapping the models mirrors the interval
    exactly.

    How often each distinct value occurs in a resample of images is multinomial, and drawing those
    counts costs little where images take few values. Raises `ValueError` for what is not a non-empty
    array of one or two dimensions.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"differences are (N,) or (S, N), not of shape {values.shape}")
    images = np.sort((values if values.ndim == 1 else values.mean(axis=0)).round(_DIGITS))
    # Of the two orders of the models always the same one is resampled.
    swapped = -images[::-1]
    apart = np.flatnonzero(images != swapped)
    mirrored = bool(apart.size) and bool(swapped[apart[0]] < images[apart[0]])
    distinct, counts = np.unique(swapped if mirrored else images, return_counts=True)
    rng, shares = np.random.default_rng(seed), counts / len(images)
    at_once = max(1, _DRAWN_AT_ONCE // len(distinct))
    means = [
        rng.multinomial(len(images), shares, size=min(at_once, RESAMPLES - done)) @ distinct
        for done in range(0, RESAMPLES, at_once)
    ]
    resampled = (np.concatenate(means) / len(images)).round(_DIGITS)
    if not apart.size:  # gains and losses are alike: neither order is first, the ends are opposite
        high = float(np.quantile(np.concatenate([resampled, -resampled]), (1 + LEVEL) / 2))
        return Interval(0.0 - high, high + 0.0)
    low, high = (float(end) for end in np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    if mirrored:
        low, high = -high, -low
    return Interval(low + 0.0, high + 0.0)  # no negative zero


def over_seeds(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean of one value per seed (standard deviation with ddof = 1).

    None for fewer than two seeds, and for seeds that all agree exactly: both say nothing of the spread
    (on a grid of 1 / images a tie of a few seeds is common, and no certainty). Unlike `over_images` it
    includes what training another time changes.
    """
    from scipy.special import stdtrit  # the quantile of scipy.stats.t, which takes a second to import

    if (seeds := len(values)) < 2 or np.ptp(values) < 10**-_DIGITS:
        return None
    half = stdtrit(seeds - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(seeds)
    mean = np.mean(values)
    low, high = (round(float(end), _DIGITS) + 0.0 for end in (mean - half, mean + half))
    return Interval(low, high)
