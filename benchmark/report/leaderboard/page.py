"""The leaderboard as one HTML file: style and script inside, nothing fetched, read without script too.

Its parts are `page.html.j2`, `page.css` and `page.js` beside this file; the template takes words and
percents from `wording.py`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.errors import line
from benchmark.report.leaderboard import scatter as scatters
from benchmark.report.leaderboard import wording
from benchmark.report.leaderboard.scatter import scatter
from benchmark.report.leaderboard.schema import Board, BoardEntry, Column, Leaderboard


def html(shown: Leaderboard, name: str = "leaderboard") -> str:
    """The page, beside its data `name`.json and .csv. Whatever comes from records is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: line(value) if type(value) is str else value,
    )
    environment.filters |= {"key": _key, "head": _head, "protocol": _protocol, "scatter": scatter}
    return environment.get_template("page.html.j2").render(
        shown=shown,
        name=name,
        wording=wording,
        frame=scatters,
        selects=_selects(shown.boards),
        left_out=wording.left_out(shown),
        is_safe=is_safe,
    )


def _selects(boards: Iterable[Board]) -> list[dict[str, Any]]:
    """Filters, each with what it can be set to; their names are those of the rows' data attributes."""
    found: dict[str, dict[str, str]] = {
        name: {} for name in ("scale", "dataset", "arch", "method", "protocol")
    }
    for board in boards:
        found["scale"][board.scale] = board.scale
        found["dataset"][board.dataset] = board.dataset_label
        for entry in board.entries:
            found["arch"][entry.arch] = entry.arch_label
            found["method"][entry.method or "other"] = entry.method_label
            found["protocol"][_protocol(entry)] = _protocol(entry)
    labels = {"arch": "Network"}
    return [
        {
            "name": name,
            "label": labels.get(name, name.capitalize()),
            "options": sorted(options.items(), key=lambda option: (option[1], option[0])),
        }
        for name, options in found.items()
    ]


def _protocol(entry: BoardEntry) -> str:
    return f"{entry.protocol.name} ({entry.protocol.chosen_on})"


def _head(column: Column) -> tuple[str, str]:
    """`OOD (gen-v2)` over two lines, and the attack of a column whose label does not name it."""
    head, _, small = column.label.partition(" (")
    attack = column.attack if column.attack and column.attack not in column.label else ""
    return head, ", ".join(part for part in (attack, small.removesuffix(")")) if part)


def _key(value: float | None) -> str:
    """What the script sorts by: digits, or nothing where there is no number."""
    return "" if value is None else repr(value)


def is_safe(link: str) -> bool:
    """Whether `link` is a web address or a path of this repository, and so runs nothing."""
    return link.startswith(("https://", "http://", "../"))
