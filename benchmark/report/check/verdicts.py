"""What a check says of one number or one claim (no torch)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from benchmark.report.estimates import Estimate


class Verdict(StrEnum):
    """The first three are of a published number, the next three of a claim's direction."""

    MATCH = "match"
    WITHIN = "within tolerance"
    OFF = "off"
    HOLDS = "direction holds"
    FAILS = "direction fails"
    UNCLEAR = "direction unclear"
    MISSING = "missing"


GOOD = frozenset({Verdict.MATCH, Verdict.WITHIN, Verdict.HOLDS})
"""What must not be lost again once it has been accepted."""

_WORST_FIRST = (
    Verdict.OFF,
    Verdict.FAILS,
    Verdict.UNCLEAR,
    Verdict.MISSING,
    Verdict.WITHIN,
    Verdict.MATCH,
    Verdict.HOLDS,
)


@dataclass(frozen=True)
class Finding:
    """One verdict and what it rests on.

    `id` names it for good. `claim` is the id of the claim that it is about, empty for a published
    number; a finding whose `id` is its `claim` is that claim's summary. `where` is the model or place,
    `what` the quantity. `ours` is a fraction, a difference of fractions if `signed`; `published`
    likewise; `plain` says that it is no accuracy and is shown as it is. `why` is why the verdict is
    this one, `make` the command that makes what is missing. `behind` has the spec hashes of the records
    by `<key>/<evaluation>`.
    """

    id: str
    verdict: Verdict
    where: str
    what: str
    why: str
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
        """Ours minus the published value."""
        if self.ours is None or self.published is None:
            return None
        return self.ours.mean - self.published


def badness(verdict: Verdict) -> int:
    """0 for the worst verdict, more for better ones."""
    return _WORST_FIRST.index(verdict)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """In order of their verdicts; those of one verdict stay in the order they have."""
    return sorted(findings, key=lambda finding: badness(finding.verdict))
