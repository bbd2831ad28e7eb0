"""Fine-tunings in pairs, or beside their base models: what one gains, of what is on record of both."""

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
from benchmark.report.tables.layout import by_finetune, mean_alpha
from benchmark.report.tables.posthoc import numbers
from benchmark.report.view import Found, Missing, View

Pairs = Mapping[str, tuple[str, str]]
"""A fine-tuning and the one that it is compared with, or its base model, by the label of a row."""


class Gained(NamedTuple):
    """What one model gains over another: its numbers, such as alpha, the change of each accuracy
    (fraction; None: not on record) with the seeds that both have it at, how many are asked for, and
    what the records behind it warn of."""

    numbers: str
    moved: tuple[Estimate | None, ...]
    seeds: tuple[tuple[int, ...], ...]
    asked: int
    warnings: tuple[str, ...]

    @property
    def most(self) -> tuple[int, ...]:
        """The seeds of the change that has the most."""
        return max(self.seeds, key=len)


@dataclass(frozen=True)
class Comparisons:
    """Models compared in pairs, under each evaluation at the seeds that both have it at.

    An evaluation on first images has a column, too, where a pair has no larger one at some seed.
    """

    view: View
    gains: Mapping[str, Gained]

    @classmethod
    def of(cls, store: Store, scale: Scale, cells: Sequence[Cell], pairs: Pairs | None = None) -> Self:
        """What `store` has of `pairs` of fine-tunings among `cells`, under evaluations that `scale`
        names; by default each fine-tuning and its base model."""
        by_name = by_finetune(cells)
        if pairs is None:
            bases = {name: base_name(name) for name in by_name}
            pairs = {name: (name, base) for name, base in bases.items() if name != base}
        there = _there(View(store, scale), by_name, pairs)
        shown = _columns(there, scale.evaluations)
        view = View(store, replace(scale, evaluations=shown))
        gains = {
            label: _gain(view, by_name[ours], by_name[theirs], there[label])
            for label, (ours, theirs) in pairs.items()
            if label in there
        }
        return cls(view, gains)

    @property
    def evaluations(self) -> set[str]:
        """Those that some pair has."""
        pairs = (
            zip(self.view.scale.evaluations, gain.moved, strict=True) for gain in self.gains.values()
        )
        return {name for moved in pairs for name, change in moved if change}


There = Mapping[str, Mapping[str, set[int]]]
"""Seeds at which both models of a pair have a record, by its label and evaluation."""


def _there(view: View, by_name: Mapping[str, Sequence[Cell]], pairs: Pairs) -> There:
    """Where `view` has evaluations of its scale, and those of the first images only."""
    cells = [cell for own in by_name.values() for cell in own]
    on_disk = {name for cell in cells for name in view.store.names(cell)}
    wholes = {*map(whole_name, view.scale.evaluations)}
    found: dict[str, dict[str, set[int]]] = {}
    for name in (each for each in on_disk if whole_name(each) in wholes and _known(each)):
        done = {
            tuned: {cell.seed for cell in own if view.state(cell, name) is State.DONE}
            for tuned, own in by_name.items()
        }
        for label, (ours, theirs) in pairs.items():
            if both := done.get(ours, set()) & done.get(theirs, set()):
                found.setdefault(label, {})[name] = both
    return found


def _known(name: str) -> bool:
    """Whether this version knows the evaluation; the leaderboard lists what it does not."""
    try:
        return bool(evaluation(name))
    except UserError:
        return False


def _columns(there: There, wanted: Sequence[str]) -> tuple[str, ...]:
    """What is `wanted`, of all images, and on the most of the first images for seeds that lack that."""
    shown: list[str] = []
    for name in dict.fromkeys(map(whole_name, wanted)):
        fewer = {each for known in there.values() for each in known if each.startswith(name + FIRST)}
        every = (name, *sorted(fewer, key=lambda each: -(first_images(evaluation(each)) or 0)))
        largest = dict[tuple[str, int], str]()  # of each row at each seed
        for each in reversed(every):
            for label, known in there.items():
                largest |= {(label, seed): each for seed in known.get(each, ())}
        kept = [each for each in every if each in largest.values()]
        # Where no pair has any, the base model may.
        shown += kept or [name, *(each for each in wanted if each.startswith(name + FIRST))]
    return tuple(shown)


def _gain(
    view: View, ours: Sequence[Cell], theirs: Sequence[Cell], known: Mapping[str, set[int]]
) -> Gained:
    """What the cells `ours` gain over `theirs` at the `known` seeds, by evaluation."""

    def change(name: str) -> Found | Missing:
        one, two = ([cell for cell in each if cell.seed in known[name]] for each in (ours, theirs))
        return view.difference([one], [two], name)

    found = [change(name) if name in known else None for name in view.scale.evaluations]
    seeds = tuple(tuple(sorted(known.get(name, ()))) for name in view.scale.evaluations)
    own = [cell for cell in ours if cell.seed in max(seeds, key=len)]
    tuned = any(view.finetuning(cell) for cell in own)
    return Gained(
        mean_alpha(view, own) if tuned else numbers(view, own),
        tuple(each.estimate if each else None for each in found),
        seeds,
        len(ours),
        tuple(text for each in found if isinstance(each, Found) for text in each.warnings),
    )
