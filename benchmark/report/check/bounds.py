"""What a change of an accuracy has to be for a claim to hold, judged by its interval (no torch)."""

from dataclasses import dataclass
from typing import Literal

from benchmark.report.check.verdicts import Verdict
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import Interval

KEPT = 0.001
"""Adv is kept if it is at most so much lower than the base model's: 0.1 points (Section 4, step 3)."""
ROUNDED = 1e-9
"""Fractions that are closer than this differ by the rounding of floating-point numbers only."""

Judgement = tuple[Verdict, str]
"""A verdict and why."""


@dataclass(frozen=True)
class Bound:
    """What a change has to be: `side` of `value` (a difference of fractions)."""

    side: Literal["above", "not below", "below"]
    value: float
    words: str
    opposite: str

    def judge(self, change: Estimate) -> Judgement:
        """Verdict on a change by its interval, and why."""
        if change.interval is None:
            several = len(change.values) > 1
            why = "all seeds agree exactly" if several else "one seed"
            return Verdict.UNCLEAR, f"{why}: no interval"
        side = self._side(change.interval)
        said = {1: self.words, -1: self.opposite, 0: f"open whether {self.words}"}[side]
        if change.over == "images":
            return Verdict.UNCLEAR, f"one seed: {said} over its images; training again may differ"
        verdict = {1: Verdict.HOLDS, -1: Verdict.FAILS, 0: Verdict.UNCLEAR}[side]
        return verdict, f"{said} over seeds"

    def _side(self, interval: Interval) -> int:
        """+1 where all of the interval satisfies the bound, -1 where none does, else 0."""
        low, high = interval.low - self.value, interval.high - self.value
        if self.side == "above":
            return int(low > ROUNDED) - int(high <= ROUNDED)
        if self.side == "not below":
            return int(low >= -ROUNDED) - int(high < -ROUNDED)
        return int(high < -ROUNDED) - int(low >= -ROUNDED)


_KEPT = f"-{100 * KEPT:g} points"
RAISED = Bound("above", 0.0, "above 0", "not above 0")
LOWERED = Bound("below", 0.0, "below 0", "at least 0")
NOT_HURT = Bound("not below", 0.0, "at least 0", "below 0")
KEEPS = Bound("not below", -KEPT, f"at least {_KEPT}", f"below {_KEPT}")
LOSES = Bound("below", -KEPT, f"below {_KEPT}", f"at least {_KEPT}")
