"""Mean corruption error: worked out by hand, and where there is none."""

import pytest

from benchmark.plans.plan import Plan
from benchmark.records.records import Count
from benchmark.report.mce import mce
from handmade import BY_HAND, cell_at, record_and_bits


def errors(**counts):
    """A record whose parts have so many errors of 100 images, by `corruption_severity`."""
    record, _ = record_and_bits(Plan.of(cell_at(), BY_HAND), "clean", 90, 100)
    parts = {name.replace("_", "-"): Count(k=100 - wrong, n=100) for name, wrong in counts.items()}
    return record.model_copy(update={"parts": parts})


BASE = errors(fog_1=10, fog_2=30, snow_1=20, snow_2=20)


def test_by_hand():
    """Severities are summed before the ratio, corruptions are averaged after it."""
    ours = errors(fog_1=20, fog_2=40, snow_1=10, snow_2=10)
    assert mce([ours], [BASE]) == pytest.approx((60 / 40 + 20 / 40) / 2)
    assert mce([ours, BASE], [BASE, BASE]) == pytest.approx((1 + 1) / 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (errors(whole=10), errors(whole=10)),
        (errors(apgd_t=10), errors(apgd_t=10)),
        (errors(fog_1=10), BASE),
        (errors(fog_1=10), errors(fog_1=0)),
    ],
)
def test_there_is_none(ours, theirs):
    """Of other evaluations, of other corruptions, and relative to a network without an error."""
    assert mce([ours], [theirs]) is None


def test_several_seeds_all_or_none():
    """A seed without one leaves no mean of the others."""
    assert mce([BASE, errors(whole=1)], [BASE, errors(whole=1)]) is None
