"""Lines of a claim from what is on record, and their summary."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.algorithm.tunings import ALPHA_1
from benchmark.records.cells import BASE, Cell
from benchmark.records.records import Finetuning
from benchmark.report.check.published_schema import Published
from benchmark.report.check.verdicts import Bound, Decision, Finding, Verdict
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import over_seeds
from benchmark.report.view import Found, Missing, Setting, View, warned

PGD_AT = "pgd-at"
RIFT, RIFT_1 = "rift", f"rift{ALPHA_1}"

Makings = Mapping[Cell, Finetuning]


@dataclass(frozen=True)
class Case:
    """A claim to decide: its id, the records and the published numbers."""

    view: View
    published: Published
    claim: str

    def line(
        self,
        place: Setting | str,
        what: str,
        decision: Decision,
        warnings: Sequence[str] = (),
        **evidence: Any,
    ) -> Finding:
        """Return a line of the claim; `evidence` are further fields of it.

        Unless missing, the line is unclear if there are `warnings`, or the base models of a `Setting`
        have some: with failed training or masked gradients, a direction means nothing.
        """
        verdict, why = decision
        base = self.view.warnings(place) if isinstance(place, Setting) else ()
        found = list(dict.fromkeys((*base, *warnings)))
        if found and verdict is not Verdict.MISSING:
            verdict, why = Verdict.UNCLEAR, warned(why, found)
        name = f"{self.claim}/{place}/{re.sub('[^A-Za-z0-9.*]+', '-', what)}"
        return Finding(name, verdict, str(place), what, why, claim=self.claim, **evidence)

    def missing(self, place: Setting | str, what: str, why: Missing) -> Finding:
        return self.line(place, what, (Verdict.MISSING, "")).missing(why)

    def change(self, place: Setting, ours: str, role: str, bound: Bound, theirs: str = BASE) -> Finding:
        """Return a line about the accuracy of `ours` minus that of `theirs`."""
        what = f"{role}, {ours}" + ("" if theirs == BASE else f" - {theirs}")
        found = self.view.change(place, ours, theirs, role)
        if isinstance(found, Missing):
            return self.missing(place, what, found)
        verdict, why = bound.decide(found.estimate)
        why += stands_in(found, role)
        shown = found.estimate
        return self.line(
            place, what, (verdict, why), found.warnings, ours=shown, signed=True, behind=found.behind
        )

    def made(
        self,
        place: Setting,
        what: str,
        finetune: str,
        report: str,
        decide: Callable[[Makings], tuple[Decision, Estimate | None]],
        **shown: Any,
    ) -> Finding:
        """Return the line that `decide` derives from the makings of `finetune`'s models, which the
        table or figure `report` makes; `shown` are further fields, such as `signed`."""
        makings = self.view.makings(place, finetune, report)
        if isinstance(makings, Missing):
            return self.missing(place, what, makings)
        decision, ours = decide(makings)
        behind = self.view.making_hashes(list(makings))
        return self.line(place, what, decision, ours=ours, behind=behind, **shown)


def stands_in(found: Found, role: str) -> str:
    """Name the evaluation behind `found` where the column `role` is another one by its name."""
    return "" if found.label == role else f"; {role} is {found.name}"


def by_seed(values: Sequence[float], sources: Sequence[str]) -> Estimate:
    """Return the estimate of what is known by seed only: it has no interval for a single seed."""
    return Estimate(tuple(values), over_seeds(values), "seeds", tuple(sources))


def every(lines: Sequence[Finding], _published: Published) -> Decision:
    """Summarise a claim about every case."""
    verdicts = [line.verdict for line in lines]
    if not lines:
        return Verdict.UNCLEAR, "the scale has nothing that the claim is about"
    names = {
        Verdict.HOLDS: "hold",
        Verdict.FAILS: "fail",
        Verdict.UNCLEAR: "unclear",
        Verdict.MISSING: "missing",
    }
    counts = [f"{verdicts.count(v)} {name}" for v, name in names.items() if v in verdicts]
    why = f"of {len(lines)} case{'s' if len(lines) > 1 else ''}: {', '.join(counts)}"
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS, why
    if set(verdicts) in ({Verdict.HOLDS}, {Verdict.MISSING}):
        return verdicts[0], why
    return Verdict.UNCLEAR, why
