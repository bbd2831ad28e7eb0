"""Whether a making is what the code would have written: every choice in it is taken again.

torch is imported where it is needed, for the rules of the paper and the names of modules.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from benchmark.algorithm.selection import Candidates
from benchmark.data import dataset_info
from benchmark.engine.recipes import Recipe
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.plans.plan import Plan
from benchmark.records.records import (
    Checkpoint,
    Count,
    CurvePoint,
    EpochLog,
    Finetuning,
    Making,
    Training,
)
from benchmark.submission.findings import Wrong, shown
from benchmark.submission.known import KNOWN_DATA

SLACK = 1.001
"""Rounding of the constraint on ||dW|| in fp32."""


def wrong_making(making: Making, plan: Plan) -> Wrong:
    """Choices of `making` that are not those of `plan`."""
    details, kind = making.details, "fine-tuning"
    if plan.finetune is None:
        kind = "training" if plan.base.checkpoint is None else "checkpoint"
    if details.kind != kind:
        yield "details.kind", f"is {details.kind}, but the making of {plan.cell.key} is a {kind}"
    elif isinstance(details, Checkpoint):
        yield from _wrong_checkpoint(details, plan)
    elif isinstance(details, Training):
        yield from _wrong_epochs(details, plan.base.recipe, _judged(plan, plan.base.recipe))
    else:
        yield from _wrong_epochs(details, plan.recipe, _judged(plan, plan.recipe))
        yield from _wrong_criticality(details, plan)
        yield from _wrong_modules(details, plan)
        yield from _wrong_alpha(details, plan)


def _wrong_checkpoint(details: Checkpoint, plan: Plan) -> Wrong:
    """Name and file; what else the registry said may have been put in other words since."""
    found = plan.base.checkpoint
    assert found is not None
    if details.name != found.name:
        yield "details.name", f"is {shown(details.name)}, but {plan.cell.key} starts from {found.name}"
    if found.sha256 is not None and details.file_sha256 != found.sha256:
        yield "details.file_sha256", f"is {details.file_sha256}, but the registry has {found.sha256}"


def _judged(plan: Plan, recipe: Recipe) -> int | None:
    """How many images choose the epoch; None if that is not known."""
    known = KNOWN_DATA.get(plan.cell.dataset)
    if known is None:
        return None
    there = known.test if plan.base.hold_out is None else known.held_out
    return min(there, recipe.select_images or there)


def _wrong_count(place: str, count: Count, images: int | None) -> Wrong:
    if images is not None and count.n != images:
        yield place, f"is of n = {count.n}, but {images} images choose"


# --- epochs -----------------------------------------------------------------------------------------


def _wrong_epochs(details: Training | Finetuning, recipe: Recipe, images: int | None) -> Wrong:
    epochs = details.epochs
    if [entry.epoch for entry in epochs] != list(range(1, recipe.epochs + 1)):
        yield "details.epochs", f"are {_numbers(epochs)}, but the recipe has 1 to {recipe.epochs}"
        return
    for entry in epochs:
        place = f"details.epochs.{entry.epoch - 1}.selection"
        judged = entry.epoch > recipe.epochs - recipe.select_last
        if judged != (entry.selection is not None):
            yield (
                place,
                f"is {'missing' if judged else 'there'}, but the recipe judges the last "
                f"{recipe.select_last} epochs",
            )
        if entry.selection is not None:
            yield from _wrong_count(place, entry.selection, images)
    chosen = [entry for entry in epochs if entry.selection is not None]
    best = max(chosen, key=lambda entry: entry.selection.k if entry.selection else 0, default=None)
    if best is None or best.selection is None:
        return
    if details.best_epoch != best.epoch:
        yield "details.best_epoch", f"is {details.best_epoch}, but epoch {best.epoch} scored best"
    elif details.best != best.selection:
        said, right = details.best, best.selection
        yield "details.best", f"is {said.k} of {said.n}, but that epoch has {right.k} of {right.n}"


def _numbers(epochs: Sequence[EpochLog]) -> str:
    return shown(", ".join(str(entry.epoch) for entry in epochs) or "none")


# --- modules ----------------------------------------------------------------------------------------


@cache
def module_names(arch: str, dataset: str) -> tuple[str, ...]:
    """Names of the modules whose criticality is measured, input first (imports torch)."""
    import torch

    from benchmark.algorithm.criticality import criticality_modules

    with torch.device("meta"):
        return tuple(criticality_modules(build(arch, dataset_info(dataset))))


def _wrong_criticality(details: Finetuning, plan: Plan) -> Wrong:
    assert plan.finetune is not None
    needed = plan.finetune.selector.needs_criticality
    if details.criticality is None or not needed:
        if needed != (details.criticality is not None):
            there = "missing" if needed else "there"
            yield (
                "details.criticality",
                f"is {there}, but {plan.cell.finetune} chooses by it"
                if needed
                else "does not measure it",
            )
        return
    names = module_names(plan.cell.arch, plan.cell.dataset)
    there_names = tuple(entry.module for entry in details.criticality)
    if there_names != names:
        places = zip((*there_names, "nothing"), (*names, "nothing"), strict=False)
        at, (there, right) = next((i, pair) for i, pair in enumerate(places) if pair[0] != pair[1])
        yield (
            f"details.criticality.{at}.module",
            f"is {shown(there)}, but the network has {right} there",
        )
        return
    for at, entry in enumerate(details.criticality):
        place = f"details.criticality.{at}"
        if not 0 <= entry.epochs <= plan.criticality.steps:
            yield (
                f"{place}.epochs",
                f"is {entry.epochs}, but at most {plan.criticality.steps} are taken",
            )
        if (
            entry.norm_ratio is not None
            and not 0 <= entry.norm_ratio <= plan.criticality.radius * SLACK
        ):
            radius = plan.criticality.radius
            yield f"{place}.norm_ratio", f"is {entry.norm_ratio:g}, beyond the constraint {radius:g}"
        if entry.accuracy_drop is not None and abs(entry.accuracy_drop) > 1:
            yield f"{place}.accuracy_drop", f"is {entry.accuracy_drop:g}, no difference of fractions"


def _wrong_modules(details: Finetuning, plan: Plan) -> Wrong:
    finetune, cell = plan.finetune, plan.cell
    assert finetune is not None
    if finetune.selector.needs_criticality and not details.criticality:
        return
    names = module_names(cell.arch, cell.dataset)
    seed = replace(cell, finetune=finetune.tuning).seed_for("select")
    released = finetune.protocol.released_order
    given = Candidates(names, details.criticality, cell.dataset, cell.arch, seed, released)
    try:
        right = finetune.selector.select(given)
    except UserError as error:
        yield "cell.finetune", f"is {cell.finetune}: {error}"
        return
    if details.modules != right:
        yield (
            "details.modules",
            f"is {_listed(details.modules)}, but {cell.finetune} chooses {_listed(right)}",
        )


def _listed(modules: Sequence[str]) -> str:
    return shown(", ".join(modules) or "no module")


# --- interpolation ----------------------------------------------------------------------------------


class _NotLookedAt(Exception):
    """A robust accuracy that the rule asks for and the curve does not have."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha


def _wrong_alpha(details: Finetuning, plan: Plan) -> Wrong:
    finetune = plan.finetune
    assert finetune is not None
    rule, images = finetune.interpolation, _judged(plan, plan.recipe)
    if rule is None:
        if details.alpha != 1:
            yield "details.alpha", f"is {details.alpha}, but {plan.cell.finetune} is at alpha = 1"
        if details.curve or details.reference is not None:
            yield "details.curve", f"is there, but {plan.cell.finetune} looks at no other alpha"
        return
    if [point.alpha for point in details.curve] != rule.grid:
        grid = f"0 to 1 in steps of {1 / rule.intervals:g}"
        yield "details.curve", f"has not the points of the protocol's grid, {grid}"
        return
    if details.reference is None:
        yield "details.reference", "is missing: the base model's count that robustness is held against"
        return
    yield from _wrong_count("details.reference", details.reference, images)
    for place, count in _counts(details.curve):
        yield from _wrong_count(place, count, images)
    yield from _wrong_choice(details, details.reference, plan)


def _counts(curve: Sequence[CurvePoint]) -> list[tuple[str, Count]]:
    counts = []
    for at, point in enumerate(curve):
        counts.append((f"details.curve.{at}.clean", point.clean))
        if point.robust is not None:
            counts.append((f"details.curve.{at}.robust", point.robust))
    return counts


def _wrong_choice(details: Finetuning, reference: Count, plan: Plan) -> Wrong:
    """Whether the rule chooses this alpha among the points of the curve, having seen those."""
    from benchmark.algorithm.interpolate import best_alpha

    assert plan.finetune is not None and plan.finetune.interpolation is not None
    rule, points = plan.finetune.interpolation, {point.alpha: point for point in details.curve}

    def robust(alpha: float) -> Count:
        if (count := points[alpha].robust) is None:
            raise _NotLookedAt(alpha)
        return count

    try:
        alpha, curve = best_alpha(
            rule.grid,
            lambda alpha: points[alpha].clean,
            robust,
            reference,
            rule.tolerance,
            whole=plan.finetune.whole_curve,
        )
    except _NotLookedAt as missing:
        yield (
            "details.curve",
            f"has no robust accuracy at alpha = {missing.alpha:g}, which the rule asks",
        )
        return
    if details.alpha != alpha:
        yield "details.alpha", f"is {details.alpha:g}, but by its curve the rule chooses {alpha:g}"
    elif details.curve != curve:
        at = next(i for i, (a, b) in enumerate(zip(details.curve, curve, strict=True)) if a != b)
        yield f"details.curve.{at}.robust", "is not what the rule would have seen at this alpha"
