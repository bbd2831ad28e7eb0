"""RiFT and its controls seed by seed: a mean over seeds hides that they may differ in kind."""

from collections.abc import Iterator, Sequence

from benchmark.algorithm.selection import Candidates
from benchmark.algorithm.tunings import ALPHA_1
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, Cell
from benchmark.records.store import Store
from benchmark.report.check.case import RIFT, RIFT_1
from benchmark.report.findings.comparisons import Comparisons
from benchmark.report.findings.wording import shown_accuracies, shown_changes, table
from benchmark.report.markup import markdown
from benchmark.report.tables.audit import audit_cells
from benchmark.report.tables.layout import by_finetune, columns
from benchmark.report.tables.render import MISSING
from benchmark.report.view import View

SHOWN = (RIFT, RIFT_1, "random-layer", f"random-layer{ALPHA_1}", f"bn-only{ALPHA_1}")
_FIRST = ("seed", "method", "module", "MRC rank", "alpha")


def by_seed(view: View) -> str:
    """The first model of `view` and what tuning one module changes, with intervals over images.

    Empty unless several seeds are on record.
    """
    store, scale = view.store, view.scale
    rows = [list(_rows(store, scale.with_seeds((seed,)), seed)) for seed in view.seeds(view.first)]
    if sum(map(bool, rows)) < 2:
        return ""
    lines = [line for each in rows for line in each]
    heads = list(dict.fromkeys(head for line in lines for head in line))
    texts = [[line.get(head, MISSING) for head in heads] for line in lines]
    return table(heads, texts, left=len(_FIRST))


def _rows(store: Store, scale: Scale, seed: int) -> Iterator[dict[str, str]]:
    """The base model with its accuracies, then each fine-tuning that is on record of it."""
    cells = audit_cells(scale, SHOWN)
    found, by_name = Comparisons.of(store, scale, cells), by_finetune(cells)
    heads, order = columns(found.view.scale), _by_criticality(found.view, cells)
    if found.gains:
        own = dict(zip(heads, shown_accuracies(found.view, by_name[BASE]), strict=True))
        yield dict(zip(_FIRST, (str(seed), "AT", "", "", ""), strict=True)) | own
    for name, gain in found.gains.items():
        made = found.view.finetuning(by_name[name][0])
        modules = made.modules if made else []
        ranks = [str(order.index(each) + 1) if each in order else "none" for each in modules if order]
        first = ("", name, markdown(", ".join(modules)), ", ".join(ranks), gain.numbers)
        own = dict(zip(heads, shown_changes(gain), strict=True))
        yield dict(zip(_FIRST, first, strict=True)) | own


def _by_criticality(view: View, cells: Sequence[Cell]) -> list[str]:
    """The modules with a valid MRC from least to most critical, as measured for RiFT; empty before."""
    made = (view.finetuning(cell) for cell in cells)
    measured = next((each.criticality for each in made if each and each.criticality), [])
    first = cells[0]
    return Candidates([], measured, first.dataset, first.arch, first.seed).ranked
