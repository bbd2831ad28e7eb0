"""Accuracies (percent) and changes (points) in words and tables, with their intervals."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.evaluation import evaluation
from benchmark.plans.states import State
from benchmark.records.cells import BASES, Cell
from benchmark.report.check.published_schema import Published
from benchmark.report.estimates import Estimate
from benchmark.report.findings.comparisons import Comparisons, Gained
from benchmark.report.markup import markdown
from benchmark.report.tables.layout import columns
from benchmark.report.tables.render import MISSING, brackets, number_and_interval, points
from benchmark.report.view import Setting, View


def base(found: Comparisons, published: Published, seed: str = "") -> str:
    """Accuracies of the base models on record, of a `seed` where one is named, and those of the paper
    where it has the same network."""
    view, place = found.view, found.view.first
    said, papers = list[str](), list[str]()
    for name, how in zip(BASES, ("alone", "without the hold-out"), strict=True):
        shown = zip(columns(view.scale), shown_accuracies(view, view.cells(place, name)), strict=True)
        if ours := ", ".join(f"{head} {text}" for head, text in shown if text != MISSING):
            said.append(f"AT {how}{seed}: {ours}.")
    for row in published.rows:
        of_rift = (row.source, row.where) == ("rift", "Table 1")
        if of_rift and Setting(row.dataset, row.arch, row.method) == place:
            values = (f"{evaluation(each).role} {100 * v:.2f}" for each, v in row.values.items())
            papers.append(f"{row.label} {', '.join(values)}")
    return " ".join([*said, *([f"In the paper: {'; '.join(papers)}."] if papers else [])])


def shown_accuracies(view: View, cells: Sequence[Cell]) -> Iterator[str]:
    """Accuracies of the model of `cells` in percent; what some of its seeds have says which."""
    for name in view.scale.evaluations:
        done = [cell for cell in cells if view.state(cell, name) is State.DONE]
        known = view.accuracy([done], name).estimate
        fewer = _of_seeds([cell.seed for cell in done], len(cells))
        yield MISSING if known is None else number_and_interval(known) + fewer


def in_a_line(found: Comparisons, label: str) -> str:
    """` (seed 0 of 5): Std +0.56 [+0.32, +0.80], ...` of the row `label`."""
    gain = found.gains[label]
    shown = zip(columns(found.view.scale), shown_changes(gain), strict=True)
    gains = ", ".join(f"{head} {text}" for head, text in shown if text != MISSING)
    return f"{_of_seeds(gain.most, gain.asked)}: {gains}"


def _of_seeds(seeds: Sequence[int], asked: int) -> str:
    """` (seeds 0, 2 of 5)`, empty for all that are asked for."""
    shown = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} of {asked}"
    return f" ({shown})" if len(seeds) < asked else ""


def shown_changes(gain: Gained) -> Iterator[str]:
    """The changes in points; one at other seeds than the row's own names them."""
    for change, seeds in zip(gain.moved, gain.seeds, strict=True):
        differs = change and seeds != gain.most
        yield _shown(change) + (_of_seeds(seeds, gain.asked) if differs else "")


def _shown(change: Estimate | None) -> str:
    if change is None:
        return MISSING
    value = points(change.mean, signed=True)
    if change.interval is None:
        return f"{value} (no interval)"
    shown = f"{value} {brackets(change.interval, signed=True)}"
    return f"**{shown}**" if change.sign else shown


def changes_table(found: Comparisons, numbered: str) -> str:
    """A table of the changes by fine-tuning, without empty columns."""
    texts = []
    for name, gain in found.gains.items():
        few = len(gain.most) < gain.asked
        seeds = f"only {', '.join(map(str, gain.most))}" if few else MISSING
        texts.append((name, markdown(gain.numbers), seeds, *shown_changes(gain)))
    return table(("method", numbered, "seeds", *columns(found.view.scale)), texts, left=2)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A table in Markdown without the columns that have nothing, the first `left` to the left."""
    every = zip(heads, *rows, strict=True)
    kept = [column for column in every if {*column[1:]} != {MISSING}]
    shown, *texts = zip(*kept, strict=True)
    align = ["left"] * left + ["right"] * (len(kept) - left)
    return tabulate(texts, shown, "pipe", colalign=align, disable_numparse=True)


def gains_and_losses(found: Comparisons) -> str:
    """Where RiFT in its readings, and what else was fine-tuned, moves an accuracy beyond 0."""
    heads, lines = columns(found.view.scale), []
    for kind, own in (("Readings of RiFT", True), ("Controls and simpler methods", False)):
        gains = {name: gain for name, gain in found.gains.items() if (name in PROTOCOLS) == own}
        for side, word in ((-1, "lose"), (1, "gain")) if gains else ():
            parts = [
                f"`{name}`{_of_seeds(gain.most, gain.asked)} {head} {shown.replace('*', '')}"
                for name, gain in gains.items()
                for head, change, shown in zip(heads, gain.moved, shown_changes(gain), strict=True)
                if change and change.sign == side
            ]
            said = "; ".join(parts) or "nothing whose interval excludes 0"
            lines.append(f"- {kind} {word}: {said}.")
    return "\n".join(lines)
