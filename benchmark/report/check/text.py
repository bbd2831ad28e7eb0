"""A check as text, Markdown and CSV (no torch)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

from benchmark.report.check.accepted import Regression
from benchmark.report.check.published import Published
from benchmark.report.check.verdicts import Finding, Verdict, badness, worst_first
from benchmark.report.estimates import Estimate
from benchmark.report.tables.render import brackets, percent
from benchmark.report.wrapping import wrapped

INDENT = 4
_BRIEF = {
    Verdict.HOLDS: "holds",
    Verdict.FAILS: "FAILS",
    Verdict.UNCLEAR: "unclear",
    Verdict.MATCH: "match",
    Verdict.WITHIN: "within",
    Verdict.OFF: "OFF",
    Verdict.MISSING: "missing",
}


@dataclass(frozen=True)
class Check:
    """What a check found at a scale.

    `accepted` is where accepted verdicts are kept, None if there are none; `regressions` is what has
    got worse since. `notes` say what was not compared and why.
    """

    title: str
    findings: tuple[Finding, ...]
    regressions: tuple[Regression, ...]
    accepted: str | None
    published: Published
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[Finding]:
        """Findings about published numbers, worst first."""
        return worst_first(finding for finding in self.findings if not finding.claim)

    @property
    def claims(self) -> list[tuple[Finding, list[Finding]]]:
        """Summary and lines of each claim, worst first."""
        summaries = worst_first(finding for finding in self.findings if finding.is_summary)
        lines = [finding for finding in self.findings if finding.claim and not finding.is_summary]
        return [
            (summary, worst_first(line for line in lines if line.claim == summary.claim))
            for summary in summaries
        ]


def text(check: Check) -> str:
    """For a terminal: what got worse, published numbers, claims; what is missing by the command that
    makes it."""
    parts = [*wrapped(check.title, "", "  "), "", *_text_of_regressions(check)]
    if numbers := check.numbers:
        parts += ["", *wrapped(f"Published numbers: {_counts(numbers)}", "", "  ")]
        parts += [line for finding in _present(numbers) for line in _text_of(finding)]
        parts += _text_of_missing(numbers)
    if claims := check.claims:
        counts = _counts([summary for summary, _ in claims])
        parts += ["", *wrapped(f"Claims of the paper: {counts}", "", "  ")]
        for summary, lines in _on_record(claims):
            parts += ["", *_text_of_claim(summary, lines, check.published)]
        if missing := _lines_of_missing_claims(claims):
            parts += ["", *wrapped(NOTHING, "MISSING  ", " " * INDENT)]
            parts += [line for said in missing for line in wrapped(said, "  ", " " * 2 * INDENT)]
    if check.notes:
        parts += ["", *(line for note in check.notes for line in wrapped(note, "  ", "  "))]
    return "\n".join([*parts, ""])


def _text_of_regressions(check: Check) -> list[str]:
    if check.accepted is None:
        said = "No accepted verdicts to hold this against; `check --accept` keeps these."
        return wrapped(said, "", "  ")
    if not check.regressions:
        return wrapped(f"Nothing has got worse since {check.accepted}.", "", "  ")
    lines = [f"GOT WORSE since {check.accepted}: {len(check.regressions)}"]
    for each in sorted(check.regressions, key=lambda each: badness(_now(each))):
        head = f"{each.id}: {each.before} -> {_now(each)}"
        lines += wrapped(f"{head} ({each.now.why if each.now else GONE})", "  ", " " * INDENT)
    return lines


GONE = "nothing judges it any more"


def _now(regression: Regression) -> Verdict:
    return regression.now.verdict if regression.now else Verdict.MISSING


def _text_of(finding: Finding) -> list[str]:
    """One finding: verdict, where, what, numbers, and why."""
    said = [finding.where, finding.what, *_numbers(finding)]
    why = finding.why + (f" ({finding.source})" if finding.source else "")
    head = f"{_BRIEF[finding.verdict]:<8}"
    return wrapped(f"{'  '.join(said)}: {why}", f"  {head} ", " " * (INDENT + len(head)))


def _numbers(finding: Finding) -> list[str]:
    """Our value with its interval, the published one, and the difference."""
    said = []
    if finding.ours is not None:
        said.append(_value(finding.ours, finding))
    if finding.published is not None:
        said.append(f"published {_point(finding.published, finding)}")
    if difference := _difference(finding):
        said.append(f"difference {difference}")
    return said


def _value(ours: Estimate, finding: Finding) -> str:
    if finding.plain:
        return " ".join(_point(value, finding) for value in ours.values)
    value = percent(ours, finding.signed)
    return value if ours.interval is None else f"{value} {brackets(ours.interval, finding.signed)}"


def _point(value: float, finding: Finding) -> str:
    return f"{value:.2f}" if finding.plain else percent(Estimate((value,)), finding.signed)


def _difference(finding: Finding) -> str:
    """Ours minus the published value; empty where that says nothing, as for ratios."""
    if finding.difference is None or finding.plain:
        return ""
    return percent(Estimate((finding.difference,)), signed=True)


def _text_of_claim(summary: Finding, lines: Sequence[Finding], published: Published) -> list[str]:
    claim = published.claim(summary.claim)
    head = f"{summary.verdict.upper() if not summary.good else summary.verdict}  {claim.id}  "
    out = wrapped(summary.what, head, " " * INDENT)
    out += wrapped(summary.why, " " * INDENT, " " * INDENT)
    if claim.numbers:
        out += wrapped(f"The paper: {claim.numbers}", " " * INDENT, " " * INDENT)
    out += [line for finding in _present(lines) for line in _text_of(finding)]
    return [*out, *_text_of_missing(lines)]


def _text_of_missing(findings: Sequence[Finding]) -> list[str]:
    """What is missing, by the command that makes it."""
    head, rest = f"  {_BRIEF[Verdict.MISSING]:<8} ", " " * (INDENT + 8)
    return [line for said in _missing(findings) for line in wrapped(said, head, rest)]


_OF_CHECKPOINT = re.compile(r"(?<=--checkpoint )(\S+)")


def _missing(findings: Sequence[Finding]) -> list[str]:
    """One line per command that makes something missing; for all checkpoints together."""
    alike: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.verdict is Verdict.MISSING:
            alike.setdefault(_OF_CHECKPOINT.sub("NAME", finding.make), []).append(finding)
    lines = []
    for make, missing in alike.items():
        said = f"{len(missing)} of {len(findings)}: " + (f"`{make}`" if make else missing[0].why)
        found = (_OF_CHECKPOINT.search(finding.make) for finding in missing)
        if names := dict.fromkeys(match.group() for match in found if match):
            said += f"; NAME: {', '.join(names)}"
        elif make and len({finding.why for finding in missing}) == 1:
            said += f" ({missing[0].why})"
        lines.append(said)
    return lines


Claims = Sequence[tuple[Finding, list[Finding]]]
NOTHING = "nothing is on record for these claims (`check --published` prints them), by command"


def _on_record(claims: Claims) -> Claims:
    """The claims that there is something to say of."""
    return [each for each in claims if each[0].verdict is not Verdict.MISSING]


def _lines_of_missing_claims(claims: Claims) -> list[str]:
    """Commands, and the claims that nothing is on record for without them."""
    needed: dict[str, dict[str, None]] = {}
    for summary, lines in claims:
        if summary.verdict is Verdict.MISSING:
            for line in lines or [summary]:
                needed.setdefault(line.make, {})[summary.claim] = None
    return [
        f"{', '.join(names)}: " + (f"`{make}`" if make else "see the scale")
        for make, names in needed.items()
    ]


def _present(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is not Verdict.MISSING]


def _counts(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts, key=badness))


_HEADS = (
    "verdict",
    "model",
    "what",
    "ours",
    "95 %",
    "published",
    "difference",
    "why",
    "source",
)


def markdown(check: Check) -> str:
    """Pipe tables of the findings, below them what is missing by the command that makes it; what got
    worse above them."""
    parts = [f"**{check.title}**", "", *(f"- {line.strip()}" for line in _text_of_regressions(check))]
    if numbers := check.numbers:
        parts += ["", f"**Published numbers**: {_counts(numbers)}", *_tabulated(numbers)]
    for summary, lines in _on_record(check.claims):
        parts += ["", f"**{summary.claim}, {summary.verdict}**: {summary.what} ({summary.why})"]
        parts += _tabulated(lines)
    if missing := _lines_of_missing_claims(check.claims):
        parts += ["", f"**Missing**: {NOTHING}", "", *(f"- {line}" for line in missing)]
    if check.notes:
        parts += ["", *(f"- {note}" for note in check.notes)]
    return "\n".join([*parts, ""])


def _tabulated(findings: Sequence[Finding]) -> list[str]:
    """A table of what is there and a list of what is missing."""
    parts = ["", _pipes(present)] if (present := _present(findings)) else []
    if missing := _missing(findings):
        parts += ["", *(f"- missing {line}" for line in missing)]
    return parts


def _pipes(findings: Sequence[Finding]) -> str:
    rows = [_row(finding) for finding in findings]
    used = [place for place, _ in enumerate(_HEADS) if any(row[place] for row in rows)]
    kept = [[row[place].replace("|", "\\|") for place in used] for row in rows]
    return tabulate(kept, [_HEADS[place] for place in used], tablefmt="pipe", disable_numparse=True)


def _row(finding: Finding) -> list[str]:
    ours, interval = finding.ours, finding.ours.interval if finding.ours else None
    value = "" if ours is None else _value(Estimate(ours.values), finding)
    return [
        finding.verdict,
        finding.where,
        finding.what,
        value,
        "" if interval is None else brackets(interval, finding.signed),
        "" if finding.published is None else _point(finding.published, finding),
        _difference(finding),
        finding.why,
        finding.source,
    ]


def csv(check: Check) -> str:
    """One line per finding, also of what is missing, worst first, with fractions (what is no accuracy
    as it is); `values` are ours by seed, `accepted` is the verdict that got worse."""
    before = {each.id: each.before.value for each in check.regressions}
    lines: list[dict[str, object]] = []
    for finding in worst_first(check.findings):
        ours, interval = finding.ours, finding.ours.interval if finding.ours else None
        lines.append(
            {
                "id": finding.id,
                "verdict": finding.verdict.value,
                "accepted": before.pop(finding.id, ""),
                "claim": finding.claim,
                "model": finding.where,
                "what": finding.what,
                "mean": ours and round(ours.mean, 10),
                "low": interval and round(interval.low, 10),
                "high": interval and round(interval.high, 10),
                "over": ours.over if ours and interval else "",
                "seeds": len(ours.values) if ours else None,
                "values": " ".join(f"{value:.10g}" for value in ours.values) if ours else "",
                "published": finding.published,
                "difference": None if finding.difference is None else round(finding.difference, 10),
                "why": finding.why,
                "source": finding.source,
                "make": finding.make,
                "records": " ".join(sorted(finding.behind)),
            }
        )
    lines += [
        {"id": name, "verdict": Verdict.MISSING.value, "accepted": was, "why": GONE}
        for name, was in before.items()
    ]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


CHECK_FORMATS: dict[str, Callable[[Check], str]] = {"text": text, "markdown": markdown, "csv": csv}
