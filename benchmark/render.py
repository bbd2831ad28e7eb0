"""Tables as text, Markdown, LaTeX and CSV: the only place with percents (no torch)."""

import textwrap
from collections.abc import Callable

import pandas as pd
from tabulate import tabulate

from benchmark.intervals import Interval, PValues
from benchmark.tables import Entry, Number, Row, Table

MISSING = "—"
HEAD_WIDTH = 17  # of a column in text; a longer head is broken into lines unless its numbers are wide


def entry(shown: Entry, signed: bool) -> str:
    """A number as `percent` has it, an interval such as `[-0.20, +2.80]` in percentage points, or
    p-values such as `0.031 <0.001`."""
    if isinstance(shown, Interval):
        return f"[{100 * shown.low:+z.2f}, {100 * shown.high:+z.2f}]"
    if isinstance(shown, PValues):
        return " ".join("<0.001" if p < 0.001 else f"{p:.3f}" for p in shown.values)
    return percent(shown, signed)


def percent(number: Number | None, signed: bool) -> str:
    """`98.20 ± 0.53`, `+0.40 ± 0.20`, or a dash for a missing number."""
    if number is None:
        return MISSING
    value = f"{100 * number.mean:{'+' if signed else ''}z.2f}"
    return value if number.spread is None else f"{value} ± {100 * number.spread:.2f}"


def _cells(row: Row) -> list[str]:
    return [*row.labels, *(entry(shown, row.signed) for shown in row.numbers)]


def _grid(table: Table) -> list[list[str]]:
    """Rows of text; a label that repeats the row above is left blank."""
    lines: list[list[str]] = []
    above: tuple[str, ...] = ()
    for row in table.rows:
        line = _cells(row)
        for place in range(len(row.labels) - 1):
            if row.labels[: place + 1] == above[: place + 1]:
                line[place] = ""
        lines.append(line)
        above = row.labels
    return lines


def _heads(table: Table) -> list[str]:
    return [*table.label_heads, *table.columns]


def _broken_heads(table: Table, grid: list[list[str]]) -> list[str]:
    """Heads of lines no longer than `HEAD_WIDTH` or the entries below, where there is a blank."""
    heads = list(table.label_heads)
    for place, head in enumerate(table.columns, start=len(heads)):
        width = max([HEAD_WIDTH, *(len(line[place]) for line in grid)])
        heads.append("\n".join(textwrap.wrap(head, width, break_long_words=False)))
    return heads


def text(table: Table) -> str:
    """For a terminal: aligned columns, a rule after each block, notes below."""
    width = len(table.label_heads)
    align = ["left"] * width + ["right"] * len(table.columns)
    grid = _grid(table)
    heads = _broken_heads(table, grid)
    plain = tabulate(grid, heads, tablefmt="simple", colalign=align, disable_numparse=True).splitlines()
    top = max(head.count("\n") for head in heads) + 1
    rule = plain[top]
    lines = plain[: top + 1]
    for row, line in zip(table.rows, plain[top + 1 :], strict=True):
        lines.append(line)
        if row.ends_block and row is not table.rows[-1]:
            lines.append("")
    return "\n".join([table.title, "", *lines, rule, *(f"  {note}" for note in table.notes), ""])


def markdown(table: Table) -> str:
    """A pipe table under a bold title, every label repeated, notes as a list."""
    width = len(table.label_heads)
    align = ["left"] * width + ["right"] * len(table.columns)
    body = tabulate(
        [_cells(row) for row in table.rows],
        _heads(table),
        tablefmt="pipe",
        colalign=align,
        disable_numparse=True,
    )
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"**{table.title}**\n\n{body}\n\n{notes}\n"


def latex(table: Table) -> str:
    """A booktabs tabular with the notes as comments."""
    align = ["left"] * len(table.label_heads) + ["right"] * len(table.columns)
    body = tabulate(
        _grid(table),
        _heads(table),
        tablefmt="latex_booktabs",
        colalign=align,
        disable_numparse=True,
    )
    lines = []
    rows = iter(table.rows)
    for line in body.splitlines():
        lines.append(line.replace("±", r"$\pm$").replace(MISSING, "---"))
        if line.endswith(r"\\") and r"\midrule" in "\n".join(lines):
            row = next(rows, None)
            if row is not None and row.ends_block and row is not table.rows[-1]:
                lines.append(r"\addlinespace")
    comments = "\n".join(f"% {note}" for note in (table.title, *table.notes))
    return f"{comments}\n" + "\n".join(lines) + "\n"


def csv(table: Table) -> str:
    """One line per entry: labels, column, mean and spread as fractions, seeds, sources.

    A table that has intervals or p-values has the columns low, high (fractions) and p (one per seed)
    besides; what an entry is not stays empty.
    """
    lines: list[dict[str, object]] = []
    compares = any(isinstance(shown, Interval | PValues) for row in table.rows for shown in row.numbers)
    for row in table.rows:
        for column, shown in zip(table.columns, row.numbers, strict=True):
            line: dict[str, object] = dict(zip(table.label_heads, row.labels, strict=True))
            line |= {"column": column} | _number_fields(shown)
            lines.append(line | (_comparison_fields(shown) if compares else {}))
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _number_fields(shown: Entry) -> dict[str, object]:
    if not isinstance(shown, Number):
        seeds = len(shown.values) if isinstance(shown, PValues) else "" if shown else 0
        return {"mean": None, "sd": None, "seeds": seeds, "sources": ""}
    return {
        "mean": round(shown.mean, 10),
        "sd": None if shown.spread is None else round(shown.spread, 10),
        "seeds": len(shown.values),
        "sources": " ".join(shown.sources),
    }


def _comparison_fields(shown: Entry) -> dict[str, object]:
    interval = shown if isinstance(shown, Interval) else None
    return {
        "low": interval and round(interval.low, 10),
        "high": interval and round(interval.high, 10),
        "p": " ".join(f"{p:.6g}" for p in shown.values) if isinstance(shown, PValues) else "",
    }


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": csv,
}
FILES = {"markdown": "md", "latex": "tex", "csv": "csv"}
