"""Where does the gain come from? One base model, RiFT in every reading, and controls.

A row is a fine-tuning and what is below it compares it with its base model image by image. The
controls leave out one part of RiFT each: `bn-only` the change of weights (its passes over clean images
move batch-norm statistics only), `rift-bn-frozen` those statistics, `random-layer` the criticality,
`all-layers` the restriction to one layer.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from baselines import method
from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.selection import NoModule
from benchmark.algorithm.tunings import finetune
from benchmark.data import dataset_info
from benchmark.models import arch
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, BASES, Cell, base_name
from benchmark.records.plugins import ORIGINS
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate, Records, change, change_over_images, per_image
from benchmark.report.intervals import RESAMPLES, Interval, PValues, mcnemar
from benchmark.report.tables.layout import (
    Entry,
    Row,
    Table,
    TableSpec,
    accuracies,
    by_finetune,
    columns,
    mean_alpha,
    with_bases,
)
from benchmark.report.tables.notes import chosen, chosen_on, notes
from benchmark.report.view import Missing, View

AUDITED = (
    "rift",
    "rift-official-code",
    "bn-only",
    "rift-bn-frozen",
    "random-layer",
    "all-layers",
    "rift-held-out",
)
SIMPLER = ("bn-affine", "wise-ft", "critical-adversarial")
"""Post-hoc methods that ask for less than RiFT; `audit --protocol` shows those that it names."""
CONTROLS = ("bn-only", "random-layer", *SIMPLER)
"""Compared with `rift` directly, because a significant gain beside one that is not significant does not
make their difference significant."""

OVER_SEEDS = "95 % seeds"


def audit_cells(scale: Scale, finetunes: Sequence[str] = AUDITED) -> list[Cell]:
    """Each of `finetunes` after the base model that it starts from, all seeds.

    They belong to the first dataset, network and method of `scale`. Controls of batch normalisation are
    left out for a network that has none.
    """
    left = set(without_statistics(scale, finetunes))
    kept = [name for name in finetunes if name not in left]
    return scale.cells(scale.datasets[:1], scale.archs[:1], with_bases(kept) or [BASE])


def without_statistics(scale: Scale, finetunes: Sequence[str]) -> list[str]:
    """Those of `finetunes` that are about batch normalisation, if the network has none."""
    about = [name for name in finetunes if name not in BASES and finetune(name).about_batch_norm]
    return about if about and not arch(scale.archs[0]).batch_norm else []


def audit(view: View, finetunes: Sequence[str] = AUDITED) -> Table:
    """Rows: the base model, then for each of `finetunes` its accuracies and, against its base model,
    the difference, its intervals over images and over seeds, and McNemar's p by seed; then the same
    of `rift` against its controls. A base model of another protocol stands before the first row that
    starts from it.

    What lacks a record is missing, as in every table. Raises `UserError` for an unknown fine-tuning
    and for bits that are not those of their record.
    """
    scale, cells = view.scale, audit_cells(view.scale, finetunes)
    seeds, heads = len({cell.seed for cell in cells}), columns(scale)
    by_name, rows, changes = by_finetune(cells), list[Row](), dict[str, list[Compared]]()
    for name, own in by_name.items():
        if name == base_name(name):
            label = f"{name} ({method(scale.methods[0]).label})"
            rows.append(Row((label, "", "accuracy"), accuracies(view, [own]), ends_block=True))
        else:
            labels = (name, mean_alpha(view, own))
            changes[name] = compared(view, own, by_name[base_name(name)])
            rows.append(Row((*labels, "accuracy"), accuracies(view, [own])))
            rows += _comparison_rows(labels, changes[name])
    beyond = {
        f"{name} - {other}": compared(view, by_name[name], by_name[other])
        for name, other in _pairs(changes)
    }
    for label, comparisons in beyond.items():
        rows += _comparison_rows((label, ""), comparisons)
    left, network = without_statistics(scale, finetunes), arch(scale.archs[0]).label
    return Table(
        "audit",
        f"Audit: where does the gain come from? {network} on "
        f"{dataset_info(scale.datasets[0]).label}{chosen_on(scale, finetunes)}",
        ("fine-tuning", "alpha*", "what"),
        heads,
        tuple(rows),
        (
            *_gains(heads, changes),
            *([f"left out: {', '.join(left)}; {network} has no statistics to move"] if left else []),
            *notes(view, cells),
            *(note for name in changes for note in chosen(view, cells, name, name)),
            *_how(rows, changes, seeds),
            *_readings(heads, changes | beyond),
        ),
    )


@dataclass(frozen=True)
class Compared:
    """One model minus another under one evaluation; None where something is missing."""

    difference: Estimate | None = None
    images: Interval | None = None
    seeds: Interval | None = None
    p: PValues | None = None


def compared(view: View, ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[Compared]:
    """The model of the cells `ours` against that of `theirs`, under each evaluation of the scale."""
    wanted = view.scale.evaluations
    pairs = ((view.records(ours, name), view.records(theirs, name)) for name in wanted)
    return [_compared(view.store, *pair) for pair in pairs]


def _compared(store: Store, ours: Records | Missing, theirs: Records | Missing) -> Compared:
    if isinstance(ours, Missing) or isinstance(theirs, Missing):
        return Compared()
    difference = change(store, [ours], [theirs])
    over_seeds, over_images = None, difference.interval
    if difference.over == "seeds":
        over_seeds, over_images = difference.interval, change_over_images(store, [ours], [theirs])
    # The intervals have rows of their own.
    alone = replace(difference, interval=None)
    return Compared(alone, over_images, over_seeds, _p_values(store, ours, theirs))


def _pairs(names: Collection[str]) -> list[tuple[str, str]]:
    """`rift` and each control, or tuning of a plug-in, of the same protocol, if both are in `names`."""
    own = [name for kind, name in ORIGINS if kind == "tuning"]
    pairs = [
        (f"rift{protocol.suffix}", f"{control}{protocol.suffix}")
        for protocol in PROTOCOLS.values()
        for control in (*CONTROLS, *own)
    ]
    return [pair for pair in pairs if set(pair) <= set(names)]


def _p_values(store: Store, ours: Records, theirs: Records) -> PValues | None:
    """McNemar's p of each seed; None where an image has several trials."""
    values = []
    for pair in zip(ours, theirs, strict=True):
        one, two = (per_image(store, record) for record in pair)
        if not np.isin([one, two], (0, 1)).all():
            return None
        values.append(mcnemar(int((one > two).sum()), int((two > one).sum())))
    return PValues(tuple(values))


def _comparison_rows(labels: tuple[str, str], comparisons: Sequence[Compared]) -> list[Row]:
    """The difference, and what there is of intervals and p: seeds that all agree have no interval."""
    parts: dict[str, tuple[Entry, ...]] = {
        "difference": tuple(each.difference for each in comparisons),
        "95 % images": tuple(each.images for each in comparisons),
        OVER_SEEDS: tuple(each.seeds for each in comparisons),
        "McNemar p": tuple(each.p for each in comparisons),
    }
    shown = [what for what, entries in parts.items() if what == "difference" or any(entries)]
    return [
        Row((*labels, what), parts[what], signed=what == "difference", ends_block=what == shown[-1])
        for what in shown
    ]


# --- notes ------------------------------------------------------------------------------------------


def _how(rows: Sequence[Row], names: Iterable[str], seeds: int) -> list[str]:
    """How the intervals and p-values were made, and what they do not say."""
    entries = [each for row in rows for each in row.numbers]
    intervals = sum(isinstance(each, Interval) for each in entries)
    tests = sum(len(each.values) for each in entries if isinstance(each, PValues))
    averaged = "; an image's difference is its mean over seeds" if seeds > 1 else ""
    lines = [
        "differences, intervals and p are against the base model that the fine-tuning starts from, or "
        "of A against B in a row 'A - B', on the same test images and random starts (of three "
        "runs, each model's worst, which may be another one)",
        f"95 % images: percentile bootstrap over test images, {RESAMPLES:,} resamples{averaged}",
        "McNemar p: exact, two-sided, one per seed; none where an image has several trials, as in OOD",
        "95 % images and McNemar p take the trained weights as given and do not say what training "
        "again would change"
        + (
            f"; {OVER_SEEDS}, a t interval (ddof = 1), does; none where all seeds agree exactly"
            if seeds > 1
            else ""
        ),
    ]
    if favoured := [name for name in names if finetune(name).selects_on == "test"]:
        lines.append(
            "test images chose epoch and alpha*, which favours the choice on them, and no interval "
            f"accounts for it: {', '.join(favoured)}"
        )
    if intervals:
        lines.append(
            f"{intervals} intervals and {tests} p-values without correction for multiple comparisons: "
            "where nothing differs, 1 interval in 20 excludes 0 by chance"
        )
    return lines


def _readings(heads: Sequence[str], comparisons: Mapping[str, Sequence[Compared]]) -> list[str]:
    """On which side of zero the intervals lie, column by column."""
    sides = {1: "above 0", -1: "below 0", 0: "contains 0"}
    lines = []
    for place, head in enumerate(heads):
        for label, over in (("95 % images", "images"), (OVER_SEEDS, "seeds")):
            ends = {name: getattr(each[place], over) for name, each in comparisons.items()}
            signs = {name: interval.sign for name, interval in ends.items() if interval is not None}
            parts = [
                f"{side}: {', '.join(name for name in signs if signs[name] == sign)}"
                for sign, side in sides.items()
                if sign in signs.values()
            ]
            if parts:
                lines.append(f"{head}, {label}: {'; '.join(parts)}")
    return lines


def _gains(heads: Sequence[str], changes: Mapping[str, Sequence[Compared]]) -> list[str]:
    """Columns in which RiFT gains, and in which a control that changes no parameter does."""
    kinds = {
        "RiFT": [name for name in changes if name in PROTOCOLS],
        "a control that changes no parameter": [
            name
            for name in changes
            if (made := finetune(name)).start == "base" and isinstance(made.selector, NoModule)
        ],
    }
    lines = []
    for kind, names in kinds.items():
        parts = []
        for name in names:
            known = [
                (head, each.images.sign)
                for head, each in zip(heads, changes[name], strict=True)
                if each.images is not None
            ]
            if known:
                where = ", ".join(head for head, sign in known if sign > 0)
                parts.append(f"{name} in {where or 'no column'}")
        if parts:
            lines.append(f"gains of {kind} by 95 % images: {'; '.join(parts)}")
    return lines


AUDIT = TableSpec(
    "audit",
    "Audit",
    "where the gain comes from: RiFT in every reading, controls, and paired intervals",
    audit_cells,
    audit,
    AUDITED,
    audited=True,
)
