"""A new attack is one file and one line: what the suite then knows of it without being told."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from benchmark.data.info import DIGITS
from benchmark.evaluation import EVALUATIONS
from benchmark.evaluation.pgd import Pgd10x3
from benchmark.evaluation.sanity import warnings
from benchmark.records.records import ZERO_GRADIENTS, Count
from benchmark.report.leaderboard.columns import column, in_order, ranked_by


@dataclass(frozen=True)
class Strongest(Pgd10x3):
    """One file."""

    type_name: ClassVar[str] = "strongest"
    label: ClassVar[str] = "Adv (strongest)"
    summary: ClassVar[str] = "an attack of a test"
    family: ClassVar[str] = "Strongest"
    strength: ClassVar[int] = 9
    runs: int = 2


@pytest.fixture(autouse=True)
def _one_line(monkeypatch):
    monkeypatch.setitem(EVALUATIONS, "strongest", Strongest())


def test_it_has_a_column_and_ranks():
    """It stands left of weaker attacks, and a board is ordered by it."""
    assert in_order(["clean", "autoattack", "strongest"]) == ["strongest", "autoattack", "clean"]
    assert ranked_by({"strongest": 1, "autoattack": 5}) == "strongest"
    assert ranked_by({"strongest-first-100": 1, "autoattack": 5}) == "autoattack"
    head = column("strongest", DIGITS)
    assert (head.kind, head.attack, head.label) == ("attack", "Strongest", "Adv (strongest)")


def test_it_warns_of_masked_gradients():
    """Zero gradients are told, and so is a weaker attack that breaks more."""
    bits = {f"run{run}": np.array([True] * 8) for run in range(2)}
    weaker = {"run0": np.array([True] * 3 + [False] * 5)}
    found = warnings("strongest", bits, {ZERO_GRADIENTS: Count(k=4, n=8)}, 10, {"pgd10x3": weaker})
    assert len(found) == 2
    assert "8 of the first 8 images survive strongest and only 3 survive pgd10x3" in found[0]
    assert "exactly zero at 4 of 8 images" in found[1]
