"""MRC of every module, in all definitions, on examples that are given."""

import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from scipy.stats import spearmanr

from benchmark.algorithm.criticality import criticality, criticality_modules
from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.precision import BF16, FP32, Precision
from benchmark.engine.recipes import CriticalitySettings, OfficialCriticality, ScaleFreeCriticality
from benchmark.records.records import ModuleCriticality
from benchmark.records.store import Journal
from conftest import Lane
from plain_criticality import plain_criticality
from race import Race
from subjects import in_precision, label, size, subject

IMAGES = {16: 64, 64: 16}
SETTINGS = {
    # The paper sums the gradients of 98 batches and is at the constraint after an epoch; so is a single
    # batch at a hundred times the rate.
    "algorithm1": CriticalitySettings(lr=100.0),
    "official": OfficialCriticality(steps=1),
    "one step": ScaleFreeCriticality(rate=1.0, steps=1),
}
ASKED = {"algorithm1": {"bit-identical": 3.5}, "official": {"fast": 4}, "one step": {"fast": 10}}
NO_ATTACK = LinfAttack(eps=0.0, step_size=0.0, steps=0)
"""Crafting belongs to another row; the images are taken as they are."""


@functools.cache
def measuring(name: str, width: int) -> Race:
    """The plain path of the tests against the suite's, in fp32 and in the precision of this machine."""
    on, settings = subject(width, IMAGES[width]), SETTINGS[name]
    images = (on.x.permute(0, 2, 3, 1) * 255).to(torch.uint8)
    split = Split(images, on.labels)
    x = split.batch(0, len(split))[0]

    def plain() -> list[ModuleCriticality]:
        return plain_criticality(on.plain, x.contiguous(), on.labels, settings, seed=0)

    def ours() -> list[ModuleCriticality]:
        with TemporaryDirectory() as folder:
            journal = Journal(Path(folder), "bench")
            return list(criticality(on.ours, split, NO_ATTACK, settings, seed=0, journal=journal))

    exact, fast = (in_precision(Precision(name), ours) for name in (FP32, BF16))

    def agree() -> str:
        same_order = plain_criticality(on.ours, x, on.labels, settings, seed=0)
        assert exact() == same_order
        said = "fp32: bit-identical"
        if label() != FP32:
            pairs = [(a.mrc, b.mrc) for a, b in zip(same_order, fast(), strict=True)]
            order = spearmanr(*zip(*pairs, strict=True)).statistic
            worst = max(abs(b / a - 1) for a, b in pairs)
            said += f"; bf16 ascent: rank correlation {order:.4f}, values differ by up to {worst:.1%}"
        return said

    row = f"MRC, {len(criticality_modules(on.ours))} modules, {name}"
    race = Race(row, size(width, IMAGES[width]), asked=ASKED[name], rounds=3)
    race.variant("plain", plain)
    race.variant("bit-identical", exact)
    if label() == FP32:
        race.leave_out("fast", "no bf16 units here")
    else:
        race.variant("fast", fast)
    race.check(agree)
    return race


@pytest.mark.parametrize("variant", ["plain", "bit-identical", "fast"])
@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("name", SETTINGS)
def test_criticality(name: str, width: int, variant: str, lane: Lane) -> None:
    """All modules."""
    lane(measuring(name, width), variant)
