"""What the Markdown and the HTML of a leaderboard both say, in words and in percent."""

from collections.abc import Iterable

from benchmark.report.intervals import RESAMPLES, Interval
from benchmark.report.leaderboard.columns import ENOUGH
from benchmark.report.leaderboard.schema import (
    Board,
    BoardEntry,
    ChangeFromBase,
    ChosenOn,
    Flag,
    FlagKind,
    Leaderboard,
    Number,
)
from benchmark.report.tables.render import brackets, points

TITLE = "RiFT leaderboard"
LEAD = (
    "Adversarially trained networks with and without Robust Critical Fine-Tuning: accuracies in "
    "percent with 95 % intervals, from the records of this repository."
)
RANKS = (
    "A rank stands with the range that the intervals allow (1-4: anything from first to fourth); on "
    f"fewer than {ENOUGH:,} images there is the range alone."
)
READING = (
    "A board holds what may be compared: one scale, one dataset, one threat model, and the same data "
    "that chose epochs and alpha*. A column is one evaluation: accuracies of another one, of another "
    "threat model or of fewer images never share it, nor its ranks. Two entries are told apart only "
    f"where their intervals do not overlap, and nobody has a position on fewer than {ENOUGH:,} images. "
    "A mean over fewer seeds than the base model has is not ranked.",
    "Below an accuracy stands the difference to the model's own base model, with its interval. An "
    "arrow marks those whose interval excludes 0, without correction for how many there are. This "
    "paired difference is sharper than two intervals side by side, which overlap too easily. mCE, the "
    "mean corruption error (Hendrycks and Dietterich, 2019), is relative to that base model, 100.",
    "Intervals of several seeds are Student's t over seeds; seeds that all agree exactly say nothing "
    "of their spread and have none. Of one seed they are over test images "
    f"(Wilson; for OOD and for differences a bootstrap of {RESAMPLES:,} resamples) and do not say what "
    "training again would change. An interval over seeds and one over images tell nothing apart.",
    "Training is wall-clock time, base model + fine-tuning, mean over seeds. What several fine-tunings "
    "share, such as criticality, counts where it was done first; training a mix's second network is "
    "not in it.",
)
CHOSEN_ON: dict[ChosenOn, str] = {
    "test": "epochs and alpha* chosen on test images",
    "hold-out": "no test image chose anything",
    "unknown": "not known on which data was chosen",
}
FLAG_WORDS: dict[FlagKind, str] = {
    "warning": "warning",
    "other-images": "other images",
    "seeds": "seeds missing",
    "changed-checkout": "changed checkout",
    "chosen-on-test": "chosen on test images",
    "same-weights": "same weights",
    "ascent": "no valid MRC of some modules",
    "zero-gradients": "zero gradients",
    "constraint": "MRC a lower estimate",
    "subset": "first images only",
    "extra-data": "extra data",
    "other-eps": "trained at another eps",
    "other-dataset": "trained on another dataset",
    "made-elsewhere": "trained elsewhere",
}
WHY = {
    "stale": "stale records",
    "unknown-name": "records of unknown names",
    "unknown-scale": "records of unknown scales",
    "plug-in": "records of plug-ins that are not loaded",
}
_FEW = 3  # modules that are named


def interval(number: Number | ChangeFromBase, signed: bool) -> str:
    """`[65.35, 67.20]`, or nothing."""
    if number.low is None or number.high is None:
        return ""
    return brackets(Interval(number.low, number.high), signed)


def change(number: Number) -> tuple[str, ...]:
    """`▲ +0.18`, `[+0.06, +0.30]` and, of corruptions, `mCE 99.5`; () without a difference.

    The arrow stands where the interval excludes 0; `equal` where every seed has the accuracy of its
    base model and the interval is that point.
    """
    if (known := number.change) is None:
        return ()
    if not any((known.low, known.high, *known.values)) and known.low is not None:
        return ("equal",)
    arrow = {1: "▲", -1: "▼", 0: ""}[known.sign]
    errors = "" if number.mce is None else f"mCE {100 * number.mce:.1f}"
    moved = f"{arrow} {points(known.mean, signed=True)}".lstrip()
    parts = (moved, interval(known, signed=True), errors)
    return tuple(part for part in parts if part)


def rank(number: Number | None) -> tuple[str, str]:
    """`("2", "1-4")`: a position and its range, empty where only one rank is possible.

    On too few images the range stands in place of the position; both are empty of an unranked number.
    """
    if number is None or number.rank_best is None:
        return "", ""
    alone = number.rank_best == number.rank_worst
    possible = str(number.rank_best) if alone else f"{number.rank_best}-{number.rank_worst}"
    if number.rank is None:
        return possible, ""
    return str(number.rank), "" if alone else possible


def scale(board: Board) -> str:
    """`scale narrow`."""
    return "models from elsewhere" if board.scale == "own" else f"scale {board.scale}"


def labels(board: Board) -> dict[str, str]:
    """Labels of the columns by evaluation."""
    return {column.evaluation: column.label for column in board.columns}


def ranking(board: Board) -> str:
    """By what a board is ranked."""
    if board.ranked_by is not None:
        return f"ranked by {labels(board)[board.ranked_by]}"
    if any(column.kind == "attack" for column in board.columns):
        return f"not ranked: no attack is of the whole test set, nor of {ENOUGH:,} images of it"
    return "not ranked: there is no attack on record"


def duration(seconds: float) -> str:
    """`40 s`, `8 min`, `1 h 10 min`, in that precision."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def cost(entry: BoardEntry) -> str:
    """`1 h 10 min + 8 min`: of the base model and of the fine-tuning; `?` for what is not known."""
    base, tuning = entry.cost.base_seconds, entry.cost.finetune_seconds
    if base is None and tuning is None:
        return "not known"
    first = "?" if base is None else duration(base)
    tuned = entry.alphas or tuning is not None
    return first + (f" + {'?' if tuning is None else duration(tuning)}" if tuned else "")


def devices_apart(board: Board, entry: BoardEntry) -> tuple[str, ...]:
    """The devices of an entry where those of its board differ."""
    return entry.devices if len(board.devices) > 1 else ()


def details(entry: BoardEntry) -> list[str]:
    """Protocol and alpha, the modules, and what a model from elsewhere really is, as short lines."""
    tuned = list(dict.fromkeys(entry.modules.values()))
    first = [] if entry.protocol.name in ("base", "elsewhere") else [f"protocol {entry.protocol.name}"]
    if entry.alphas:
        alphas = [f"{alpha:.2f}" for alpha in entry.alphas.values()]
        first.append(f"alpha {', '.join(alphas if len(set(alphas)) > 1 else alphas[:1])}")
    lines = [", ".join(first)] if first else []
    if tuned and all(len(modules) <= _FEW for modules in tuned):
        lines.append("; ".join(", ".join(modules) or "no parameter" for modules in tuned))
    elif tuned:
        lines.append(f"{len(tuned[0])} modules")
    if entry.checkpoint is not None and entry.protocol.name == "elsewhere":
        lines.append(entry.checkpoint.what)
    return lines


def seeds(entry: BoardEntry) -> str:
    """`2 of 3`: seeds on record of those that the scale asks for; `3` if there are all."""
    asked = set(entry.scale_seeds)
    known = asked & set(entry.seeds)
    return str(len(entry.seeds)) if known == asked else f"{len(known)} of {len(asked)}"


def extra_data(entry: BoardEntry) -> str:
    """Whether it was trained with data beside the training set."""
    return {True: "extra data", False: "no extra data", None: "extra data: not known"}[entry.extra_data]


def own_flags(board: Board, entry: BoardEntry) -> list[Flag]:
    """Flags of an entry that not all of its board have."""
    return [flag for flag in entry.flags if flag not in board.common_flags]


def flag_words(flags: Iterable[Flag]) -> str:
    """`warning, same weights`."""
    return ", ".join(dict.fromkeys(FLAG_WORDS[flag.kind] for flag in flags))


def remarks(board: Board) -> list[str]:
    """What holds for every entry of a board and neither its columns nor its heading say."""
    shown = ("subset", "chosen-on-test")
    return [f"every entry: {flag.text}" for flag in board.common_flags if flag.kind not in shown]


def notes(board: Board) -> list[str]:
    """What stands below a board: what its columns and protocols are, and what it was trained on."""
    lines = [column.note for column in board.columns if column.note]
    protocols = {entry.protocol.name: entry.protocol.summary for entry in board.entries}
    lines += [f"{name}: {protocols[name]}" for name in sorted(protocols)]
    if len(board.devices) == 1:
        lines.append(f"trained on {'; '.join(board.devices[0])}")
    return lines


def left_out(shown: Leaderboard) -> list[str]:
    """What is on disk and not shown: how many of each kind, and which."""
    lines = []
    for why, label in WHY.items():
        which = [
            f"{each.key}{f' {each.evaluation}' if each.evaluation else ''}"
            + ("" if why == "stale" else f" ({each.text})")
            for each in shown.left_out
            if each.why == why
        ]
        if which:
            lines.append(f"{label} ({len(which)}): {'; '.join(which)}")
    return lines
