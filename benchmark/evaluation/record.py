"""One evaluation of one model, chunk by chunk, and its record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from torch import nn

from benchmark.data.images import Dataset
from benchmark.engine.counting import batch_starts
from benchmark.engine.precision import used
from benchmark.engine.provenance import done_elsewhere, journaled, provenance
from benchmark.engine.weights import Weights
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.protocol import Outcome
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.records import CellName, Record, hashed
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import Bits, Journal, Store, pack_bits


class Subject(Protocol):
    """What is evaluated: a cell, and what a record of it depends on."""

    @property
    def cell(self) -> Cell: ...

    def evaluation_spec(self, name: str) -> Spec | None: ...


@dataclass(frozen=True)
class Evaluating:
    """What all evaluations of one model share.

    `sources` and `remarks` are added to those of every record, and so is what `sanity` finds.
    """

    subject: Subject
    model: nn.Module
    weights: Weights
    data: Dataset
    store: Store
    progress: Progress
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
        begun = done_elsewhere(journal, name, device)
        self.progress(name, 0, 1)
        outcome = self.taken_over(name, spec, data)
        if outcome is None:
            run = evaluation(name).run
            outcome = run(self.model, self.data, cell.base, journal, self.progress)
        warnings = self.warnings(cell, name, spec, outcome, data)
        packed, bits_sha256 = pack_bits(outcome.bits)
        record = Record(
            cell=CellName.of(cell),
            evaluation=name,
            value=outcome.value.fraction,
            k=outcome.value.k,
            n=outcome.value.n,
            parts=outcome.parts,
            bits_sha256=bits_sha256,
            sources=dict(self.sources) | outcome.sources,
            remarks=list(dict.fromkeys((*self.remarks, *begun, *outcome.remarks, *warnings))),
            provenance=provenance(
                started,
                device=device,
                weights=self.weights.sha256,
                data=data,
                resumed=resumed,
                chunk=chunk,
                begun=begun,
            ),
            **hashed(spec),
        )
        self.store.write_record(record, packed)
        journal.remove()
        return record

    def taken_over(self, name: str, spec: Spec, data: str) -> Outcome | None:
        """The outcome of the same evaluation by another cell of the base model that has these weights.

        Seeds derive from the base model, hence it is the same bit by bit in the same precision and
        chunks. Which cell was first leaves no trace: warnings of that cell's records, side by side, are
        left out.
        """
        test = self.data.test
        here = used().label(test.images.device), batch_starts(test).step
        for record in self.store.others(self.subject.cell, name):
            if (
                self.same_model(record, data)
                and record.spec["evaluation"] == spec["evaluation"]
                and (record.provenance.precision, record.provenance.chunk) == here
            ):
                outcome = Outcome(record.count, record.parts, self.store.bits(record), record.sources)
                warned = self.warnings(record.cell.cell, name, record.spec, outcome, data)
                remarks = tuple(remark for remark in record.remarks if remark not in warned)
                return replace(outcome, remarks=remarks)
        return None

    def warnings(self, cell: Cell, name: str, spec: Spec, outcome: Outcome, data: str) -> list[str]:
        """What `sanity` finds in an outcome of `cell` beside what is on record of it."""
        others, classes = self.comparable(cell, name, spec, data), self.data.info.classes
        return sanity.warnings(name, outcome.bits, outcome.parts, classes, others)

    def comparable(self, cell: Cell, name: str, spec: Spec, data: str) -> dict[str, Bits]:
        """Bits of attacks on `cell`, of these weights and data, that `name` can be held against."""
        found = {}
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
        """Whether `record` has these weights and the test images with the hash `data` behind it."""
        made = record.provenance
        return made.weights_sha256 == self.weights.sha256 and made.data_sha256 == data
