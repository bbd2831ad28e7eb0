"""The paper from top to bottom, for one cell: the only place where its steps are put together.

    adversarial weights -> criticality -> selection -> fine-tuning -> interpolation -> evaluation

Each step has one home (`jobs.base`, `algorithm.*`, `evaluation.record`), continues
where a killed run stopped, and writes its result once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmark.algorithm.adversarial_examples import CHUNK
from benchmark.algorithm.criticality import criticality, criticality_modules
from benchmark.algorithm.finetune import CleanTraining, trainable_parameters
from benchmark.algorithm.interpolate import best_alpha, interpolate
from benchmark.algorithm.selection import Candidates
from benchmark.checkpoints.load import load_checkpoint
from benchmark.checkpoints.registry import expected_sha256, verified_file
from benchmark.data.hold_out import Material, material
from benchmark.data.images import Dataset, Split
from benchmark.engine.counting import (
    batch_starts,
    clean_count,
    journaled_pgd_answers,
    pgd_count,
    run_seed,
)
from benchmark.engine.precision import FP32, computing_in
from benchmark.engine.provenance import journaled, provenance
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.engine.training import Fitted, fit
from benchmark.engine.training_state import State
from benchmark.engine.weights import (
    WEIGHTS,
    Weights,
    check_repeatable,
    keep_weights,
    kept_weights,
    load_tensors,
    save_tensors,
)
from benchmark.evaluation import evaluation
from benchmark.evaluation.record import Evaluating
from benchmark.models import build
from benchmark.plans.plan import BasePlan, Plan
from benchmark.plans.start import caveats
from benchmark.plans.states import is_fresh
from benchmark.progress import Progress
from benchmark.records.records import (
    CellName,
    Checkpoint,
    Count,
    CurvePoint,
    EpochLog,
    Finetuning,
    Making,
    ModuleCriticality,
    Training,
    hashed,
)
from benchmark.records.specs import Spec, spec_hash, spec_of
from benchmark.records.store import Journal, Store

AVERAGE, AVERAGED_EPOCHS = "average.safetensors", 5
EPOCH_LOGS = TypeAdapter(list[EpochLog])
STAGES = {"algorithm1": "criticality", "official": "criticality-official"}
"""Definitions of MRC, and what their seeds and journals are called: they never mix."""


@dataclass(frozen=True)
class Run:
    """What the steps of one cell share.

    The making of a model sees `material` only; test images come in through it if the protocol chooses
    on them, and else only when everything has been chosen. `memory` is that of `criticality`,
    `takeover` that of `fit`.
    """

    plan: Plan
    data: Dataset
    store: Store
    progress: Progress
    memory: int | None = None
    takeover: Takeover = REFUSE

    @cached_property
    def material(self) -> Material:
        return material(self.data, self.plan.base.hold_out)

    @property
    def directory(self) -> Path:
        """The data directory, where checkpoints are too."""
        return self.data.directory or Path("data")

    @property
    def device(self) -> torch.device:
        return self.data.train.images.device

    def base_weights(self) -> Weights:
        """Step 0, theta_AT."""
        shared = self.store, self.progress, self.directory, self.takeover
        return base_weights(self.plan.base, self.material, *shared)

    def model(self, state: dict[str, Tensor]) -> nn.Module:
        """The cell's network with the weights `state`, in evaluation mode."""
        model = new_model(self.plan.base, self.device)
        model.load_state_dict(state)
        return model.eval()


def run_cell(run: Run, evaluations: Sequence[str]) -> None:
    """Make the model of a cell and every record of it that is missing."""
    wanted = [
        name
        for name in evaluations
        if run.plan.evaluation_spec(name) is not None and not is_fresh(run.store, run.plan, name)
    ]
    if not wanted:
        return
    base = run.plan.base
    data = replace(run.data, info=base.info)
    for name in wanted:
        evaluation(name).check(data)
    theta_at = run.base_weights()
    weights = theta_at if run.plan.finetune is None else finetuned_weights(run, theta_at)
    model = run.model(weights.state)
    remarks = caveats(base.checkpoint) if base.checkpoint is not None else []
    makings = map(run.store.making, dict.fromkeys((base.cell, run.plan.cell)))
    remarks += [line for making in makings if making is not None for line in making.provenance.begun]
    evaluating = Evaluating(run.plan, model, weights, data, run.store, run.progress, remarks=remarks)
    for name in wanted:
        evaluating.record(name)


def new_model(plan: BasePlan, device: torch.device) -> nn.Module:
    """The network of `plan`, initialised from the cell's seed, channels-last, on `device`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.cell.seed_for("initialisation"))
        model = build(plan.arch.name, plan.info)
    return model.to(device).to(memory_format=torch.channels_last)


def base_weights(
    plan: BasePlan,
    material: Material,
    store: Store,
    progress: Progress,
    directory: Path = Path("data"),
    takeover: Takeover = REFUSE,
) -> Weights:
    """The weights that the cells of a base model start from, from disk if they were made by this plan.

    They are a checkpoint's, which is looked for in the data directory `directory`, or those that
    adversarial training ends with. Selection there: the epoch with the highest robust accuracy on the
    images that judge (test images in the paper, Section 5.1), by one PGD-10 run from fixed starts. The
    mean of the last `AVERAGED_EPOCHS` epochs' weights is kept in a file of its own beside them.
    `takeover` is that of `fit`. Raises `UserError` before training if records exist whose weights are
    not here and cannot be made again bit by bit on this machine, and if the checkpoint is not the
    registry's or does not fit.
    """
    path = store.work(plan.cell) / WEIGHTS
    fingerprint = spec_hash(plan.spec)
    if (kept := kept_weights(store, path, fingerprint)) is not None:
        return kept
    started = datetime.now(UTC)
    if plan.checkpoint is not None:
        weights, read = _read(plan, directory)
        data = material.train.sha256()
        cpu = torch.device("cpu")
        made = provenance(started, device=cpu, weights=weights.sha256, data=data, resumed=False)
        making = Making(cell=CellName.of(plan.cell), **hashed(plan.spec), provenance=made, details=read)
        keep_weights(store, path, fingerprint, weights, making)
        return weights
    device = material.train.images.device
    checkpoint = path.with_name("training.safetensors")
    check_repeatable(store.making(plan.cell), device)
    model = new_model(plan, device)
    judged = material.judge.first(plan.recipe.select_images)
    fitted = fit(
        model,
        material.train,
        plan.info,
        plan.method,
        plan.recipe,
        seed=plan.cell.seed_for("train"),
        select=lambda m: pgd_count(m, judged, plan.info.threat, plan.cell.seed_for("select")),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        mixed=True,
        mean_of=AVERAGED_EPOCHS,
        takeover=takeover,
        stage="adversarial training",
        progress=progress,
    )
    weights = Weights.of(fitted.state)
    made = provenance(
        started,
        device=device,
        weights=weights.sha256,
        data=material.train.sha256(),
        resumed=fitted.resumed,
        chunk=batch_starts(judged).step,
        seconds=fitted.seconds,
        begun=fitted.begun,
    )
    details = Training(epochs=fitted.epochs, best_epoch=fitted.best_epoch, best=fitted.best)
    making = Making(cell=CellName.of(plan.cell), **hashed(plan.spec), provenance=made, details=details)
    if fitted.mean:
        beside = {"fingerprint": f"{fingerprint} {weights.sha256}"}
        save_tensors(path.with_name(AVERAGE), fitted.mean, beside)
    keep_weights(store, path, fingerprint, weights, making)
    checkpoint.unlink(missing_ok=True)
    return weights


def _read(plan: BasePlan, directory: Path) -> tuple[Weights, Checkpoint]:
    """The tensors of the plan's checkpoint, and what there is to say of them."""
    found = plan.checkpoint
    assert found is not None
    loaded = load_checkpoint(
        verified_file(found, directory),
        new_model(plan, torch.device("cpu")),
        drop=found.drop,
        entry=found.entry,
        prefix=found.prefix,
        sha256=expected_sha256(found, directory),
    )
    said = Checkpoint(
        name=found.name,
        file_sha256=loaded.file_sha256,
        source=found.source,
        licence=found.licence,
        what=found.what,
        eps=found.eps,
        notes=list(loaded.notes),
    )
    return Weights.of(loaded.state), said


def finetuned_weights(run: Run, theta_at: Weights) -> Weights:
    """Steps 1 to 3 of RiFT (Algorithm 2), or of one of its ablations."""
    plan = run.plan
    assert plan.finetune is not None
    started = datetime.now(UTC)
    fingerprint = f"{spec_hash(plan.spec)} {theta_at.sha256}"
    path = run.store.work(plan.cell) / WEIGHTS
    if (kept := kept_weights(run.store, path, fingerprint)) is not None:
        return kept
    check_repeatable(run.store.making(plan.cell), run.device)

    measured = measure_criticality(run, theta_at) if plan.finetune.selector.needs_criticality else None
    modules = plan.finetune.selector.select(
        Candidates(
            criticality_modules(run.model(theta_at.state)),
            measured,
            plan.cell.dataset,
            plan.cell.arch,
            replace(plan.cell, finetune=plan.finetune.tuning).seed_for("select"),
            plan.finetune.protocol.released_order,
        )
    )
    tuned = tune(run, theta_at, modules)
    theta_ft = Weights.of(tuned.state)
    alpha: float = 1.0
    reference: Count | None = None
    curve: list[CurvePoint] = []
    if plan.finetune.interpolation is not None:
        alpha, reference, curve = choose_alpha(run, theta_at, theta_ft)

    weights = Weights.of(interpolate(theta_at.state, theta_ft.state, alpha))
    made = provenance(
        started,
        device=run.device,
        weights=weights.sha256,
        data=run.material.train.sha256(),
        resumed=tuned.resumed,
        chunk=batch_starts(run.material.judge).step,
        begun=tuned.begun,
    )
    details = Finetuning(
        criticality=None if measured is None else list(measured),
        modules=modules,
        epochs=tuned.epochs,
        best_epoch=tuned.best_epoch,
        best=tuned.best,
        alpha=alpha,
        reference=reference,
        curve=curve,
    )
    making = Making(cell=CellName.of(plan.cell), **hashed(plan.spec), provenance=made, details=details)
    keep_weights(run.store, path, fingerprint, weights, making)
    return weights


def measure_criticality(run: Run, theta_at: Weights) -> Sequence[ModuleCriticality]:
    """Step 1. The values stay in the base model's journals, one per definition of MRC, for other
    fine-tunings."""
    base, settings = run.plan.base, run.plan.criticality
    spec = run.plan.criticality_spec
    fingerprint = journaled(spec, theta_at.sha256, device=run.device, chunk=CHUNK)
    stage = STAGES[settings.type_name]
    return criticality(
        run.model(theta_at.state),
        criticality_images(run, settings.split),
        run.plan.attack,
        settings,
        seed=base.cell.seed_for(stage),
        journal=Journal(run.store.work(base.cell) / stage, fingerprint),
        memory=run.memory,
        progress=run.progress,
    )


def criticality_images(run: Run, split: str) -> Split:
    """The images that criticality is measured on."""
    return {"train": run.material.train, "test": run.data.test, "hold-out": run.material.judge}[split]


def tune(run: Run, theta_at: Weights, modules: Sequence[str]) -> Fitted:
    """Step 2 (Equation 8): theta_FT, its log, and what of its making `Provenance` tells.

    Shared by the alpha* and the alpha = 1 version of a fine-tuning.
    """
    plan = run.plan
    assert plan.finetune is not None
    cell = replace(plan.cell, finetune=plan.finetune.tuning)
    folder = run.store.work(cell)
    fingerprint = f"{spec_hash(plan.tuning_spec)} {theta_at.sha256}"
    path = folder / "finetuned.safetensors"
    if path.exists():
        state, kept = load_tensors(path, sealed=True)
        if kept.get("fingerprint") == fingerprint:
            log, begun = EPOCH_LOGS.validate_json(kept["log"]), json.loads(kept["begun"])
            return Fitted.of(State(len(log), log, state, begun=begun), resumed=False)
    model = run.model(theta_at.state)
    judged = run.material.judge.first(plan.recipe.select_images)
    checkpoint = folder / "finetuning.safetensors"
    fitted = fit(
        model,
        run.material.train,
        plan.base.info,
        CleanTraining(plan.finetune.bn),
        plan.recipe,
        seed=cell.seed_for("finetune"),
        select=lambda tuned: clean_count(tuned, judged),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        trainable=trainable_parameters(model, plan.finetune.selector, modules),
        takeover=run.takeover,
        stage="fine-tuning",
        progress=run.progress,
    )
    said = {"log": EPOCH_LOGS.dump_json(fitted.epochs).decode(), "begun": json.dumps(fitted.begun)}
    save_tensors(path, fitted.state, {"fingerprint": fingerprint} | said)
    checkpoint.unlink(missing_ok=True)
    return fitted


@computing_in(FP32)
def choose_alpha(
    run: Run, theta_at: Weights, theta_ft: Weights
) -> tuple[float, Count, list[CurvePoint]]:
    """Step 3 (Equation 9): alpha*, the base model's robust count, and the points looked at.

    In fp32 whatever the process computes in: a rounded gradient may turn the image that decides.
    """
    plan = run.plan
    assert plan.finetune is not None and plan.finetune.interpolation is not None
    rule, base = plan.finetune.interpolation, plan.base
    judged = run.material.judge.first(plan.recipe.select_images)
    points: Spec = {"attack": spec_of(plan.attack), "images": len(judged)}
    chunk = batch_starts(judged).step
    fingerprint = journaled(points, theta_at.sha256, theta_ft.sha256, device=run.device, chunk=chunk)
    folder = run.store.work(replace(plan.cell, finetune=plan.finetune.tuning))
    journal = Journal(folder / "interpolation", fingerprint)  # shared with the whole curve
    model = run.model(theta_at.state)

    def at(alpha: float) -> nn.Module:
        model.load_state_dict(interpolate(theta_at.state, theta_ft.state, alpha))
        return model

    def clean(alpha: float) -> Count:
        name = f"clean-{alpha:.4f}"
        if (kept := journal.get(name)) is None:
            kept = {key: np.array(n) for key, n in clean_count(at(alpha), judged)}
            journal.put(name, **kept)
        run.progress("interpolation: clean", rule.grid.index(alpha) + 1, len(rule.grid))
        return Count(**{"n": len(judged)} | {key: int(n) for key, n in kept.items()})

    def robust(alpha: float) -> Count:
        def show(_stage: str, done: int, total: int, _note: str = "") -> None:
            run.progress("interpolation: robust", done, total, f"alpha {alpha:.2f}")

        name, seed = f"robust-{alpha:.4f}", run_seed(base.cell, 0)
        answers = journaled_pgd_answers(at(alpha), judged, plan.attack, seed, journal, name, show)
        return Count.of(answers)

    reference = robust(0.0)
    whole = plan.finetune.whole_curve
    alpha, curve = best_alpha(rule.grid, clean, robust, reference, rule.tolerance, whole=whole)
    return alpha, reference, curve
