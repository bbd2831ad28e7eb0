"""A check as text, Markdown and CSV."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from tabulate import tabulate

from benchmark.report.check.accepted import Regression
from benchmark.report.check.published_schema import Published
from benchmark.report.check.verdicts import Finding, Verdict, badness, worst_first
from benchmark.report.estimates import Estimate
from benchmark.report.markup import markdown as in_markdown
from benchmark.report.tables.render import as_csv, brackets, percent, points
from benchmark.report.wrapping import wrapped

_quoted = partial(in_markdown, marks=True)
_INDENT = " " * 4
_BRIEF = {
    Verdict.HOLDS: "holds",
    Verdict.FAILS: "FAILS",
    Verdict.UNCLEAR: "unclear",
    Verdict.MATCH: "match",
    Verdict.WITHIN: "within",
    Verdict.OFF: "OFF",
    Verdict.MISSING: "missing",
}
_GONE = "nothing judges it any more"
_NOTHING = (
    "records of these claims are missing or incomplete (`check --published` prints them), by command"
)


@dataclass(frozen=True)
class Check:
    """The findings of a check of the scale called `name`.

    `notes` say how verdicts are reached and what is not compared. `accepted` is the file of accepted
    verdicts, None if there is none; `regressions` is what has got worse since. `only` is the glob that
    the findings match, None for all.
    """

    name: str
    title: str
    findings: tuple[Finding, ...]
    published: Published
    notes: tuple[str, ...] = ()
    accepted: str | None = None
    regressions: tuple[Regression, ...] = ()
    only: str | None = None

    @property
    def numbers(self) -> list[Finding]:
        return worst_first(finding for finding in self.findings if not finding.claim)

    @property
    def claims(self) -> list[tuple[Finding, list[Finding]]]:
        return [
            (summary, worst_first(f for f in self.findings if f.claim == summary.id != f.id))
            for summary in worst_first(finding for finding in self.findings if finding.is_summary)
        ]

    @property
    def present_claims(self) -> list[tuple[Finding, list[Finding]]]:
        return [each for each in self.claims if each[0].verdict is not Verdict.MISSING]

    @property
    def missing_claims(self) -> list[str]:
        """The other claims, a line for each command that is needed, or reason why there is none."""
        needed: dict[str, list[Finding]] = {}
        for summary, lines in self.claims:
            for line in (lines or [summary]) if summary.verdict is Verdict.MISSING else ():
                needed.setdefault(line.make or line.why, []).append(line)
        return [
            f"{', '.join(dict.fromkeys(line.claim for line in lines))}: "
            + (f"`{need}`" if lines[0].make else "see the scale")
            + _one_reason(lines)
            for need, lines in needed.items()
        ]


# --- what text and Markdown share ---------------------------------------------------------------------


def _value(ours: Estimate, finding: Finding) -> str:
    if finding.plain:
        return " ".join(f"{value:.2f}" for value in ours.values)
    value = percent(ours, finding.signed)
    return value if ours.interval is None else f"{value} {brackets(ours.interval, finding.signed)}"


def _published(finding: Finding) -> str:
    return "" if finding.published is None else _value(Estimate((finding.published,)), finding)


def _difference(finding: Finding) -> str:
    """Return ours minus the published value; empty where that means nothing, as for ratios."""
    if finding.difference is None or finding.plain:
        return ""
    return points(finding.difference, signed=True)


def _counts(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts, key=badness))


def _one_reason(findings: Sequence[Finding]) -> str:
    """Return the reason in brackets, if all of `findings` share one."""
    reasons = {finding.why for finding in findings}
    return f" ({reasons.pop()})" if len(reasons) == 1 else ""


def _present(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is not Verdict.MISSING]


_OF_CHECKPOINT = re.compile(r"(?<=--checkpoint )(\S+)")


def _missing(findings: Sequence[Finding]) -> list[str]:
    """List what is missing by the command that makes it, all checkpoints in one line, else by why."""
    alike: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.verdict is Verdict.MISSING:
            need = _OF_CHECKPOINT.sub("NAME", finding.make) or finding.why
            alike.setdefault(need, []).append(finding)
    lines = []
    for need, missing in alike.items():
        line = f"{len(missing)} of {len(findings)}: " + (f"`{need}`" if missing[0].make else need)
        found = (_OF_CHECKPOINT.search(finding.make) for finding in missing)
        if names := dict.fromkeys(match.group() for match in found if match):
            line += f"; NAME: {', '.join(names)}"
        elif missing[0].make:
            line += _one_reason(missing)
        lines.append(line)
    return lines


# --- text ---------------------------------------------------------------------------------------------


def text(check: Check) -> str:
    """Return the check for a terminal: what got worse, published numbers, claims, and below them what
    is missing by the command that makes it."""
    since, *worse = _regressions(check)
    lines = [*wrapped(check.title, "", "  "), "", *wrapped(since, "", "  ")]
    lines += [line for each in worse for line in wrapped(each, "  ", _INDENT)]
    if numbers := check.numbers:
        lines += ["", *wrapped(f"Published numbers: {_counts(numbers)}", "", "  ")]
        lines += _findings(numbers)
    if claims := check.claims:
        counts = _counts([summary for summary, _ in claims])
        lines += ["", *wrapped(f"Claims of the papers: {counts}", "", "  ")]
        quoted = {claim.id: claim.numbers for claim in check.published.claims}
        for summary, cases in check.present_claims:
            verdict = summary.verdict if summary.good else summary.verdict.upper()
            lines += ["", *wrapped(summary.what, f"{verdict}  {summary.claim}  ", _INDENT)]
            lines += wrapped(summary.why, _INDENT, _INDENT)
            if numbers_of_paper := quoted[summary.claim]:
                lines += wrapped(f"The paper: {numbers_of_paper}", _INDENT, _INDENT)
            lines += _findings(cases)
        if missing := check.missing_claims:
            lines += ["", *wrapped(_NOTHING, "MISSING  ", _INDENT)]
            lines += [line for each in missing for line in wrapped(each, "  ", 2 * _INDENT)]
    if check.notes:
        lines += ["", *(line for note in check.notes for line in wrapped(note, "  ", "  "))]
    return "\n".join([*lines, ""])


def _regressions(check: Check) -> list[str]:
    """Return a sentence on what was accepted, and one for each verdict that got worse."""
    part = check.only is not None
    if check.accepted is None:
        how = "and without --only keeps all" if part else "keeps these"
        return [f"No accepted verdicts to hold this against; this command with --accept {how}."]
    if not check.regressions:
        what = f"Nothing that matches '{check.only}'" if part else "Nothing"
        return [f"{what} has got worse since {check.accepted}."]
    lines = [f"GOT WORSE since {check.accepted}: {len(check.regressions)}"]
    for each in sorted(check.regressions, key=lambda each: badness(each.verdict)):
        why = each.now.why if each.now else _GONE
        lines.append(f"{each.id}: {each.before} -> {each.verdict} ({why})")
    return lines


def _findings(findings: Sequence[Finding]) -> list[str]:
    """Return what is there, each with verdict, place, quantity, numbers and reason, then the rest."""
    lines = []
    for finding in _present(findings):
        published, difference = _published(finding), _difference(finding)
        parts = [
            finding.where,
            finding.what,
            finding.ours and _value(finding.ours, finding),
            published and f"published {published}",
            difference and f"difference {difference}",
        ]
        why = finding.why + (f" ({finding.source})" if finding.source else "")
        head = f"  {_BRIEF[finding.verdict]:<8} "
        line = f"{'  '.join(part for part in parts if part)}: {why}"
        lines += wrapped(line, head, " " * (len(head) + 1))
    head = f"  {_BRIEF[Verdict.MISSING]:<8} "
    return lines + [line for each in _missing(findings) for line in wrapped(each, head, " " * 12)]


# --- Markdown and CSV ---------------------------------------------------------------------------------


def markdown(check: Check) -> str:
    """Return pipe tables of the findings, below them what is missing by the command that makes it; what
    got worse above them."""
    lines = [f"**{_quoted(check.title)}**", "", *(f"- {_quoted(each)}" for each in _regressions(check))]
    if numbers := check.numbers:
        lines += ["", f"**Published numbers**: {_counts(numbers)}", *_tabulated(numbers)]
    for summary, cases in check.present_claims:
        said = _quoted(f"{summary.what} ({summary.why})")
        lines += ["", f"**{summary.claim}, {summary.verdict}**: {said}"]
        lines += _tabulated(cases)
    if missing := check.missing_claims:
        lines += ["", f"**Missing**: {_NOTHING}", "", *(f"- {_quoted(line)}" for line in missing)]
    if check.notes:
        lines += ["", *(f"- {_quoted(note)}" for note in check.notes)]
    return "\n".join([*lines, ""])


def _tabulated(findings: Sequence[Finding]) -> list[str]:
    """Return a table of what is there, without empty columns, and a list of what is missing."""
    lines = []
    if present := _present(findings):
        rows = [{head: _quoted(cell) for head, cell in _row(f).items()} for f in present]
        used = [head for head in rows[0] if any(row[head] for row in rows)]
        grid = [[row[head] for head in used] for row in rows]
        lines += ["", tabulate(grid, used, tablefmt="pipe", disable_numparse=True)]
    if missing := _missing(findings):
        lines += ["", *(f"- missing {_quoted(line)}" for line in missing)]
    return lines


def _row(finding: Finding) -> dict[str, str]:
    ours, interval = finding.ours, finding.ours and finding.ours.interval
    return {
        "verdict": finding.verdict,
        "model": finding.where,
        "what": finding.what,
        "ours": _value(Estimate(ours.values), finding) if ours else "",
        "95 %": brackets(interval, finding.signed) if interval else "",
        "published": _published(finding),
        "difference": _difference(finding),
        "why": finding.why,
        "source": finding.source,
    }


def csv(check: Check) -> str:
    """Return one line per finding, also of what is missing, worst first, with fractions (what is no
    accuracy as it is); `values` are ours by seed, `accepted` is the verdict that got worse."""
    before = {each.id: each.before for each in check.regressions}
    lines = [_fields(finding, before.pop(finding.id, "")) for finding in worst_first(check.findings)]
    lines += [
        {"id": name, "verdict": Verdict.MISSING, "accepted": verdict, "why": _GONE}
        for name, verdict in before.items()
    ]
    return as_csv(lines)


def _fields(finding: Finding, accepted: str) -> dict[str, object]:
    ours, interval = finding.ours, finding.ours and finding.ours.interval
    return {
        "id": finding.id,
        "verdict": finding.verdict,
        "accepted": accepted,
        "claim": finding.claim,
        "model": finding.where,
        "what": finding.what,
        "mean": ours and round(ours.mean, 10),
        "low": interval and round(interval.low, 10),
        "high": interval and round(interval.high, 10),
        "over": ours.over if ours and interval else "",
        "seeds": len(ours.values) if ours else "",  # None would make 3.0 of 3
        "values": " ".join(f"{value:.10g}" for value in ours.values) if ours else "",
        "published": finding.published,
        "difference": None if finding.difference is None else round(finding.difference, 10),
        "why": finding.why,
        "source": finding.source,
        "make": finding.make,
        "records": " ".join(sorted(finding.behind)),
    }


CHECK_FORMATS: dict[str, Callable[[Check], str]] = {"text": text, "markdown": markdown, "csv": csv}
