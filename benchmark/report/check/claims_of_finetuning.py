"""Claims C3 and C7 to C9, decided by how models were fine-tuned: curves, criticality and alpha*."""

from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from benchmark.algorithm.tunings import CURVE
from benchmark.records.records import Finetuning, ModuleCriticality, not_valid
from benchmark.report.check.case import RIFT, Case, Makings, by_seed, every
from benchmark.report.check.criticality import alike
from benchmark.report.check.published_schema import AlphaRange, Published
from benchmark.report.check.verdicts import RAISED, ROUNDED, Decision, Finding, Verdict, unanimous
from benchmark.report.estimates import Estimate
from benchmark.report.figures.damage import spearman
from benchmark.report.intervals import wilson

LOW_DROP = 0.03
"""Largest loss of robust accuracy of a module that is not critical, under the worst perturbation of its
weight; the paper's example of one costs 2.86 points (Section 5.2)."""
AT_FIRST = 0.5
"""The first half of the way from the adversarially trained to the fine-tuned weights."""
SMALL = 0.1
"""Largest ratio of a small MRC to the largest one."""


def c3(case: Case) -> list[Finding]:
    """On the way to the fine-tuned weights Adv rises at first, together with Std: Figures 1 and C.5.

    Decided by the mean over 0 < alpha <= `AT_FIRST` minus the value at 0, by seed: the largest of
    several noisy points lies above the start even where nothing rises. The accuracies are those of the
    curve: one PGD run on the images that choose alpha*.
    """
    places = [place for place in case.view.places() if place.arch == case.view.scale.archs[0]]
    return [
        case.made(place, f"{role} at first", RIFT + CURVE, figure, _rises(role), signed=True)
        for place, figure in zip(places, ("figure1", "figure-c5"), strict=False)
        for role in ("Std", "Adv")
    ]


def _rises(role: str) -> Callable[[Makings], tuple[Decision, Estimate]]:
    def decide(makings: Makings) -> tuple[Decision, Estimate]:
        curves = [_curve(tuned, role) for tuned in makings.values()]
        at_first = [
            fmean(rise for alpha, rise in curve.items() if 0 < alpha <= AT_FIRST) for curve in curves
        ]
        rise = by_seed(at_first, [cell.key for cell in makings])
        verdict, why = RAISED.decide(rise)
        points = (point for curve in curves for point in curve.items())
        alpha, peak = max(points, key=lambda point: point[1])
        return (verdict, f"{why}; highest {100 * peak:+.2f} at alpha {alpha:g}"), rise

    return decide


def _curve(tuned: Finetuning, role: str) -> dict[float, float]:
    counts = {point.alpha: point.clean if role == "Std" else point.robust for point in tuned.curve}
    known = {alpha: count.fraction for alpha, count in counts.items() if count is not None}
    return {alpha: value - known[0.0] for alpha, value in known.items()}


# --- criticality --------------------------------------------------------------------------------------


class _Valid(NamedTuple):
    mrc: float
    drop: float
    constrained: bool


Rule = Callable[[Sequence[Sequence[_Valid]]], Decision]
"""Decides by the modules with a valid MRC, by seed."""


def c7(case: Case) -> list[Finding]:
    """Every adversarially trained network has modules that hardly matter: Figures 3 and C.1 to C.4.

    Decided by the modules with a drop of robust accuracy of at most `LOW_DROP` and an MRC of at most
    `SMALL` times the largest: it holds if every seed has one and fails if none has. Both thresholds are
    this suite's; the paper gives an example. Modules whose ascent never reached the constraint, so that
    MRC is underestimated, only keep it from failing; those without a valid MRC are left out.
    """
    return _by_criticality(case, "modules that hardly matter", _hardly_matter)


def _hardly_matter(seeds: Sequence[Sequence[_Valid]]) -> Decision:
    low = []
    for valid in seeds:
        small = SMALL * max(each.mrc for each in valid)
        hardly = [each for each in valid if each.drop <= LOW_DROP + ROUNDED]
        low.append([each for each in hardly if each.mrc <= small])
    sure = [sum(each.constrained for each in modules) for modules in low]
    drops = (f"{100 * min(each.drop for each in valid):.1f}" for valid in seeds)
    why = (
        f"{', '.join(map(str, sure))} of {alike([str(len(valid)) for valid in seeds])} reach the "
        f"constraint and lose {100 * LOW_DROP:g} points of robust accuracy or less, with an MRC of "
        f"{SMALL:g} of the largest or less; smallest loss {', '.join(drops)} points"
    )
    if all(sure):
        return Verdict.HOLDS, why
    return (Verdict.UNCLEAR if any(low) else Verdict.FAILS), why


def c8(case: Case) -> list[Finding]:
    """The drop of robust accuracy does not follow MRC: Section 5.2.

    Holds if every seed has discordant pairs of modules (higher MRC, smaller drop), fails if none has.
    The strength of the correlation is not part of the claim; the line gives it (Spearman's rho), since
    one pair is enough. Modules without a valid MRC are left out.
    """
    return _by_criticality(case, "rankings", _ranked_differently)


def _ranked_differently(seeds: Sequence[Sequence[_Valid]]) -> Decision:
    pairs = [list(combinations(valid, 2)) for valid in seeds]
    opposite = [sum((a.mrc - b.mrc) * (a.drop - b.drop) < 0 for a, b in each) for each in pairs]
    of = f"{', '.join(map(str, opposite))} of {alike([str(len(each)) for each in pairs])} pairs"
    found = [spearman([each.mrc for each in valid], [each.drop for each in valid]) for valid in seeds]
    rhos = ", ".join("not defined" if each is None else f"{each.rho:z.2f}" for each in found)
    why = f"{of} of modules are ranked in opposite order; Spearman's rho {rhos}"
    return unanimous([count > 0 for count in opposite]), why


def _by_criticality(case: Case, what: str, rule: Rule) -> list[Finding]:
    """Return a line per network of Table 1, by the criticality that RiFT selects by."""

    def decide(makings: Makings) -> tuple[Decision, None]:
        seeds = [tuned.criticality or [] for tuned in makings.values()]
        valid = [_valid(modules) for modules in seeds]
        if not all(valid):
            return (Verdict.UNCLEAR, "no module has a valid MRC in some seed"), None
        verdict, why = rule(valid)
        if lost := dict.fromkeys(name for modules in seeds for name in not_valid(modules)):
            why += f"; the ascent diverged or ended lower than it began in some seed: {', '.join(lost)}"
        return (verdict, why), None

    return [case.made(place, what, RIFT, "table1", decide) for place in case.view.places()]


def _valid(modules: Sequence[ModuleCriticality]) -> list[_Valid]:
    return [
        _Valid(each.mrc, each.accuracy_drop, each.constrained)
        for each in modules
        if each.valid and each.mrc is not None and each.accuracy_drop is not None
    ]


# --- alpha* -------------------------------------------------------------------------------------------


def c9(case: Case) -> list[Finding]:
    """alpha* generally lies in the published range, at the published learning rate: Section 5.5.

    A network's line holds if alpha* of every seed is in the range and fails if none is. The summary
    takes "generally" as more than half of all models, by Wilson's interval of that share; a model
    counts if most of its seeds are in it. At another learning rate, and where an attack warns of a base
    model, the claim is unclear.
    """
    range_ = case.published.alpha

    def decide(makings: Makings) -> tuple[Decision, Estimate]:
        alphas = tuple(tuned.alpha for tuned in makings.values())
        ours = Estimate(alphas, sources=tuple(cell.key for cell in makings))
        why = f"the published range is {range_.low} to {range_.high}"
        lr = case.view.plan(next(iter(makings))).recipe.lr
        if lr != range_.lr:
            why += f" at learning rate {range_.lr}, here it is {lr}"
            return (Verdict.UNCLEAR, why), ours
        return (unanimous([_in_range(alpha, range_) for alpha in alphas]), why), ours

    places = case.view.places()
    return [case.made(place, "alpha*", RIFT, "table1", decide, plain=True) for place in places]


def _in_range(alpha: float, range_: AlphaRange) -> bool:
    return range_.low - ROUNDED <= alpha <= range_.high + ROUNDED


def c9_summary(lines: Sequence[Finding], published: Published) -> Decision:
    """Decide whether more than half of all models have alpha* in the range."""
    verdict, why = every(lines, published)
    present = [line for line in lines if line.verdict is not Verdict.MISSING]
    leave_open = ("learning rate", "WARNING, ")
    if not present or any(reason in line.why for line in present for reason in leave_open):
        return (Verdict.UNCLEAR if present else verdict), why
    models = [line.ours.values for line in present if line.ours]  # seeds are no further models
    most = (fmean(_in_range(alpha, published.alpha) for alpha in alphas) for alphas in models)
    within = sum(part > 0.5 for part in most)
    share = wilson(within, len(models))
    missing = len(lines) - len(present)
    lacking = f", {missing} missing" if missing else ""
    why = f"{within} of {len(models)} models in the range (by most seeds){lacking}; {why}"
    if missing:
        return Verdict.UNCLEAR, why
    if share.low > 0.5:
        return Verdict.HOLDS, why
    if share.high < 0.5:
        return Verdict.FAILS, why
    return Verdict.UNCLEAR, f"{why}; too few models to tell a majority"
