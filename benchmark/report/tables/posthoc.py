"""RiFT among its rivals: post-training methods on the same weights, attacked adaptively.

A row is what a method makes of one base model, and below it the difference to the base, image by image.
Only the adaptive columns compare methods that change the forward pass: an attack through the module
alone may see a part of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import finetune
from benchmark.data import dataset_info
from benchmark.engine.choice import within
from benchmark.engine.forward import ForwardMethod
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.adaptive import MODULE, PARTS, TO_BASE, TRANSFER, masked
from benchmark.evaluation.first import first_images
from benchmark.evaluation.sanity import MASKED_POINTS, attack_of
from benchmark.models import arch
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, Cell, base_name
from benchmark.records.records import WARNING, Applied, Finetuning, Record
from benchmark.report.estimates import Estimate, change_of_flags
from benchmark.report.intervals import over_seeds
from benchmark.report.tables.layout import (
    Part,
    Row,
    Table,
    TableSpec,
    accuracies,
    by_finetune,
    changes,
    columns,
    with_bases,
)
from benchmark.report.tables.notes import chosen_on, notes
from benchmark.report.view import Missing, View

RIVALS = (
    "rift",
    "bn-only",
    "bn-affine",
    "wise-ft",
    "critical-adversarial",
    "continued-at",
    "epoch-average",
    "last-layer-temperature",
    "flip-average",
    "mean-sparse",
    "rift+mean-sparse",
    "output-mix",
    "mixed-nuts",
)
_BOLD = "bold, in text *: a gain over the base whose 95 % interval excludes 0; losses are not marked"
Bits = dict[str, NDArray[np.bool_]]


def possible(scale: Scale, finetunes: Sequence[str]) -> dict[str, str | None]:
    """Why each of `finetunes` cannot be made of the first model of `scale`; None for those that can."""
    found: dict[str, str | None] = {}
    for name in finetunes:
        try:
            for cell in scale.cells(scale.datasets[:1], scale.archs[:1], [name])[:1]:
                Plan.of(cell, scale)
            found[name] = None
        except UserError as error:
            found[name] = str(error)
    return found


def rival_cells(scale: Scale, finetunes: Sequence[str] = RIVALS) -> list[Cell]:
    """Each of `finetunes` that can be made, after the base model that it starts from."""
    names = [name for name, why in possible(scale, finetunes).items() if why is None]
    return scale.cells(scale.datasets[:1], scale.archs[:1], with_bases(names) or [BASE])


def parts(cells: Sequence[Cell], scale: Scale) -> list[Part]:
    """All cells without AutoAttack, then the base, RiFT and what changes the forward pass with it."""
    cheap = tuple(n for n in scale.evaluations if (a := attack_of(n)) is None or a.strength < 2)
    whole = [c for c in cells if c.is_base or c.finetune in PROTOCOLS or finetune(c.finetune).forward]
    every = [(cells, replace(scale, evaluations=cheap))] if cheap else []  # no scale is without any
    return [*every, (whole, scale)]


def rivals(view: View, finetunes: Sequence[str] = RIVALS) -> Table:
    """Rows: the base model, then for each of `finetunes` its accuracies and their differences to the
    base. What cannot be made is named in a note.

    Raises `UserError` for bits that are not those of their record.
    """
    scale, cells = view.scale, rival_cells(view.scale, finetunes)
    by_name, adaptive = by_finetune(cells), adaptive_pgd(scale)
    extra = of_bits(adaptive) if adaptive else ()
    rows, kept = list[Row](), list[tuple[bool, str]]()
    for name, own in by_name.items():
        labels = (name, numbers(view, own), *_how(view.plan(own[0])))
        shown, base = (*accuracies(view, [own]), *(None for _ in extra)), by_name[base_name(name)]
        rows.append(Row((*labels, "accuracy"), shown, ends_block=own is base))
        if own is base:
            continue
        gained = changes(view, [own], [base])
        better = tuple(each is not None and each.sign > 0 for each in gained)
        if adaptive:
            pair = view.records(own, adaptive), view.records(base, adaptive)
            both, line = _transferred(view, name, *pair)
            gained = (*gained, both, masked_points(view, pair[0]))
            kept += line
        rows.append(Row((*labels, "- base"), gained, signed=True, ends_block=True, better=better))
    left = {name: why for name, why in possible(scale, finetunes).items() if why}
    told = notes(view, cells, differences=True, bold=_BOLD)
    warned = [note for note in told if note.startswith(WARNING)]
    return Table(
        "posthoc",
        f"Post-training methods on the same weights: {arch(scale.archs[0]).label} on "
        f"{dataset_info(scale.datasets[0]).label}{chosen_on(scale, finetunes)}",
        ("method", "numbers", "cost", "chosen by", "what"),
        (*columns(scale), *extra),
        tuple(rows),
        (
            *warned,
            *(line for _, line in sorted(kept, key=itemgetter(0))),  # what breaks the rule comes first
            *(note for note in told if note not in warned),
            *_explained(extra),
            *(f"left out: {why}" for why in left.values()),
        ),
    )


def adaptive_pgd(scale: Scale) -> str | None:
    """The evaluation of `scale` that attacks by PGD in all parts, if it has one."""
    found = (name for name in scale.evaluations if TO_BASE in (evaluation(name).arrays or ()))
    return next(found, None)


def of_bits(adaptive: str) -> tuple[str, str]:
    """Heads of the columns that are of the bits of the evaluation `adaptive`, and so of its images."""
    known = evaluation(adaptive)
    images = first_images(known)
    some = "" if images is None else f" (first {images})"
    return f"{known.label}, transfer both ways", f"masked points{some}"


def numbers(view: View, cells: Sequence[Cell]) -> str:
    """The numbers that were chosen for each of `cells`, such as `alpha 0.95` or `threshold 0.2`."""
    found = list[str]()
    for cell in cells:
        made = view.fresh_making(cell)
        if made and isinstance(made.details, Finetuning):
            found.append(f"alpha {made.details.alpha:g}")
        elif made and isinstance(made.details, Applied):
            chosen = made.details.numbers.items()
            found.append(" ".join(f"{name} {value:.3g}" for name, value in chosen))
    return ", ".join(dict.fromkeys(found))


def _how(plan: Plan) -> tuple[str, str]:
    """What an answer costs, in passes through a network, and what chose the numbers."""
    if plan.finetune is None:
        return "1x", ""
    if plan.forward is None:
        return "1x", "fixed" if plan.finetune.interpolation is None else "Adv"
    passes = f"{plan.forward.passes}x" + (", 2 networks" if plan.partner else "")
    if plan.rule is not None:
        return passes, "Std" if plan.finetune.mirrored else "adaptive Adv"
    own = type(plan.forward).choose is not ForwardMethod.choose
    return passes, "margins" if own else "fixed"


# --- the bits of the adaptive attack ------------------------------------------------------------------


def masked_points(view: View, records: Sequence[Record] | Missing) -> Estimate | None:
    """What the module's own gradient masks, in accuracy; None if a record is missing."""
    if isinstance(records, Missing):
        return None
    found = np.stack([masked(view.store.bits(record)) for record in records])
    keys = tuple(record.cell.cell.key for record in records)
    return _by_seed(found, keys[0], keys)


def _by_seed(found: NDArray[np.int8], key: str, sources: tuple[str, ...]) -> Estimate:
    """The mean of flags (seeds, images), as any other number: over seeds where there are several."""
    values = tuple(found.mean(axis=1).tolist())
    if len(values) > 1:
        return Estimate(values, over_seeds(values), "seeds", sources)
    return replace(change_of_flags(found, key), sources=sources)


def both_ways(ours: Bits, theirs: Bits) -> NDArray[np.int8]:
    """Robust correctness of a model minus that of its base, per image, each also facing the other's
    adversarial examples: two runs of its own and one transferred; (N,) of -1, 0 and 1."""
    worst = np.logical_and.reduce([ours[name] for name in PARTS])
    base = theirs[MODULE] & theirs[TRANSFER] & ours[TO_BASE]
    difference: NDArray[np.int8] = worst.astype(np.int8) - base.astype(np.int8)
    return difference


def _transferred(
    view: View, name: str, ours: Sequence[Record] | Missing, theirs: Sequence[Record] | Missing
) -> tuple[Estimate | None, list[tuple[bool, str]]]:
    """The change with transfer both ways and, of weights chosen by the rule, whether they keep it and
    the note that says so."""
    if isinstance(ours, Missing) or isinstance(theirs, Missing):
        return None, []
    pairs = zip(ours, theirs, strict=True)
    found = np.stack([both_ways(view.store.bits(one), view.store.bits(two)) for one, two in pairs])
    keys = tuple(record.cell.cell.key for record in (*ours, *theirs))
    shown = _by_seed(found, f"{keys[0]} both ways", keys)
    chosen = finetune(name)
    if chosen.forward is not None or chosen.interpolation is None:
        return shown, []
    lost, images = -int(found.sum()), found.size
    tolerance = chosen.interpolation.tolerance
    keeps = within(lost, images, tolerance)
    how = "keeps" if keeps else "does not keep"
    rule = f"the {100 * tolerance:g}-point rule with transfer both ways"
    return shown, [(keeps, f"{name} {how} {rule}: {-lost:+d} of {images} images")]


def _explained(extra: Sequence[str]) -> list[str]:
    lines = [
        "cost: networks run per answer; chosen by: what the rule looks at, fixed: nothing is searched",
    ]
    if extra:
        both, points = extra
        lines += [
            f"{both}: the base has met the method's examples as the method has met the base's",
            f"{points}: survive the module's own gradient and fall to its stand-in or to the base's "
            "examples, less what as many further starts find; a warning where the 95 % interval lies "
            f"above {100 * MASKED_POINTS:g} points",
        ]
    return lines


POSTHOC_TABLE = TableSpec(
    "posthoc",
    "Post-training methods",
    "RiFT among its rivals: post-training methods on the same weights, attacked adaptively",
    rival_cells,
    rivals,
    RIVALS,
    of_posthoc=True,
    parts=parts,
)
