"""Corruptions of `gen-v2`: the generator against the same operations one image at a time.

Each corruption is a race of its own, a round of it all five severities. The row of the table of speeds
is their sum over the paper's 15, round by round, in milliseconds for the 75 copies of one image.
"""

import functools

import numpy as np
import pytest
import torch

from benchmark.data.corruptions.generator import CORRUPTIONS_15, SEVERITY_LEVELS, corrupt
from plain_corruptions import corrupt_one
from race import Entered, Lane, Race
from report import PLAIN

COUNTS = {32: 42, 64: 10}  # two chunks of the generator, so that two threads have work
ONE, ALL = "one thread", "all threads"
VARIANTS = (PLAIN, ONE, ALL)

every_side = pytest.mark.parametrize("side", COUNTS)


def images_of(side: int) -> np.ndarray:
    """Noise pictures: no corruption looks at what is in a picture to decide how long it takes."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (COUNTS[side], side, side, 3), dtype=np.uint8)


@functools.cache
def corruption(name: str, side: int) -> Race:
    """One corruption at all severities."""
    images = images_of(side)
    ids = np.arange(len(images), dtype=np.int64)

    def plain() -> np.ndarray:
        return np.stack(
            [
                corrupt_one(image, name, severity, seed=0, image_id=image_id)
                for severity in SEVERITY_LEVELS
                for image_id, image in enumerate(images)
            ]
        )

    def generated(threads: int) -> np.ndarray:
        return np.concatenate(
            [
                corrupt(images, name, severity, seed=0, ids=ids, threads=threads)
                for severity in SEVERITY_LEVELS
            ]
        )

    def equal() -> str:
        expected = plain()
        assert np.array_equal(expected, generated(1))
        assert np.array_equal(expected, generated(2))
        return f"{len(expected)} images equal byte for byte"

    race = Race(f"gen-v2 {name}", f"{side}x{side}, {len(images)} images", detail=True)
    race.variant(PLAIN, plain)
    race.variant(ONE, lambda: generated(1))
    if (threads := torch.get_num_threads()) > 1:
        race.variant(ALL, lambda: generated(threads))
    else:
        race.leave_out(ALL, "one thread was asked for")
    race.check(equal)
    return race


@every_side
@pytest.mark.parametrize("name", CORRUPTIONS_15)
@pytest.mark.parametrize("variant", VARIANTS)
def test_corruption(name: str, side: int, variant: str, lane: Lane) -> None:
    """One corruption."""
    lane(corruption(name, side), variant)


@every_side
def test_all_corruptions(side: int, entered: Entered) -> None:
    """The 15 together."""
    groups = [entered(corruption(name, side)) for name in CORRUPTIONS_15]
    race = Race(
        "corruptions gen-v2",
        f"15 x 5 severities, {side}x{side}, {COUNTS[side]} images",
        asked={ONE: 3},
        unit="ms per image",
    )
    for place, variant in enumerate(groups[0].variants):
        rounds = zip(*(group.variants[place].samples for group in groups), strict=True)
        race.count(variant.name, [1000 * sum(times) / COUNTS[side] for times in rounds])
    race.check(lambda: f"all {75 * COUNTS[side]:,} images equal byte for byte")
    entered(race)
