"""Lines of a claim from what is on record (no torch)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmark.records.cells import BASE
from benchmark.report.check.bounds import Bound
from benchmark.report.check.published import Published
from benchmark.report.check.verdicts import Finding, Verdict
from benchmark.report.view import Missing, Setting, View, warned


@dataclass(frozen=True)
class Case:
    """A claim under judgement: its id, what is on record, and what is published."""

    view: View
    published: Published
    claim: str

    def line(
        self,
        place: Setting | str,
        what: str,
        verdict: Verdict,
        why: str,
        warnings: Sequence[str] = (),
    ) -> Finding:
        """A line without a number.

        Where there are `warnings`, or the base models of `place` have some, nothing holds or fails: a
        direction of a model whose training failed, or whose gradients are masked, says nothing.
        """
        base = self.view.warnings(place) if isinstance(place, Setting) else ()
        said = list(dict.fromkeys((*base, *warnings)))
        if said and verdict is not Verdict.MISSING:
            verdict, why = Verdict.UNCLEAR, warned(why, said)
        name = f"{self.claim}/{place}/{re.sub('[^A-Za-z0-9.*]+', '-', what)}"
        return Finding(name, verdict, str(place), what, why, claim=self.claim)

    def missing(self, place: Setting | str, what: str, missing: Missing) -> Finding:
        """A line about which there is nothing on record."""
        line = self.line(place, what, Verdict.MISSING, missing.why)
        return replace(line, make=missing.make)

    def change(self, place: Setting, ours: str, role: str, bound: Bound, theirs: str = BASE) -> Finding:
        """A line about the accuracy of `ours` minus that of `theirs`."""
        what = f"{role}, {ours}" + ("" if theirs == BASE else f" - {theirs}")
        found = self.view.change(place, ours, theirs, role)
        if isinstance(found, Missing):
            return self.missing(place, what, found)
        verdict, why = bound.judge(found.estimate)
        if found.label != role:
            why += f"; {role} is {found.name}"
        line = self.line(place, what, verdict, why, found.warnings)
        return replace(line, ours=found.estimate, signed=True, behind=found.behind)
