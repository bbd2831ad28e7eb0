"""One evaluation of one model, chunk by chunk, and its record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from torch import nn

from benchmark.base import Weights
from benchmark.cells import Cell
from benchmark.data.images import Dataset
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.counting import batch_starts
from benchmark.evaluation.evaluation import Outcome
from benchmark.progress import Progress
from benchmark.provenance import journaled, provenance
from benchmark.records import CellName, Record, hashed
from benchmark.specs import Spec, spec_hash
from benchmark.store import Bits, Journal, Store, pack_bits


class Subject(Protocol):
    """What is evaluated: a cell, and what a record of it depends on."""

    @property
    def cell(self) -> Cell: ...

    def evaluation_spec(self, name: str) -> Spec | None: ...


@dataclass(frozen=True)
class Evaluating:
    """What all evaluations of one model share.

    `twins` are cells of the same base model that may have the same weights; an evaluation of theirs
    is taken over. `sources` and `remarks` are added to those of every record, and so is what
    `sanity` finds.
    """

    subject: Subject
    model: nn.Module
    weights: Weights
    data: Dataset
    store: Store
    progress: Progress
    twins: Sequence[Cell] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def record(self, name: str) -> Record:
        """Run evaluation `name` and write its record."""
        started, cell = datetime.now(UTC), self.subject.cell
        spec = self.subject.evaluation_spec(name)
        assert spec is not None
        device = self.data.test.images.device
        chunk = batch_starts(self.data.test).step
        journal = Journal(
            self.store.work(cell) / f"evaluation-{name}",
            journaled(spec, self.weights.sha256, device=device, chunk=chunk),
        )
        resumed, data = not journal.empty, self.data.test.sha256()
        self.progress(name, 0, 1)
        twin = self.twin(name, spec, data)
        if twin is None:
            run = evaluation(name).run
            outcome = run(self.model, self.data, cell.base, journal, self.progress)
        else:
            bits, remarks = self.store.bits(twin), tuple(twin.remarks)
            outcome = Outcome(twin.count, twin.parts, bits, twin.sources, remarks)
        others, classes = self.comparable(name, spec, data), self.data.info.classes
        warnings = sanity.warnings(name, outcome.bits, outcome.parts, classes, others)
        packed, bits_sha256 = pack_bits(outcome.bits)
        record = Record(
            cell=CellName.of(cell),
            evaluation=name,
            value=outcome.value.fraction,
            k=outcome.value.k,
            n=outcome.value.n,
            parts=outcome.parts,
            bits_sha256=bits_sha256,
            same_as=None if twin is None else twin.cell.cell.key,
            sources=dict(self.sources) | outcome.sources,
            remarks=list(dict.fromkeys((*self.remarks, *outcome.remarks, *warnings))),
            provenance=provenance(
                started,
                device=device,
                weights=self.weights.sha256,
                data=data,
                resumed=resumed,
                chunk=chunk,
            ),
            **hashed(spec),
        )
        self.store.write_record(record, packed)
        journal.remove()
        return record

    def twin(self, name: str, spec: Spec, data: str) -> Record | None:
        """The record of the same evaluation of the same weights and data by one of `twins`.

        Seeds derive from the base model, hence the outcome would be the same bit by bit.
        """
        for cell in self.twins:
            record = self.store.record(cell, name)
            if (
                record is not None
                and self.same_model(record, data)
                and record.spec["evaluation"] == spec["evaluation"]
            ):
                return record
        return None

    def comparable(self, name: str, spec: Spec, data: str) -> dict[str, Bits]:
        """Bits of attacks on the same model and data, on record, that `name` can be held against."""
        cell, found = self.subject.cell, {}
        for path in sorted(self.store.record_path(cell, name).parent.glob("*.json")):
            if not sanity.comparable(name, path.stem):
                continue
            record = self.store.record(cell, path.stem)
            if (
                record is not None
                and self.same_model(record, data)
                and spec_hash(record.spec["model"]) == spec_hash(spec["model"])
            ):
                found[path.stem] = self.store.bits(record)
        return found

    def same_model(self, record: Record, data: str) -> bool:
        """Whether `record` is of these weights and of the test images with the hash `data`."""
        made = record.provenance
        return made.weights_sha256 == self.weights.sha256 and made.data_sha256 == data
