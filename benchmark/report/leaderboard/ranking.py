"""Ranks with the range that their intervals leave open (pure functions, no torch)."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.report.estimates import Estimate


@dataclass(frozen=True)
class Place:
    """A rank by the mean (equal means share one), and the `best` and `worst` that intervals allow."""

    rank: int
    best: int
    worst: int


def told_apart(better: Estimate, worse: Estimate) -> bool:
    """Whether the 95 % interval of `better` lies above that of `worse`.

    Intervals over seeds and over images say different things and never tell two numbers apart, nor
    does a number without an interval.
    """
    if better.interval is None or worse.interval is None or better.over != worse.over:
        return False
    return better.interval.low > worse.interval.high


def places(estimates: Mapping[str, Estimate]) -> dict[str, Place]:
    """The place of each of `estimates`, accuracies under one evaluation of the same images.

    `best` is one more than how many lie above for certain, `worst` leaves room for all but those that
    lie below for certain. Two intervals may overlap although a paired comparison would tell the two
    models apart: a range errs to the wide side.
    """
    found = {}
    for name, own in estimates.items():
        others = [other for other_name, other in estimates.items() if other_name != name]
        found[name] = Place(
            rank=1 + sum(_mean(other) > _mean(own) for other in others),
            best=1 + sum(told_apart(other, own) for other in others),
            worst=1 + sum(not told_apart(own, other) for other in others),
        )
    return found


def _mean(estimate: Estimate) -> float:
    return round(estimate.mean, 12)  # means of equal counts differ by rounding only
