"""The leaderboard as CSV: a row for each number, for whoever draws or ranks it otherwise."""

import csv
import io

from benchmark.errors import line
from benchmark.report.leaderboard.schema import Board, BoardEntry, Column, Leaderboard, Number

HEAD = (
    "board scale dataset eps chosen_on id label arch extra_data evaluation images seeds mean low high "
    "over rank rank_best rank_worst change change_low change_high mce papers flags"
)


def flat(shown: Leaderboard) -> str:
    """All numbers, accuracies as fractions; what is missing is empty.

    Names begin with a letter or a digit, so that no cell is a formula to a spreadsheet.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD.split())
    for board in shown.boards:
        for entry in board.entries:
            for column in board.columns:
                if number := entry.numbers.get(column.evaluation):
                    cells = _row(board, entry, number, column)
                    writer.writerow(["" if cell is None else line(str(cell)) for cell in cells])
    return text.getvalue()


def _row(board: Board, entry: BoardEntry, number: Number, column: Column) -> tuple[object, ...]:
    change = number.change
    return (
        *(board.id, board.scale, board.dataset, board.threat.eps, board.chosen_on),
        *(entry.id, entry.label, entry.arch, entry.extra_data, column.evaluation, column.images),
        *(" ".join(map(str, number.seeds)), number.mean, number.low, number.high),
        *(number.over, number.rank, number.rank_best, number.rank_worst),
        *((change.mean, change.low, change.high) if change else (None, None, None)),
        number.mce,
        " ".join(paper.link for paper in entry.papers),
        " ".join(dict.fromkeys(flag.kind for flag in entry.flags)),
    )
