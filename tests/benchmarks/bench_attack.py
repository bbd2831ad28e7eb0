"""One of the three PGD-10 runs of `pgd10x3` and its counting; the other two cost the same."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch

from benchmark.engine.counting import RIGHT, answers
from benchmark.engine.pgd import example_starts, linf_pgd
from benchmark.engine.precision import Precision
from conftest import Lane
from plain_attack import plain_pgd, plain_right
from race import Race
from subjects import INFO, enter, in_precision, in_their_order, label, size, subject

IMAGES = 85
ASKED = {16: {"eager": 4, "compiled": 4.5}, 64: {"eager": 4.5, "compiled": 5.5}}


@functools.cache
def pgd10x3(width: int) -> Race:
    """Plain against the suite's, at the batch size that the suite takes."""
    on = subject(width, IMAGES)
    start = example_starts(0, 0, len(on.x), tuple(on.x.shape[1:]), INFO.threat.eps)

    def plain() -> torch.Tensor:
        x_adv = plain_pgd(on.plain, on.x, on.labels, INFO.threat, start)
        return plain_right(on.plain, x_adv, on.labels)

    def fast(chosen: Precision) -> Callable[[], torch.Tensor]:
        model, x, own = copy.deepcopy(on.ours), on.x_ours, in_their_order(start)
        attacked = functools.partial(linf_pgd, model, x, on.labels, INFO.threat, own)
        return in_precision(chosen, lambda: answers(model, attacked(), on.labels) == RIGHT)

    def agree() -> str:
        differ = int((plain() != fast(Precision())()).sum())
        assert differ <= 1 + len(on.x) // 1000
        return f"{label()}: {differ} of {len(on.x)} flags differ"

    race = Race("pgd10x3", size(width, IMAGES), asked=ASKED[width], rounds=3)
    race.variant("plain", plain)
    enter(race, fast)
    race.check(agree)
    return race


@pytest.mark.parametrize("variant", ["plain", "eager", "compiled"])
@pytest.mark.parametrize("width", [16, 64])
def test_pgd10x3(width: int, variant: str, lane: Lane) -> None:
    """One run."""
    lane(pgd10x3(width), variant)
