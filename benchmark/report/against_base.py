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
from benchmark.report.tables.layout import average_change, mean_alpha
from benchmark.report.tables.posthoc import numbers
from benchmark.report.tables.render import MISSING
from benchmark.report.view import View


class Gained(NamedTuple):
    """What a fine-tuning gains over its base model: its numbers, such as alpha, how many seeds it has
    if some are missing (`1 of 5`), and the change of each accuracy (fraction; None: not on record),
    each of all seeds that it is on record at."""

    numbers: str
    seeds: str
    moved: list[Estimate | None]


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
        gains = {}
        for name in dict.fromkeys(name for name, _ in there):
            known = {each: there[name, each] for each in shown if (name, each) in there}
            if known:
                gains[name] = _gain(view, cells, name, known)
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


def _gain(view: View, cells: Sequence[Cell], name: str, known: Mapping[str, set[int]]) -> Gained:
    """What the fine-tuning `name` among `cells` gains at the `known` seeds, by evaluation."""
    every, bases = ([c for c in cells if c.finetune == each] for each in (name, base_name(name)))
    most = max(known.values(), key=len)
    own = [cell for cell in every if cell.seed in most]
    moved: list[Estimate | None] = []
    for each in view.scale.evaluations:
        seeds = known.get(each, ())
        pair = ([cell for cell in part if cell.seed in seeds] for part in (every, bases))
        ours, theirs = (view.records(part, each) for part in pair)
        moved.append(average_change(view.store, [ours], [theirs]) if seeds else None)
    return Gained(
        mean_alpha(view, own) or numbers(view, own),
        f"{len(own)} of {len(every)}" if len(own) < len(every) else MISSING,
        moved,
    )
