"""Whether a record could be true, beside others of the same weights (no torch).

Where two numbers may differ by chance, as clean accuracy and PGD accuracy do on single images, the
exact test of McNemar says what is beyond it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import dataset_info
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.autoattack import CLEAN
from benchmark.evaluation.first import FIRST
from benchmark.records.records import Record
from benchmark.report.intervals import mcnemar
from benchmark.submission.entries import Entry
from benchmark.submission.findings import Wrong
from benchmark.submission.library import Library
from benchmark.submission.origin import same_machine

BEYOND_CHANCE = 1e-4
"""p of McNemar's test below which two accuracies differ by more than the noise of one evaluation."""

OOD_MARGIN = 0.05
"""How far the mean accuracy on corrupted images may lie above that on clean ones (fraction)."""

DRIFT = 0.01
"""By how much the same evaluation may differ between machines where an image has several answers."""

Shares = NDArray[np.float64]


def implausible(entry: Entry, library: Library) -> Wrong:
    """What the number of a record with bits, or another one on file, speaks against."""
    yield from _out_of_range(entry, library)
    yield from _another_value(entry, library)


def _kind(name: str) -> str:
    """`name` without its limit; attacks by what they are compared as."""
    whole = name.partition(FIRST)[0]
    if attack := sanity.attack_of(name):
        return "pgd" if attack.strength == 1 else "stronger"
    return "ood" if whole.startswith("corruptions-") else whole


def _out_of_range(entry: Entry, library: Library) -> Wrong:
    record = entry.file
    assert isinstance(record, Record)
    classes = dataset_info(record.cell.dataset).classes
    if _kind(entry.name) == CLEAN and record.k * classes <= record.n:
        yield "k", f"is {record.k} of {record.n}: no more than one constant answer gets right"
    own = sanity.warnings(record.evaluation, entry.bits, record.parts, classes, {})
    for warning in own:
        if warning not in record.remarks:
            yield "remarks", f"lack what its bits say: {warning}"
    for other in library.by_cell.get(entry.cell, ()):
        if other is not entry and _of_one_model(entry, other):
            yield from _out_of_order(entry, other)


def _of_one_model(entry: Entry, other: Entry) -> bool:
    """Whether two entries are records, with bits, of the same weights and test images."""
    if not isinstance(other.file, Record) or not other.bits or not entry.bits:
        return False
    one, two = entry.file.provenance, other.file.provenance
    return (one.weights_sha256, one.data_sha256) == (two.weights_sha256, two.data_sha256)


def _out_of_order(entry: Entry, other: Entry) -> Wrong:
    """An attack that helps, a stronger attack that breaks less, corruptions that help."""
    kinds = (_kind(entry.name), _kind(other.name))
    if kinds == ("ood", CLEAN) or kinds == (CLEAN, "ood"):
        ood, clean = (entry, other) if kinds[0] == "ood" else (other, entry)
        high, low = _shares(ood, clean)
        if high.mean() > low.mean() + OOD_MARGIN:
            yield (
                "k",
                f"makes {ood.name} {high.mean():.4f} and {clean.name} {low.mean():.4f}: "
                "corruptions do not help",
            )
        return
    order = (CLEAN, "pgd", "stronger")
    if kinds[0] == kinds[1] or not set(kinds) <= set(order):
        return
    above, below = sorted((entry, other), key=lambda each: order.index(_kind(each.name)))
    weak, strong = _shares(above, below)
    if strong.sum() <= weak.sum() or _p(weak, strong) >= BEYOND_CHANCE:
        return
    if above.name.startswith(CLEAN) or not (_warned(entry) or _warned(other)):
        yield (
            "k",
            f"leaves {strong.sum():g} of {len(strong)} images to {below.name} and only "
            f"{weak.sum():g} to {above.name}, which is more than chance",
        )


def _warned(entry: Entry) -> bool:
    """Whether a record says itself that its attack may have been misled."""
    return isinstance(entry.file, Record) and bool(entry.file.warnings)


def _shares(one: Entry, other: Entry) -> tuple[Shares, Shares]:
    """Per image, on the images that both have."""
    ours, theirs = _per_image(one), _per_image(other)
    images = min(len(ours), len(theirs))
    return ours[:images], theirs[:images]


def _per_image(entry: Entry) -> Shares:
    return evaluation(entry.name).per_image(entry.bits)


def _p(one: Shares, other: Shares) -> float:
    return mcnemar(int((one > other).sum()), int((other > one).sum()))


# --- the same evaluation of the same weights --------------------------------------------------------


def _another_value(entry: Entry, library: Library) -> Wrong:
    """Another record of the same weights and evaluation, on as many or fewer images, that disagrees."""
    record = entry.file
    assert isinstance(record, Record)
    for other in library.by_weights.get(record.provenance.weights_sha256, ()):
        if other is entry or other.name.partition(FIRST)[0] != entry.name.partition(FIRST)[0]:
            continue
        if not isinstance(other.file, Record) or not _of_one_model(entry, other):
            continue
        if _how(record) != _how(other.file):  # another version of the evaluation
            continue
        ours, theirs = _shares(entry, other)
        if _differ(entry, other, ours, theirs):
            yield (
                "k",
                f"makes {ours.sum():g} of the first {len(ours)} images right, but "
                f"{other.cell.key} {other.name}, of the same weights, {theirs.sum():g}",
            )


def _how(record: Record) -> Any:
    """The part of a spec that says how images were evaluated, whichever they were."""
    how = record.spec.get("evaluation")
    return how["whole"] if isinstance(how, dict) and "whole" in how else how


def _differ(entry: Entry, other: Entry, ours: Shares, theirs: Shares) -> bool:
    if _repeatable(entry, other):
        return bool((ours != theirs).any())
    if not np.isin(np.concatenate([ours, theirs]), (0, 1)).all():
        return bool(abs(ours.mean() - theirs.mean()) > DRIFT)
    return _p(ours, theirs) < BEYOND_CHANCE


def _repeatable(entry: Entry, other: Entry) -> bool:
    """Whether both would have the same bits: the same random draws and the same processor."""
    return (
        same_machine(entry.file.provenance, other.file.provenance)
        and entry.name == other.name
        and entry.cell.base == other.cell.base
    )
