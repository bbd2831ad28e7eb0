"""Fine-tunings beside their base models: what each gains, of the seeds and images on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import FIRST, first_images, whole_name
from benchmark.plans.scales import Scale
from benchmark.plans.states import State
from benchmark.records.cells import Cell, base_name
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate
from benchmark.report.tables.layout import average_change, by_finetune, mean_alpha
from benchmark.report.tables.posthoc import numbers
from benchmark.report.tables.render import MISSING
from benchmark.report.view import View


class Gained(NamedTuple):
    """What a fine-tuning gains over its base model: its numbers, such as alpha, how many seeds it has
    if some are missing (`1 of 5`), and the change of each accuracy (fraction; None: not on record),
    each of all seeds that it is on record at."""

    numbers: str
    seeds: str
    moved: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class AgainstBase:
    """Fine-tunings beside their base models, under each evaluation at the seeds that both have it at.

    Where a model has an evaluation on the first images only, the most of them have a column, too.
    """

    view: View
    gains: Mapping[str, Gained]

    @classmethod
    def of(cls, store: Store, scale: Scale, cells: Sequence[Cell]) -> Self:
        """What `store` has of the fine-tunings among `cells`, under evaluations that `scale` names."""
        there = _there(View(store, scale), cells)
        shown = _columns(there, scale.evaluations)
        view = View(store, replace(scale, evaluations=shown))
        gains, by_name = {}, by_finetune(cells)
        for name in dict.fromkeys(name for name, _ in there):
            if known := {each: there[name, each] for each in shown if (name, each) in there}:
                gains[name] = _gain(view, by_name[name], by_name[base_name(name)], known)
        return cls(view, gains)


There = Mapping[tuple[str, str], set[int]]
"""Seeds with a record of a fine-tuning and of its base model, by fine-tuning and evaluation."""


def _there(view: View, cells: Sequence[Cell]) -> There:
    """Where `view` has evaluations of its scale, and those of the first images only."""
    on_disk = {name for cell in cells for name in view.store.names(cell)}
    wanted = view.scale.evaluations
    wholes = {*map(whole_name, wanted)}
    fewer = {each for each in on_disk if FIRST in each and whole_name(each) in wholes and _known(each)}
    names = on_disk & {*wanted, *fewer}
    done = {(cell, name) for cell in cells for name in names if view.state(cell, name) is State.DONE}
    found: dict[tuple[str, str], set[int]] = {}
    for cell in cells:
        base = replace(cell, finetune=base_name(cell.finetune))
        for name in names:
            if cell != base and {(cell, name), (base, name)} <= done:
                found.setdefault((cell.finetune, name), set()).add(cell.seed)
    return found


def _known(name: str) -> bool:
    """Whether this version knows the evaluation; the leaderboard lists what it does not."""
    try:
        return bool(evaluation(name))
    except UserError:
        return False


def _columns(there: There, wanted: Sequence[str]) -> tuple[str, ...]:
    """`wanted` evaluations, and those on the most of the first images for what lacks them."""
    shown: list[str] = []
    for name in wanted:
        fewer = {each for _, each in there if each.startswith(whole_name(name) + FIRST)} - {name}
        without = {tuned for tuned, _ in there}
        kept = []
        for each in (name, *sorted(fewer, key=lambda each: -(first_images(evaluation(each)) or 0))):
            if have := {tuned for tuned in without if (tuned, each) in there}:
                kept.append(each)
                without -= have
        shown += kept or [name]
    return tuple(dict.fromkeys(shown))


def _gain(
    view: View, cells: Sequence[Cell], bases: Sequence[Cell], known: Mapping[str, set[int]]
) -> Gained:
    """What the fine-tunings `cells` gain over `bases` at the `known` seeds, by evaluation."""

    def change(name: str) -> Estimate | None:
        ours, theirs = ([cell for cell in each if cell.seed in known[name]] for each in (cells, bases))
        return average_change(view, [ours], [theirs], name)

    most = max(known.values(), key=len)
    own = [cell for cell in cells if cell.seed in most]
    return Gained(
        mean_alpha(view, own) or numbers(view, own),
        f"{len(own)} of {len(cells)}" if len(own) < len(cells) else MISSING,
        tuple(change(name) if name in known else None for name in view.scale.evaluations),
    )
