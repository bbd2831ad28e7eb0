"""Answers to real images: settled in bf16 where their margin allows it, against fp32 passes of all.

The images are CIFAR-10's, because noise has no margins; `BENCHMARK_DATA` names their folder.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.data import load
from benchmark.data.corruptions.generator import CORRUPTIONS_15, corrupt
from benchmark.data.images import Dataset, Split
from benchmark.engine.counting import batch_starts, clean_answers
from benchmark.engine.precision import Precision
from benchmark.engine.settled import REPAYS, Scorer, decided, scoring
from committed import committed_network
from conftest import Lane
from plain_attack import plain_right
from race import Race
from subjects import enter, in_precision, in_their_order, label, size

TIMED, COUNTED = 2_550, 200
"""Images that are timed, in batches of 85; images whose 75 corruptions say what fp32 decides again."""
CHECKED = int(os.environ.get("BENCHMARK_SCORED", COUNTED))
"""Images that are corrupted in 75 ways and compared; all 10,000 take a quarter of an hour."""


@functools.cache
def cifar() -> Dataset:
    """CIFAR-10 of the user's folder."""
    folder = Path(os.environ.get("BENCHMARK_DATA", "data"))
    if not (folder / "cifar-10-batches-py").is_dir():
        pytest.skip("BENCHMARK_DATA names no folder that holds cifar-10-batches-py")
    return load("cifar10", folder)


@functools.cache
def scored() -> Race:
    """The committed network on the first test images."""
    data = cifar()
    plain, ours = committed_network(), committed_network().to(memory_format=torch.channels_last)
    split = data.test.first(TIMED)

    def fp32(split: Split = split) -> Tensor:
        starts = batch_starts(split)
        parts = [split.batch(start, start + starts.step) for start in starts]
        return torch.cat([plain_right(plain, x.contiguous(), labels) for x, labels in parts])

    def settled(chosen: Precision) -> Callable[[], Tensor]:
        found = in_precision(chosen, lambda: Scorer(ours, data).where_it_repays(REPAYS))()
        if found is not None:
            in_precision(chosen, lambda: found.bound)()

        def run() -> Tensor:
            with scoring(found):
                return clean_answers(ours, split) == 1

        return in_precision(chosen, run)

    def agree() -> str:
        few, differ, again, asked = data.test.first(CHECKED), 0, 0, 0
        counted = min(CHECKED, COUNTED)
        found = Scorer(ours, data).where_it_repays(REPAYS)
        ids, pixels = np.arange(CHECKED), few.images.numpy()
        for name in CORRUPTIONS_15:
            for severity in range(1, 6):
                made = corrupt(pixels, name, severity, seed=0, ids=ids, threads=torch.get_num_threads())
                images = dataclasses.replace(few, images=torch.from_numpy(made))
                with scoring(found):
                    differ += int((fp32(images) != (clean_answers(ours, images) == 1)).sum())
                asked += len(images)
                if found is not None:
                    x, _ = images.batch(0, counted)
                    with torch.no_grad():
                        again += int((~decided(found.rough(in_their_order(x)), found.bound)).sum())
        assert differ == 0
        share = "" if found is None else f", {100 * again / (75 * counted):.1f} % scored again in fp32"
        return f"{label()}: {differ} of {asked:,} flags differ{share}"

    race = Race("scoring", size(16, TIMED), asked={"eager": 2, "compiled": 3})
    race.variant("plain", fp32)
    enter(race, settled)
    race.check(agree)
    return race


@pytest.mark.parametrize("variant", ["plain", "eager", "compiled"])
def test_scoring(variant: str, lane: Lane) -> None:
    """All answers."""
    lane(scored(), variant)
