"""Claims C15 to C17, of the papers of RiFT's rivals, decided by the records of `posthoc`."""

from dataclasses import replace

from benchmark.evaluation.first import FIRST
from benchmark.evaluation.margins import CONDITIONS, SURE, surer_where_right
from benchmark.records.cells import BASE
from benchmark.report.check.case import Case
from benchmark.report.check.verdicts import KEEPS, RAISED, Bound, Finding, Verdict, unanimous
from benchmark.report.estimates import change_of_flags
from benchmark.report.tables.posthoc import adaptive_pgd, possible
from benchmark.report.view import Missing, View, hashes

ADAPTIVE = ("pgd10x3-adaptive", "autoattack-adaptive")
POINT = Bound(lambda change: change >= -0.01, "at least -1 points", "below -1 points")


def c15(case: Case) -> list[Finding]:
    """MeanSparse keeps Std and raises Adv, attacked through the module alone and adaptively."""
    rules = {"Std": KEEPS, "Adv": RAISED} | dict.fromkeys(ADAPTIVE, RAISED)
    return _changes(case, "mean-sparse", rules)


def c16(case: Case) -> list[Finding]:
    """Mixing with a clean network raises Std and costs at most a point of adaptive Adv."""
    rules = {"Std": RAISED} | dict.fromkeys(ADAPTIVE, POINT)
    return [each for name in ("output-mix", "mixed-nuts") for each in _changes(case, name, rules)]


def c17(case: Case) -> list[Finding]:
    """Right answers of the robust network have a margin above the median more often than wrong ones,
    clean and attacked; decided seed by seed, by intervals over the adaptive attack's images."""
    view, lines = case.view, []
    name = "margins" + "".join((adaptive_pgd(view.scale.for_posthoc) or "").partition(FIRST)[1:])
    for cell in view.cells(view.first, BASE):
        place, found = f"{view.first}/seed{cell.seed}", view.records([cell], name)
        for condition in CONDITIONS:
            if isinstance(found, Missing):
                lines.append(case.missing(place, condition, found))
                continue
            bits = view.store.bits(found[0])
            right, sure = bits[condition], bits[condition + SURE]
            if right.all() or not right.any():
                only = Verdict.UNCLEAR, f"all answers are {'right' if right.any() else 'wrong'}"
                lines.append(case.line(place, condition, only))
                continue
            ours = change_of_flags(surer_where_right(right, sure)[None], f"{cell.key} {condition}")
            assert ours.interval is not None
            verdict = unanimous([ours.interval.low > 0, ours.interval.high > 0])
            why = (
                f"margin above the median: {100 * sure[right].mean():.1f} % of right answers, "
                f"{100 * sure[~right].mean():.1f} % of wrong ones"
            )
            decision, behind = (verdict, why), hashes(found)
            lines.append(case.line(place, condition, decision, ours=ours, signed=True, behind=behind))
    return lines


def _changes(case: Case, ours: str, rules: dict[str, Bound]) -> list[Finding]:
    view = case.view
    if possible(view.scale, [ours])[ours] is not None:
        return []
    tables = {name: each for name, each in view.tables.items() if each.of_posthoc}  # what makes them
    own = replace(case, view=View(view.store, view.scale.for_posthoc, view.argument, tables))
    return [own.change(own.view.first, ours, role, bound) for role, bound in rules.items()]
