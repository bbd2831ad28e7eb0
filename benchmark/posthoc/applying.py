"""What a post-hoc method makes of a network: a module, and the numbers that it is used with."""

from typing import TYPE_CHECKING

from torch import nn

from benchmark.engine.adaptive import SOURCES
from benchmark.engine.counting import batch_starts, run_seed
from benchmark.engine.forward import Choice, ChoiceTask
from benchmark.engine.precision import FP32, computing_in
from benchmark.engine.weights import Weights
from benchmark.engine.workspace import Made
from benchmark.posthoc.choosing import Candidate
from benchmark.records.applied import Applied, ChoicePoint
from benchmark.records.records import Count

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
    assert plan.finetune is not None and plan.forward is not None
    seeds = tuple(run_seed(plan.base.cell, start) for start in range(SOURCES))
    task = ChoiceTask(run.network(on), judged, plan.attack, seeds[0], run.progress)
    if (own := plan.forward.choose(module, task)) is not None:
        return own, None, []
    if plan.rule is None:
        return Choice(next(iter(plan.forward.grid), {})), None, []
    space = run.workspace(plan.cell, plan.spec, on)
    steps = space.steps("numbers", theta_at, on, *others, chunk=batch_starts(judged).step)
    candidate = Candidate(
        plan.forward, module, run.network(theta_at), judged, plan.attack, seeds, steps, run.progress
    )
    numbers, reference, points = candidate.by_rule(
        plan.rule.tolerance, mirrored=plan.finetune.mirrored, whole=plan.finetune.whole_curve
    )
    return Choice(numbers), reference, points
