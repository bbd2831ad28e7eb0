"""Std against Adv of a board's entries as a drawing: places in a frame, for the template to draw."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmark.report.leaderboard.schema import Board, BoardEntry, Number

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 44
_LETTER, _LINE, _GAP = 6.2, 13, 7  # of a label, in units of the drawing
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


@dataclass
class Dot:
    """An entry: its centre, the ends of its intervals across and along, its words, its label's place.

    A base model is a square. `label` is empty where there is no room for it.
    """

    x: float
    y: float
    across: tuple[float, float]
    along: tuple[float, float]
    is_base: bool
    words: str
    label: str
    at: tuple[float, float] = (0, 0)
    anchor: str = "start"


@dataclass
class Axis:
    """From percent to places: `ticks` are places and their numbers."""

    title: str
    low: float
    high: float
    start: float
    end: float
    ticks: list[tuple[float, str]] = field(default_factory=list)

    def place(self, percent: float) -> float:
        """Where a number of percent lies, to a tenth."""
        share = (percent - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass
class Scatter:
    """The drawing; `x` is Std and `y` the attack that the board is ordered by."""

    x: Axis
    y: Axis
    dots: list[Dot]


def scatter(board: Board) -> Scatter | None:
    """The drawing of the entries that have both numbers; None of fewer than two."""
    clean = [column for column in board.columns if column.kind == "clean"]
    attack = [column for column in board.columns if column.evaluation == board.ranked_by]
    if not clean or not attack:
        return None
    std, adv = clean[0], attack[0]
    found = [
        (entry, entry.numbers[std.evaluation], entry.numbers[adv.evaluation])
        for entry in board.entries
        if {std.evaluation, adv.evaluation} <= set(entry.numbers)
    ]
    if len(found) < 2:
        return None
    x = _axis(std.label, (one for _, one, _ in found), LEFT, WIDTH - RIGHT)
    y = _axis(adv.label, (one for _, _, one in found), HEIGHT - BOTTOM, TOP)
    dots = [_dot(entry, one, other, x, y) for entry, one, other in found]
    _place_labels(dots)
    return Scatter(x, y, dots)


def _ends(number: Number) -> tuple[float, float]:
    low = number.mean if number.low is None else number.low
    high = number.mean if number.high is None else number.high
    return 100 * low, 100 * high


def _axis(title: str, numbers: Iterable[Number], start: float, end: float) -> Axis:
    """An axis with at most eight round numbers, just around all intervals."""
    ends = [end for number in numbers for end in _ends(number)]
    low, high = min(ends), max(ends)
    step = next((step for step in _STEPS if (high - low) / step <= 6), _STEPS[-1])
    first, last = int(low // step), int(-(-high // step))
    last += first == last
    axis = Axis(f"{title} (%)", first * step, last * step, start, end)
    axis.ticks = [(axis.place(k * step), f"{k * step:.4g}") for k in range(first, last + 1)]
    return axis


def _dot(entry: BoardEntry, std: Number, adv: Number, x: Axis, y: Axis) -> Dot:
    across, along = (
        (axis.place(low), axis.place(high)) for axis, (low, high) in ((x, _ends(std)), (y, _ends(adv)))
    )
    words = (
        f"{entry.label}, {entry.arch_label}: {x.title.removesuffix(' (%)')} {100 * std.mean:.2f}, "
        f"{y.title.removesuffix(' (%)')} {100 * adv.mean:.2f}"
    )
    is_base = not entry.modules and entry.protocol.name in ("base", "elsewhere")
    centre = x.place(100 * std.mean), y.place(100 * adv.mean)
    return Dot(*centre, across, along, is_base, words, entry.label)


def _place_labels(dots: list[Dot]) -> None:
    """Place labels where one covers neither another nor a dot: base models first, then by rank."""
    taken = [(dot.x - 4, dot.y - 4, dot.x + 4, dot.y + 4) for dot in dots]
    for dot in sorted(dots, key=lambda each: not each.is_base):
        long = len(dot.label) * _LETTER
        for anchor, left, line in (
            ("start", dot.x + _GAP, dot.y - _GAP),
            ("start", dot.x + _GAP, dot.y + _GAP + 9),
            ("end", dot.x - _GAP - long, dot.y - _GAP),
            ("end", dot.x - _GAP - long, dot.y + _GAP + 9),
        ):
            box = left - 4, line - _LINE + 3, left + long + 4, line + 3
            inside = box[0] > LEFT and box[2] < WIDTH and box[1] > TOP and box[3] < HEIGHT - BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                at = left if anchor == "start" else left + long
                dot.anchor, dot.at = anchor, (round(at, 1), round(line, 1))
                break
        else:
            dot.label = ""


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
