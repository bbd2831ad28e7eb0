"""Whether files fit together: a record with its making, its base model and its twin (no torch)."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from benchmark.algorithm.protocols import ALPHA_1, finetune
from benchmark.checkpoints.registry import registry
from benchmark.errors import UserError
from benchmark.records.cells import OWN, Cell
from benchmark.records.records import Checkpoint, Finetuning, Making, Record, Training
from benchmark.records.store import MAKING
from benchmark.submission.entries import Entry
from benchmark.submission.findings import Finding, Wrong
from benchmark.submission.library import Library
from benchmark.submission.origin import CLOCKS_DIFFER, time_of
from benchmark.submission.plausible import implausible


def wrong_together(entries: Iterable[Entry], library: Library) -> Iterator[Finding]:
    """What does not fit between `entries`, which are in `library`, and all that is there."""
    for entry in entries:
        wrong = _wrong_record if isinstance(entry.file, Record) else _wrong_making
        for place, text in wrong(entry, library):
            yield Finding(entry.path, place, text)


def _wrong_record(entry: Entry, library: Library) -> Wrong:
    record, cell = entry.file, entry.cell
    assert isinstance(record, Record)
    if cell.scale != OWN:
        yield from _without_making(record, library)
    if not cell.is_base:
        yield from _without_base(record, library)
    yield from _wrong_twin(record, library)
    yield from _wrong_data(record, library)
    if entry.bits:
        yield from implausible(entry, library)


def _wrong_making(entry: Entry, library: Library) -> Wrong:
    making, cell = entry.file, entry.cell
    assert isinstance(making, Making)
    if isinstance(making.details, Finetuning):
        yield from _wrong_ends(making, making.details, library)
    yield from _not_its_checkpoint(making, library)
    if isinstance(making.details, Training):
        for other in library.by_weights.get(making.provenance.weights_sha256, ()):
            if library.trained(other.cell) not in (None, cell):
                yield (
                    "provenance.weights_sha256",
                    f"is that of {other.cell.base.key} too, whose training had other seeds",
                )
                return


# --- making and base model --------------------------------------------------------------------------


def _without_making(record: Record, library: Library) -> Wrong:
    cell, weights = record.cell.cell, record.provenance.weights_sha256
    making = library.making(cell)
    if making is None:
        yield "cell", f"is {cell.key}, which has no {MAKING}.json, neither beside it nor on file"
        return
    if making.provenance.weights_sha256 != weights:
        yield (
            "provenance.weights_sha256",
            f"is {weights}, but {MAKING}.json is of {making.provenance.weights_sha256}",
        )
    made, started = time_of(making.provenance), time_of(record.provenance)
    if made is not None and started is not None and started < made - CLOCKS_DIFFER:
        yield (
            "provenance.started",
            f"is {record.provenance.started}, before the weights were begun, "
            f"{making.provenance.started}",
        )


def _without_base(record: Record, library: Library) -> Wrong:
    base, name = record.cell.cell.base, record.evaluation
    if library.making(base) is None:
        yield "cell", f"starts from {base.key}, which has no {MAKING}.json, neither here nor on file"
    if library.record(base, name) is None:
        yield "cell", f"starts from {base.key}, which has no record of {name}, neither here nor on file"


def _wrong_ends(making: Making, details: Finetuning, library: Library) -> Wrong:
    """At alpha = 0 weights are the base model's, at alpha = 1 those of the fine-tuning."""
    cell, weights = making.cell.cell, making.provenance.weights_sha256
    other: Cell | None = None
    if details.alpha == 0:
        other = cell.base
    elif details.alpha == 1:
        other = replace(cell, finetune=finetune(cell.finetune).tuning + ALPHA_1)
    end = None if other is None else library.making(other)
    if other is not None and end is not None and end.provenance.weights_sha256 != weights:
        yield (
            "provenance.weights_sha256",
            f"is {weights}, but at alpha = {details.alpha:g} it is that "
            f"of {other.key}, {end.provenance.weights_sha256}",
        )


def _not_its_checkpoint(making: Making, library: Library) -> Wrong:
    """Whether the weights of a checkpoint are those of the model that the registry says they are of."""
    if not isinstance(making.details, Checkpoint):
        return
    found = registry().get(making.details.name)
    key = None if found is None else found.cell
    source = None if key is None else library.making(Cell.parse(key))
    if source is not None and source.provenance.weights_sha256 != making.provenance.weights_sha256:
        yield (
            "provenance.weights_sha256",
            f"is {making.provenance.weights_sha256}, but the checkpoint's "
            f"model, {key}, has {source.provenance.weights_sha256}",
        )


def _wrong_twin(record: Record, library: Library) -> Wrong:
    if record.same_as is None:
        return
    try:
        cell: Cell | None = Cell.parse(record.same_as)
    except UserError:
        cell = None
    twin = None if cell is None else library.record(cell, record.evaluation)
    if cell is None or twin is None or cell.base != record.cell.cell.base or cell == record.cell.cell:
        yield (
            "same_as",
            f"is {record.same_as}, which has no record of {record.evaluation} of that model",
        )
        return
    for place, ours, theirs in (
        ("provenance.weights_sha256", record.provenance.weights_sha256, twin.provenance.weights_sha256),
        ("k", record.k, twin.k),
        ("parts", record.parts, twin.parts),
        ("bits_sha256", record.bits_sha256, twin.bits_sha256),
    ):
        if ours != theirs:
            yield place, f"is not that of {record.same_as}, from which it was taken over ({theirs})"


def _wrong_data(record: Record, library: Library) -> Wrong:
    """Records of one dataset are of the same test images."""
    ours = record.provenance.data_sha256
    ((usual, count),) = library.test_images[record.cell.dataset].most_common(1)
    if ours != usual:
        yield (
            "provenance.data_sha256",
            f"is {ours}, but {count} records of {record.cell.dataset} have {usual}",
        )
