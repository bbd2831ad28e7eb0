"""One of the three PGD-10 runs of `pgd10x3` and its counting; the other two cost the same."""

import functools

import pytest
import torch
from conftest import Lane
from plain_attack import plain_pgd, plain_right
from race import Race
from subjects import INFO, enter, label, size, subject

from benchmark.attacks import example_starts, linf_pgd
from benchmark.evaluation.counting import correct

IMAGES = {16: 85, 64: 16}
RUNS = 1


@functools.cache
def pgd10x3(width: int) -> Race:
    """Plain against the suite's, at the batch size that the suite takes."""
    on = subject(width, IMAGES[width])
    shape = tuple(on.x.shape[1:])
    starts = [example_starts(run, 0, len(on.x), shape, INFO.threat.eps) for run in range(RUNS)]
    ours = [start.contiguous(memory_format=torch.channels_last) for start in starts]

    def plain() -> list[torch.Tensor]:
        return [
            plain_right(on.plain, plain_pgd(on.plain, on.x, on.labels, INFO.threat, start), on.labels)
            for start in starts
        ]

    def fast(model: torch.nn.Module) -> list[torch.Tensor]:
        return [
            correct(model, linf_pgd(model, on.x_ours, on.labels, INFO.threat, start), on.labels)
            for start in ours
        ]

    def agree() -> str:
        differ = sum(int((a != b).sum()) for a, b in zip(plain(), eager(), strict=True))
        assert differ <= 1 + RUNS * len(on.x) // 1000
        return f"{label()}: {differ} of {RUNS} x {len(on.x)} flags differ"

    race = Race("pgd10x3", size(width, IMAGES[width]), asked={"eager": 3.5, "compiled": 5})
    race.variant("plain", plain)
    eager = enter(race, fast, on.ours)
    race.check(agree)
    return race


@pytest.mark.parametrize("variant", ["plain", "eager", "compiled"])
@pytest.mark.parametrize("width", [16, 64])
def test_pgd10x3(width: int, variant: str, lane: Lane) -> None:
    """One run."""
    lane(pgd10x3(width), variant)
