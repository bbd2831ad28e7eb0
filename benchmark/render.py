"""Tables as text, Markdown, LaTeX and CSV: the only place with percents (no torch)."""

from collections.abc import Callable

import pandas as pd
from tabulate import tabulate

from benchmark.tables import Number, Row, Table

MISSING = "—"


def percent(number: Number | None, signed: bool) -> str:
    """`98.20 ± 0.53`, `+0.40 ± 0.20`, or a dash for a missing number."""
    if number is None:
        return MISSING
    value = f"{100 * number.mean:{'+' if signed else ''}z.2f}"
    return value if number.spread is None else f"{value} ± {100 * number.spread:.2f}"


def _cells(row: Row) -> list[str]:
    return [*row.labels, *(percent(number, row.signed) for number in row.numbers)]


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


def text(table: Table) -> str:
    """For a terminal: aligned columns, a rule after each block, notes below."""
    width = len(table.label_heads)
    align = ["left"] * width + ["right"] * len(table.columns)
    plain = tabulate(
        _grid(table), _heads(table), tablefmt="simple", colalign=align, disable_numparse=True
    ).splitlines()
    rule = plain[1]
    lines = [plain[0], rule]
    for row, line in zip(table.rows, plain[2:], strict=True):
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
    """One line per number: labels, column, mean and spread as fractions, seeds, sources."""
    lines: list[dict[str, object]] = []
    for row in table.rows:
        for column, number in zip(table.columns, row.numbers, strict=True):
            lines.append(
                {
                    **dict(zip(table.label_heads, row.labels, strict=True)),
                    "column": column,
                    "mean": None if number is None else round(number.mean, 10),
                    "sd": None if number is None or number.spread is None else round(number.spread, 10),
                    "seeds": 0 if number is None else len(number.values),
                    "sources": "" if number is None else " ".join(number.sources),
                }
            )
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": csv,
}
FILES = {"markdown": "md", "latex": "tex", "csv": "csv"}
