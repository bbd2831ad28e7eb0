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
from benchmark.data.hold_out import Material, material
from benchmark.data.images import Dataset, Split
from benchmark.engine.counting import batch_starts, clean_count, journaled_pgd_answers
from benchmark.engine.precision import FP32, computing_in
from benchmark.engine.provenance import journaled, provenance
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.engine.training import Fitted, fit
from benchmark.engine.training_state import State
from benchmark.engine.weights import load_tensors, save_tensors
from benchmark.evaluation import evaluation
from benchmark.evaluation.pgd import run_seed
from benchmark.evaluation.protocol import counted
from benchmark.evaluation.record import Evaluating
from benchmark.jobs.base import (
    WEIGHTS,
    Weights,
    base_weights,
    check_repeatable,
    keep_weights,
    kept_weights,
    new_model,
)
from benchmark.plans.plan import Plan
from benchmark.plans.start import caveats
from benchmark.plans.states import is_fresh
from benchmark.progress import Progress
from benchmark.records.records import (
    CellName,
    Count,
    CurvePoint,
    EpochLog,
    Finetuning,
    Making,
    ModuleCriticality,
    hashed,
)
from benchmark.records.specs import Spec, spec_hash, spec_of
from benchmark.records.store import Journal, Store

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
        return counted(answers)

    reference = robust(0.0)
    whole = plan.finetune.whole_curve
    alpha, curve = best_alpha(rule.grid, clean, robust, reference, rule.tolerance, whole=whole)
    return alpha, reference, curve
