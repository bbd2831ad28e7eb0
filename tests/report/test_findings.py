"""The findings: what they say of records with chosen bits."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.records.store import Store
from benchmark.report.check.published import published
from benchmark.report.findings import findings
from handmade import ADV, BY_HAND, CLEAN, cell_at, write_making, write_record

ONE_SEED = replace(BY_HAND, seeds=(0,), evaluations=(CLEAN, ADV), audit=(CLEAN, ADV))
N = 1000


def page(store: Store, **right: tuple[int, int]) -> str:
    """The page on fine-tunings of which so many images of 1,000 are right, clean and attacked."""
    for name, counts in right.items():
        cell = cell_at(name.replace("_", "-"))
        for evaluation, count in zip((CLEAN, ADV), counts, strict=True):
            bits = {evaluation: np.arange(N) < count}
            write_record(store, cell, evaluation, count, scale=ONE_SEED, bits=bits)
        write_making(store, cell, alpha=0.6, scale=ONE_SEED)
    return findings(store, {"by-hand": ONE_SEED}, published())


@pytest.mark.parametrize(
    ("clean", "robust", "said"),
    [
        (800, 500, "lose: nothing whose interval excludes 0"),
        (850, 501, "gain: `rift` Std +5.00 ["),
        (850, 450, "lose: `rift` Adv -5.00 ["),
    ],
)
def test_words_follow_the_intervals(store: Store, clean: int, robust: int, said: str) -> None:
    """A gain or a loss is told where its interval excludes 0, and nowhere else."""
    shown = page(store, none=(800, 500), rift=(clean, robust))
    assert said in shown
    row = next(line for line in shown.splitlines() if line.startswith("| rift "))
    assert [("**" in each) for each in row.split("|")[3:5]] == [clean > 800, robust < 500]


def test_controls_stand_beside(store: Store) -> None:
    """Every fine-tuning on record has a row with its alpha*; without any there is no section."""
    shown = page(store, none=(800, 500), rift=(802, 500), bn_only=(801, 499))
    rows = [line.split("|")[1:3] for line in shown.splitlines() if line.count("|") == 5]
    assert {("rift", "0.60"), ("bn-only", "0.60")} <= {(a.strip(), b.strip()) for a, b in rows}
    assert "3 models with 6 records, 1 trained adversarially" in shown
    assert "## " not in findings(store, {"other": replace(ONE_SEED, name="other")}, published())


def test_every_number_has_an_interval(store: Store) -> None:
    """Percentages of a table are differences, each followed by its interval."""
    shown = page(store, none=(800, 500), rift=(820, 480))
    row = next(line for line in shown.splitlines() if line.startswith("| rift "))
    assert row.count("[") == row.count("]") == 2
