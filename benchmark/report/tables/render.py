"""Tables as text, Markdown, LaTeX and CSV: the only place with percents.

A number has its 95 % interval in brackets: in text and LaTeX on a line of its own below the row, since
beside `mean ± sd` it would make three columns wider than a terminal.
"""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tabulate import tabulate

from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate, accuracy
from benchmark.report.intervals import Interval, PValues
from benchmark.report.tables.layout import Entry, Row, Table
from benchmark.text import line as one_line
from benchmark.text import markdown as in_markdown

MISSING = "—"
_SMALL = re.compile(r"\[[^]]*\]")
HEAD_WIDTH = 17  # of a column in text; a longer head is broken into lines unless its numbers are wide


def entry(shown: Entry, signed: bool) -> str:
    """A number as `percent` has it, the interval of a difference as `brackets` has it, or p-values such
    as `0.031 <0.001`."""
    if isinstance(shown, Interval):
        return brackets(shown, signed=True)
    if isinstance(shown, PValues):
        return " ".join("<0.001" if p < 0.001 else f"{p:.3f}" for p in shown.values)
    return percent(shown, signed)


def percent(number: Estimate | None, signed: bool) -> str:
    """`98.20 ± 0.53`, `+0.40 ± 0.20`, or a dash for a missing number."""
    if number is None:
        return MISSING
    value = f"{100 * number.mean:{_sign(signed)}z.2f}"
    return value if number.spread is None else f"{value} ± {100 * number.spread:.2f}"


def brackets(interval: Interval, signed: bool) -> str:
    """`[65.35, 67.20]` in percent, or `[-0.20, +2.80]` in percentage points."""
    low, high = (f"{100 * end:{_sign(signed)}z.2f}" for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def number_and_interval(shown: Estimate) -> str:
    """`66.28 [65.35, 67.20]` in percent."""
    return f"{percent(shown, signed=False)} {_interval(shown, signed=False)}".rstrip()


def summary(store: Store, record: Record) -> str:
    """A record in one line: `clean  66.28 % [65.35, 67.20] (6628 of 10000)`, with the 95 % interval
    over test images.

    Raises `UserError` for bits that are not those of the record.
    """
    shown = accuracy(store, [record])
    value = f"{percent(shown, signed=False)} % {_interval(shown, signed=False)}".rstrip()
    return f"{record.evaluation}  {value} ({record.k} of {record.n})"


def _sign(signed: bool) -> str:
    return "+" if signed else ""


def _interval(shown: Entry, signed: bool) -> str:
    """What stands below a number; empty below anything else."""
    if not isinstance(shown, Estimate) or shown.interval is None:
        return ""
    return brackets(shown.interval, signed)


@dataclass(frozen=True)
class _Line:
    """A line of text or LaTeX: entries of a row, or the intervals below them."""

    cells: list[str]
    intervals: bool = False
    ends_block: bool = False


def _lines(table: Table) -> list[_Line]:
    """One or two lines for each row; a label that repeats the row above is left blank."""
    lines: list[_Line] = []
    above: tuple[str, ...] = ()
    for row in table.rows:
        labels = list(row.labels)
        for place in range(len(labels) - 1):
            if row.labels[: place + 1] == above[: place + 1]:
                labels[place] = ""
        above = row.labels
        below = [_interval(shown, row.signed) for shown in row.numbers]
        ends_block = row.ends_block and row is not table.rows[-1]
        entries = [entry(shown, row.signed) for shown in row.numbers]
        lines.append(_Line([*labels, *entries], ends_block=ends_block and not any(below)))
        if any(below):
            lines.append(_Line([*("" for _ in labels), *below], True, ends_block))
    return lines


def _joined(row: Row) -> list[str]:
    """A row for Markdown, where a number and its interval share a cell."""
    pairs = ((entry(shown, row.signed), _interval(shown, row.signed)) for shown in row.numbers)
    return [*row.labels, *("<br>".join(part for part in pair if part) for pair in pairs)]


def _grid(table: Table, rows: Sequence[Sequence[str]], heads: Sequence[str], style: str) -> str:
    """`rows` under `heads` as tabulate's `style` lays them out: labels left, numbers right."""
    align = ["left"] * len(table.label_heads) + ["right"] * len(table.columns)
    return tabulate(rows, heads, tablefmt=style, colalign=align, disable_numparse=True)


def _broken_heads(table: Table, lines: Sequence[_Line]) -> list[str]:
    """Heads of lines no longer than `HEAD_WIDTH` or the entries below, where there is a blank."""
    heads = list(table.label_heads)
    for place, head in enumerate(table.columns, start=len(heads)):
        width = max([HEAD_WIDTH, *(len(line.cells[place]) for line in lines)])
        heads.append("\n".join(textwrap.wrap(head, width, break_long_words=False)))
    return heads


def _quoted(table: Table, quote: Callable[[str], str]) -> Table:
    """`table` with every text in it as `quote` makes it harmless for a format."""
    rows = (replace(row, labels=tuple(map(quote, row.labels))) for row in table.rows)
    return replace(
        table,
        title=quote(table.title),
        label_heads=tuple(map(quote, table.label_heads)),
        columns=tuple(map(quote, table.columns)),
        rows=tuple(rows),
        notes=tuple(map(quote, table.notes)),
    )


def text(table: Table) -> str:
    """For a terminal: aligned columns, a rule after each block, notes below."""
    table = _quoted(table, one_line)
    lines = _lines(table)
    heads = _broken_heads(table, lines)
    plain = _grid(table, [line.cells for line in lines], heads, "simple").splitlines()
    start = max(head.count("\n") for head in heads) + 2
    shown = plain[:start]
    for line, row in zip(lines, plain[start:], strict=True):
        shown += [row.rstrip(), *([""] if line.ends_block else [])]
    notes = [f"  {note}" for note in table.notes]
    return "\n".join([table.title, "", *shown, plain[start - 1], *notes, ""])


def markdown(table: Table) -> str:
    """A pipe table under a bold title, every label repeated, notes as a list."""
    table = _quoted(table, partial(in_markdown, marks=True))
    rows = [_joined(row) for row in table.rows]
    body = _grid(table, rows, [*table.label_heads, *table.columns], "pipe")
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"**{table.title}**\n\n{body}\n\n{notes}\n"


def latex(table: Table) -> str:
    """A booktabs tabular with intervals in small print and the notes as comments.

    tabulate escapes the entries, and a comment ends with its line.
    """
    table = _quoted(table, one_line)
    lines, heads = _lines(table), [*table.label_heads, *table.columns]
    body = _grid(table, [line.cells for line in lines], heads, "latex_booktabs").splitlines()
    start = body.index(r"\midrule") + 1
    rows = []
    for line, row in zip(lines, body[start : start + len(lines)], strict=True):
        plain = row.replace("±", r"$\pm$").replace(MISSING, "---")
        rows.append(_SMALL.sub(r"{\\footnotesize \g<0>}", plain) if line.intervals else plain)
        if line.ends_block:
            rows.append(r"\addlinespace")
    comments = [f"% {note}" for note in (table.title, *table.notes)]
    return "\n".join([*comments, *body[:start], *rows, *body[start + len(lines) :], ""])


def csv(table: Table) -> str:
    """One line per entry: labels, column, mean, spread and ends of the 95 % interval as fractions, what
    that is over, how many seeds, and sources.

    A table that has p-values has the column p (one per seed) besides; what an entry is not stays empty.
    """
    table, lines = _quoted(table, one_line), list[dict[str, object]]()
    tests = any(isinstance(shown, PValues) for row in table.rows for shown in row.numbers)
    for row in table.rows:
        for column, shown in zip(table.columns, row.numbers, strict=True):
            fields: dict[str, object] = dict(zip(table.label_heads, row.labels, strict=True))
            fields |= {"column": column} | _fields(shown)
            if tests:
                values = shown.values if isinstance(shown, PValues) else ()
                fields["p"] = " ".join(f"{p:.6g}" for p in values)
            lines.append(fields)
    return as_csv(lines)


def as_csv(lines: Sequence[Mapping[str, object]]) -> str:
    """`lines` under one head of all their fields; what a line lacks is empty."""
    import pandas as pd  # a third of the time that a command takes to start

    return str(pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))


def _fields(shown: Entry) -> dict[str, object]:
    number = shown if isinstance(shown, Estimate) else None
    interval = number.interval if number else shown if isinstance(shown, Interval) else None
    spread = number.spread if number else None
    return {
        "mean": number and round(number.mean, 10),
        "sd": None if spread is None else round(spread, 10),
        "low": interval and round(interval.low, 10),
        "high": interval and round(interval.high, 10),
        "over": number.over if number and interval else "",
        "seeds": "" if isinstance(shown, Interval) else len(shown.values) if shown else 0,
        "sources": " ".join(number.sources) if number else "",
    }


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": csv,
}
FILES = {"markdown": "md", "latex": "tex", "csv": "csv"}
