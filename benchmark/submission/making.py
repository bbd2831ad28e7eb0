"""Whether a making is what the code would have written: every choice in it is taken again."""

from collections.abc import Sequence
from itertools import zip_longest

from benchmark.algorithm.interpolate import best_alpha
from benchmark.algorithm.selection import Candidates
from benchmark.engine.choice import most_accurate
from benchmark.engine.forward import ForwardMethod
from benchmark.engine.method import OwnTuning
from benchmark.engine.recipes import Recipe
from benchmark.errors import UserError
from benchmark.models import without_values
from benchmark.plans.plan import Plan
from benchmark.plans.running import candidates
from benchmark.records.applied import Applied
from benchmark.records.records import Checkpoint, Count, Finetuning, Making, Training
from benchmark.records.specs import spec_of
from benchmark.submission.expected import KNOWN_DATA
from benchmark.submission.read import Problems, shown

SLACK = 1.001
"""Rounding of the constraint on ||dW|| in fp32."""


def check_making(making: Making, plan: Plan) -> Problems:
    """Choices of `making` that are not those of `plan`."""
    details, kind = making.details, "fine-tuning"
    if plan.finetune is None:
        kind = "training" if plan.base.checkpoint is None else "checkpoint"
    elif plan.forward is not None:
        kind = "applied"
    if details.kind != kind:
        yield "details.kind", f"is {details.kind}, but the making of {plan.cell.key} is a {kind}"
    elif isinstance(details, Checkpoint):
        yield from _check_checkpoint(details, plan)
    elif isinstance(details, Training):
        yield from _check_epochs(details, plan.base.recipe, plan)
    elif isinstance(details, Applied):
        yield from _check_applied(details, plan)
    else:
        if not isinstance(plan.tuner, OwnTuning):
            yield from _check_epochs(details, plan.recipe, plan)
        elif details.epochs or details.best_epoch:
            yield "details.epochs", f"are there, but {plan.cell.finetune} logs none"
        network = without_values(plan.cell.arch, plan.base.info)
        given = candidates(plan, network, details.criticality)
        yield from _check_criticality(details, plan, given.modules)
        yield from _check_modules(details, plan, given)
        yield from _check_alpha(details, plan)


def _check_checkpoint(details: Checkpoint, plan: Plan) -> Problems:
    """Name and file; the registry may have put the rest in other words since."""
    found = plan.base.checkpoint
    assert found is not None
    if details.name != found.name:
        yield "details.name", f"is {shown(details.name)}, but {plan.cell.key} starts from {found.name}"
    if found.sha256 is not None and details.file_sha256 != found.sha256:
        yield "details.file_sha256", f"is {details.file_sha256}, but the registry has {found.sha256}"


def _check_images(place: str, count: Count | None, plan: Plan, recipe: Recipe) -> Problems:
    """Whether `count` has all images that choose; their number is not known of every dataset."""
    known = KNOWN_DATA.get(plan.cell.dataset)
    if count is None or known is None:
        return
    there = known.test if plan.base.hold_out is None else known.held_out
    if count.n != (images := min(there, recipe.select_images or there)):
        yield place, f"is of n = {count.n}, but {images} images choose"


# --- epochs -----------------------------------------------------------------------------------------


def _check_epochs(details: Training | Finetuning, recipe: Recipe, plan: Plan) -> Problems:
    numbers = [entry.epoch for entry in details.epochs]
    if numbers != list(range(1, recipe.epochs + 1)):
        there = shown(", ".join(map(str, numbers)) or "none")
        yield "details.epochs", f"are {there}, but the recipe has 1 to {recipe.epochs}"
        return
    for entry in details.epochs:
        place = f"details.epochs.{entry.epoch - 1}.selection"
        evaluated = entry.epoch > recipe.epochs - recipe.select_last
        if evaluated != (entry.selection is not None):
            there = "missing" if evaluated else "there"
            yield place, f"is {there}, but the recipe judges the last {recipe.select_last} epochs"
        yield from _check_images(place, entry.selection, plan, recipe)
    scores = {entry.epoch: entry.selection for entry in details.epochs if entry.selection}
    if not scores:
        return
    best = max(scores, key=lambda epoch: scores[epoch].k)
    if details.best_epoch != best:
        yield "details.best_epoch", f"is {details.best_epoch}, but epoch {best} scored best"
    elif (count := details.best) != (right := scores[best]):
        yield "details.best", f"is {count.k} of {count.n}, but that epoch has {right.k} of {right.n}"


# --- modules ----------------------------------------------------------------------------------------


def _check_criticality(details: Finetuning, plan: Plan, names: Sequence[str]) -> Problems:
    """Whether MRC is there if it is needed, of the modules `names`, input first, and in its bounds."""
    assert plan.finetune is not None
    needed, name = plan.finetune.selector.needs_criticality, plan.cell.finetune
    if details.criticality is None:
        if needed:
            yield "details.criticality", f"is missing, but {name} chooses by it"
        return
    if not needed:
        yield "details.criticality", f"is there, but {name} does not measure it"
        return
    measured = [entry.module for entry in details.criticality]
    for at, (there, right) in enumerate(zip_longest(measured, names, fillvalue="nothing")):
        if there != right:
            text = f"is {shown(there)}, but the network has {right} there"
            yield f"details.criticality.{at}.module", text
            return
    steps, radius = plan.criticality.steps, plan.criticality.radius
    for at, entry in enumerate(details.criticality):
        place, ratio, drop = f"details.criticality.{at}", entry.norm_ratio, entry.accuracy_drop
        if not 0 <= entry.epochs <= steps:
            yield f"{place}.epochs", f"is {entry.epochs}, but at most {steps} are taken"
        if ratio is not None and not 0 <= ratio <= radius * SLACK:
            yield f"{place}.norm_ratio", f"is {ratio:g}, beyond the constraint {radius:g}"
        if drop is not None and abs(drop) > 1:
            yield f"{place}.accuracy_drop", f"is {drop:g}, no difference of fractions"


def _check_modules(details: Finetuning, plan: Plan, given: Candidates) -> Problems:
    finetune, cell = plan.finetune, plan.cell
    assert finetune is not None
    if finetune.selector.needs_criticality and not details.criticality:
        return
    try:
        right = finetune.selector.select(given)
    except UserError as error:
        yield "cell.finetune", f"is {cell.finetune}: {error}"
        return
    except (RuntimeError, TypeError):  # it asks for values, which are not here: it is believed
        return
    if details.modules != right:
        there = _listed(details.modules)
        yield "details.modules", f"is {there}, but {cell.finetune} chooses {_listed(right)}"


def _listed(modules: Sequence[str]) -> str:
    return shown(", ".join(modules) or "no module")


# --- interpolation ----------------------------------------------------------------------------------


def _check_alpha(details: Finetuning, plan: Plan) -> Problems:
    assert plan.finetune is not None
    rule, name = plan.finetune.interpolation, plan.cell.finetune
    if rule is None:
        if details.alpha != (fixed := plan.finetune.alpha):
            yield "details.alpha", f"is {details.alpha}, but {name} is at alpha = {fixed:g}"
        if details.curve or details.reference is not None:
            yield "details.curve", f"is there, but {name} looks at no other alpha"
        return
    if [point.alpha for point in details.curve] != rule.grid:
        grid = f"0 to 1 in steps of {1 / rule.intervals:g}"
        yield "details.curve", f"has not the points of the protocol's grid, {grid}"
        return
    if details.reference is None:
        yield "details.reference", "is missing: the base model's count that robustness is held against"
        return
    yield from _check_images("details.reference", details.reference, plan, plan.recipe)
    for at, point in enumerate(details.curve):
        yield from _check_images(f"details.curve.{at}.clean", point.clean, plan, plan.recipe)
        yield from _check_images(f"details.curve.{at}.robust", point.robust, plan, plan.recipe)
    yield from _check_choice(details, details.reference, plan)


def _check_choice(details: Finetuning, reference: Count, plan: Plan) -> Problems:
    """Whether the rule chooses this alpha among the points of the curve, having seen those."""
    rule = plan.finetuning.interpolation
    assert rule is not None
    cleans = {point.alpha: point.clean for point in details.curve}
    robusts = {point.alpha: point.robust for point in details.curve if point.robust is not None}
    try:
        alpha, curve = best_alpha(
            rule.grid,
            cleans.__getitem__,
            robusts.__getitem__,
            reference,
            rule.tolerance,
            whole=plan.finetuning.whole_curve,
        )
    except KeyError as missing:
        there = f"alpha = {missing.args[0]:g}"
        yield "details.curve", f"has no robust accuracy at {there}, which the rule asks"
        return
    if details.alpha != alpha:
        yield "details.alpha", f"is {details.alpha:g}, but by its curve the rule chooses {alpha:g}"
    elif details.curve != curve:
        at = next(i for i, (a, b) in enumerate(zip(details.curve, curve, strict=True)) if a != b)
        yield f"details.curve.{at}.robust", "is not what the rule would have seen at this alpha"


# --- modules of post-hoc methods --------------------------------------------------------------------


def _check_applied(details: Applied, plan: Plan) -> Problems:
    """Choices of `details` that are not those of `plan`; those of a method's own rule are believed."""
    method, chosen, rule = plan.forward, plan.finetuning, plan.rule
    assert method is not None
    if details.module.get("forward") != spec_of(method):
        yield "details.module", f"is not of {plan.cell.finetune} with today's fields"
        return
    if (details.partner_sha256 is None) != (plan.partner is None):
        text = f"is {details.partner_sha256}, which {plan.cell.finetune} is not of"
        yield "details.partner_sha256", text
    if rule is None:
        if details.points or details.reference is not None:
            yield "details.points", f"are there, but {plan.cell.finetune} looks at no others"
        fixed = dict(next(iter(method.grid), {}))
        if type(method).choose is ForwardMethod.choose and details.numbers != fixed:
            yield "details.module", f"has {details.numbers}, not {fixed} of {plan.cell.finetune}"
        return
    grid = [dict(numbers) for numbers in method.grid]
    yield from _check_images("details.reference", details.reference, plan, plan.recipe)
    for at, point in enumerate(details.points):
        yield from _check_images(f"details.points.{at}.clean", point.clean, plan, plan.recipe)
        yield from _check_images(f"details.points.{at}.robust", point.robust, plan, plan.recipe)
    if [point.numbers for point in details.points] != grid:
        yield "details.points", f"are not the {len(grid)} of the grid of {plan.cell.finetune}"
        return
    if details.reference is None:
        yield "details.reference", "is missing: the base model's count that robustness is held against"
        return
    points = dict(enumerate(details.points))
    cleans = {place: point.clean for place, point in points.items()}
    robusts = {place: point.robust for place, point in points.items() if point.robust is not None}
    if chosen.mirrored:  # whose clean accuracy satisfied, and no others, were attacked
        best = max(robusts, key=lambda place: robusts[place].k, default=None)
        lowest = min((cleans[place].k for place in robusts), default=0)
        if any(cleans[place].k >= lowest for place in cleans.keys() - robusts.keys()):
            yield "details.points", "lack a robust accuracy that the rule asks"
            return
    else:
        try:
            best, _ = most_accurate(
                range(len(grid)),
                cleans.__getitem__,
                robusts.__getitem__,
                details.reference,
                rule.tolerance,
                known={},
                whole=chosen.whole_curve,
            )
        except KeyError as missing:
            asked = grid[missing.args[0]]
            yield "details.points", f"have no robust accuracy at {asked}, which the rule asks"
            return
    if best is None or details.numbers != grid[best]:
        there = "none" if best is None else f"{grid[best]}"
        yield "details.module", f"has {details.numbers}, but by its points the rule chooses {there}"
