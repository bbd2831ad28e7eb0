"""The paper from top to bottom, for one cell: the only place where its steps are put together.

    adversarial weights -> criticality -> selection -> fine-tuning -> interpolation -> evaluation

Each step has one home (`benchmark.base`, `benchmark.rift.*`, `benchmark.evaluate`), continues
where a killed run stopped, and writes its result once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmark.base import (
    WEIGHTS,
    Weights,
    base_weights,
    check_repeatable,
    keep_weights,
    kept_weights,
    new_model,
)
from benchmark.cells import BASE, Cell
from benchmark.data.images import Dataset
from benchmark.evaluate import Evaluating
from benchmark.evaluation import evaluation
from benchmark.evaluation.counting import clean_count, journaled_pgd_bits
from benchmark.evaluation.pgd import run_seed
from benchmark.plans import Plan
from benchmark.progress import Progress
from benchmark.provenance import provenance
from benchmark.records import (
    CellName,
    Count,
    CurvePoint,
    EpochLog,
    Finetuning,
    Making,
    ModuleCriticality,
    hashed,
)
from benchmark.rift.criticality import criticality, criticality_modules
from benchmark.rift.finetune import CleanTraining, trainable_parameters
from benchmark.rift.interpolate import best_alpha, interpolate
from benchmark.rift.presets import ALPHA_1
from benchmark.specs import spec_hash
from benchmark.states import is_fresh
from benchmark.store import Journal, Store
from benchmark.training import best_epoch, fit
from benchmark.weights import load_tensors, save_tensors

EPOCH_LOGS = TypeAdapter(list[EpochLog])


@dataclass(frozen=True)
class Run:
    """What the steps of one cell share."""

    plan: Plan
    data: Dataset
    store: Store
    progress: Progress

    @property
    def device(self) -> torch.device:
        return self.data.train.images.device

    def model(self, state: dict[str, Tensor]) -> nn.Module:
        """The cell's network with the weights `state`, in evaluation mode."""
        model = new_model(self.plan.base, self.device)
        model.load_state_dict(state)
        return model.eval()

    def journal(self, name: str, fingerprint: str) -> Journal:
        return Journal(self.store.work(self.plan.cell) / name, fingerprint)


def run_cell(run: Run, evaluations: Sequence[str]) -> None:
    """Make the model of a cell and every record of it that is missing."""
    wanted = [
        name
        for name in evaluations
        if run.plan.evaluation_spec(name) is not None and not is_fresh(run.store, run.plan, name)
    ]
    if not wanted:
        return
    for name in wanted:
        evaluation(name).check(run.data)
    theta_at = base_weights(run.plan.base, run.data, run.store, run.progress)
    weights = theta_at if run.plan.finetune is None else finetuned_weights(run, theta_at)
    model, twins = run.model(weights.state), same_weights(run.plan)
    evaluating = Evaluating(run.plan, model, weights, run.data, run.store, run.progress, twins)
    for name in wanted:
        evaluating.record(name)


def same_weights(plan: Plan) -> list[Cell]:
    """Cells that have the weights of a fine-tuned one where interpolation ends at alpha = 0 or 1."""
    if plan.finetune is None:
        return []
    tuning = plan.finetune.tuning
    return [replace(plan.cell, finetune=name) for name in (BASE, tuning, tuning + ALPHA_1)]


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
    modules = plan.finetune.selector.select(criticality_modules(run.model(theta_at.state)), measured)
    theta_ft, log, resumed = tune(run, theta_at, modules)
    best = best_epoch(log)
    assert best is not None
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
        data=run.data.train.sha256(),
        resumed=resumed,
    )
    details = Finetuning(
        criticality=None if measured is None else list(measured),
        modules=modules,
        epochs=log,
        best_epoch=best.epoch,
        best=best.selection,
        alpha=alpha,
        reference=reference,
        curve=curve,
    )
    making = Making(cell=CellName.of(plan.cell), **hashed(plan.spec), provenance=made, details=details)
    keep_weights(run.store, path, fingerprint, weights, making)
    return weights


def measure_criticality(run: Run, theta_at: Weights) -> Sequence[ModuleCriticality]:
    """Step 1 (Algorithm 1). The values stay in the base model's journal for other fine-tunings."""
    base = run.plan.base
    fingerprint = f"{spec_hash(run.plan.criticality_spec)} {theta_at.sha256}"
    return criticality(
        run.model(theta_at.state),
        run.data.train,
        base.info.threat,
        run.plan.criticality,
        seed=base.cell.seed_for("criticality"),
        journal=Journal(run.store.work(base.cell) / "criticality", fingerprint),
        progress=run.progress,
    )


def tune(run: Run, theta_at: Weights, modules: Sequence[str]) -> tuple[Weights, list[EpochLog], bool]:
    """Step 2 (Equation 8): weights of the best epoch, the log, and whether work was continued.

    Shared by the alpha* and the alpha = 1 version of a fine-tuning.
    """
    plan = run.plan
    assert plan.finetune is not None
    cell = replace(plan.cell, finetune=plan.finetune.tuning)
    folder = run.store.work(cell)
    fingerprint = f"{spec_hash(plan.tuning_spec)} {theta_at.sha256}"
    path = folder / "finetuned.safetensors"
    if path.exists():
        state, metadata = load_tensors(path)
        if metadata.get("fingerprint") == fingerprint:
            return Weights.of(state), EPOCH_LOGS.validate_json(metadata["log"]), False
    model = run.model(theta_at.state)
    judged = run.data.test.first(plan.recipe.select_images)
    checkpoint = folder / "finetuning.safetensors"
    fitted = fit(
        model,
        run.data.train,
        plan.base.info,
        CleanTraining(),
        plan.recipe,
        seed=cell.seed_for("finetune"),
        select=lambda tuned: clean_count(tuned, judged),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        trainable=trainable_parameters(model, plan.finetune.selector, modules),
        stage="fine-tuning",
        progress=run.progress,
    )
    log = EPOCH_LOGS.dump_json(fitted.epochs).decode()
    save_tensors(path, fitted.state, {"fingerprint": fingerprint, "log": log})
    checkpoint.unlink(missing_ok=True)
    return Weights.of(fitted.state), fitted.epochs, fitted.resumed


def choose_alpha(
    run: Run, theta_at: Weights, theta_ft: Weights
) -> tuple[float, Count, list[CurvePoint]]:
    """Step 3 (Equation 9): alpha*, the base model's robust count, and the points looked at."""
    plan = run.plan
    assert plan.finetune is not None and plan.finetune.interpolation is not None
    rule, base = plan.finetune.interpolation, plan.base
    judged = run.data.test.first(plan.recipe.select_images)
    fingerprint = f"{spec_hash(plan.spec)} {theta_at.sha256} {theta_ft.sha256}"
    journal = run.journal("interpolation", fingerprint)
    model = run.model(theta_at.state)

    def at(alpha: float) -> nn.Module:
        model.load_state_dict(interpolate(theta_at.state, theta_ft.state, alpha))
        return model

    def clean(alpha: float) -> Count:
        name = f"clean-{alpha:.4f}"
        if (kept := journal.get(name)) is None:
            counted = clean_count(at(alpha), judged)
            kept = {"k": np.array(counted.k)}
            journal.put(name, **kept)
        run.progress("interpolation: clean", rule.grid.index(alpha) + 1, len(rule.grid))
        return Count(k=int(kept["k"]), n=len(judged))

    def robust(alpha: float) -> Count:
        def show(_stage: str, done: int, total: int, _note: str = "") -> None:
            run.progress("interpolation: robust", done, total, f"alpha {alpha:.2f}")

        name, seed = f"robust-{alpha:.4f}", run_seed(base.cell, 0)
        bits = journaled_pgd_bits(at(alpha), judged, base.info.threat, seed, journal, name, show)
        return Count(k=int(bits.sum()), n=len(bits))

    reference = robust(0.0)
    alpha, curve = best_alpha(rule.grid, clean, robust, reference, rule.tolerance)
    return alpha, reference, curve
