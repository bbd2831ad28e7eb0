"""What a cell costs, in passes of an image through its network: for telling how long work will take.

An estimate that only has to be right in proportion: displays turn it into time by what was measured so
far. A pass is forward and backward; forward alone is a third of one.
"""

from collections.abc import Sequence

from benchmark.evaluation import evaluation
from benchmark.evaluation.first import first_images
from benchmark.plans.plan import Plan

TRAINING, CRITICALITY, FINETUNING, ALPHA = (
    "adversarial training",
    "criticality",
    "fine-tuning",
    "interpolation",
)
"""How stages are called where work reports them; others are evaluations, by their names."""
_IMAGES = {"digits": (1297, 500), "tiny-imagenet": (100_000, 10_000)}
_CIFAR = (50_000, 10_000)  # of training and of test
_FORWARD = 1 / 3
_MODULES = 20  # about as many as a ResNet18 has
_POINTS = 5  # of the path, of which robust accuracy is measured
_BY_KIND = {"clean": _FORWARD, "corruptions": 75 * _FORWARD}
_BY_STRENGTH = {1: 30, 2: 200, 3: 1000}  # PGD-10 three times, APGD, AutoAttack


def passes(plan: Plan, evaluations: Sequence[str]) -> dict[str, float]:
    """Passes of each stage in the order of work: of a base model its training, else what follows it."""
    train, test = _IMAGES.get(plan.cell.dataset, _CIFAR)
    steps, recipe, stages = plan.base.info.threat.steps, plan.base.recipe, dict[str, float]()
    if plan.finetune is None:
        judged = min(recipe.select_last, recipe.epochs) * min(recipe.select_images or test, test)
        if plan.base.checkpoint is None:
            stages[TRAINING] = recipe.epochs * train * (recipe.attack_steps + 1) + judged * steps
    else:
        images = min(plan.criticality.images or train, train)
        if plan.finetune.selector.needs_criticality:
            stages[CRITICALITY] = images * (steps + _MODULES * plan.criticality.steps)
        stages[FINETUNING] = plan.recipe.epochs * (train + test * _FORWARD)
        if plan.finetune.interpolation is not None:
            stages[ALPHA] = _POINTS * test * steps
    for name in evaluations:
        known = evaluation(name)
        each = _BY_KIND.get(known.kind) or _BY_STRENGTH.get(known.strength, 1)
        stages[name] = min(first_images(known) or test, test) * each
    return stages
