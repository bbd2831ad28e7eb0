"""Records and makings of one model over all its seeds at a scale, all of them fresh, or what is lacking
(no torch)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from benchmark.data import dataset_info
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import FIRST
from benchmark.plans.plan import Plan
from benchmark.plans.scales import SCALES, Scale
from benchmark.plans.states import State, is_of, record_state
from benchmark.records.cells import BASE, Cell, ScaleName
from benchmark.records.records import Finetuning, Record
from benchmark.records.store import MAKING, Store
from benchmark.report.estimates import Estimate, accuracy, change
from benchmark.report.tables.reports import REPORTS

ROLES = {
    "Std": ("clean",),
    "OOD": ("corruptions-15", "corruptions-15-gen-v2"),
    "Adv": ("pgd10x3",),
    "AutoAttack": ("autoattack",),
}
"""Columns that claims speak of, and the evaluations that can stand in them. Whatever stands there is
named; a claim is about a direction, which images of another kind or fewer of them can show too."""


@dataclass(frozen=True)
class Place:
    """A dataset, a network and an adversarial training method."""

    dataset: str
    arch: str
    method: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.arch}/{self.method}"


@dataclass(frozen=True)
class Lacking:
    """Why there is no number, and the command that makes it; `stale` if there is an old one."""

    why: str
    make: str = ""
    stale: bool = False


@dataclass(frozen=True)
class Found:
    """A number under the evaluation called `name`, the spec hashes behind it, and what its records warn
    of."""

    name: str
    estimate: Estimate
    behind: dict[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return evaluation(self.name).label


@dataclass(frozen=True)
class Fresh:
    """What is on record at `scale`, which `--scale` and `argument` name on the command line.

    A number is of all seeds that the scale has of the model, or it is lacking.
    """

    store: Store
    scale: Scale
    argument: str

    def cells(self, place: Place, finetune: str) -> list[Cell]:
        """One cell per seed; empty where the scale has nothing there."""
        return self.scale.cells([place.dataset], [place.arch], [finetune], [place.method])

    def seeds(self, place: Place) -> tuple[int, ...]:
        """The seeds that the scale asks for."""
        return self.scale.seeds_of(place.dataset, place.arch, place.method)

    def at_shared_seeds(self, places: Sequence[Place]) -> Self:
        """What is on record at the seeds that all of `places` have, or at `scale.seeds` if none is."""
        shared = [seed for seed in self.seeds(places[0]) if all(seed in self.seeds(p) for p in places)]
        return replace(self, scale=self.scale.with_seeds(tuple(shared) or self.scale.seeds))

    def places(self) -> list[Place]:
        """Every dataset and network of the scale under its first method (Table 1)."""
        return self._existing(
            Place(dataset, arch, self.scale.methods[0])
            for dataset in self.scale.datasets
            for arch in self.scale.archs
        )

    def other_methods(self) -> list[Place]:
        """The further methods, on the first two datasets and the first network (Table 2)."""
        return self._existing(
            Place(dataset, self.scale.archs[0], method)
            for dataset in self.scale.datasets[:2]
            for method in self.scale.methods[1:]
        )

    def _existing(self, places: Iterable[Place]) -> list[Place]:
        return [place for place in places if self.cells(place, BASE)]

    # --- records -------------------------------------------------------------------------------------

    def records(self, cells: Sequence[Cell], name: str) -> tuple[Record, ...] | Lacking:
        """The records of evaluation `name`, one per cell."""
        if not cells:
            return Lacking(f"scale '{self.scale.name}' has no such model")
        states = {cell: self._state(cell, name) for cell in cells}
        lacking = [cell for cell, state in states.items() if state is not State.DONE]
        if not lacking:
            found = (self.store.record(cell, name) for cell in cells)
            return tuple(record for record in found if record is not None)
        if State.ABSENT in states.values():
            return Lacking(f"{cells[0].dataset} has no {name}")
        return self._lacking(cells, lacking, name, State.STALE in states.values())

    def _state(self, cell: Cell, name: str) -> State:
        """`record_state`, without a plan where there is no record to hold against it."""
        if evaluation(name).spec(dataset_info(cell.dataset)) is None:
            return State.ABSENT
        if self.store.record(cell, name) is None:
            return State.MISSING
        return record_state(self.store, self._plan(cell), name)

    def _plan(self, cell: Cell) -> Plan:
        if cell not in self._plans:
            self._plans[cell] = Plan.of(cell, self.scale)
        return self._plans[cell]

    @cached_property
    def _plans(self) -> dict[Cell, Plan]:
        return {}

    def _lacking(
        self, cells: Sequence[Cell], lacking: Sequence[Cell], what: str, stale: bool
    ) -> Lacking:
        why = f"{'stale' if stale else 'no'} {what} of {cells[0].finetune}"
        if len(lacking) < len(cells):
            why += f", seed {', '.join(str(cell.seed) for cell in lacking)}"
        redo = " --redo-stale" if stale else ""
        return Lacking(why, self.command(lacking, what) + redo, stale)

    def accuracy(self, cells: Sequence[Cell], name: str) -> Found | Lacking:
        """Accuracy of the model that `cells` are the seeds of."""
        records = self.records(cells, name)
        if isinstance(records, Lacking):
            return records
        return Found(name, accuracy(self.store, records), hashes(records), warnings(records))

    def change(self, place: Place, ours: str, theirs: str, role: str) -> Found | Lacking:
        """Accuracy of the fine-tuning `ours` minus that of `theirs`, in the column `role` of `ROLES`.

        Of the evaluations that can stand there, the first that all records are there of: on all
        test images where that is so, else on the first of them.
        """
        first: Lacking | None = None
        for name in self.evaluations(role):
            pair = [self.records(self.cells(place, each), name) for each in (ours, theirs)]
            if lacking := [each for each in pair if isinstance(each, Lacking)]:
                first = first or lacking[0]
                continue
            one, two = (each for each in pair if not isinstance(each, Lacking))
            both = (*one, *two)
            return Found(name, change(self.store, one, two), hashes(both), warnings(both))
        return first or Lacking(f"scale '{self.scale.name}' does not evaluate {role}")

    def evaluations(self, role: str) -> list[str]:
        """Evaluations of the scale and of its audit that can stand in the column `role`."""
        names = dict.fromkeys((*self.scale.evaluations, *self.scale.for_audit))
        fitting = [name for name in names if name.partition(FIRST)[0] in ROLES[role]]
        return sorted(fitting, key=lambda name: FIRST in name)

    def warnings(self, place: Place) -> tuple[str, ...]:
        """What the attacks on the base models of `place` warn of, such as a training that failed."""
        if place not in self._warnings:
            cells, names = (
                self.cells(place, BASE),
                (*self.evaluations("Adv"), *self.evaluations("AutoAttack")),
            )
            found = (self.records([cell], name) for name in names for cell in cells)
            records = [each for some in found if not isinstance(some, Lacking) for each in some]
            self._warnings[place] = warnings(records)
        return self._warnings[place]

    @cached_property
    def _warnings(self) -> dict[Place, tuple[str, ...]]:
        return {}

    # --- makings -------------------------------------------------------------------------------------

    def makings(self, place: Place, finetune: str, make: str) -> dict[Cell, Finetuning] | Lacking:
        """How the models of a fine-tuning were made; the report or figure `make` makes them."""
        cells, found, stale = self.cells(place, finetune), dict[Cell, Finetuning](), False
        for cell in cells:
            making = self.store.making(cell)
            if making is None:
                continue
            if not is_of(making, self._plan(cell)):
                stale = True
            elif isinstance(making.details, Finetuning):
                found[cell] = making.details
        if cells and len(found) == len(cells):
            return found
        redo = " --redo-stale" if stale else ""
        return Lacking(
            f"{'stale making' if stale else 'no making'} of {finetune}",
            self._command(make) + redo,
            stale,
        )

    def making_hashes(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Spec hashes of the makings of `cells`, by key."""
        makings = {cell: self.store.making(cell) for cell in cells}
        return {f"{c.key}/{MAKING}": made.spec_hash for c, made in makings.items() if made is not None}

    # --- commands ------------------------------------------------------------------------------------

    def command(self, cells: Sequence[Cell], name: str) -> str:
        """The command that makes the evaluation `name` of `cells`."""
        for report, made in self._reports.items():
            evaluations = self.scale.for_audit if REPORTS[report].audited else self.scale.evaluations
            if name in evaluations and set(cells) <= made:
                return self._command(report)
        keys = " ".join(cell.key for cell in cells)
        file = self.argument.partition(" ")[0]  # keys say the rest
        own = "" if ScaleName.parse(file).scale in SCALES else f" --scale {file}"
        return f"python -m benchmark run {keys}{own} --evaluations {name}"

    def planned(self, cells: Sequence[Cell], name: str) -> bool:
        """Whether a table of the scale shows the evaluation `name` of `cells`."""
        tables = [made for report, made in self._reports.items() if not REPORTS[report].audited]
        return name in self.scale.evaluations and any(set(cells) <= made for made in tables)

    @cached_property
    def _reports(self) -> dict[str, frozenset[Cell]]:
        """The cells of every report."""
        return {
            name: frozenset(
                spec.cells(
                    replace(self.scale, evaluations=self.scale.for_audit)
                    if spec.audited
                    else self.scale,
                    spec.defaults,
                )
            )
            for name, spec in REPORTS.items()
        }

    def _command(self, name: str) -> str:
        return f"python -m benchmark {name} --scale {self.argument}"


def hashes(records: Sequence[Record]) -> dict[str, str]:
    """Spec hashes by `<key>/<evaluation>`."""
    return {f"{each.cell.cell.key}/{each.evaluation}": each.spec_hash for each in records}


def warned(why: str, warnings: Sequence[str]) -> str:
    """`why`, and the first of `warnings` with the number of others."""
    if not warnings:
        return why
    more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
    return f"{why}; WARNING, {warnings[0]}{more}"


def warnings(records: Sequence[Record]) -> tuple[str, ...]:
    """What `records` warn of, each with the model that it is about."""
    return tuple(
        f"{record.cell.finetune}, seed {record.cell.seed}: {warning}"
        for record in records
        for warning in record.warnings
    )
