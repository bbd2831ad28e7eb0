"""The leaderboard as one HTML file: style and script inside, nothing fetched, read without script too.

Its parts are `page.html.j2`, `page.css` and `page.js` beside this file.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.report.leaderboard import wording
from benchmark.report.leaderboard.schema import Board, BoardEntry, Column, Leaderboard, Number

_FOLDER = Path(__file__).parent
_TEMPLATE = "page.html.j2"


def html(shown: Leaderboard) -> str:
    """The page. Whatever comes from records and registries is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE).render(
        title=wording.TITLE,
        lead=wording.LEAD,
        ranks=wording.RANKS,
        reading=wording.READING,
        selects=_selects(shown.boards),
        boards=[_board(board) for board in shown.boards],
        left_out=wording.left_out(shown),
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
            found["method"][_method(entry)] = entry.method_label
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


def _method(entry: BoardEntry) -> str:
    return entry.method or "other"


def _protocol(entry: BoardEntry) -> str:
    """The protocol, and the data that it chose on."""
    return f"{entry.protocol.name} ({entry.protocol.chosen_on})"


def _board(board: Board) -> dict[str, Any]:
    labels = {column.evaluation: column.label for column in board.columns}
    return {
        "id": board.id,
        "scale": board.scale,
        "dataset_name": board.dataset,
        "dataset": board.dataset_label,
        "scale_label": wording.scale(board),
        "summary": board.scale_summary,
        "threat": board.threat.label,
        "chosen_on": wording.CHOSEN_ON[board.chosen_on],
        "favoured": board.chosen_on != "hold-out",
        "ranking": wording.ranking(board),
        "ranked_by": board.ranked_by,
        "rank_head": f"by {labels[board.ranked_by]}" if board.ranked_by else "",
        "columns": [_head(column) for column in board.columns],
        "rows": [_row(board, entry) for entry in board.entries],
        "warnings": wording.remarks(board),
        "notes": wording.notes(board),
    }


def _head(column: Column) -> dict[str, str]:
    """`OOD (gen-v2)` over two lines, and the attack of a column whose label does not name it."""
    head, _, small = column.label.partition(" (")
    attack = column.attack if column.attack and column.attack not in column.label else ""
    return {
        "key": column.evaluation,
        "label": column.label,
        "head": head,
        "small": ", ".join(part for part in (attack, small.removesuffix(")")) if part),
    }


def _row(board: Board, entry: BoardEntry) -> dict[str, Any]:
    main = entry.numbers.get(board.ranked_by or "")
    flags, total = wording.own_flags(board, entry), entry.cost.total
    return {
        "arch": entry.arch,
        "method": _method(entry),
        "protocol": _protocol(entry),
        "label": entry.label,
        "arch_label": entry.arch_label,
        "details": wording.details(entry),
        "rank": "" if main is None else _plain(main.rank),
        "range": "" if main is None else wording.rank_range(main),
        "cells": [_cell(entry.numbers.get(column.evaluation)) for column in board.columns],
        "seeds": wording.seeds(entry),
        "seed_count": len(entry.seeds),
        "seed_list": f"seed {', '.join(str(seed) for seed in entry.seeds)}",
        "cost": wording.cost(entry),
        "cost_key": _plain(total),
        "devices": "; ".join(wording.devices_of(entry)) if len(wording.devices(board)) > 1 else "",
        "flags": [flag.text for flag in flags],
        "flag_words": wording.flag_words(flags),
        "records": entry.records,
        "checkpoint": _checkpoint(entry),
    }


def _cell(number: Number | None) -> dict[str, str] | None:
    if number is None:
        return None
    known = number.change
    return {
        "key": _plain(number.mean),
        "change_key": "" if known is None else _plain(known.mean),
        "rank": _plain(number.rank),
        "range": wording.rank_range(number),
        "value": wording.share(number.mean),
        "interval": wording.interval(number, signed=False),
        "change": wording.change(number),
        "side": "" if known is None else {1: " up", -1: " down", 0: ""}[known.sign],
    }


def _plain(value: float | None) -> str:
    """What the script sorts by: digits, or nothing where there is no number."""
    return "" if value is None else repr(value)


def _checkpoint(entry: BoardEntry) -> dict[str, str] | None:
    known = entry.checkpoint
    if known is None:
        return None
    href = known.link if known.link and is_safe(known.link) else ""
    return {"name": known.name, "text": "starts from" if known.starts_from else "weights", "href": href}


def is_safe(link: str) -> bool:
    """Whether `link` is a web address or a path of this repository, and so runs nothing."""
    return link.startswith(("https://", "http://", "../"))
