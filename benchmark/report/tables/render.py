"""Tables as text, Markdown and LaTeX, in percent, and as CSV, in fractions.

A number takes one line: `81.46 ± 0.20` over seeds, whose 95 % interval is in the CSV, or of one seed
`66.3 [65.4, 67.2]`, with that over images. An entry significantly better than what it is compared with
is bold; in text it follows a star.
"""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from tabulate import tabulate

from benchmark.errors import line as one_line
from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate, accuracy
from benchmark.report.intervals import Interval, PValues
from benchmark.report.markup import latex as in_latex
from benchmark.report.markup import markdown as in_markdown
from benchmark.report.tables.layout import Beside, Entry, Number, Row, Table, brief

MISSING = "—"
_NUMBER = re.compile(r"Table \d+: ")
HEAD_WIDTH = 17  # of a column in text; a longer head is broken into lines unless its numbers are wide


def entry(shown: Entry, signed: bool) -> str:
    """A number, of one seed with its interval: an accuracy to one decimal, a difference to two; the
    interval of a difference; p-values such as `0.031 <0.001`; or ours and the paper's, `81.02 / 81.46`.
    """
    if isinstance(shown, Beside):
        ours = shown.ours and Estimate((shown.ours.mean,))
        return f"{percent(ours, signed)} / {points(shown.paper, signed)}"
    if isinstance(shown, Interval):
        return brackets(shown, signed=True)
    if isinstance(shown, PValues):
        return " ".join("<0.001" if p < 0.001 else f"{p:.3f}" for p in shown.values)
    if shown is None or shown.spread is not None or shown.interval is None:
        return percent(shown, signed)
    digits = 2 if signed else 1
    return f"{points(shown.mean, signed, digits)} {brackets(shown.interval, signed, digits)}"


def percent(number: Estimate | None, signed: bool) -> str:
    """`98.20 ± 0.53`, `+0.40 ± 0.20`, or a dash for a missing number."""
    if number is None:
        return MISSING
    value = points(number.mean, signed)
    return value if number.spread is None else f"{value} ± {100 * number.spread:.2f}"


def brackets(interval: Interval, signed: bool, digits: int = 2) -> str:
    """`[65.35, 67.20]` in percent, or `[-0.20, +2.80]` in percentage points."""
    low, high = (points(end, signed, digits) for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def points(fraction: float, signed: bool = False, digits: int = 2) -> str:
    """A fraction in percent, such as `83.44`, or a difference in points, such as `+1.98`."""
    return f"{100 * fraction:{'+' if signed else ''}z.{digits}f}"


def number_and_interval(shown: Estimate, unit: str = "") -> str:
    """`66.28 [65.35, 67.20]` in percent, or with the unit ` %` behind the number."""
    interval = "" if shown.interval is None else f" {brackets(shown.interval, signed=False)}"
    return f"{percent(shown, signed=False)}{unit}{interval}"


def summary(store: Store, record: Record) -> str:
    """A record in one line: `clean  66.28 % [65.35, 67.20] (6628 of 10000)`, with the 95 % interval
    over test images.

    Raises `UserError` for bits that are not those of the record.
    """
    value = number_and_interval(accuracy(store, [record]), " %")
    return f"{record.evaluation}  {value} ({record.k} of {record.n})"


def _cells(row: Row, bold: str, quote: Callable[[str], str] = str) -> list[str]:
    """Labels and quoted entries of a row; `bold` has a place for what is better."""
    entries = [quote(entry(shown, row.signed)) for shown in row.numbers]
    for place in (place for place, better in enumerate(row.better) if better):
        entries[place] = bold.format(entries[place])
    return [*row.labels, *entries]


def _once(table: Table, bold: str, quote: Callable[[str], str] = str) -> list[list[str]]:
    """The cells of each row; a label that repeats the row above is left blank."""
    rows, above = [], tuple[str, ...]()
    for row in table.rows:
        cells = _cells(row, bold, quote)
        for place in range(len(row.labels) - 1):
            if row.labels[: place + 1] == above[: place + 1]:
                cells[place] = ""
        above = row.labels
        rows.append(cells)
    return rows


def _grid(table: Table, rows: Sequence[Sequence[str]], heads: Sequence[str], style: str) -> str:
    """`rows` under `heads` as tabulate's `style` lays them out: labels left, numbers right."""
    align = ["left"] * len(table.label_heads) + ["right"] * len(table.columns)
    return tabulate(rows, heads, tablefmt=style, colalign=align, disable_numparse=True)


def _broken_heads(table: Table, rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Lines of each head, no wider than `HEAD_WIDTH` or its entries, broken at blanks or hyphens."""
    heads = [[head] for head in table.label_heads]
    for place, head in enumerate(table.columns, start=len(heads)):
        width = max([HEAD_WIDTH, *(len(cells[place]) for cells in rows)])
        heads.append(textwrap.wrap(head, width, break_long_words=False))
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
    """For a terminal: aligned columns, a blank line after each block, notes below."""
    table = _quoted(table, one_line)
    rows = _once(table, "*{}")
    heads = _broken_heads(table, rows)
    plain = _grid(table, rows, ["\n".join(lines) for lines in heads], "simple").splitlines()
    start = max(map(len, heads)) + 1
    shown = plain[:start]
    for row, cells in zip(table.rows, plain[start:], strict=False):
        shown += [cells.rstrip(), *([""] if row.ends_block and row is not table.rows[-1] else [])]
    notes = [f"  {note}" for note in table.notes]
    return "\n".join([table.title, "", *shown, plain[start - 1], *notes, ""])


def markdown(table: Table) -> str:
    """A pipe table under a bold title, every label repeated, notes as a list."""
    table = _quoted(table, partial(in_markdown, marks=True))
    rows = [_cells(row, "**{}**") for row in table.rows]
    body = _grid(table, rows, [*table.label_heads, *table.columns], "pipe")
    notes = "\n".join(f"- {note}" for note in table.notes)
    title = table.title.replace("*", r"\*")  # that of alpha* would end the bold
    return f"**{title}**\n\n{body}\n\n{notes}\n"


def latex(table: Table) -> str:
    """A float with a caption, a label and the notes, shrunk where it is wider or higher than a page."""
    plain = _once(_quoted(table, one_line), "{}")
    heads = [r"\\".join(map(in_latex, lines)) for lines in _broken_heads(table, plain)]
    table = _quoted(table, in_latex)
    lines = [" & ".join(rf"\shortstack{{{head}}}" for head in heads) + r" \\", r"\midrule"]
    entries = _once(table, r"\textbf{{{}}}", lambda shown: in_latex(shown).replace("-", "$-$"))
    for row, cells in zip(table.rows, entries, strict=True):
        # A bracket or a star that opened a line would belong to the line break before.
        lines.append("{}" + " & ".join(cells) + r" \\")
        if row.ends_block and row is not table.rows[-1]:
            lines.append(r"\addlinespace")
    body = "\n".join(lines)
    notes = "\n".join(rf"\item {{}}{note}" for note in table.notes)
    align = "l" * len(table.label_heads) + "r" * len(table.columns)
    title = _NUMBER.sub("", table.title)  # LaTeX numbers it
    return _LATEX % (title, table.name, align, body, notes)


_LATEX = r"""%% \usepackage{adjustbox,booktabs,threeparttable}
\begin{table}
\centering
\begin{adjustbox}{max totalsize={\linewidth}{0.95\textheight}}
\begin{threeparttable}
\caption{%s}
\label{tab:%s}
\small
\begin{tabular}{%s}
\toprule
%s
\bottomrule
\end{tabular}
\begin{tablenotes}[flushleft]
\footnotesize
%s
\end{tablenotes}
\end{threeparttable}
\end{adjustbox}
\end{table}
"""


def csv(table: Table) -> str:
    """One line per entry: labels, column, mean, spread and ends of the 95 % interval as fractions, what
    that is over, how many seeds, and sources.

    A table that has p-values has the column p (one per seed) besides, one beside the paper's numbers
    the column paper; what an entry is not stays empty.
    """
    table, lines = _quoted(table, one_line), list[dict[str, object]]()
    tests = any(isinstance(shown, PValues) for row in table.rows for shown in row.numbers)
    for row in table.rows:
        for column, shown in zip(table.columns, row.numbers, strict=True):
            fields: dict[str, object] = dict(zip(table.label_heads, row.labels, strict=True))
            number = shown.ours if isinstance(shown, Beside) else shown
            fields |= {"column": column} | _fields(number)
            if isinstance(shown, Beside):
                fields["paper"] = shown.paper
            if tests:
                values = shown.values if isinstance(shown, PValues) else ()
                fields["p"] = " ".join(f"{p:.6g}" for p in values)
            lines.append(fields)
    return as_csv(lines)


def as_csv(lines: Sequence[Mapping[str, object]]) -> str:
    """`lines` under one head of all their fields; what a line lacks is empty."""
    import pandas as pd  # a third of the time that a command takes to start

    return str(pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))


def _fields(shown: Number) -> dict[str, object]:
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


def rendered(table: Table, how: str, *, every_note: bool = False) -> str:
    """`table` in a format of `FORMATS`: the CSV whole, the others of what `brief` leaves."""
    return FORMATS[how](table if how == "csv" else brief(table, every_note=every_note))


FILES = {"markdown": "md", "latex": "tex", "csv": "csv"}
