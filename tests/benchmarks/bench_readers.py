"""What only reads records, on 10,000 of them: processor seconds of each command, for the first time.

A table, `status`, `check` and the leaderboard are to take no more than `MOST`.
"""

import os
import resource
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmark.algorithm.tunings import TUNINGS
from benchmark.plans.named import SCALES
from benchmark.plans.plan import Plan
from benchmark.records.cells import Cell
from benchmark.records.store import Bits, Store
from handmade import record_and_bits, write_making

SCALE, SEEDS, MOST = SCALES["narrow"], (0, 1, 2), 15.0
FINETUNES = ("none", *(f"{name}{end}" for name in TUNINGS for end in ("", "-alpha-1")))[:25]
COMMANDS = {
    "table1": ("table1", "--collect", "--seeds", "0,1,2"),
    "status": ("status",),
    "check": ("check",),
    "leaderboard": ("leaderboard",),
}


def answers(evaluation: str, rng: np.random.Generator) -> tuple[Bits, int, int]:
    """Bits of 10,000 images as an evaluation of that name has them, and the k and n of their record."""
    parts, images = {"clean": (1, 10_000), "pgd10x3": (3, 10_000)}.get(evaluation, (75, 2_000))
    bits = {f"part{part}": rng.random(images) < 0.6 for part in range(parts)}
    right = [int(each.sum()) for each in bits.values()]
    if parts == 75:
        return bits, sum(right), parts * images
    return bits, min(right), images


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A tree with all records of `SCALE`, and how many there are."""
    root, rng, count = tmp_path_factory.mktemp("many"), np.random.default_rng(0), 0
    store = Store(root / "results", root / "artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for names in product(SCALE.datasets, SCALE.archs, SCALE.methods, FINETUNES, SEEDS):
            cell = Cell(SCALE.name, *names)
            write_making(store, cell, scale=SCALE)
            for evaluation in SCALE.evaluations:
                bits, k, n = answers(evaluation, rng)
                store.write_record(*record_and_bits(Plan.of(cell, SCALE), evaluation, k, n, bits))
                count += 1
    return root, count


@pytest.mark.parametrize("name", COMMANDS)
def test_reader(name: str, filed: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    """One command in a process of its own."""
    root, count = filed
    assert count > 10_000
    where = {"BENCHMARK_RESULTS": str(root / "results"), "BENCHMARK_ARTIFACTS": str(root / "artifacts")}
    command = [sys.executable, "-m", "benchmark", *COMMANDS[name], "--scale", SCALE.name]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=os.environ | where, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {took:.1f} s of processor time for {count:,} records\n")
    assert took <= MOST
