"""Whether a model stands under two names.

Training and fine-tuning draw from seeds of their own for every key. Where weights, losses or bits are
the same to the last digit, one file was made from the other.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from benchmark.algorithm.tunings import finetune
from benchmark.data import dataset_info
from benchmark.records.applied import Applied
from benchmark.records.cells import Cell
from benchmark.records.records import Checkpoint, Record, Training
from benchmark.submission.read import Problem, ResultEntry
from benchmark.submission.together import Library

WEIGHTS, LOSSES, BITS = "provenance.weights_sha256", "details.epochs", "bits"
SAME = {
    WEIGHTS: "is that of {} too, whose training had other seeds",
    LOSSES: "are to the last digit those of {}, which had other random draws",
    BITS: "are to the last digit those of {}, which had other random draws",
}
MANY = 20
"""Images that have to be right, and as many wrong, for networks trained apart to differ in some."""

ABOVE_CHANCE = 1.5
"""By what factor such a network has to be better than a constant answer, which may be that of both."""


def check_copies(entries: Collection[ResultEntry], library: Library) -> Iterator[Problem]:
    """Outcomes of `entries` that another model in `library` has too."""
    models: dict[tuple[str, object], list[Cell]] = {}
    for entry in library.entries.values():
        for model, field, value in _outcomes(entry, library):
            models.setdefault((field, value), []).append(model)
    for entry in entries:
        for model, field, value in _outcomes(entry, library):
            other = next((each for each in models.get((field, value), ()) if each != model), None)
            if other is not None:
                yield Problem(entry.path, field, SAME[field].format(other.key))


def _outcomes(entry: ResultEntry, library: Library) -> Iterator[tuple[Cell, str, object]]:
    """Model, field and value of what no two models have in common."""
    cell, file = entry.cell, entry.file
    if isinstance(file, Record):
        trained = library.trained(cell)
        if trained is not None and _varied(entry):
            yield trained, BITS, (cell.dataset, entry.name, file.bits_sha256)
        return
    if isinstance(file.details, Checkpoint | Applied):
        return
    if isinstance(file.details, Training):
        yield cell, WEIGHTS, file.provenance.weights_sha256
    losses = tuple(epoch.loss for epoch in file.details.epochs)
    if any(losses):  # a fine-tuning with and without interpolation is one
        tuned = cell if cell.is_base else replace(cell, finetune=finetune(cell.finetune).tuning)
        yield tuned, LOSSES, losses


def _varied(entry: ResultEntry) -> bool:
    """Whether enough images are right and wrong for the same bits to be no coincidence."""
    classes = dataset_info(entry.cell.dataset).classes
    counts = [(int(array.sum()), len(array)) for array in entry.bits.values()]
    return any(min(k, n - k) >= MANY and k * classes > ABOVE_CHANCE * n for k, n in counts)
