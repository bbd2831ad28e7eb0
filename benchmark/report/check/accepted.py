"""Verdicts that were accepted, `results/checks/<scale>.json`, and what has got worse since (no
torch)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from benchmark.errors import UserError
from benchmark.records.files import Frozen, read_model
from benchmark.report.check.verdicts import GOOD, Finding, Verdict

SCHEMA_VERSION: Literal[1] = 1
_DIGITS = 10  # of fractions in the file


class AcceptedVerdict(Frozen):
    """A verdict with what it rested on: our values by seed, the 95 % interval of their mean, the
    published value, and the spec hashes of the records by `<key>/<evaluation>`."""

    id: str
    verdict: Verdict
    values: tuple[FiniteFloat, ...] = ()
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    published: FiniteFloat | None = None
    behind: dict[str, str] = Field(default_factory=dict)


class Accepted(Frozen):
    """The verdicts of one scale in the order of their ids; what was missing is left out."""

    schema_version: Literal[1] = SCHEMA_VERSION
    scale: str
    verdicts: tuple[AcceptedVerdict, ...]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ids = [each.id for each in self.verdicts]
        if ids != sorted(set(ids)):
            raise ValueError("every id stands once, in order")
        return self


@dataclass(frozen=True)
class Regression:
    """Something that had a good verdict and has none any more. `now` is None if nothing judges it."""

    id: str
    before: Verdict
    now: Finding | None


def accepted_path(results: Path, scale: str) -> Path:
    """The file of the scale called `scale`."""
    return results / "checks" / f"{scale}.json"


def accepting(scale: str, findings: Iterable[Finding]) -> Accepted:
    """`findings` as they would be accepted."""
    verdicts = [_accepting(each) for each in findings if each.verdict is not Verdict.MISSING]
    return Accepted(scale=scale, verdicts=tuple(sorted(verdicts, key=lambda each: each.id)))


def _accepting(finding: Finding) -> AcceptedVerdict:
    ours = finding.ours
    ends = None
    if ours and ours.interval:
        ends = (round(ours.interval.low, _DIGITS), round(ours.interval.high, _DIGITS))
    return AcceptedVerdict(
        id=finding.id,
        verdict=finding.verdict,
        values=tuple(round(value, _DIGITS) for value in ours.values) if ours else (),
        interval=ends,
        published=finding.published,
        behind={} if finding.is_summary else dict(sorted(finding.behind.items())),
    )


def accepted_bytes(accepted: Accepted) -> bytes:
    """The file: one line per verdict, always the same for the same verdicts."""
    lines = [
        json.dumps(each.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        for each in accepted.verdicts
    ]
    head = f'{{"schema_version": {SCHEMA_VERSION}, "scale": {json.dumps(accepted.scale)}, "verdicts": ['
    return ("\n".join([head, ",\n".join(lines), "]}"]) + "\n").encode()


def read_accepted(results: Path, scale: str) -> Accepted | None:
    """What was accepted for the scale called `scale`; None if nothing was.

    Raises `UserError` for a file that is broken, of another scale or cannot be read.
    """
    path = accepted_path(results, scale)
    found = read_model(
        Accepted,
        path,
        f"holds no accepted verdicts of schema {SCHEMA_VERSION}",
        "restore it from version control, or move it away and accept again",
    )
    if found is not None and found.scale != scale:
        raise UserError(f"'{path}' holds verdicts of the scale '{found.scale}'; name it after that")
    return found


def regressions(
    accepted: Accepted, findings: Sequence[Finding], only: str | None = None
) -> list[Regression]:
    """What was a match, within tolerance or holding when it was accepted and is not any more.

    With `only` just the ids that this glob matches are looked at.
    """
    today: Mapping[str, Finding] = {finding.id: finding for finding in findings}
    return [
        Regression(each.id, each.verdict, today.get(each.id))
        for each in accepted.verdicts
        if each.verdict in GOOD
        and (only is None or fnmatchcase(each.id, only))
        and not (each.id in today and today[each.id].good)
    ]
