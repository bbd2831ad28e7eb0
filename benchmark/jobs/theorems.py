"""Measures what `benchmark.records.evidence` describes, on exactly the adversarial examples of MRC.

Theorem 3.1 (Equation 3) bounds the rise of the robust loss by MRC, the maximum of that rise over a ball
around the weights. Equation 1 takes the robust loss on the worst examples for the weights in question,
Algorithm 1 on examples crafted once, at the adversarially trained weights; a rise is measured on both.
MRC by Algorithm 1 is the loss at the end of an ascent, which need not be the maximum, so that the bound
may fail.

Theorem A.4 (Equations 25 to 43): MRC is the same in a network that computes the same with one layer
multiplied by beta (`algorithm.rescale`): the ball grows with the weight (Equation 31). But
the gradient shrinks by beta, and a rate that is absolute, 1 in Algorithm 1, moves the weight by a share
of it that is beta^2 times smaller: the estimator need not be invariant where the definition is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from torch import Tensor, nn

from benchmark.algorithm.adversarial_examples import CHUNK, AdversarialSet, adversarial_set, robust_loss
from benchmark.algorithm.criticality import module_criticality
from benchmark.algorithm.rescale import NotRescalable, rescaled_network
from benchmark.algorithm.rolling import Rolling, same_in_any_batch
from benchmark.algorithm.selection import Candidates
from benchmark.engine.provenance import done_elsewhere, journaled, noting, provenance
from benchmark.engine.recipes import CriticalitySettings
from benchmark.engine.training import TrainingFailed
from benchmark.engine.weights import interpolate
from benchmark.plans.running import Run
from benchmark.plans.states import evidence_spec
from benchmark.progress import Progress, silent
from benchmark.records.evidence import (
    FACTORS,
    ROUNDING,
    Move,
    Point,
    Rescaled,
    RescaledModule,
    Role,
    SeedEvidence,
)
from benchmark.records.records import Finetuning, ModuleCriticality, hashed
from benchmark.records.store import Journal
from benchmark.run import adversarial_training, fine_tune, measure_criticality, rift

State = Mapping[str, Tensor]
COMPARED = 64
"""So many examples tell whether a rescaled network computes the same."""


def measure(run: Run) -> SeedEvidence:
    """The evidence of the fine-tuned cell of `run`, whose weights are made if they are not there.

    Continues where a killed measurement stopped. Raises `TrainingFailed` where a robust loss is not
    finite.
    """
    plan, settings = run.plan, run.plan.criticality
    assert isinstance(settings, CriticalitySettings)
    started = datetime.now(UTC)
    theta_at = adversarial_training(run)
    tuned = rift(run, theta_at)
    making = run.store.making(plan.cell)
    assert making is not None and isinstance(making.details, Finetuning)
    (module,) = making.details.modules
    theta_ft = fine_tune(run, theta_at, [module])
    entries = measure_criticality(run, theta_at)

    spec = evidence_spec(plan)
    fingerprint = journaled(spec, theta_at.sha256, tuned.sha256, device=run.device, chunk=CHUNK)
    folder = run.store.work(plan.cell) / "evidence"
    journal = noting(Journal(folder, fingerprint), run.device)
    resumed, begun = not journal.empty, done_elsewhere(journal, "evidence", run.device)
    model = run.network(theta_at)
    split = run.images(settings.split).first(settings.images)
    start = plan.base.cell.seed_for(settings.stage)
    examples = adversarial_set(model, split, plan.attack, start, journal, run.progress)
    rescaling = rescaled_modules(
        model, examples, entries, module, settings, journal, run.progress, run.memory
    )

    def recraft(point: Point) -> AdversarialSet:
        own = noting(Journal(folder / point, fingerprint), run.device)
        begun.extend(done_elsewhere(own, "evidence", run.device))
        return adversarial_set(model, split, plan.attack, start, own, run.progress)

    alpha, radius = making.details.alpha, settings.radius
    found = moves(model, examples, theta_at.state, theta_ft.state, module, alpha, radius, recraft)
    journal.drop("x_adv-*")
    journal.drop("*/*")
    return SeedEvidence(
        seed=plan.cell.seed,
        key=plan.cell.key,
        **hashed(spec),
        module=module,
        mrc=next(entry.mrc for entry in entries if entry.module == module),
        radius=settings.radius,
        modules=len(entries),
        moves=found,
        rescaling=rescaling,
        tuned_sha256=tuned.sha256,
        provenance=provenance(
            started,
            device=run.device,
            weights=theta_at.sha256,
            data=run.splits.train.sha256(),
            resumed=resumed,
            chunk=CHUNK,
            begun=list(dict.fromkeys(begun)),
        ),
    )


def moves(
    model: nn.Module,
    examples: AdversarialSet,
    theta_at: State,
    theta_ft: State,
    module: str,
    alpha: float,
    radius: float,
    recraft: Callable[[Point], AdversarialSet],
) -> tuple[Move, ...]:
    """The changes of robust loss and accuracy at alpha = 1, at `alpha`, and where the path between both
    state dicts leaves the ball of `radius` around W of `module`: on `examples`, and on those that
    `recraft` crafts against `model` at each point.

    Leaves other weights in `model`, a network in evaluation mode.
    """
    name = f"{module}.weight"
    norm = float(theta_at[name].norm())

    def robust(on: AdversarialSet) -> tuple[float, float]:
        loss, accuracy = robust_loss(model, on)
        if not math.isfinite(loss):
            raise TrainingFailed(f"evidence: the robust loss with a changed {module} is {loss}")
        return loss, accuracy

    model.load_state_dict(theta_at)
    reference = robust(examples)

    def move(point: Point, at: float) -> Move:
        whole = interpolate(theta_at, theta_ft, at)
        distance = float((whole[name] - theta_at[name]).norm())
        model.load_state_dict({**theta_at, name: whole[name]})
        alone, recrafted = robust(examples), robust(recraft(point))
        model.load_state_dict(whole)
        with_bn = robust(examples)
        return Move(
            point=point,
            alpha=at,
            norm_ratio=distance / norm if norm > 0 else 0.0,
            loss_rise=alone[0] - reference[0],
            accuracy_drop=reference[1] - alone[1],
            loss_rise_recrafted=recrafted[0] - reference[0],
            accuracy_drop_recrafted=reference[1] - recrafted[1],
            loss_rise_with_bn=with_bn[0] - reference[0],
            accuracy_drop_with_bn=reference[1] - with_bn[1],
        )

    found = [move("fine-tuned", 1.0), move("interpolated", alpha)]
    if (ratio := found[0].norm_ratio) > radius * (1 + ROUNDING):
        found.append(move("sphere", radius / ratio))
    return tuple(found)


def rescaled_modules(
    model: nn.Module,
    examples: AdversarialSet,
    entries: Sequence[ModuleCriticality],
    tuned: str,
    settings: CriticalitySettings,
    journal: Journal,
    progress: Progress = silent,
    memory: int | None = None,
) -> tuple[RescaledModule, ...]:
    """The module `tuned`, and the most critical one if it is another, at every factor of `FACTORS`.

    `entries` are the criticality of all modules of `model` on `examples`. Finished factors are read
    from `journal`. `memory` is that of `criticality`.
    """
    ranked = Candidates([entry.module for entry in entries], entries, "", "", 0).ranked
    roles: dict[str, Role] = {tuned: "tuned"}
    roles |= {name: "most critical" for name in ranked[-1:] if name != tuned}
    found = []
    for place, (module, role) in enumerate(roles.items()):
        rescaled, reason = [], None
        try:
            for done, factor in enumerate(FACTORS, place * len(FACTORS) + 1):
                name = f"{module}-x{factor}"
                if (kept := journal.get(name)) is None:
                    each = _rescaled(model, examples, entries, module, factor, settings, memory)
                    kept = {"entry": np.frombuffer(each.model_dump_json().encode(), np.uint8)}
                    journal.put(name, **kept)
                rescaled.append(Rescaled.model_validate_json(kept["entry"].tobytes()))
                progress("evidence: rescaled", done, len(roles) * len(FACTORS), name)
        except NotRescalable as error:
            rescaled, reason = [], str(error)
        found.append(
            RescaledModule(
                role=role,
                criticality=next(entry for entry in entries if entry.module == module),
                rank=ranked.index(module) + 1 if module in ranked else None,
                rescaled=tuple(rescaled),
                reason=reason,
            )
        )
    return tuple(found)


def _rescaled(
    model: nn.Module,
    examples: AdversarialSet,
    entries: Sequence[ModuleCriticality],
    module: str,
    factor: float,
    settings: CriticalitySettings,
    memory: int | None,
) -> Rescaled:
    """MRC of `module` with `factor` times its weight, at the rate of `settings` and at one that grows
    with the square of the weight, so that the ascent is the same relative to it."""
    other = rescaled_network(model, module, factor, examples.x_adv[:COMPARED])
    exact = same_in_any_batch(examples, settings.batch_size)
    tail = Rolling(other, examples, memory if exact else 0).to(module)
    reference = robust_loss(tail.network, tail.examples)
    found = [
        module_criticality(other, module, tail, replace(settings, lr=lr), reference, seed=0)
        for lr in (settings.lr, settings.lr * factor**2)
    ]
    mrc = found[0].mrc if found[0].valid else None
    others = [entry.mrc for entry in entries if entry.valid and entry.module != module]
    return Rescaled(
        factor=factor,
        criticality=found[0],
        rank=None if mrc is None else 1 + sum(other is not None and other < mrc for other in others),
        mrc_with_lr=found[1].mrc,
    )
