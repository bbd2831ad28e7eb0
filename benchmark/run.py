"""The paper from top to bottom, for one cell: the only place where its steps are put together.

    step 0  theta_AT   adversarial training                           Equation 1
    step 1  MRC        module robust criticality                      Algorithm 1
    step 2  theta_FT   fine-tuning of the least critical module       Equations 7 and 8
    step 3  alpha*     interpolation within the 0.1-point rule        Equation 9, Algorithm 2
    step 4             Std, OOD, Adv                                  Section 5.1, Tables 1 to 4

In place of steps 1 to 3 or after them, a post-hoc method may make a module (`another_forward_pass`).

Every step is made once, and goes on where a killed run stopped (`benchmark.engine.workspace`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmark.algorithm.adversarial_examples import CHUNK
from benchmark.algorithm.criticality import criticality
from benchmark.algorithm.finetune import trainable_parameters
from benchmark.algorithm.interpolate import best_alpha
from benchmark.checkpoints.start import bring_weights, starting_weights
from benchmark.engine.counting import batch_starts, clean_count, score
from benchmark.engine.precision import FP32, computing_in
from benchmark.engine.training import Fitted
from benchmark.engine.weights import Weights, interpolate
from benchmark.engine.workspace import Made
from benchmark.evaluation import evaluation
from benchmark.plans.running import Run, candidates, new_model
from benchmark.posthoc.applying import applied
from benchmark.progress import second
from benchmark.records.records import Count, CurvePoint, Finetuning, ModuleCriticality, Training

AVERAGED_EPOCHS = 5


def run_cell(run: Run, evaluations: Sequence[str]) -> None:
    """Make the model of a cell, and every record of `evaluations` that is missing, or a lost making."""
    missing = run.missing(evaluations)
    for name in missing:
        evaluation(name).check(run.test_data)
    if not missing and not run.store.lost_making(run.plan.cell):
        return
    theta = theta_at = adversarial_training(run)  # step 0
    if run.plan.forward is not None:
        theta = another_forward_pass(run, theta_at)  # no step of the paper
    elif run.plan.finetune is not None:
        theta = rift(run, theta_at)  # steps 1 to 3
    evaluating = run.evaluating(theta, theta_at)
    for name in missing:
        evaluating.record(name)  # step 4


def adversarial_training(run: Run) -> Weights:
    """Step 0: theta_AT, trained to minimise the robust loss (Equation 1), or a checkpoint's weights.

    The epoch of the highest robust accuracy on the selection images counts (test images in the paper,
    Section 5.1), by one PGD-10 run from fixed starts; of a method that says so, of the highest clean
    accuracy. One whose Std is far below the last epoch's is refused. The mean of the last
    `AVERAGED_EPOCHS` epochs' weights is kept beside.
    """
    plan, images = run.plan.base, run.splits
    judged = images.selection.first(plan.recipe.select_images)
    on = judged, plan.info.threat, plan.cell.seed_for("select")
    where = run.device if plan.checkpoint is None else torch.device("cpu")
    space = run.workspace(plan.cell, plan.spec, device=where)
    bring_weights(plan.cell, run.store, directory := run.data.directory or Path("data"))

    def make() -> Made:
        model = new_model(plan, where)
        if plan.checkpoint is not None:
            return Made(*starting_weights(plan.checkpoint, model, directory))
        fitted = space.fit(
            model,
            images.train,
            plan.info,
            plan.method,  # inner maximisation and loss: PGD-AT, TRADES, MART, AWP, SCORE
            plan.recipe,
            seed=plan.cell.seed_for("train"),
            select=score(plan.method.selects_by, *on),
            check=score("clean", *on),
            mixed=True,
            mean_of=AVERAGED_EPOCHS,
            stage="adversarial training",
        )
        log = Training(epochs=fitted.epochs, best_epoch=fitted.best_epoch, best=fitted.best)
        return Made.by(fitted, fitted.state, log, chunk=batch_starts(judged).step)

    return space.once(images.train.sha256(), make)


def rift(run: Run, theta_at: Weights) -> Weights:
    """Algorithm 2 (RiFT), or one of its ablations: steps 1 to 3."""
    plan, chosen = run.plan, run.plan.finetuning

    def make() -> Made:
        network = run.network(theta_at)
        needed = chosen.selector.needs_criticality
        mrc = measure_criticality(run, theta_at) if needed else None  # step 1
        modules = chosen.selector.select(candidates(plan, network, mrc))  # Equation 7: the lowest MRC
        tuned = fine_tune(run, theta_at, modules)  # step 2, Equation 8
        theta_ft = Weights.of(tuned.state)
        alpha, reference, curve = choose_alpha(run, theta_at, theta_ft)  # step 3, Equation 9
        log = Finetuning(
            criticality=None if mrc is None else list(mrc),
            modules=modules,
            epochs=tuned.epochs,
            best_epoch=tuned.best_epoch,
            best=tuned.best,
            alpha=alpha,
            reference=reference,
            curve=curve,
        )
        theta = interpolate(theta_at.state, theta_ft.state, alpha)  # theta_AT + alpha* dtheta
        chunk = batch_starts(run.splits.selection).step
        made = Made.by(replace(tuned, seconds=None, mean={}), theta, log, chunk)
        return replace(made, between=(run.tuning_cell.finetune, alpha))

    return run.workspace(plan.cell, plan.spec, theta_at).once(run.splits.train.sha256(), make)


def measure_criticality(run: Run, theta_at: Weights) -> Sequence[ModuleCriticality]:
    """Step 1, Algorithm 1: MRC of every Conv and Linear module, shared by all fine-tunings of theta_AT.

    PGD-10 examples are crafted once; then each module alone ascends their loss inside its ball.
    """
    plan, cell, stage = run.plan, run.plan.base.cell, run.plan.criticality.stage
    return criticality(
        run.network(theta_at),
        run.images(plan.criticality.split),
        plan.attack,
        plan.criticality,
        run.workspace(cell, plan.criticality_spec).steps(stage, theta_at, chunk=CHUNK, name=run.mrc_in),
        seed=cell.seed_for(stage),
        memory=run.memory,
        progress=run.progress,
    )


def fine_tune(run: Run, theta_at: Weights, modules: Sequence[str]) -> Fitted:
    """Step 2, Equation 8: train `modules` alone on clean images; the epoch of the best clean accuracy.

    Other post-hoc methods may train otherwise (`Tuning.method`). Shared by the alpha* and the alpha = 1
    version of a fine-tuning.
    """
    plan, judged, start = run.plan, run.selection_images(), theta_at
    if plan.finetuning.start == "average":
        start = run.workspace(plan.base.cell, plan.base.spec).average(theta_at)
    model = run.network(start)
    return run.workspace(run.tuning_cell, plan.tuning_spec, theta_at).fit_once(
        model,
        run.splits.train,
        plan.base.info,
        plan.tuner,
        plan.recipe,
        seed=run.tuning_cell.seed_for("finetune"),
        select=lambda tuned: clean_count(tuned, judged),
        trainable=trainable_parameters(model, plan.finetuning.selector, modules),
        stage="fine-tuning",
    )


@computing_in(FP32)
def choose_alpha(
    run: Run, theta_at: Weights, theta_ft: Weights
) -> tuple[float, Count | None, list[CurvePoint]]:
    """Step 3, Equation 9: alpha*, the robust count at theta_AT, and the points that were looked at.

    alpha* has the best clean accuracy of those whose robust accuracy is not below that of theta_AT by
    more than `Interpolation.tolerance` (0.1 point). In fp32 whatever the process computes in: a rounded
    gradient may turn the image that decides.
    """
    chosen = run.plan.finetuning
    if (rule := chosen.interpolation) is None:
        return chosen.alpha, None, []
    path = run.path(theta_at, theta_ft, tuple(rule.grid))
    reference, search = path.robust(0.0), (path.clean, path.robust)
    alpha, curve = best_alpha(rule.grid, *search, reference, rule.tolerance, whole=chosen.whole_curve)
    return alpha, reference, curve


def another_forward_pass(run: Run, theta_at: Weights) -> Weights:
    """What a post-hoc method makes of theta_AT, or of a fine-tuning's weights: a module."""
    plan, before = run.plan, run.plan.before
    on = theta_at if before.finetune is None else rift(replace(run, plan=before, told=[]), theta_at)
    partner = second_network(run)
    return run.workspace(plan.cell, plan.spec, on).once(
        run.splits.train.sha256(), lambda: applied(run, theta_at, on, partner)
    )


def second_network(run: Run) -> Weights | None:
    """The weights of the network that a mix holds beside the robust one, trained under its own lock."""
    if (plan := run.plan.partner) is None or run.partner is not None:
        return run.partner
    own = replace(run.plan, cell=plan.cell, base=plan, finetune=None, partner=None)
    with run.store.lock_to_make(plan.cell):
        return adversarial_training(replace(run, plan=own, progress=second(run.progress)))
