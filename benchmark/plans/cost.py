"""What cells cost, before they are made: operations counted from the networks, hours, and disk.

Training is estimated from one counted step, evaluations and choices from their passes; AutoAttack takes
half the passes of an image that it never breaks. Left out, as unknown beforehand: epochs of Algorithm 1
after a module's first, alphas after the second unless a curve has all, the numbers of a module.
The base model's robust count is in every search for alpha*, although only the first takes it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.info import DatasetInfo
from benchmark.engine.method import OwnTuning
from benchmark.engine.precision import has_compiler
from benchmark.engine.recipes import CriticalitySettings, Recipe
from benchmark.evaluation import evaluation
from benchmark.plans.plan import BasePlan, Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, curve_on_record, record_state
from benchmark.records.cells import Cell, bases_first
from benchmark.records.store import Store

IMAGES = {
    "digits": (1_297, 500),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "tiny-imagenet": (100_000, 10_000),
}
"""Training and test images; other datasets are not estimated."""
COMPILING = {"cpu": 1e15, "accelerator": 1e17}
"""Operations of a base model from which compiling, a minute or two, pays off: an hour's on two cores
with bf16 units, half an hour's on an accelerator."""
CLEAN = 3
"""Passes of an image in a step of clean training: one forward, two back (activations and weights)."""
ASCENT = 3
"""Passes of an image in an epoch of ascent: one forward, one back, one for the loss that counts."""
NOMINAL = 100e12
"""Operations a second to tell hours by where no training is on record: a round number, of no device."""


@dataclass
class ModelCost:
    """Cells, operations and bytes of all that is of one dataset and network."""

    dataset: str
    arch: str
    cells: int = 0
    operations: float = 0.0
    size: int = 0


def costs(*parts: tuple[Sequence[Cell], Scale]) -> list[ModelCost]:
    """What it costs to make cells from nothing, each part's under its scale, by dataset and network.

    What several parts have counts once.
    """
    from benchmark.engine.flops import of_image

    found: dict[tuple[str, str], ModelCost] = {}
    named = {cell for cells, _ in parts for cell in cells}
    done: set[tuple[Cell, str]] = set()
    counted: set[Cell] = set()
    for cell, scale in [(part, scale) for cells, scale in parts for part in bases_first(cells)]:
        if cell.dataset not in IMAGES:
            continue
        plan = Plan.of(cell, scale)
        way, weights, _ = of_image(cell.arch, plan.base.info)
        cost = found.setdefault((cell.dataset, cell.arch), ModelCost(cell.dataset, cell.arch))
        if cell not in counted:
            cost.cells += cell in named
            cost.size += 4 * weights * 2  # its weights, and the average or the fine-tuned ones
        counted.add(cell)
        tuned = plan.before.finetune if plan.forward else plan.finetune
        shared = {"criticality": plan.criticality.stage}
        if tuned is not None:
            shared |= {"fine-tuning": tuned.tuning, "interpolation": f"alpha* of {tuned.name}"}
            shared["criticality"] = tuned.measured_in(plan.criticality.stage)
        for stage, passes in stages(plan, scale.evaluations).items():
            work = (cell.base, shared[stage]) if stage in shared else (cell, stage)
            if plan.partner is not None and stage == "adversarial training":
                work = plan.partner.cell, stage  # which several mixes have
            cost.operations += way * passes * (work not in done)
            done.add(work)
    return list(found.values())


def repays_compiling(base: Cell, scale: Scale, device: str) -> bool:
    """Whether all that `base` takes, made from nothing, is worth compiling it on a `device`.

    Not which evaluations a command asks for first counts, but Std and Adv, so that the seeds of a scale
    are alike. Never without a compiler, and where operations are not known.
    """
    from benchmark.engine.flops import of_image

    plan = Plan.of(base, scale)
    passes = sum(stages(plan, ("clean", "pgd10x3")).values())
    least = COMPILING["cpu" if device.startswith("cpu") else "accelerator"]
    return has_compiler() and passes > 0 and passes * of_image(base.arch, plan.base.info)[0] >= least


def training(base: BasePlan) -> float:
    """Passes of adversarial training and of the choice of its epoch."""
    if base.checkpoint is not None:
        return 0.0
    recipe, info = base.recipe, base.info
    images, _ = IMAGES[info.name]
    step = _step(base.method, recipe, info)
    choosing = min(recipe.select_last, recipe.epochs) * _judged(recipe, base)
    return recipe.epochs * images * step + choosing * info.threat.passes


def stages(plan: Plan, evaluations: Sequence[str]) -> dict[str, float]:
    """Passes of each stage of a cell, in the order of work, by the names that report their progress."""
    if plan.cell.dataset not in IMAGES:
        return {}
    found: dict[str, float] = {}
    tuned = plan.before if plan.forward else plan
    if plan.finetune is None or plan.partner is not None:
        found["adversarial training"] = training(plan.partner or plan.base)
    if tuned.finetune is not None:
        if tuned.finetune.selector.needs_criticality:
            found["criticality"] = _criticality(tuned)
        found["fine-tuning"] = _tuning(tuned)
        if (rule := tuned.finetune.interpolation) is not None:
            alphas = len(rule.grid) if tuned.finetune.whole_curve else 2
            passes = len(rule.grid) + alphas * tuned.attack.passes  # clean at every alpha
            found["interpolation"] = passes * _judged(tuned.recipe, tuned.base)
    info, networks = plan.base.info, plan.forward.passes if plan.forward else 1
    for name, each in ((name, evaluation(name)) for name in evaluations):
        found[name] = networks * each.answers(IMAGES[info.name][1]) * each.passes(info)
    return found


def stages_left(
    store: Store, plan: Plan, evaluations: Sequence[str], directory: Path
) -> dict[str, float]:
    """`stages`, at no cost for evaluations on record, for weights that exist or that the registry
    brings from the data directory `directory`, and for a choice of alpha* on record."""
    from benchmark.checkpoints.start import registered_weights

    there = {name for name in evaluations if record_state(store, plan, name) is State.DONE}
    if curve_on_record(store, plan):
        there.add("interpolation")
    elsewhere = plan.cell.is_base and plan.cell.checkpoint is not None
    made = elsewhere or store.has_weights(plan.cell)
    made = made or registered_weights(plan.cell, store, directory) is not None
    return {
        stage: 0.0 if stage in there or (made and stage not in evaluations) else passes
        for stage, passes in stages(plan, evaluations).items()
    }


def _criticality(plan: Plan) -> float:
    from benchmark.engine.flops import of_image

    settings, (images, judged) = plan.criticality, IMAGES[plan.base.info.name]
    there = judged if settings.split == "test" else images
    # Of Algorithm 1 the first epoch has the gradients of all modules, and few modules need a second.
    each = 1 if isinstance(settings, CriticalitySettings) else ASCENT * settings.steps
    ascents = each * of_image(plan.cell.arch, plan.base.info).tails
    return min(settings.images or there, there) * (plan.attack.passes + CLEAN + ascents)


def _tuning(plan: Plan) -> float:
    info, recipe = plan.base.info, plan.recipe
    images, _ = IMAGES[info.name]
    own = isinstance(plan.tuner, OwnTuning)
    step = CLEAN if own else _step(plan.tuner, recipe, info)
    return recipe.epochs * (images * step + _judged(recipe, plan.base))


def _step(method: Any, recipe: Recipe, info: DatasetInfo) -> float:
    """Passes of a training step per image; PGD-AT's for a plug-in's method that makes none on the small
    network of the count."""
    from benchmark.engine.flops import passes

    attack = recipe.training_attack(info.threat)
    with suppress(Exception):  # what is wrong with it is told of its cells
        return passes(method, attack, info, recipe.epochs - 1)  # a warm-up is over
    return attack.passes + CLEAN


def _judged(recipe: Recipe, base: BasePlan) -> int:
    """Images that choose epochs and alpha*."""
    _, there = IMAGES[base.info.name]
    return min(recipe.select_images or there, there)


def rates(store: Store, scale: Scale, cells: Sequence[Cell]) -> dict[str, float]:
    """Operations a second that trainings of `cells` on record reached, the best of each device."""
    from benchmark.engine.flops import of_image

    found: dict[str, float] = {}
    for base in dict.fromkeys(cell.base for cell in cells):
        making = store.making(base)
        if base.dataset in IMAGES and making is not None and making.details.kind == "training":
            told, plan = making.provenance, Plan.of(base, scale)
            reached = of_image(base.arch, plan.base.info)[0] * training(plan.base) / told.seconds
            found[told.device] = max(found.get(told.device, 0.0), reached)
    return found
