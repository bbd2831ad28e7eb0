"""Measures what `benchmark.report.bf16` describes: a model's PGD runs in fp32, and again in bf16."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmark.checkpoints.networks import normalised
from benchmark.checkpoints.registry import checkpoint
from benchmark.checkpoints.start import bring_weights
from benchmark.data import dataset_info, load
from benchmark.engine.kept_weights import read_weights
from benchmark.engine.precision import BF16, FP32, computing_in, has_bf16_units, used
from benchmark.engine.provenance import device_name, provenance
from benchmark.engine.weights import Weights
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.jobs.checkpoint import ModelFile, load_model_file, network_of, on_device
from benchmark.models import arch
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.progress import Progress
from benchmark.records.cells import OWN, Cell
from benchmark.records.records import hashed
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import WEIGHTS, Journal, Store
from benchmark.report.bf16 import EMULATED, Changes, FlagRun, changes_path

Flags = NDArray[np.bool_]


def bf16_units(device: torch.device) -> str:
    """What multiplies bf16 matrices on `device`, as torch calls it, or `emulated`."""
    if not has_bf16_units(device):
        return EMULATED
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    features = torch.cpu.get_capabilities()
    return next((name for name in ("amx_bf16", "avx512_bf16") if features.get(name)), EMULATED)


def cell_model(cell: Cell, store: Store, directory: Path) -> ModelFile:
    """The model of `cell`, from the working files, where the registry may bring it from the data
    directory `directory`. Raises `UserError` if its weights are not there."""
    if cell.scale == OWN:
        raise UserError(
            f"{cell.key} is of weights made elsewhere; register them, then name --checkpoint"
        )
    bring_weights(cell, store, directory)
    path = store.work(cell) / WEIGHTS
    if read_weights(store, cell) is None:
        there = store.making(cell) is not None
        how = "bring its folder from where it was made" if there else f"`run {cell.key}` makes it"
        raise UserError(f"'{path}' is not there; {how}")
    info = dataset_info(cell.dataset)
    if cell.checkpoint is not None:
        info = normalised(info, checkpoint(cell.checkpoint).normalization)
    return ModelFile(path, arch(cell.arch), info)


@dataclass(frozen=True)
class Comparison:
    """The runs of `evaluation` on the model of `file` in both precisions, from the starts of `cell`."""

    file: ModelFile
    cell: Cell
    evaluation: str
    store: Store
    device: torch.device

    @cached_property
    def loaded(self) -> tuple[nn.Module, Weights]:
        if (kept := read_weights(self.store, self.cell)) is None:
            model, loaded = load_model_file(self.file)
            weights = Weights.of(loaded.state, loaded.module)
        else:
            weights = kept[0]
            model = network_of(self.file, weights.module)
        return on_device(model, weights, self.device), weights

    @cached_property
    def spec(self) -> Spec:
        sha256 = self.loaded[1].sha256
        plan = CheckpointPlan(self.cell, self.file.info, self.file.arch, sha256)
        spec = plan.evaluation_spec(self.evaluation)
        assert spec is not None
        return spec

    @cached_property
    def journals(self) -> dict[str, Journal]:
        """Unfinished work of this device by precision; removed once the result has been written."""
        folder, found = self.store.work(self.cell), {}
        here = f"{device_name(self.device)}, {bf16_units(self.device)}, {torch.get_num_threads()}"
        for name in (FP32, BF16):
            with computing_in(name):
                fingerprint = f"{spec_hash(self.spec)}{used().mark(self.device)} on {here}"
            found[name] = Journal(folder / f"{self.evaluation}-in-{name}", fingerprint)
        return found

    def is_among(self, filed: Sequence[Changes]) -> bool:
        """Whether it has been measured. Raises `UserError` if that was of other weights or settings."""
        place = self.cell.key, self.evaluation, device_name(self.device), bf16_units(self.device)
        found = [each.spec_hash for each in filed if each.place == place]
        if found and found != [spec_hash(self.spec)]:
            raise UserError(
                f"{self.cell.key} was measured with other weights or settings; take that entry out of "
                f"'{changes_path(self.store.results)}' to measure again"
            )
        return bool(found)

    def measure(self, directory: Path, progress: Progress) -> Changes:
        """Make what is missing of the runs; `directory` is the data directory."""
        started, run = datetime.now(UTC), evaluation(self.evaluation).run
        resumed = not all(journal.empty for journal in self.journals.values())
        data = replace(load(self.file.info.name, directory).to(self.device), info=self.file.info)
        evaluation(self.evaluation).check(data)
        (model, weights), bits = self.loaded, {}
        for name, journal in self.journals.items():
            with computing_in(name):
                bits[name] = run(model, data, self.cell.base, journal, progress).bits
                made = provenance(  # of bf16, which comes last
                    started,
                    device=self.device,
                    weights=weights.sha256,
                    data=data.test.sha256(),
                    resumed=resumed,
                )
        return Changes(
            key=self.cell.key,
            evaluation=self.evaluation,
            units=bf16_units(self.device),
            images=len(bits[FP32]["run0"]),
            **hashed(self.spec),
            runs=tuple(_flags(bits[FP32][each], bits[BF16][each]) for each in bits[FP32]),
            provenance=made,
        )


def _flags(fp32: Flags, bf16: Flags) -> FlagRun:
    only = [tuple(np.flatnonzero(which).tolist()) for which in (fp32 & ~bf16, bf16 & ~fp32)]
    return FlagRun(fp32=int(fp32.sum()), only_fp32=only[0], only_bf16=only[1])
