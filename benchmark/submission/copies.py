"""Outcomes of random draws that two models cannot have in common (no torch).

Training, criticality and fine-tuning draw from seeds of their own for every key. Where losses, MRC or
the images that are right are the same to the last digit, one file was made from the other.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from benchmark.algorithm.protocols import finetune
from benchmark.data import dataset_info
from benchmark.records.cells import Cell
from benchmark.records.records import Making, Record, Training
from benchmark.records.store import Bits
from benchmark.submission.entries import Entry
from benchmark.submission.findings import Finding
from benchmark.submission.library import Library

MANY = 20
"""Images that have to be right, and as many wrong, for networks trained apart to differ in some."""

ABOVE_CHANCE = 1.5
"""By how much such a network has to be better than one that always says the same class, which all that
do so share."""


@dataclass(frozen=True)
class Outcome:
    """What an entry says in `field`, as comparable `values`, and the cell `of` which it is."""

    field: str
    values: tuple[object, ...]
    of: Cell


def copied(entries: Collection[Entry], library: Library) -> Iterator[Finding]:
    """Outcomes of `entries` that another model in `library` has too."""
    sharing: dict[tuple[object, ...], dict[Cell, Entry]] = {}
    found: list[tuple[Entry, Outcome]] = []
    for entry in library.entries.values():
        for outcome in _outcomes(entry, library):
            sharing.setdefault((outcome.field, *outcome.values), {}).setdefault(outcome.of, entry)
            found.append((entry, outcome))
    handed = set(entries)
    for entry, outcome in found:
        if entry not in handed:
            continue
        for of, other in sharing[outcome.field, *outcome.values].items():
            if of != outcome.of and not _same_weights(entry, other):
                yield Finding(
                    entry.path,
                    outcome.field,
                    f"are to the last digit those of {other.cell.key}, which had other random draws",
                )
                break


def _same_weights(one: Entry, other: Entry) -> bool:
    """Whether two records are of the same weights, which have the same bits."""
    ours, theirs = one.file.provenance, other.file.provenance
    return isinstance(one.file, Record) and ours.weights_sha256 == theirs.weights_sha256


def _outcomes(entry: Entry, library: Library) -> Iterator[Outcome]:
    """What differs between models; of weights from elsewhere, nothing need."""
    cell, file = entry.cell, entry.file
    if isinstance(file, Making):
        yield from _of_making(cell, file)
    elif (base := library.trained(cell)) is not None and _varied(entry):
        yield Outcome("bits", (cell.dataset, entry.name, _digest(entry.bits)), base)


def _of_making(cell: Cell, making: Making) -> Iterator[Outcome]:
    details = making.details
    if details.kind != ("training" if cell.is_base else "fine-tuning"):
        return
    # A fine-tuning with and without interpolation is one.
    tuned = cell
    if not isinstance(details, Training):
        tuned = replace(cell, finetune=finetune(cell.finetune).tuning)
        mrc = tuple(each.mrc for each in details.criticality or ())
        if any(mrc):
            yield Outcome("details.criticality", mrc, cell.base)
    losses = tuple(epoch.loss for epoch in details.epochs)
    if any(losses):
        yield Outcome("details.epochs", losses, tuned)


def _varied(entry: Entry) -> bool:
    """Whether enough images are right and wrong for the same bits to be no coincidence."""
    classes = dataset_info(entry.cell.dataset).classes
    for array in entry.bits.values():
        right, images = int(array.sum()), len(array)
        if min(right, images - right) >= MANY and right * classes > ABOVE_CHANCE * images:
            return True
    return False


def _digest(bits: Bits) -> str:
    """One for all files that hold the same arrays."""
    digest = hashlib.sha256()
    for name in sorted(bits):
        digest.update(f"{name} {len(bits[name])} ".encode() + bits[name].tobytes())
    return digest.hexdigest()
