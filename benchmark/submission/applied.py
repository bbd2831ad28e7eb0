"""Whether the making of a module is what the code would have written: its choice is taken again."""

from benchmark.engine.choice import most_accurate
from benchmark.engine.forward import ForwardMethod
from benchmark.plans.plan import Plan
from benchmark.records.applied import Applied
from benchmark.records.counts import Count
from benchmark.records.specs import spec_of
from benchmark.submission.read import Problems


def check_applied(details: Applied, plan: Plan) -> Problems:
    """Choices of `details` that are not those of `plan`; those of a method's own rule are believed."""
    method, chosen, rule = plan.forward, plan.finetune, plan.rule
    assert method is not None and chosen is not None
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
    if [point.numbers for point in details.points] != grid:
        yield "details.points", f"are not the {len(grid)} of the grid of {plan.cell.finetune}"
        return
    if details.reference is None:
        yield "details.reference", "is missing: the base model's count that robustness is held against"
        return

    def robust(place: int) -> Count:
        if (count := details.points[place].robust) is None:
            raise LookupError(f"{grid[place]}")
        return count

    def clean(place: int) -> Count:
        return details.points[place].clean

    looked = [place for place, point in enumerate(details.points) if point.robust is not None]
    places = range(len(grid))
    try:
        if chosen.mirrored:  # whose clean accuracy satisfied, and no others, were attacked
            best = max(looked, key=lambda place: robust(place).k, default=None)
            lowest = min((clean(place).k for place in looked), default=0)
            if any(clean(place).k >= lowest for place in places if place not in looked):
                yield "details.points", "lack a robust accuracy that the rule asks"
                return
        else:
            best, _ = most_accurate(
                places,
                clean,
                robust,
                details.reference,
                rule.tolerance,
                known={},
                whole=chosen.whole_curve,
            )
    except LookupError as missing:
        yield "details.points", f"have no robust accuracy at {missing}, which the rule asks"
        return
    if best is None or details.numbers != grid[best]:
        there = "none" if best is None else f"{grid[best]}"
        yield "details.module", f"has {details.numbers}, but by its points the rule chooses {there}"
