"""Claims C15 and C16, of the papers of RiFT's rivals, decided by the records of `posthoc`."""

from dataclasses import replace

from benchmark.report.check.case import Case
from benchmark.report.check.verdicts import KEEPS, RAISED, Bound, Finding
from benchmark.report.tables.posthoc import possible
from benchmark.report.view import View

ADAPTIVE = ("pgd10x3-adaptive", "autoattack-adaptive")
POINT = Bound(lambda change: change >= -0.01, "at least -1 points", "below -1 points")


def c15(case: Case) -> list[Finding]:
    """MeanSparse keeps Std and raises Adv, through itself and in all parts of the adaptive attacks."""
    rules = {"Std": KEEPS, "Adv": RAISED} | dict.fromkeys(ADAPTIVE, RAISED)
    return _changes(case, "mean-sparse", rules)


def c16(case: Case) -> list[Finding]:
    """Mixing with a clean network raises Std and costs less than a point of Adv."""
    rules = {"Std": RAISED} | dict.fromkeys(ADAPTIVE, POINT)
    return [each for name in ("output-mix", "mixed-nuts") for each in _changes(case, name, rules)]


def _changes(case: Case, ours: str, rules: dict[str, Bound]) -> list[Finding]:
    view = case.view
    if possible(view.scale, [ours])[ours] is not None:
        return []
    own = replace(case, view=View(view.store, view.scale.for_posthoc, view.argument, view.tables))
    return [own.change(own.first, ours, role, bound) for role, bound in rules.items()]
