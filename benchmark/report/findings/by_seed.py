"""RiFT and a random module seed by seed: a mean over seeds hides that they may differ in kind."""

from collections.abc import Iterator

from benchmark.algorithm.tunings import ALPHA_1
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, Cell
from benchmark.records.store import Store
from benchmark.report.check.case import RIFT, RIFT_1
from benchmark.report.findings.comparisons import Comparisons
from benchmark.report.findings.wording import accuracies, shown_changes, table
from benchmark.report.markup import markdown
from benchmark.report.tables.audit import audit_cells
from benchmark.report.tables.layout import by_finetune, columns
from benchmark.report.tables.render import MISSING
from benchmark.report.view import View

SHOWN = (RIFT, RIFT_1, "random-layer", f"random-layer{ALPHA_1}")
_FIRST = ("seed", "method", "module", "alpha")


def by_seed(store: Store, scale: Scale) -> str:
    """The first model of `scale` and what tuning one module changes, with intervals over images.

    Empty unless several seeds are on record.
    """
    seeds = scale.seeds_of(scale.datasets[0], scale.archs[0], scale.methods[0])
    rows = [list(_rows(store, scale.with_seeds((seed,)), seed)) for seed in seeds]
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
    heads = columns(found.view.scale)
    if found.gains:
        own = dict(zip(heads, accuracies(found.view, by_name[BASE]), strict=True))
        yield dict(zip(_FIRST, (str(seed), "AT", "", ""), strict=True)) | own
    for name, gain in found.gains.items():
        first = ("", name, markdown(_modules(found.view, by_name[name])), gain.numbers)
        own = dict(zip(heads, shown_changes(gain), strict=True))
        yield dict(zip(_FIRST, first, strict=True)) | own


def _modules(view: View, cells: list[Cell]) -> str:
    made = [view.finetuning(cell) for cell in cells]
    return ", ".join(module for each in made if each for module in each.modules)
