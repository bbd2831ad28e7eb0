"""RiFT and its controls seed by seed: a mean over seeds hides that they may differ in kind."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from benchmark.algorithm.tunings import ALPHA_1
from benchmark.errors import UserError
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE
from benchmark.records.store import Store
from benchmark.report.check.case import RIFT, RIFT_1
from benchmark.report.check.criticality import OFFICIAL_CODE, READINGS
from benchmark.report.figures import FIGURES
from benchmark.report.figures.damage import Damage, spearman
from benchmark.report.findings.comparisons import Comparisons
from benchmark.report.findings.wording import shown_accuracies, shown_changes, table
from benchmark.report.markup import markdown
from benchmark.report.tables.audit import audit_cells
from benchmark.report.tables.layout import by_finetune, columns
from benchmark.report.tables.render import MISSING
from benchmark.report.view import View

_CONTROLS = ("random-layer", "bn-only", "robust-critical")
SHOWN = tuple(name + tuned for name in (RIFT, *_CONTROLS) for tuned in ("", ALPHA_1))
DEFINITIONS = {
    OFFICIAL_CODE: READINGS[OFFICIAL_CODE],
    "rift-scale-free": "as no rescaling of weights changes it",
}
"""Protocols whose MRC is another than the paper's text has it."""
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
    found = (head for line in lines for head in line)
    heads = list(dict.fromkeys((*_FIRST, *columns(view.scale), *found)))
    texts = [[line.get(head, MISSING) for head in heads] for line in lines]
    return table(heads, texts, left=len(_FIRST))


def _rows(store: Store, scale: Scale, seed: int) -> Iterator[dict[str, str]]:
    """The base model with its accuracies, then each fine-tuning that is on record of it."""
    cells = audit_cells(scale, SHOWN)
    found, by_name = Comparisons.of(store, scale, cells), by_finetune(cells)
    mrc = dict(_measured(found.view)).get(seed, {})
    heads, order = columns(found.view.scale), sorted(mrc, key=mrc.__getitem__)
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
    said = f"Least critical module by seed: {said}."
    if not rhos:
        return said
    return f"{said} Spearman's rho of MRC between two seeds: {min(rhos):z.2f} to {max(rhos):z.2f}."


def definitions(view: View) -> Iterator[str]:
    """What MRC in each of the other `DEFINITIONS` finds in the first model of `view`, a sentence for a
    seed, and how alike it and that of the paper's text rank the modules (Spearman's rho)."""
    text = dict(_measured(view))
    for name, what in DEFINITIONS.items():
        for seed, mrc in _measured(view, [name]):
            least = markdown(min(mrc, key=mrc.__getitem__))
            shared = [module for module in mrc if module in text.get(seed, {})]
            found = spearman([text[seed][module] for module in shared], [mrc[each] for each in shared])
            alike = f"; over {len(shared)} modules, with MRC as Algorithm 1 has it, Spearman's {found}"
            yield f"MRC {what}, seed {seed}: {least} is least critical{alike if found else ''}."


def modules_alone(view: View) -> Iterator[str]:
    """What MRC has to do with what fine-tuning one module gains and loses, for each seed on which every
    ranked module has been fine-tuned alone."""
    figure = FIGURES["figure-damage"]
    for seed in view.seeds(view.first):
        try:
            found = figure.build(View(view.store, view.scale.with_seeds((seed,))))
        except UserError:  # nothing on record
            continue
        assert isinstance(found, Damage)
        if len(found.modules) == found.count:
            told = f"{found.correlations()[0]}. {markdown(found.least)}"
            yield f"Every module fine-tuned alone and kept as fine-tuned, seed {seed}. {told}."


def _measured(
    view: View, names: Sequence[str] = (RIFT_1, RIFT)
) -> Iterator[tuple[int, dict[str, float]]]:
    """The seeds of which criticality is on record with the fine-tunings `names`, and the MRC of every
    module with a valid one, input first."""
    cells = [cell for name in names for cell in view.cells(view.first, name)]
    for cell in sorted(cells, key=lambda each: each.seed):
        made = view.finetuning(cell)
        entries = (made and made.criticality) or []
        mrc = {each.module: each.mrc for each in entries if each.mrc is not None and each.valid}
        if mrc:
            yield cell.seed, mrc
