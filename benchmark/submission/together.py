"""Whether files fit together: a record with its making, its base model and others of the same data."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from benchmark.algorithm.tunings import ALPHA_1, finetune
from benchmark.checkpoints.registry import registry
from benchmark.checkpoints.robustbench import zoo_key
from benchmark.models import key_name
from benchmark.posthoc import forward_method
from benchmark.records.applied import Applied
from benchmark.records.cells import OWN, Cell
from benchmark.records.records import Checkpoint, Finetuning, Making, Record, Training
from benchmark.records.store import MAKING
from benchmark.submission.read import Problem, Problems, ResultEntry
from benchmark.submission.single import CLOCKS_DIFFER, time_of


class Library:
    """All entries that are looked at together: what was handed in, then what is on file.

    The first of those at one place counts. `entries` has them by cell and name, `by_weights` by the
    hash of their weights; `test_images` counts records by dataset and hash of its test images.
    """

    def __init__(self, entries: Iterable[ResultEntry]) -> None:
        self.entries: dict[tuple[Cell, str], ResultEntry] = {}
        self.by_weights: dict[str, list[ResultEntry]] = {}
        self.test_images: dict[str, Counter[str]] = {}
        for entry in entries:
            self.entries.setdefault((entry.cell, entry.name), entry)
        for entry in self.entries.values():
            made = entry.file.provenance
            self.by_weights.setdefault(made.weights_sha256, []).append(entry)
            if isinstance(entry.file, Record):
                self.test_images.setdefault(entry.cell.dataset, Counter())[made.data_sha256] += 1

    def record(self, cell: Cell, name: str) -> Record | None:
        entry = self.entries.get((cell, name))
        return entry.file if entry is not None and isinstance(entry.file, Record) else None

    def making(self, cell: Cell) -> Making | None:
        entry = self.entries.get((cell, MAKING))
        return entry.file if entry is not None and isinstance(entry.file, Making) else None


def check_together(entry: ResultEntry, library: Library) -> Problems:
    """What does not fit between `entry`, which is in `library`, and all that is there."""
    if isinstance(making := entry.file, Making):
        if isinstance(making.details, Finetuning) and not entry.cell.is_base:
            yield from _check_ends(making, making.details, library)
        if isinstance(making.details, Applied) and not entry.cell.is_base:
            yield from _check_made_of(making, making.details, library)
        if isinstance(making.details, Checkpoint):
            yield from _check_source(making, making.details, library)
        return
    record, base = entry.file, entry.cell.base
    assert isinstance(record, Record)
    if entry.cell.scale != OWN:
        yield from _check_making(record, library)
    else:
        yield from _check_own(entry, record, library)
    if entry.cell != base:
        where = f"starts from {base.key}, which has no"
        if library.making(base) is None:
            yield "cell", f"{where} {MAKING}.json, neither here nor on file"
        if library.record(base, record.evaluation) is None:
            yield "cell", f"{where} record of {record.evaluation}, neither here nor on file"
    if (key := record.same_as) is not None:
        there = {cell.key: library.record(cell, entry.name) for cell, _ in library.entries}
        if (source := there.get(key)) is None or source.bits_sha256 != record.bits_sha256:
            yield "same_as", f"is {key}, which has no record of {record.evaluation} with these bits"
    ours = record.provenance.data_sha256
    ((usual, count),) = library.test_images[entry.cell.dataset].most_common(1)
    if ours != usual:
        others = f"{count} records of {entry.cell.dataset} have {usual}"
        yield "provenance.data_sha256", f"is {ours}, but {others}"


def _check_own(entry: ResultEntry, record: Record, library: Library) -> Problems:
    """Whether a name stands for one model, and the name of a registered one for that."""
    records = (library.record(cell, name) for cell, name in library.entries if cell == entry.cell)
    model = record.spec.get("model")
    others = (each for each in records if each and each.spec.get("model") != model)
    if (other := next(others, None)) is not None:
        yield "spec.model", f"is another than that of the record of {other.evaluation}"
    if (known := registry().get(entry.cell.method)) is None:
        return
    place = f"{entry.cell.dataset}/{entry.cell.arch}"
    network = zoo_key(known.arch, known.dataset) if known.is_zoo else key_name(known.arch)
    registered = f"{known.dataset}/{network}"
    if place != registered:
        yield "cell", f"is {known.name} on {place}, which the registry has on {registered}"
    if known.sha256 is not None and known.sha256 not in record.sources.values():
        yield "sources", f"have no file with the sha256 of {known.name}, {known.sha256}"


def _check_making(record: Record, library: Library) -> Problems:
    cell, weights = record.cell.cell, record.provenance.weights_sha256
    making = library.making(cell)
    if making is None:
        yield "cell", f"is {cell.key}, which has no {MAKING}.json, neither beside it nor on file"
        return
    if (made_of := making.provenance.weights_sha256) != weights:
        yield "provenance.weights_sha256", f"is {weights}, but {MAKING}.json is of {made_of}"
    # A record may be taken over from another cell with these weights: at alpha = 0, the base model.
    alike = (each.file for each in library.by_weights.get(weights, ()) if each.name == MAKING)
    begun = [made for each in (making, *alike) if (made := time_of(each.provenance)) is not None]
    started = time_of(record.provenance)
    if begun and started is not None and min(begun) - started > CLOCKS_DIFFER:
        text = f"is {record.provenance.started}, before the weights were begun"
        yield "provenance.started", f"{text}, {min(begun).isoformat(timespec='seconds')}"


def _check_ends(making: Making, details: Finetuning, library: Library) -> Problems:
    """At alpha = 0 weights are the base model's, at alpha = 1 those of the fine-tuning."""
    cell, weights = making.cell.cell, making.provenance.weights_sha256
    ends = {0.0: cell.base, 1.0: replace(cell, finetune=finetune(cell.finetune).tuning + ALPHA_1)}
    other = ends.get(details.alpha)
    end = None if other is None else library.making(other)
    if other and end and (right := end.provenance.weights_sha256) != weights:
        text = f"is {weights}, but at alpha = {details.alpha:g} it is that of {other.key}, {right}"
        yield "provenance.weights_sha256", text


def _check_made_of(making: Making, details: Applied, library: Library) -> Problems:
    """Whether a module is made of the weights, and with the second network, that its name says."""
    cell = making.cell.cell
    chosen = finetune(cell.finetune)
    partner = None if chosen.forward is None else forward_method(chosen.forward).partner
    made_of: dict[str, tuple[str | None, Cell]] = {
        "on_sha256": (details.on_sha256, replace(cell, finetune=chosen.before))
    }
    if partner is not None:
        made_of["partner_sha256"] = details.partner_sha256, replace(cell.base, method=partner)
    for field, (there, other) in made_of.items():
        made = library.making(other)
        if made is not None and there != (right := made.provenance.weights_sha256):
            yield f"details.{field}", f"is {there}, but the weights of {other.key} are {right}"


def _check_source(making: Making, details: Checkpoint, library: Library) -> Problems:
    """Whether the weights of a checkpoint are those of the model that the registry names."""
    weights, found = making.provenance.weights_sha256, registry().get(details.name)
    key = None if found is None else found.cell
    source = None if key is None else library.making(Cell.parse(key))
    if source is not None and (right := source.provenance.weights_sha256) != weights:
        text = f"is {weights}, but the checkpoint's model, {key}, has {right}"
        yield "provenance.weights_sha256", text


def check_copies(entries: Collection[ResultEntry], library: Library) -> Iterator[Problem]:
    """Problems where a model stands under two names: with another's trained weights or losses.

    Training and fine-tuning draw from seeds of their own for every key, but for the precision in it.
    """
    models: dict[object, list[Cell]] = {}
    for entry in library.entries.values():
        for model, _, value in _outcomes(entry):
            models.setdefault(value, []).append(model)
    for entry in entries:
        for model, field, value in _outcomes(entry):
            own = model.seed_for("train")
            alike = models.get(value, ())
            other = next((each for each in alike if each.seed_for("train") != own), None)
            if other is not None:
                yield Problem(entry.path, field, f"is that of {other.key} too, which had other seeds")


def _outcomes(entry: ResultEntry) -> Iterator[tuple[Cell, str, object]]:
    """Model, field and value of what no two models have in common."""
    cell, details = entry.cell, entry.file.details if isinstance(entry.file, Making) else None
    if isinstance(details, Training):
        yield cell, "provenance.weights_sha256", entry.file.provenance.weights_sha256
    if isinstance(details, Training | Finetuning) and any(each.loss for each in details.epochs):
        # A fine-tuning with and without interpolation is one.
        tuned = cell if cell.is_base else replace(cell, finetune=finetune(cell.finetune).tuning)
        yield tuned, "details.epochs", tuple(each.loss for each in details.epochs)
