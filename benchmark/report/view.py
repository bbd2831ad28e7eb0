"""Reading of what is on record of a scale: what the code would make today, or why there is nothing and
which command makes it.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from benchmark.data import dataset_info
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import FIRST, whole_name
from benchmark.evaluation.sanity import attack_of
from benchmark.plans.named import SCALES, of_tree
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, is_of
from benchmark.records.cells import BASE, Cell, ScaleName
from benchmark.records.plugins import flags
from benchmark.records.records import Finetuning, Making, Record
from benchmark.records.specs import spec_hash
from benchmark.records.store import MAKING, Store
from benchmark.report.estimates import Estimate, accuracy, change

if TYPE_CHECKING:
    from benchmark.report.tables.layout import TableSpec

Models = Sequence[Sequence[Cell]]  # each of one model, a cell per seed


class Setting(NamedTuple):
    """A dataset, a network and an adversarial training method."""

    dataset: str
    arch: str
    method: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.arch}/{self.method}"


@dataclass(frozen=True)
class Missing:
    """Why there is no `estimate`, and the command that makes it; `stale` if there is an old one."""

    estimate: ClassVar[None] = None
    why: str
    make: str = ""
    stale: bool = False


@dataclass(frozen=True)
class Found:
    """A number under the evaluation called `name`, with the spec hashes and warnings of its records."""

    name: str
    estimate: Estimate
    behind: dict[str, str]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, estimate: Estimate, models: Sequence[Sequence[Record]]) -> "Found":
        """`estimate` of the records of `models`."""
        records = [record for model in models for record in model]
        return cls(name, estimate, hashes(records), warnings(records))

    @property
    def label(self) -> str:
        return evaluation(self.name).label


class View:
    """What is on record at `scale`; plans are made and files are read once, and remembered.

    A number takes all seeds that the scale has of the model, or it is missing. `argument` names the
    scale behind `--scale`, and `tables` are those whose commands make what is missing.
    """

    def __init__(
        self,
        store: Store,
        scale: Scale,
        argument: str = "",
        tables: "Mapping[str, TableSpec] | None" = None,
    ) -> None:
        self.store, self.scale, self.argument = store, scale, argument
        self.tables = tables or {}
        self.plan = cache(lambda cell: Plan.of(cell, scale))
        """The plan of a cell at the scale. Raises `UserError` for an unknown name in the cell."""
        self.record, self.making = cache(store.record), cache(store.making)
        """What is on disk, fresh or stale. Raise `UserError` for a broken file."""

    # --- the models of the scale ---------------------------------------------------------------------

    @property
    def first(self) -> Setting:
        """The model of the audit, of Tables 3 and 4, and of Figures 1 and 3."""
        scale = self.scale
        return Setting(scale.datasets[0], scale.archs[0], scale.methods[0])

    def cells(self, place: Setting, finetune: str) -> list[Cell]:
        """One cell per seed; empty where the scale has nothing there."""
        return self.scale.cells([place.dataset], [place.arch], [finetune], [place.method])

    def seeds(self, place: Setting) -> tuple[int, ...]:
        return self.scale.seeds_of(place.dataset, place.arch, place.method)

    def at_shared_seeds(self, places: Sequence[Setting]) -> "View":
        """What is on record at the seeds that all of `places` have, or at `scale.seeds` if none is."""
        shared = [seed for seed in self.seeds(places[0]) if all(seed in self.seeds(p) for p in places)]
        scale = self.scale.with_seeds(tuple(shared) or self.scale.seeds)
        return View(self.store, scale, self.argument, self.tables)

    def places(self) -> list[Setting]:
        """Every dataset and network of the scale under its first method (Table 1)."""
        return self._existing(self.scale.datasets, self.scale.archs, self.scale.methods[:1])

    def other_methods(self) -> list[Setting]:
        """The further methods, on the first two datasets and the first network (Table 2)."""
        return self._existing(self.scale.datasets[:2], self.scale.archs[:1], self.scale.methods[1:])

    def _existing(self, *names: Sequence[str]) -> list[Setting]:
        found = (Setting(*each) for each in product(*names))
        return [place for place in found if self.cells(place, BASE)]

    # --- records -------------------------------------------------------------------------------------

    def state(self, cell: Cell, name: str) -> State:
        if evaluation(name).spec(dataset_info(cell.dataset)) is None:
            return State.ABSENT
        if (record := self.record(cell, name)) is None:  # before a plan is made
            return State.MISSING
        spec = self.plan(cell).evaluation_spec(name)
        fresh = spec is not None and record.spec_hash == spec_hash(spec)
        return State.DONE if fresh else State.STALE

    def records(self, cells: Sequence[Cell], name: str) -> tuple[Record, ...] | Missing:
        """The records of evaluation `name`, one per cell, all of them fresh."""
        if not cells:
            return Missing(f"scale '{self.scale.name}' has no such model")
        states = {cell: self.state(cell, name) for cell in cells}
        without = [cell for cell, state in states.items() if state is not State.DONE]
        if not without:
            found = (self.record(cell, name) for cell in cells)
            return tuple(record for record in found if record is not None)
        if State.ABSENT in states.values():
            return Missing(f"{cells[0].dataset} has no {name}")
        stale = State.STALE in states.values()
        why = f"{'stale' if stale else 'no'} {name} of {cells[0].finetune}"
        if len(without) < len(cells):
            why += f", seed {', '.join(str(cell.seed) for cell in without)}"
        redo = " --redo-stale" if stale else ""
        return Missing(why, self.command(without, name) + redo, stale)

    def on_disk(self, cells: Iterable[Cell], state: State) -> Iterator[Record]:
        """The records of `cells` under evaluations of the scale that are fresh (`DONE`) or `STALE`."""
        for cell, name in product(cells, self.scale.evaluations):
            record = self.record(cell, name)
            if record is not None and self.state(cell, name) is state:
                yield record

    def accuracy(self, models: Models, name: str) -> Found | Missing:
        """Mean accuracy of `models` under evaluation `name`, at the seeds that all of them have."""
        known = self._at_shared_seeds(models, name)
        if isinstance(known, Missing):
            return known
        return Found.of(name, accuracy(self.store, *known), known)

    def difference(self, ours: Models, theirs: Models, name: str) -> Found | Missing:
        """Mean accuracy of `ours` minus that of as many others, pair by pair; else as `accuracy`."""
        known = self._at_shared_seeds([*ours, *theirs], name)
        if isinstance(known, Missing):
            return known
        return Found.of(name, change(self.store, known[: len(ours)], known[len(ours) :]), known)

    def _at_shared_seeds(self, models: Models, name: str) -> list[list[Record]] | Missing:
        by_seed = []
        for cells in models:
            records = self.records(cells, name)
            if isinstance(records, Missing):
                return records
            by_seed.append({record.cell.seed: record for record in records})
        shared = [seed for seed in by_seed[0] if all(seed in own for own in by_seed)]
        if not shared:
            return Missing("no seed in common")
        return [[own[seed] for seed in shared] for own in by_seed]

    def change(self, place: Setting, ours: str, theirs: str, role: str) -> Found | Missing:
        """Accuracy of the fine-tuning `ours` minus that of `theirs`, in the column `role`.

        Takes the first evaluation of that column whose records are complete: on all test images if
        possible, else on the first of them.
        """
        missing: list[Missing] = []
        for name in self.evaluations(role):
            found = self.difference([self.cells(place, ours)], [self.cells(place, theirs)], name)
            if not isinstance(found, Missing):
                return found
            missing.append(found)
        return next(iter(missing), Missing(f"scale '{self.scale.name}' does not evaluate {role}"))

    def evaluations(self, role: str) -> list[str]:
        """Evaluations of the scale and of its audit in the column `role`, or called so.

        A claim is about a direction, which fewer images can show too; whatever stands there is named.
        """
        names = dict.fromkeys((*self.scale.evaluations, *self.scale.for_audit))
        fitting = (name for name in names if role in (evaluation(name).role, whole_name(name)))
        return sorted(fitting, key=lambda name: FIRST in name)

    def warnings(self, place: Setting) -> tuple[str, ...]:
        """What all attacks on the base models of `place` warn of, such as a training that failed."""
        cells = self.cells(place, BASE)
        names = {name for cell in cells for name in self.store.names(cell) if attack_of(name)}
        found = (self.records([cell], name) for name in sorted(names) for cell in cells)
        return warnings([each for some in found if not isinstance(some, Missing) for each in some])

    # --- makings -------------------------------------------------------------------------------------

    def fresh_making(self, cell: Cell) -> Making | None:
        """How the weights of `cell` were made by today's plan, if that is on disk."""
        making = self.making(cell)
        return making if making is not None and is_of(making, self.plan(cell)) else None

    def finetuning(self, cell: Cell) -> Finetuning | None:
        making = self.fresh_making(cell)
        return making.details if making and isinstance(making.details, Finetuning) else None

    def makings(self, place: Setting, finetune: str, make: str) -> dict[Cell, Finetuning] | Missing:
        """How the models of a fine-tuning were made; the report or figure `make` makes them."""
        cells = self.cells(place, finetune)
        found = {cell: how for cell in cells if (how := self.finetuning(cell)) is not None}
        without = [str(cell.seed) for cell in cells if cell not in found]
        if cells and not without:
            return found
        stale = any(self.making(cell) and not self.fresh_making(cell) for cell in cells)
        seeds = f", seed {', '.join(without)}" if found else ""
        why = f"{'stale making' if stale else 'no making'} of {finetune}{seeds}"
        return Missing(why, self.command_of(make) + (" --redo-stale" if stale else ""), stale)

    def making_hashes(self, cells: Sequence[Cell]) -> dict[str, str]:
        makings = {cell: self.making(cell) for cell in cells}
        return {f"{c.key}/{MAKING}": made.spec_hash for c, made in makings.items() if made is not None}

    # --- commands ------------------------------------------------------------------------------------

    def command(self, cells: Sequence[Cell], name: str) -> str:
        for table, made in self._cells_of_tables.items():
            if name in self.tables[table].scale(self.scale).evaluations and set(cells) <= made:
                return self.command_of(table)
        keys = " ".join(cell.key for cell in cells)
        file, *_ = shlex.split(self.argument) or [""]  # keys name precision and checkpoint
        known = not file.endswith(".toml") and ScaleName.parse(file).scale in SCALES
        own = "" if known else f" --scale {shlex.quote(file)}"
        return f"python -m benchmark run {keys}{own} --evaluations {name}{self._ending}"

    def planned(self, cells: Sequence[Cell], name: str) -> bool:
        """Whether a table of the scale shows the evaluation `name` of `cells`."""
        shown = (made for table, made in self._cells_of_tables.items() if self.tables[table].of_tables)
        return name in self.scale.evaluations and any(set(cells) <= made for made in shown)

    def command_of(self, name: str) -> str:
        """The command `name`, a table's, a figure's or `evidence`, at this scale."""
        return f"python -m benchmark {name} --scale {self.argument}{self._ending}"

    @property
    def _ending(self) -> str:
        """What a command ends with to work on the same tree with the same plug-ins."""
        return of_tree(self.store.results) + flags()

    @cached_property
    def _cells_of_tables(self) -> dict[str, frozenset[Cell]]:
        return {
            name: frozenset(table.cells(table.scale(self.scale), table.defaults))
            for name, table in self.tables.items()
        }


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
