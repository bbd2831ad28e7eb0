"""The whole evaluation of a model that was trained elsewhere, from its checkpoint to its records."""

import re
from collections.abc import Sequence
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
from benchmark.engine.weights import Weights
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.record import Evaluating
from benchmark.models import Arch, build
from benchmark.plans.plan import CheckpointPlan
from benchmark.progress import Progress
from benchmark.records.cells import BASE, OWN, PART, Cell
from benchmark.records.records import Record
from benchmark.records.specs import spec_hash
from benchmark.records.store import Store

EPS_DIGITS = 1e-6
"""Radii that differ by less are the same number, written with fewer digits."""


@dataclass(frozen=True)
class ModelFile:
    """A checkpoint, and what must be known to run it.

    `mean` and `std` of `info` are applied inside the network; a model that takes plain pixels, as
    one of RobustBench's zoo does, has 0 and 1. `name` stands in the key of its records (None: the
    file's name and the start of the hash of its tensors). `entry`, `drop`, `prefix` and `sha256` are
    those of `load_checkpoint`. `remarks` stand in its records.
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
        """The cell of its records under `name`."""
        return Cell(OWN, self.info.name, self.arch.name, name, BASE, 0)

    @property
    def stem(self) -> str:
        """The name of its file as it may stand in a key."""
        return re.sub(r"[^a-z0-9.]+", "-", self.weights.stem.lower()).strip("-.") or "model"


@dataclass(frozen=True)
class Evaluated:
    """The records of an own model by evaluation, and what was done to its file."""

    cell: Cell
    records: dict[str, Record]
    notes: tuple[str, ...]


def evaluate_model_file(
    own: ModelFile,
    evaluations: Sequence[str],
    *,
    directory: Path,
    store: Store,
    device: torch.device,
    progress: Progress,
) -> Evaluated:
    """Records of `evaluations` of a checkpoint; those on file already are not made again.

    Everything that can be wrong is checked before the first evaluation. Raises `UserError` for it.
    """
    model, loaded = load_model_file(own)
    notes = (*own.remarks, *loaded.notes)
    model.load_state_dict(loaded.state)
    model = model.to(device).to(memory_format=torch.channels_last).eval()
    weights = Weights.of(loaded.state)
    cell = own.cell(own.name or f"{own.stem}-{weights.sha256[:8]}")
    plan = CheckpointPlan(cell, own.info, own.arch, weights.sha256)
    missing = [wanted for wanted in evaluations if not _on_file(store, plan, wanted)]
    if missing:
        data = replace(load(own.info.name, directory).to(device), info=own.info)
        for wanted in missing:
            evaluation(wanted).check(data)
        sources = {own.weights.name: loaded.file_sha256}
        evaluating = Evaluating(plan, model, weights, data, store, progress, sources, notes)
        with store.lock(cell):
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
    remarks = [found.summary]
    if abs(found.eps_value - info.threat.eps) > EPS_DIGITS:
        remarks.append(f"trained with eps {found.eps}, attacked here with {info.threat.eps:.6g}")
    return ModelFile(
        path,
        network,
        info,
        found.name,
        found.entry,
        found.drop,
        found.prefix,
        expected_sha256(found, directory),
        tuple(remarks),
    )


def load_model_file(own: ModelFile) -> tuple[nn.Module, Loaded]:
    """Its network, not yet with the weights, and these. Raises `UserError` where they do not fit."""
    if isinstance(own.arch, ZooArch):
        model = zoo_model(own.arch)
        load = partial(load_zoo_checkpoint, own.weights, own.arch, model)
    else:
        model = build(own.arch.name, own.info)
        load = partial(load_checkpoint, own.weights, model)
    return model, load(drop=own.drop, entry=own.entry, prefix=own.prefix, sha256=own.sha256)


def _on_file(store: Store, plan: CheckpointPlan, name: str) -> bool:
    """Whether a record is there. Raises `UserError` if it is another's, or there cannot be one."""
    spec = plan.evaluation_spec(name)
    if spec is None:
        raise UserError(f"{plan.info.label} has no '{name}'; choose others by --evaluations")
    record = store.record(plan.cell, name)
    if record is not None and record.spec_hash != spec_hash(spec):
        raise UserError(
            f"'{plan.cell.key}' has a {name} record of other weights, settings or normalisation; "
            "choose another --name"
        )
    return record is not None
