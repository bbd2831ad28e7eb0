"""The whole evaluation of a model that was trained elsewhere, from its checkpoint to its records."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.checkpoints.load import Loaded, load_checkpoint
from benchmark.checkpoints.registry import expected_sha256, verified_file
from benchmark.checkpoints.robustbench import ZooArch, load_zoo_checkpoint, zoo_model
from benchmark.data import load
from benchmark.data.info import DatasetInfo
from benchmark.engine.adaptive import Attacked
from benchmark.engine.weights import Weights, module_of
from benchmark.errors import UserError, line
from benchmark.evaluation import evaluation
from benchmark.evaluation.record import Evaluating
from benchmark.jobs.tasks import locked_after_others
from benchmark.models import Arch, build
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.plans.start import caveats
from benchmark.posthoc import of_spec
from benchmark.progress import Progress
from benchmark.records.cells import BASE, OWN, PART, Cell
from benchmark.records.records import Record
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import Store


@dataclass(frozen=True)
class ModelFile:
    """A checkpoint file, and what must be known to run its model.

    `mean` and `std` of `info` are applied inside the network; a model that takes plain pixels, as
    one of RobustBench's zoo does, has 0 and 1. `name` stands in the key of its records (None: the
    file's name and the start of the hash of its tensors). `entry`, `drop`, `prefix` and `sha256` go to
    `load_checkpoint`. `remarks` stand in its records.
    """

    weights: Path
    arch: Arch | ZooArch
    info: DatasetInfo
    name: str | None = None
    entry: str | None = None
    drop: tuple[str, ...] = ()
    prefix: str | None = None
    sha256: str | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(PART, self.name):
            raise UserError(
                f"--name '{self.name}' is part of a path: lower-case letters, digits, dots and dashes"
            )

    def cell(self, name: str) -> Cell:
        return Cell(OWN, self.info.name, self.arch.name, name, BASE, 0)

    @property
    def file_name(self) -> str:
        """The name of the file, without its suffix, as it may stand in a key."""
        return re.sub(r"[^a-z0-9.]+", "-", self.weights.stem.lower()).strip("-.") or "model"


@dataclass(frozen=True)
class Evaluated:
    """Records of a model from a file, by evaluation, and what was done to the file."""

    cell: Cell
    records: dict[str, Record]
    notes: tuple[str, ...]


def evaluate_model_file(
    file: ModelFile,
    evaluations: Sequence[str],
    *,
    directory: Path,
    store: Store,
    device: torch.device,
    progress: Callable[[str], AbstractContextManager[Progress]],
) -> Evaluated:
    """Evaluate a checkpoint and keep its records in `store`; those on file already are not made again.

    `directory` is the data directory, `progress` that of work on a key. Returns all records of
    `evaluations`, and notes on the file. Raises `UserError` before the first evaluation if the file
    does not fit, data are missing, or the name belongs to another model.
    """
    model, loaded = load_model_file(file)
    notes = (*file.remarks, *loaded.notes)
    weights = Weights.of(loaded.state, loaded.module)
    model = on_device(model, weights, device)
    cell = file.cell(file.name or f"{file.file_name}-{weights.sha256[:8]}")
    maker = "" if loaded.module is None else str(loaded.module["forward"]["type"])
    plan = CheckpointPlan(cell, file.info, file.arch, weights.sha256, maker)
    _refuse_another(store, plan, evaluations)
    missing = [wanted for wanted in evaluations if not _on_file(store, plan, wanted)]
    if missing:
        data = replace(load(file.info.name, directory).to(device), info=file.info)
        for wanted in missing:
            evaluation(wanted).check(data)
        sources = {line(file.weights.name): loaded.file_sha256}
        attacked = _attacked(file, model, loaded.module)
        with progress(cell.key) as told, locked_after_others(store, cell, told):
            evaluating = Evaluating(plan, model, weights, data, store, told, sources, notes, attacked)
            for wanted in missing:
                if not _on_file(store, plan, wanted):  # another process may just have made it
                    evaluating.record(wanted)
    records = {wanted: store.record(cell, wanted) for wanted in evaluations}
    found = {wanted: record for wanted, record in records.items() if record is not None}
    return Evaluated(cell, found, notes)


def registered_model(found: CheckpointEntry, directory: Path) -> ModelFile:
    """The model of an entry of the registry, its file verified; `directory` is the data directory.

    Raises `UserError` where `registry.verified_file` does, and for a network of RobustBench's
    where that is not installed.
    """
    path, (network, info) = verified_file(found, directory), found.network
    sha256 = expected_sha256(found, directory)
    given = (found.name, found.entry, found.drop, found.prefix, sha256)
    return ModelFile(path, network, info, *given, (found.summary, *caveats(found)))


def load_model_file(file: ModelFile) -> tuple[nn.Module, Loaded]:
    """Its network, before loading, and its weights. Raises `UserError` where they do not fit."""
    module = None
    if isinstance(file.arch, ZooArch):
        model = zoo_model(file.arch)
        load = partial(load_zoo_checkpoint, file.weights, file.arch, model)
    else:
        module = module_of(file.weights)
        model = network_of(file, module)
        load = partial(load_checkpoint, file.weights, model)
    loaded = load(drop=file.drop, entry=file.entry, prefix=file.prefix, sha256=file.sha256)
    return model, replace(loaded, module=module)


def network_of(file: ModelFile, module: Spec | None) -> nn.Module:
    """A network of the architecture of `file`, or the module with the spec `module` around it.

    Raises `UserError` for a module that this suite cannot make.
    """
    model = build(file.arch.name, file.info)
    if module is None:
        return model
    method = of_spec(module, str(file.weights))
    return method.build(model, build(file.arch.name, file.info) if method.partner else None)


def _attacked(file: ModelFile, model: nn.Module, module: Spec | None) -> Attacked:
    """`model` as an adaptive attack sees it: of a module, with its stand-in. Its base is not known."""
    method = None if module is None else of_spec(module, str(file.weights))
    return Attacked(model, method.stand_in(model) if method else None, None).eval()


def on_device(model: nn.Module, weights: Weights, device: torch.device) -> nn.Module:
    """`model` with `weights`, ready to be evaluated. Raises `UserError` for what MPS cannot hold."""
    if device.type == "mps" and any(x.dtype == torch.float64 for x in weights.state.values()):
        raise UserError("the model needs double precision, which mps has not; --device cpu")
    model.load_state_dict(weights.state)
    return model.to(device).to(memory_format=torch.channels_last).eval()


def _refuse_another(store: Store, plan: CheckpointPlan, evaluations: Sequence[str]) -> None:
    """Raise `UserError` if a record of the cell is of other weights or of another normalisation."""
    ours = next((spec["model"] for each in evaluations if (spec := plan.evaluation_spec(each))), None)
    for filed in store.of(plan.cell):
        if ours is not None and isinstance(filed, Record) and filed.spec["model"] != ours:
            raise _taken(plan.cell, filed.evaluation)


def _taken(cell: Cell, name: str) -> UserError:
    """What is said where the record of `name` is another model's, or of other settings."""
    return UserError(
        f"'{cell.key}' has a {name} record of other weights, settings or normalisation; choose another "
        "--name, or with --checkpoint another --results"
    )


def _on_file(store: Store, plan: CheckpointPlan, name: str) -> bool:
    """Whether a record is there. Raises `UserError` if it is another's, or there cannot be one."""
    spec = plan.evaluation_spec(name)
    if spec is None:
        raise UserError(f"{plan.info.label} has no '{name}'; choose others by --evaluations")
    record = store.record(plan.cell, name)
    if record is not None and record.spec_hash != spec_hash(spec):
        raise _taken(plan.cell, name)
    return record is not None
