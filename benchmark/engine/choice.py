"""The paper's rule over any grid: the best clean accuracy that stays as robust, and its mirror."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from benchmark.records.counts import Count

Point = TypeVar("Point", int, float)
Seen = tuple[dict[Point, Count], dict[Point, Count]]
"""Clean and robust counts of the points that were looked at."""


def within(lost: int, images: int, tolerance: float) -> bool:
    """Whether `lost` of so many images are no more than `tolerance` (fraction) of them."""
    return lost <= tolerance * images + 1e-9


def satisfies(robust: Count, reference: Count, tolerance: float) -> bool:
    """Whether `robust` is not below `reference` by more than `tolerance` (fraction), in counts."""
    return within(reference.k - robust.k, reference.n, tolerance)


def most_accurate(
    grid: Sequence[Point],
    clean: Callable[[Point], Count],
    robust: Callable[[Point], Count],
    reference: Count,
    tolerance: float,
    *,
    known: Mapping[Point, Count],
    whole: bool = False,
) -> tuple[Point | None, Seen[Point]]:
    """The point of best clean accuracy whose robust accuracy `satisfies`, and the counts taken.

    Clean accuracy is cheap and measured at every point; robust accuracy, unless `known`, in descending
    order of clean accuracy (grid order on a tie) until a point satisfies. A full search, made if
    `whole`, finds the same point. None if no point satisfies.
    """
    cleans = {point: clean(point) for point in grid}
    robusts = dict(known)
    best: Point | None = None
    for point in sorted(grid, key=lambda point: -cleans[point].k):
        if point not in robusts:
            robusts[point] = robust(point)
        if satisfies(robusts[point], reference, tolerance):
            best = point
            break
    if whole:
        robusts = {point: robusts[point] if point in robusts else robust(point) for point in grid}
    return best, (cleans, robusts)


def most_robust(
    grid: Sequence[Point],
    clean: Callable[[Point], Count],
    robust: Callable[[Point], Count],
    reference: Count,
    tolerance: float,
) -> tuple[Point | None, Seen[Point]]:
    """The mirror: the best robust accuracy of the points whose clean accuracy satisfies `reference`,
    the first of the grid on a tie; None if there is none."""
    cleans = {point: clean(point) for point in grid}
    there = [point for point in grid if satisfies(cleans[point], reference, tolerance)]
    robusts = {point: robust(point) for point in there}
    return max(there, key=lambda point: robusts[point].k, default=None), (cleans, robusts)
