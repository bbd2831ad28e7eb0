"""Whether a record could be true, beside others of the same weights.

Where two numbers may differ by chance, as clean accuracy and PGD accuracy do on single images, the
exact test of McNemar tells what is beyond it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import dataset_info
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.autoattack import CLEAN
from benchmark.evaluation.first import whole_name
from benchmark.records.records import Record
from benchmark.report.intervals import mcnemar
from benchmark.submission.read import Problems, ResultEntry
from benchmark.submission.single import same_machine
from benchmark.submission.together import Library

BEYOND_CHANCE = 1e-4
"""p of McNemar's test below which two accuracies differ by more than the noise of one evaluation."""

OOD_MARGIN = 0.05
"""How far the mean accuracy on corrupted images may lie above that on clean ones (fraction)."""

DRIFT = 0.01
"""By how much the same evaluation may differ between machines where an image has several answers."""

Shares = NDArray[np.float64]


def check_plausible(entry: ResultEntry, library: Library) -> Problems:
    """Problems where a record contradicts chance, its bits or others of its weights."""
    record = entry.file
    if not isinstance(record, Record) or not entry.bits:
        return
    classes = dataset_info(record.cell.dataset).classes
    if _kind(entry.name) == CLEAN and record.k * classes <= record.n:
        yield "k", f"is {record.k} of {record.n}: no more than one constant answer gets right"
    for warning in sanity.warnings(record.evaluation, entry.bits, record.parts, classes, {}):
        if warning not in record.remarks:
            yield "remarks", f"lack what its bits say: {warning}"
    others = [
        other
        for other in library.by_weights.get(record.provenance.weights_sha256, ())
        if other is not entry
        and other.bits
        and other.file.provenance.data_sha256 == record.provenance.data_sha256
    ]
    for other in others:
        if other.cell == entry.cell:
            yield from _out_of_order(entry, other)
    for other in others:
        if whole_name(other.name) == whole_name(entry.name) and _how(other) == _how(entry):
            yield from _another_value(entry, other)


def _kind(name: str) -> str:
    """`name` without its limit; attacks by what they are compared as."""
    if attack := sanity.attack_of(name):
        return "pgd" if attack.strength == 1 else "stronger"
    return evaluation(name).kind


def _out_of_order(entry: ResultEntry, other: ResultEntry) -> Problems:
    """An attack that helps, a stronger attack that breaks less, corruptions that help."""
    kinds = {_kind(each.name): each for each in (entry, other)}
    if kinds.keys() == {"corruptions", CLEAN}:
        ood, clean = kinds["corruptions"], kinds[CLEAN]
        high, low = _shares(ood, clean)
        if high.mean() > low.mean() + OOD_MARGIN:
            both = f"makes {ood.name} {high.mean():.4f} and {clean.name} {low.mean():.4f}"
            yield "k", f"{both}: corruptions do not help"
    order = [kind for kind in (CLEAN, "pgd", "stronger") if kind in kinds]
    if len(order) != 2:
        return
    above, below = (kinds[kind] for kind in order)
    weak, strong = _shares(above, below)
    if strong.sum() <= weak.sum() or _p(weak, strong) >= BEYOND_CHANCE:
        return
    warned = any(isinstance(each.file, Record) and each.file.warnings for each in (entry, other))
    if order[0] == CLEAN or not warned:  # a record may itself warn that its attack was misled
        left = f"leaves {strong.sum():g} of {len(strong)} images to {below.name}"
        yield "k", f"{left} and only {weak.sum():g} to {above.name}, which is more than chance"


def _another_value(entry: ResultEntry, other: ResultEntry) -> Problems:
    """Another record of the same weights and evaluation, on as many or fewer images, that disagrees."""
    ours, theirs = _shares(entry, other)
    repeatable = (
        same_machine(entry.file.provenance, other.file.provenance)
        and entry.name == other.name
        and entry.cell.base == other.cell.base  # the same random draws
    )
    if repeatable:
        differ = bool((ours != theirs).any())
    elif np.isin(np.concatenate([ours, theirs]), (0, 1)).all():
        differ = _p(ours, theirs) < BEYOND_CHANCE
    else:
        differ = bool(abs(ours.mean() - theirs.mean()) > DRIFT)
    if differ:
        text = f"makes {ours.sum():g} of the first {len(ours)} images right, but {other.cell.key}"
        yield "k", f"{text} {other.name}, of the same weights, {theirs.sum():g}"


def _shares(one: ResultEntry, other: ResultEntry) -> tuple[Shares, Shares]:
    """Per image, on the images that both have."""
    ours, theirs = (evaluation(each.name).per_image(each.bits) for each in (one, other))
    images = min(len(ours), len(theirs))
    return ours[:images], theirs[:images]


def _p(one: Shares, other: Shares) -> float:
    return mcnemar(int((one > other).sum()), int((other > one).sum()))


def _how(entry: ResultEntry) -> Any:
    """The part of a spec that tells how images were evaluated, whichever they were, and normalised; of
    an adaptive attack, which crafts examples on the base network too, with that."""
    how = entry.file.spec.get("evaluation")
    whole = how["whole"] if isinstance(how, dict) and "whole" in how else how
    base = entry.cell.base if evaluation(entry.name).adaptive else None
    return whole, _normalisation(entry.file.spec.get("model")), base


def _normalisation(model: Any) -> Any:
    """Mean and standard deviation in the spec of a model, which may be anything: no tensor has them."""
    waiting = [model]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "mean" in part and "std" in part:
                return part["mean"], part["std"]
            waiting += part.values()
    return None
