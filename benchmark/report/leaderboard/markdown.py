"""The leaderboard as Markdown, for reading on a forge."""

import re

from benchmark.report.leaderboard import wording
from benchmark.report.leaderboard.page import is_safe
from benchmark.report.leaderboard.schema import Board, BoardEntry, Leaderboard, Number
from benchmark.report.markup import markdown as quoted
from benchmark.report.tables.render import MISSING, points


def markdown(shown: Leaderboard) -> str:
    """A table for each board, with its notes; what comes from records and registries is escaped."""
    lines = [f"# {wording.TITLE}", "", f"{wording.LEAD} {wording.RANKS}", ""]
    lines += [f"- {quoted(line)}" for line in wording.READING]
    for board in shown.boards:
        lines += ["", *_board(board)]
    if left_out := wording.left_out(shown):
        lines += ["", "## Left out", "", *(f"- {quoted(line)}" for line in left_out)]
    return "\n".join([*lines, ""])


def _board(board: Board) -> list[str]:
    columns = [quoted(column.label) for column in board.columns]
    heads = ["Rank", "Model", *columns, "Seeds", "Training", "Flags", "Source"]
    rule = ["---", "---", *("---:" for _ in columns), *("---",) * 4]
    rows = [_row(board, entry) for entry in board.entries]
    flagged = [
        f"- {quoted(entry.label)}, {quoted(entry.arch_label)}: {quoted(flag.text)}"
        for entry in board.entries
        for flag in wording.own_flags(board, entry)
    ]
    facts = (
        f"Scale {quoted(board.scale)}: {quoted(board.scale_summary)}. {board.threat.label}; "
        f"{wording.CHOSEN_ON[board.chosen_on]}; {quoted(wording.ranking(board))}."
    )
    heading = f"{board.dataset_label}, {wording.scale(board)}"
    return [
        f"## {quoted(heading)}: {wording.CHOSEN_ON[board.chosen_on]}",
        "",
        facts,
        "",
        *(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)),
        "",
        *flagged,
        *(f"- {quoted(note)}" for note in (*wording.remarks(board), *wording.notes(board))),
    ]


def _row(board: Board, entry: BoardEntry) -> list[str]:
    position, possible = wording.rank(entry.numbers.get(board.ranked_by or ""))
    about = [entry.label, entry.arch_label, *wording.details(entry)]
    training = [wording.cost(entry), *wording.devices_apart(board, entry)]
    return [
        f"{position} ({possible})" if possible else position or MISSING,
        "<br>".join(quoted(line) for line in about),
        *(_cell(entry.numbers.get(column.evaluation)) for column in board.columns),
        wording.seeds(entry),
        "<br>".join(quoted(line) for line in training),
        quoted(wording.flag_words(wording.own_flags(board, entry))),
        "<br>".join(_links(entry)),
    ]


def _cell(number: Number | None) -> str:
    if number is None:
        return MISSING
    change = " ".join(wording.change(number))
    parts = (points(number.mean), wording.interval(number, signed=False), change)
    return "<br>".join(part for part in parts if part)


def _links(entry: BoardEntry) -> list[str]:
    links = [f"[records]({entry.records}/)", *(_link(each.authors, each.link) for each in entry.papers)]
    links.append(wording.extra_data(entry))
    if known := entry.checkpoint:
        links.append(_link(f"{'starts from ' if known.starts_from else ''}{known.name}", known.link))
    return links


def _link(text: str, link: str | None) -> str:
    fine = link and is_safe(link) and not re.search(r"[\s()<>\\]", link)
    return f"[{quoted(text)}]({link})" if fine else quoted(text)
