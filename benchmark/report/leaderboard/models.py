"""Models as a leaderboard sees them: all seeds of a cell, and what is on record of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmark.algorithm.tunings import Finetune
from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.engine.recipes import pixel_units
from benchmark.errors import UserError
from benchmark.evaluation import evaluation, evaluation_spec
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, without_plugins
from benchmark.records.cells import BASE, OWN, Cell
from benchmark.records.plugins import up_to_date
from benchmark.records.records import Making, Record
from benchmark.records.store import MAKING, Store
from benchmark.report.leaderboard.schema import ChosenOn, LeftOut, Threat, WhyLeftOut
from benchmark.report.view import View

if TYPE_CHECKING:
    from benchmark.checkpoints.entry import CheckpointEntry


@dataclass(frozen=True)
class Model:
    """One model: fresh records by evaluation and seed, and fresh makings by seed.

    `cell` is that of any seed. `tuning` is None for a base model, `scale` for a model that was made
    elsewhere. `checkpoint` is the entry of the registry that the model is, or starts from; `kept` holds
    its weights, of the first seed that there are some of, as they were made here.
    """

    cell: Cell
    info: DatasetInfo
    scale: Scale | None
    tuning: Finetune | None
    checkpoint: "CheckpointEntry | None"
    kept: "CheckpointEntry | None" = None
    records: dict[str, dict[int, Record]] = field(default_factory=dict)
    makings: dict[int, Making] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The key without the seed."""
        return _id(self.cell)

    @property
    def base_id(self) -> str:
        """`id` of the base model, its own for one."""
        return _id(self.cell.base)

    @property
    def own(self) -> bool:
        """Whether the model was made elsewhere."""
        return self.cell.scale == OWN

    @property
    def scale_summary(self) -> str:
        return "models that were trained elsewhere" if self.scale is None else self.scale.summary

    @property
    def scale_seeds(self) -> tuple[int, ...]:
        """The seeds that the scale asks for; none of a model that was made elsewhere."""
        cell = self.cell
        return () if self.scale is None else self.scale.seeds_of(cell.dataset, cell.arch, cell.method)

    @property
    def threat(self) -> Threat:
        """What the attacks that it was evaluated with may do; a dataset has one threat model."""
        eps = self.info.threat.eps
        return Threat(norm="Linf", eps=round(eps, 6), label=f"L-infinity, eps {pixel_units(eps)}")

    @property
    def chosen_on(self) -> ChosenOn:
        """The data that chose epochs and alpha*: test images, if any choice was made on them."""
        choices: list[ChosenOn] = []
        if self.own or self.cell.checkpoint:
            choices.append("unknown" if self.checkpoint is None else self.checkpoint.selects_on)
        else:
            choices.append("test" if self.cell.base.finetune == BASE else "hold-out")
        if self.tuning is not None:
            choices.append(self.tuning.protocol.selects_on)
        order: tuple[ChosenOn, ...] = ("test", "unknown", "hold-out")
        return min(choices, key=order.index)

    @property
    def board(self) -> tuple[str, ...]:
        """What it shares with the entries that it may be compared with."""
        eps = pixel_units(self.info.threat.eps).replace("/", "-")
        return self.cell.scale, self.cell.dataset, f"linf-{eps}", self.chosen_on

    @property
    def every_record(self) -> Iterator[Record]:
        for records in self.records.values():
            yield from records.values()

    @property
    def weights(self) -> dict[int, str]:
        """Hashes of the weights that its records are of, by seed."""
        return {record.cell.seed: record.provenance.weights_sha256 for record in self.every_record}

    def of(self, name: str) -> list[Record]:
        return [record for _, record in sorted(self.records[name].items())]

    def images(self, name: str) -> frozenset[str]:
        """Fingerprints of the images that the seeds were evaluated on: one, unless they differ."""
        return frozenset(_evaluated_on(record) for record in self.records[name].values())


def models_on_record(
    store: Store, scales: Mapping[str, Scale | None], checkpoints: "Mapping[str, CheckpointEntry]"
) -> tuple[dict[str, Model], list[LeftOut]]:
    """Models by id, of all fresh records at `scales`, and what had to be left out.

    Raises `UserError` for a broken file.
    """
    models: dict[str, Model] = {}
    left_out: list[LeftOut] = []
    views = {name: None if scale is None else View(store, scale) for name, scale in scales.items()}
    for key in store.keys_on_disk():
        if (name := key.partition("/")[0]) not in views:
            continue
        try:
            cell = Cell.parse(key)
            model = _model(cell, views[name], checkpoints)
        except UserError as error:
            text = f"of no cell of this version: {error}"
            left_out.append(_left_out(store, key, None, "unknown-name", text))
            continue
        if model.tuning is None or not model.tuning.whole_curve:
            left_out += _fill(models.setdefault(model.id, model), cell, store, views[name])
    return models, left_out


def _model(cell: Cell, view: View | None, checkpoints: "Mapping[str, CheckpointEntry]") -> Model:
    """A model without records; `view` is None for one that was made elsewhere.

    Raises `UserError` for a name that this version does not know.
    """
    info = dataset_info(cell.dataset)
    if view is None:
        return Model(cell, info, None, None, checkpoints.get(cell.method))
    tuning, model_id = view.plan(cell).finetune, _id(cell)
    checkpoint = checkpoints.get(cell.checkpoint) if cell.checkpoint else None
    kept = (
        known
        for known in checkpoints.values()
        if known.cell and _id(Cell.parse(known.cell)) == model_id
    )
    first = min(kept, key=lambda known: known.seed, default=None)
    return Model(cell, info, view.scale, tuning, checkpoint, first)


def _fill(model: Model, cell: Cell, store: Store, view: View | None) -> list[LeftOut]:
    """Put what is on record of `cell` into `model`; returns what is left out."""
    left_out = []
    if view is not None and (making := view.fresh_making(cell)) is not None:
        model.makings[cell.seed] = making
    for name in store.names(cell):
        if name == MAKING:
            continue
        try:
            spec = evaluation_spec(name, model.info)
        except UserError as error:
            left_out.append(_left_out(store, cell.key, name, "unknown-name", str(error)))
            continue
        record = view.record(cell, name) if view else store.record(cell, name)
        assert record is not None
        if view is None:  # all that can be compared of a model from elsewhere
            fresh = record.spec.get("evaluation") == spec and up_to_date(record.spec)
        else:
            fresh = view.state(cell, name) is State.DONE
        if fresh:
            model.records.setdefault(name, {})[cell.seed] = record
        else:
            text = "made with other settings than today's"
            left_out.append(_left_out(store, cell.key, name, "stale", text))
    return left_out


def _left_out(store: Store, key: str, name: str | None, why: WhyLeftOut, text: str) -> LeftOut:
    """What is left out at `key`, or its record `name`; `why` yields to a plug-in that is not loaded."""
    if (of_plugin := without_plugins(store, key, name)) is not None:
        why, text = "plug-in", of_plugin
    return LeftOut(key=key, evaluation=name, why=why, text=text)


def _evaluated_on(record: Record) -> str:
    """A fingerprint of the test images, and of corrupted copies and pictures that were read."""
    read = evaluation(record.evaluation).sources
    used = {name: record.sources[name] for name in read if name in record.sources}
    return " ".join((record.provenance.data_sha256, *(f"{name}={used[name]}" for name in sorted(used))))


def _id(cell: Cell) -> str:
    return cell.key.rpartition("/")[0]
