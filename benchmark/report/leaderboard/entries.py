"""Models as a leaderboard sees them: all seeds of a cell, and what is on record of them (no torch)."""

import statistics
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import METHODS
from benchmark.algorithm.protocols import PROTOCOLS, Finetune
from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.engine.recipes import pixel_units
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.corruptions import Corruptions
from benchmark.evaluation.first import First
from benchmark.models import arch
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, is_of, record_state
from benchmark.records.cells import BASE, OWN, Cell
from benchmark.records.records import Finetuning, Making, Record, Training
from benchmark.records.store import MAKING, Store
from benchmark.report.leaderboard.flags import flags
from benchmark.report.leaderboard.schema import (
    CheckpointLink,
    ChosenOn,
    Cost,
    Entry,
    LeftOut,
    Number,
    Protocol,
    Threat,
)

if TYPE_CHECKING:
    from benchmark.checkpoints.entry import CheckpointEntry

_FROST = "frost"  # pictures of the user's own, in a record's sources


@dataclass(frozen=True)
class Model:
    """One model: fresh records by evaluation and seed, and fresh makings by seed.

    `cell` is that of any seed. `tuning` is None for a base model, `scale` for a model that was made
    elsewhere. `checkpoint` is the entry of the registry that the model is, or starts from; `kept` holds
    its weights, as they were made here.
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
        """What the scale is, in words."""
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
        label = f"L-infinity, eps {pixel_units(eps)}"
        return Threat(norm="Linf", eps=round(eps, 6), label=label)

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
        """The records of evaluation `name`, by seed."""
        return [record for _, record in sorted(self.records[name].items())]

    def images(self, name: str) -> frozenset[str]:
        """Fingerprints of what the seeds were judged on: one, unless they differ."""
        return frozenset(_judged_on(record) for record in self.records[name].values())


def read_models(
    store: Store, scales: Mapping[str, Scale | None], checkpoints: "Mapping[str, CheckpointEntry]"
) -> tuple[dict[str, Model], list[LeftOut]]:
    """Models by id, of all fresh records at `scales`, and what had to be left out.

    Raises `UserError` for a broken file.
    """
    models: dict[str, Model] = {}
    left_out: list[LeftOut] = []
    for key in store.keys_on_disk():
        if (name := key.partition("/")[0]) not in scales:
            continue
        try:
            cell = Cell.parse(key)
            model, plan = _model(cell, scales[name], checkpoints)
        except UserError as error:
            text = f"of no cell of this version: {error}"
            left_out.append(LeftOut(key=key, evaluation=None, why="unknown-name", text=text))
            continue
        if model.tuning is not None and model.tuning.whole_curve:
            continue
        left_out += _fill(store, models.setdefault(model.id, model), cell, plan)
    return models, left_out


def _model(
    cell: Cell, scale: Scale | None, checkpoints: "Mapping[str, CheckpointEntry]"
) -> tuple[Model, Plan | None]:
    """A model without records, and its plan unless it was made elsewhere.

    Raises `UserError` for a name that this version does not know.
    """
    info = dataset_info(cell.dataset)
    if scale is None:
        return Model(cell, info, None, None, checkpoints.get(cell.method)), None
    plan = Plan.of(cell, scale)
    checkpoint = checkpoints.get(cell.checkpoint) if cell.checkpoint else None
    kept = (
        known
        for known in checkpoints.values()
        if known.cell and _id(Cell.parse(known.cell)) == _id(cell)
    )
    return Model(cell, info, scale, plan.finetune, checkpoint, next(kept, None)), plan


def _fill(store: Store, model: Model, cell: Cell, plan: Plan | None) -> list[LeftOut]:
    """Put what is on record of `cell` into `model`; what is left out."""
    left_out = []
    for path in sorted(store.record_path(cell, MAKING).parent.glob("*.json")):
        name = path.stem
        if name == MAKING:
            making = store.making(cell)
            if making is not None and plan is not None and is_of(making, plan):
                model.makings[cell.seed] = making
            continue
        try:
            evaluation(name)
        except UserError as error:
            left_out.append(LeftOut(key=cell.key, evaluation=name, why="unknown-name", text=str(error)))
            continue
        record = store.record(cell, name)
        assert record is not None
        if _fresh(store, record, plan, model.info):
            model.records.setdefault(name, {})[cell.seed] = record
        else:
            text = "made with other settings than today's"
            left_out.append(LeftOut(key=cell.key, evaluation=name, why="stale", text=text))
    return left_out


def _fresh(store: Store, record: Record, plan: Plan | None, info: DatasetInfo) -> bool:
    """Whether the code would make this record today; of a model from elsewhere, this evaluation."""
    if plan is not None:
        return record_state(store, plan, record.evaluation) is State.DONE
    return bool(record.spec.get("evaluation") == evaluation(record.evaluation).spec(info))


def _judged_on(record: Record) -> str:
    """A fingerprint of the test images, and of corrupted copies and pictures that were read."""
    known, used = evaluation(record.evaluation), dict[str, str]()
    whole = known.whole if isinstance(known, First) else known
    if record.sources and isinstance(whole, Corruptions):
        used = {name: record.sources[name] for name in (*whole.names, _FROST) if name in record.sources}
    return " ".join((record.provenance.data_sha256, *(f"{name}={used[name]}" for name in sorted(used))))


def _id(cell: Cell) -> str:
    return cell.key.rpartition("/")[0]


# --- entries ------------------------------------------------------------------------------------------


def entry_of(
    model: Model,
    models: Mapping[str, Model],
    numbers: Mapping[str, Number],
    elsewhere: Collection[str],
    results: Path,
) -> Entry:
    """The entry of `model`, one of `models`, whose records are in the tree `results`.

    `elsewhere` names evaluations that were of other images than usual.
    """
    others = [each for each in models.values() if each.base_id == model.base_id and each is not model]
    made = {seed: making.details for seed, making in sorted(model.makings.items())}
    tuned = {seed: each for seed, each in made.items() if isinstance(each, Finetuning)}
    provenance = [
        *(record.provenance for record in model.every_record),
        *(making.provenance for making in model.makings.values()),
    ]
    return Entry(
        id=model.id,
        label=_label(model),
        dataset=model.cell.dataset,
        arch=model.cell.arch,
        arch_label=_arch_label(model.cell.arch),
        method=_method(model),
        method_label=_method_label(model),
        finetune=model.cell.finetune,
        protocol=_protocol(model),
        scale_seeds=model.scale_seeds,
        alphas={seed: each.alpha for seed, each in tuned.items()},
        modules={seed: tuple(each.modules) for seed, each in tuned.items()},
        numbers=dict(numbers),
        cost=_cost(model, models.get(model.base_id)),
        commits=tuple(sorted({each.commit for each in provenance if each.commit})),
        flags=flags(model, others, numbers, elsewhere),
        records=f"records/{model.id}",
        checkpoint=_checkpoint(model, results),
    )


def _method(model: Model) -> str | None:
    if not model.own:
        return model.cell.method
    return model.checkpoint.method if model.checkpoint else None


def _method_label(model: Model) -> str:
    return METHODS[name].label if (name := _method(model)) in METHODS else "other"


def _label(model: Model) -> str:
    if model.own:
        return model.cell.method
    return " + ".join([_method_label(model), *([model.tuning.name] if model.tuning else [])])


def _arch_label(name: str) -> str:
    try:
        return arch(name).label
    except UserError:  # a network of RobustBench's zoo
        return name


def _protocol(model: Model) -> Protocol:
    if model.tuning is not None:
        protocol = model.tuning.protocol
        name = next(name for name, known in PROTOCOLS.items() if known is protocol)
        return Protocol(name=name, summary=protocol.summary, chosen_on=model.chosen_on)
    if model.own or model.cell.checkpoint:
        summary = "trained elsewhere; what is known is in the registry of checkpoints"
        return Protocol(name="elsewhere", summary=summary, chosen_on=model.chosen_on)
    said = {"test": "test images", "hold-out": "a tenth of the training images, never trained on,"}
    summary = f"adversarial training; {said[model.chosen_on]} chose the epoch"
    return Protocol(name="base", summary=summary, chosen_on=model.chosen_on)


def _cost(model: Model, base: Model | None) -> Cost:
    trained = [
        making.provenance
        for making in ({} if base is None else base.makings).values()
        if isinstance(making.details, Training)
    ]
    tuned = [
        making.provenance for making in model.makings.values() if isinstance(making.details, Finetuning)
    ]
    used = {
        f"{each.device}, {each.threads} thread{'s' * (each.threads > 1)}" for each in trained + tuned
    }
    return Cost(
        base_seconds=_mean([each.seconds for each in trained]),
        finetune_seconds=_mean([each.seconds for each in tuned]),
        devices=tuple(sorted(used)),
    )


def _mean(seconds: list[float]) -> float | None:
    return round(statistics.fmean(seconds), 1) if seconds else None


def _checkpoint(model: Model, results: Path) -> CheckpointLink | None:
    known = model.kept or model.checkpoint
    if known is None:
        return None
    # A link from the leaderboard's folder leads to the file only where the registry lies beside it.
    beside = known.kind == "path" and known.root == results.resolve().parent
    return CheckpointLink(
        name=known.name,
        what=known.what,
        link=known.link or (f"../{known.source}" if beside else None),
        starts_from=model.kept is None and not model.own,
    )
