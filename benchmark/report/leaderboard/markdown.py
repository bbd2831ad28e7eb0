"""The leaderboard as Markdown, for reading on a forge."""

import re

from benchmark.report.leaderboard import wording
from benchmark.report.leaderboard.page import is_safe
from benchmark.report.leaderboard.schema import Board, BoardEntry, Leaderboard, Number
from benchmark.report.tables.render import MISSING


def markdown(shown: Leaderboard) -> str:
    """A table for each board, with its notes; what comes from records and registries is escaped."""
    lines = [f"# {wording.TITLE}", "", f"{wording.LEAD} {wording.RANKS}", ""]
    lines += [f"- {_safe(line)}" for line in wording.READING]
    for board in shown.boards:
        lines += ["", *_board(board)]
    if not shown.boards:
        lines += ["", "No records yet."]
    if left_out := wording.left_out(shown):
        lines += ["", "## Left out", "", *(f"- {_safe(line)}" for line in left_out)]
    return "\n".join([*lines, ""])


def _board(board: Board) -> list[str]:
    columns = [_safe(column.label) for column in board.columns]
    heads = ["Rank", "Model", *columns, "Seeds", "Training", "Flags", "Source"]
    rule = ["---", "---", *("---:" for _ in columns), *("---",) * 4]
    rows = [_row(board, entry) for entry in board.entries]
    flagged = [
        f"- {_safe(entry.label)}, {_safe(entry.arch_label)}: {_safe(flag.text)}"
        for entry in board.entries
        for flag in wording.own_flags(board, entry)
    ]
    facts = (
        f"Scale {_safe(board.scale)}: {_safe(board.scale_summary)}. {board.threat.label}; "
        f"{wording.CHOSEN_ON[board.chosen_on]}; {_safe(wording.ranking(board))}."
    )
    return [
        f"## {_safe(wording.heading(board))}: {wording.CHOSEN_ON[board.chosen_on]}",
        "",
        facts,
        "",
        *(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)),
        "",
        *flagged,
        *(f"- {_safe(note)}" for note in (*wording.remarks(board), *wording.notes(board))),
    ]


def _row(board: Board, entry: BoardEntry) -> list[str]:
    main = entry.numbers.get(board.ranked_by or "")
    about = [entry.label, entry.arch_label, *wording.details(entry)]
    training = [wording.cost(entry), *wording.devices_apart(board, entry)]
    return [
        MISSING if main is None or main.rank is None else _rank(main),
        "<br>".join(_safe(line) for line in about),
        *(_cell(entry.numbers.get(column.evaluation)) for column in board.columns),
        wording.seeds(entry),
        "<br>".join(_safe(line) for line in training),
        _safe(wording.flag_words(wording.own_flags(board, entry))),
        "<br>".join(_links(entry)),
    ]


def _rank(number: Number) -> str:
    possible = wording.rank_range(number)
    return f"{number.rank} ({possible})" if possible else str(number.rank)


def _cell(number: Number | None) -> str:
    if number is None:
        return MISSING
    parts = (wording.share(number.mean), wording.interval(number, signed=False), wording.change(number))
    return "<br>".join(part for part in parts if part)


def _links(entry: BoardEntry) -> list[str]:
    links = [f"[records]({entry.records}/)"]
    if known := entry.checkpoint:
        text = f"{'starts from ' if known.starts_from else ''}{_safe(known.name)}"
        fine = known.link and is_safe(known.link) and not re.search(r"[\s()<>\\]", known.link)
        links.append(f"[{text}]({known.link})" if fine else text)
    return links


def _safe(text: str) -> str:
    """`text` on one line, without a meaning for Markdown or HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|~#])", r"\\\1", plain)
