"""Whether trainings of one recipe agree on which modules are critical."""

from collections.abc import Iterator
from itertools import combinations

from benchmark.report.check.case import RIFT, RIFT_1
from benchmark.report.figures.damage import spearman
from benchmark.report.markup import markdown
from benchmark.report.view import View


def agreement(view: View) -> str:
    """The least critical module of the first model of `view` by seed, and how alike MRC ranks the
    modules of each two seeds (Spearman's rho, over modules with a valid MRC in both).

    Empty for fewer than two seeds on record.
    """
    measured = dict(_measured(view))
    if len(measured) < 2:
        return ""
    least = dict[str, list[str]]()
    for seed, mrc in measured.items():
        least.setdefault(min(mrc, key=mrc.__getitem__), []).append(str(seed))
    said = "; ".join(f"{markdown(name)} at {', '.join(seeds)}" for name, seeds in least.items())
    rhos = list[float]()
    for one, other in combinations(measured.values(), 2):
        shared = [name for name in one if name in other]
        if found := spearman([one[name] for name in shared], [other[name] for name in shared]):
            rhos.append(found.rho)
    alike = (
        f" Spearman's rho of MRC between two seeds: {min(rhos):z.2f} to {max(rhos):z.2f}."
        if rhos
        else ""
    )
    return f"Least critical module by seed: {said}.{alike}"


def _measured(view: View) -> Iterator[tuple[int, dict[str, float]]]:
    """The seeds of which RiFT's criticality is on record, and the MRC of every module with a valid one,
    input first."""
    for cell in (*view.cells(view.first, RIFT_1), *view.cells(view.first, RIFT)):
        made = view.finetuning(cell)
        entries = (made and made.criticality) or []
        mrc = {each.module: each.mrc for each in entries if each.mrc is not None and each.valid}
        if mrc:
            yield cell.seed, mrc
