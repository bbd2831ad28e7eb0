"""Verdicts of a check, and when the interval of a change decides a claim."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from benchmark.algorithm.protocols import Interpolation
from benchmark.report.estimates import Estimate
from benchmark.report.view import Missing

ROUNDED = 1e-9
"""Fractions closer than this differ only by the rounding of floating-point numbers."""


class Verdict(StrEnum):
    """The result for a published number (match, within tolerance, off) or a claim (direction holds,
    fails, unclear), worst first."""

    OFF = "off"
    FAILS = "direction fails"
    UNCLEAR = "direction unclear"
    MISSING = "missing"
    WITHIN = "within tolerance"
    MATCH = "match"
    HOLDS = "direction holds"


GOOD = frozenset({Verdict.MATCH, Verdict.WITHIN, Verdict.HOLDS})
"""Verdicts that must not be lost again once they have been accepted."""
_WORST_FIRST = list(Verdict)

Decision = tuple[Verdict, str]
"""A verdict and the reason for it."""


@dataclass(frozen=True)
class Finding:
    """A verdict on one number or claim, and the evidence for it.

    `id` never changes. `claim` is the id of the claim, empty for a published number; the finding whose
    `id` is its `claim` is that claim's summary. `where` is the model or place, `what` the quantity.
    `ours` and `published` are fractions, or differences of fractions if `signed`; if `plain` they are
    no accuracies and are shown as they are. `why` is the reason, `make` the command that makes what is
    missing. `behind` maps `<key>/<evaluation>` to the spec hash of the record.
    """

    id: str
    verdict: Verdict
    where: str
    what: str
    why: str = ""
    ours: Estimate | None = None
    signed: bool = False
    plain: bool = False
    published: float | None = None
    source: str = ""
    make: str = ""
    behind: Mapping[str, str] = field(default_factory=dict)
    claim: str = ""

    @property
    def good(self) -> bool:
        return self.verdict in GOOD

    @property
    def is_summary(self) -> bool:
        return bool(self.claim) and self.id == self.claim

    @property
    def difference(self) -> float | None:
        if self.ours is None or self.published is None:
            return None
        return self.ours.mean - self.published

    def missing(self, found: Missing) -> Self:
        return replace(self, verdict=Verdict.MISSING, why=found.why, make=found.make)


def badness(verdict: Verdict) -> int:
    """Return 0 for the worst verdict and more for better ones."""
    return _WORST_FIRST.index(verdict)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings by verdict; those with the same verdict keep their order."""
    return sorted(findings, key=lambda finding: badness(finding.verdict))


def unanimous(cases: Sequence[bool]) -> Verdict:
    """HOLDS if every case is true, FAILS if none is, UNCLEAR otherwise."""
    return Verdict.HOLDS if all(cases) else Verdict.UNCLEAR if any(cases) else Verdict.FAILS


@dataclass(frozen=True)
class Bound:
    """A lower or upper bound on a change (a difference of fractions)."""

    satisfied: Callable[[float], bool]
    words: str
    opposite: str

    def decide(self, change: Estimate) -> Decision:
        """Decide by the whole 95 % interval of `change`, which has to be over seeds."""
        if change.interval is None:
            several = len(change.values) > 1
            why = "all seeds agree exactly" if several else "one seed"
            return Verdict.UNCLEAR, f"{why}: no interval"
        interval = change.interval
        verdict = unanimous([self.satisfied(interval.low), self.satisfied(interval.high)])
        words = {
            Verdict.HOLDS: self.words,
            Verdict.FAILS: self.opposite,
            Verdict.UNCLEAR: f"open whether {self.words}",
        }[verdict]
        if change.over == "images":
            return Verdict.UNCLEAR, f"one seed: {words} over its images; training again may differ"
        return verdict, f"{words} over seeds"


_TOLERANCE = Interpolation.tolerance
_KEPT = f"-{100 * _TOLERANCE:g} points"
RAISED = Bound(lambda change: change > ROUNDED, "above 0", "not above 0")
LOWERED = Bound(lambda change: change < -ROUNDED, "below 0", "at least 0")
NOT_HURT = Bound(lambda change: change >= -ROUNDED, "at least 0", "below 0")
KEEPS = Bound(lambda change: change >= -_TOLERANCE - ROUNDED, f"at least {_KEPT}", f"below {_KEPT}")
LOSES = Bound(lambda change: change < -_TOLERANCE - ROUNDED, f"below {_KEPT}", f"at least {_KEPT}")
