"""What cells cost, before they are made: operations counted from the networks, hours, and disk.

Training is estimated from one counted step, evaluations and choices from their passes; AutoAttack takes
half the passes of an image that it never breaks. Left out, as unknown beforehand: epochs of Algorithm 1
after a module's first, alphas after the second unless a curve has all, the numbers of a module.
The base model's robust count is in every search for alpha*, although only the first takes it.
"""

from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.data.info import DatasetInfo
from benchmark.engine.method import OwnTuning
from benchmark.engine.precision import has_compiler
from benchmark.engine.recipes import CriticalitySettings, Recipe
from benchmark.evaluation import evaluation
from benchmark.plans.plan import BasePlan, Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, cell_state, curve_on_record, is_of, record_state
from benchmark.progress import SECOND
from benchmark.records.cells import Cell, bases_first
from benchmark.records.store import Store

AT = "adversarial training"
AT_OF_SECOND = f"{SECOND}, {AT}"
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
Work = tuple[Cell, str]


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
    done: set[Work] = set()
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
        for stage, passes in stages(plan, scale.evaluations).items():
            cost.operations += way * passes * ((work := work_of(plan, stage)) not in done)
            done.add(work)
    return list(found.values())


def costs_left(
    store: Store, directory: Path, *parts: tuple[Sequence[Cell], Scale]
) -> dict[str, dict[str, float]]:
    """`stages_left` of what is not done of each part's cells under its scale, by key; those of a later
    part by other names. What several need is left to the first.
    """
    found: dict[str, dict[str, float]] = {}
    counted: set[Work] = set()
    for place, (cells, scale) in enumerate(parts):
        for plan in (Plan.of(cell, scale) for cell in cells):
            if cell_state(store, plan, scale.evaluations) is not State.DONE:
                left = stages_left(store, plan, scale.evaluations, directory, counted)
                found[plan.cell.key + f", part {place}" * place] = left
                counted |= {work_of(plan, stage) for stage in left}
    return found


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
    recipe, info, (images, _) = base.recipe, base.info, _images(base)
    step = _step(base.method, recipe, info)
    choosing = min(recipe.select_last, recipe.epochs) * _judged(recipe, base)
    return recipe.epochs * images * step + choosing * info.threat.passes


def stages(plan: Plan, evaluations: Sequence[str]) -> dict[str, float]:
    """Passes of each stage of a cell, its base model's with it, in the order of work, by the names that
    report their progress."""
    if plan.cell.dataset not in IMAGES:
        return {}
    found: dict[str, float] = {} if plan.partner is None else {AT_OF_SECOND: training(plan.partner)}
    found[AT] = training(plan.base)
    tuned = _tuned(plan)
    if tuned.finetune is not None:
        if tuned.finetune.selector.needs_criticality:
            found["criticality"] = _criticality(tuned)
        found["fine-tuning"] = _tuning(tuned)
        if (rule := tuned.finetune.interpolation) is not None:
            alphas = len(rule.grid) if tuned.finetune.whole_curve else 2
            passes = len(rule.grid) + alphas * tuned.attack.passes  # clean at every alpha
            found["interpolation"] = passes * _judged(tuned.recipe, tuned.base)
    info, networks = plan.base.info, plan.forward.passes if plan.forward else 1
    there = [name for name in evaluations if plan.evaluation_spec(name) is not None]
    for name, each in ((name, evaluation(name)) for name in there):
        found[name] = networks * each.answers(IMAGES[info.name][1]) * each.passes(info)
    return found


def work_of(plan: Plan, stage: str) -> Work:
    """The cell that a stage of `plan` is of, and what it is there: alike for cells that share it."""
    if plan.partner is not None and stage == AT_OF_SECOND:
        return plan.partner.cell, AT
    if stage == AT:
        return plan.base.cell, AT
    shared = dict[str, str]()
    if (tuned := _tuned(plan).finetune) is not None:
        shared = {"fine-tuning": tuned.tuning, "interpolation": f"alpha* of {tuned.name}"}
        shared["criticality"] = tuned.measured_in(plan.criticality.stage)
    return (plan.base.cell, shared[stage]) if stage in shared else (plan.cell, stage)


def stages_left(
    store: Store,
    plan: Plan,
    evaluations: Sequence[str],
    directory: Path,
    counted: Container[Work] = (),
) -> dict[str, float]:
    """`stages`, at no cost for evaluations on record, for weights that exist or that the registry
    brings from the data directory `directory`, for a choice of alpha* on record, and for what is
    `counted` already."""
    from benchmark.checkpoints.start import registered_weights

    tuned = _tuned(plan)

    @cache
    def made(cell: Cell) -> bool:
        return store.has_weights(cell) or registered_weights(cell, store, directory) is not None

    def left(stage: str, work: Work) -> bool:
        if work in counted:
            return False
        if stage in evaluations:
            return record_state(store, plan, stage) is not State.DONE
        if stage == "interpolation" and curve_on_record(store, tuned):
            return False
        return not made(work[0] if work[1] == AT else tuned.cell)

    return {
        stage: passes * left(stage, work_of(plan, stage))
        for stage, passes in stages(plan, evaluations).items()
    }


def _tuned(plan: Plan) -> Plan:
    """The plan of the fine-tuning, if any: that of the weights that a module is applied to."""
    return plan.before if plan.forward else plan


def _criticality(plan: Plan) -> float:
    from benchmark.engine.flops import of_image

    settings, (trained, judged) = plan.criticality, _images(plan.base)
    _, test = IMAGES[plan.base.info.name]
    there = {"train": trained, "test": test, "hold-out": judged}[settings.split]
    # Of Algorithm 1 the first epoch has the gradients of all modules, and few modules need a second.
    each = 1 if isinstance(settings, CriticalitySettings) else ASCENT * settings.steps
    ascents = each * of_image(plan.cell.arch, plan.base.info).tails
    return min(settings.images or there, there) * (plan.attack.passes + CLEAN + ascents)


def _tuning(plan: Plan) -> float:
    info, recipe, (images, _) = plan.base.info, plan.recipe, _images(plan.base)
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


def _images(base: BasePlan) -> tuple[int, int]:
    """Images that train, and those that a choice may look at."""
    images, test = IMAGES[base.info.name]
    held = 0 if base.hold_out is None else round(base.hold_out.share * images)
    return images - held, held or test


def _judged(recipe: Recipe, base: BasePlan) -> int:
    """Images that choose epochs and alpha*."""
    _, there = _images(base)
    return min(recipe.select_images or there, there)


def rates(store: Store, scale: Scale, cells: Sequence[Cell]) -> dict[str, float]:
    """Operations a second that trainings of `cells` on record reached, the best of each device.

    What was trained by other settings than today's took other operations.
    """
    from benchmark.engine.flops import of_image

    found: dict[str, float] = {}
    for base in dict.fromkeys(cell.base for cell in cells):
        making = store.making(base)
        if base.dataset not in IMAGES or making is None or making.details.kind != "training":
            continue
        told, plan = making.provenance, Plan.of(base, scale)
        if told.seconds > 0 and is_of(making, plan):
            reached = of_image(base.arch, plan.base.info)[0] * training(plan.base) / told.seconds
            found[told.device] = max(found.get(told.device, 0.0), reached)
    return found
