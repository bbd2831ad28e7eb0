"""What a post-hoc method makes of a network: a module, and the numbers that it is used with.

The protocol's rule chooses numbers by the module's adaptive robust accuracy: an attack through the
module alone would favour the threshold that masks most.
"""

from typing import TYPE_CHECKING

from torch import nn

from benchmark.engine.adaptive import SOURCES, Attacked, WorstCase
from benchmark.engine.choice import most_accurate, most_robust
from benchmark.engine.counting import batch_starts, clean_count, run_seed
from benchmark.engine.forward import Choice, ChoiceTask
from benchmark.engine.precision import FP32, computing_in
from benchmark.engine.weights import Weights
from benchmark.engine.workspace import Made
from benchmark.errors import UserError
from benchmark.records.applied import Applied, ChoicePoint
from benchmark.records.records import Count
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from benchmark.plans.running import Run


@computing_in(FP32)
def applied(run: "Run", theta_at: Weights, on: Weights, partner: Weights | None) -> Made:
    """The module that the method of `run` makes of the weights `on`: `theta_at` or fine-tuned from it.

    `partner` are the weights of a mix's second network. The module's numbers are chosen by the
    protocol's rule on adaptive robust accuracy, or by the method's own rule.
    """
    method = run.plan.forward
    assert method is not None
    second = None if partner is None else run.second(partner)
    module = method.apply(run.network(on), run.splits.train, second)
    made_of = [on] if partner is None else [on, partner]
    chosen, reference, points = choose_numbers(run, module, theta_at, *made_of)
    log = Applied(
        module=method.spec(chosen.numbers),
        on_sha256=on.sha256,
        partner_sha256=None if partner is None else partner.sha256,
        reference=reference,
        points=points,
        remarks=list(chosen.remarks),
    )
    state = method.at(module, chosen.numbers).state_dict()
    return Made(state, log, batch_starts(run.splits.selection).step, module=log.module)


def choose_numbers(
    run: "Run", module: nn.Module, theta_at: Weights, on: Weights, *others: Weights
) -> tuple[Choice, Count | None, list[ChoicePoint]]:
    """The numbers of `module`, made of `on` and `others`, the base's robust count, and the points
    looked at."""
    plan, judged = run.plan, run.selection_images()
    assert plan.forward is not None
    seeds = tuple(run_seed(plan.base.cell, start) for start in range(SOURCES))
    task = ChoiceTask(run.network(on), judged, plan.attack, seeds[0], run.progress)
    if (own := plan.forward.choose(module, task)) is not None:
        return own, None, []
    if plan.rule is None:
        return Choice(next(iter(plan.forward.grid), {})), None, []
    space = run.workspace(plan.cell, plan.spec, on)
    steps = space.steps("numbers", theta_at, on, *others, chunk=batch_starts(judged).step)
    worst = WorstCase(run.network(theta_at), judged, plan.attack, seeds)
    return numbers_by_rule(run, module, worst, steps)


def numbers_by_rule(
    run: "Run", module: nn.Module, worst: WorstCase, journal: Journal
) -> tuple[Choice, Count, list[ChoicePoint]]:
    """The numbers of `module` by the protocol's rule, the robust count of `worst.base`, and the points
    looked at; finished batches are in `journal`.

    Raises `UserError` if no point of the grid satisfies the rule.
    """
    chosen, method, rule = run.plan.finetuning, run.plan.forward, run.plan.rule
    assert method is not None and rule is not None
    grid = method.grid
    places, done = range(len(grid)), iter(range(1, len(grid) + 2))
    count = method.counter(module, worst.images)

    def robust_of(attacked: Attacked, name: str) -> Count:
        found = Count.of(worst.answers(attacked, journal, name))
        run.progress("numbers: adaptive", next(done), len(grid) + 1, name)
        return found

    def clean(place: int) -> Count:
        return count(grid[place])

    def robust(place: int) -> Count:
        made = method.at(module, grid[place])
        attacked = Attacked(made, method.stand_in(made), worst.base)
        named = (f"{name}-{float(x)!r}" for name, x in grid[place].items())  # with every digit
        return robust_of(attacked, "-".join(named))

    reference = robust_of(Attacked(worst.base, None, None), "base")
    if chosen.mirrored:
        accuracy = clean_count(worst.base, worst.images)
        best, (cleans, robusts) = most_robust(places, clean, robust, accuracy, rule.tolerance)
    else:
        best, (cleans, robusts) = most_accurate(
            places, clean, robust, reference, rule.tolerance, known={}, whole=chosen.whole_curve
        )
    if best is None:
        remedy, before = "give its grid a point that changes nothing", run.plan.before.finetune
        if before is not None:
            remedy = f"the weights of {before.name} may not keep it either: leave {chosen.name} out"
        raise UserError(
            f"no numbers of {type(method).__name__} keep the base's accuracy within "
            f"{100 * rule.tolerance:g} points; {remedy}"
        )
    points = [
        ChoicePoint(numbers=dict(grid[place]), clean=cleans[place], robust=robusts.get(place))
        for place in places
    ]
    return Choice(grid[best]), reference, points
