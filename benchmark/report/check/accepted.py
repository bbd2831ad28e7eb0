"""Accepted verdicts, `results/checks/<scale>.json`, and what has got worse since."""

import json
from collections.abc import Iterable, Sequence
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
    """A verdict and its evidence: our values by seed, the 95 % interval of their mean, the published
    value, and the spec hashes of the records by `<key>/<evaluation>`."""

    id: str
    verdict: Verdict
    values: tuple[FiniteFloat, ...] = ()
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    published: FiniteFloat | None = None
    behind: dict[str, str] = Field(default_factory=dict)


class Accepted(Frozen):
    """The verdicts of one scale in the order of their ids, without what was missing."""

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
    """A verdict that was good and is not any more; `now` is None if nothing decides it."""

    id: str
    before: Verdict
    now: Finding | None

    @property
    def verdict(self) -> Verdict:
        return self.now.verdict if self.now else Verdict.MISSING


def accepted_path(results: Path, scale: str) -> Path:
    """Return the file of the scale called `scale`."""
    return results / "checks" / f"{scale}.json"


def accepting(scale: str, findings: Iterable[Finding]) -> Accepted:
    """Return `findings` as they would be accepted."""
    known = (finding for finding in findings if finding.verdict is not Verdict.MISSING)
    ordered = sorted(known, key=lambda finding: finding.id)
    return Accepted(scale=scale, verdicts=tuple(map(_accepting, ordered)))


def _accepting(finding: Finding) -> AcceptedVerdict:
    values, interval = (finding.ours.values, finding.ours.interval) if finding.ours else ((), None)
    return AcceptedVerdict(
        id=finding.id,
        verdict=finding.verdict,
        values=tuple(round(value, _DIGITS) for value in values),
        interval=(round(interval.low, _DIGITS), round(interval.high, _DIGITS)) if interval else None,
        published=finding.published,
        behind={} if finding.is_summary else dict(sorted(finding.behind.items())),
    )


def accepted_bytes(accepted: Accepted) -> bytes:
    """Return the file: one line per verdict, always the same for the same verdicts."""
    lines = [
        json.dumps(each.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        for each in accepted.verdicts
    ]
    head = f'{{"schema_version": {SCHEMA_VERSION}, "scale": {json.dumps(accepted.scale)}, "verdicts": ['
    return ("\n".join([head, ",\n".join(lines), "]}"]) + "\n").encode()


def read_accepted(results: Path, scale: str) -> Accepted | None:
    """Read what was accepted for the scale called `scale`; None if nothing was.

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
    """List what was good when it was accepted and is not any more, of the ids that the glob `only`
    matches if there is one."""
    now = {finding.id: finding for finding in findings}
    return [
        Regression(each.id, each.verdict, now.get(each.id))
        for each in accepted.verdicts
        if each.verdict in GOOD
        and (only is None or fnmatchcase(each.id, only))
        and not (each.id in now and now[each.id].good)
    ]
