"""One evaluation of one model, chunk by chunk, and its record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

import torch
from torch import nn

from benchmark.data.images import Dataset
from benchmark.engine.adaptive import Attacked
from benchmark.engine.counting import batch_starts
from benchmark.engine.precision import used
from benchmark.engine.provenance import done_elsewhere, journaled, noting, provenance
from benchmark.engine.settled import NotSettled, Scorer, scoring
from benchmark.engine.weights import Weights
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.protocol import Outcome
from benchmark.progress import Progress
from benchmark.records.bits import pack_bits
from benchmark.records.cells import Cell
from benchmark.records.files import read_if_there, write_atomically
from benchmark.records.plugins import PLUGINS, named_in, up_to_date
from benchmark.records.records import CellName, Provenance, Record, hashed
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import EVALUATION, Bits, Journal, Store


class Subject(Protocol):
    """What is evaluated: a cell, and what a record of it depends on."""

    @property
    def cell(self) -> Cell: ...

    def evaluation_spec(self, name: str) -> Spec | None: ...


@dataclass(frozen=True)
class Evaluating:
    """What all evaluations of one model share.

    `sources` and `remarks` are added to those of every record, and so is what `sanity` finds.
    `attacked` is what an adaptive attack sees of the model (None: the model alone).
    """

    subject: Subject
    model: nn.Module
    weights: Weights
    data: Dataset
    store: Store
    progress: Progress
    sources: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    attacked: Attacked | None = None

    def record(self, name: str) -> Record:
        """Run evaluation `name` and write its record; returns the first that was written."""
        started, cell = datetime.now(UTC), self.subject.cell
        spec = self.subject.evaluation_spec(name)
        assert spec is not None
        device, data = self.device, self.data_sha256
        self.progress(name, 0, 1)
        chosen, turned = None, self.store.work(cell) / f"{EVALUATION}{name}.in-fp32"
        mark = f"{spec_hash(spec)} {self.weights.sha256}".encode()
        if self.weights.module is None and read_if_there(turned) != mark:  # a module may be hard
            chosen = self.scorer.where_it_repays(evaluation(name).answers(len(self.data.test)))
        precision = used().label(device) if chosen is None else chosen.label
        journal, begun = self.journal(name, spec, precision), list[str]()
        if (known := self.taken_over(name, spec, data, precision)) is not None:
            outcome, made = known
            made = made.model_copy(update={PLUGINS: made.plugins | named_in(spec)})
        else:
            resumed, begun = not journal.empty, done_elsewhere(journal, name, device)
            try:
                with scoring(chosen):
                    outcome = self.outcome(name, journal)
            except NotSettled:
                journal.remove()
                write_atomically(turned, mark)  # for whoever goes on after a kill
                self.progress(name, 0, 1, "rounding turned an answer: again in fp32")
                precision = used().label(device)
                journal = self.journal(name, spec, precision)
                resumed, begun = not journal.empty, done_elsewhere(journal, name, device)
                outcome = self.outcome(name, journal)
            made = provenance(
                started,
                device=device,
                weights=self.weights.sha256,
                data=data,
                resumed=resumed,
                chunk=self.chunk,
                begun=begun,
                precision=precision,
            )
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
            provenance=made,
            **hashed(spec),
        )
        record = self.store.write_record(record, packed)
        journal.remove()
        turned.unlink(missing_ok=True)
        return record

    @property
    def device(self) -> torch.device:
        return self.data.test.images.device

    @cached_property
    def data_sha256(self) -> str:
        """Hash of the test images."""
        return self.data.test.sha256()

    @property
    def chunk(self) -> int:
        return batch_starts(self.data.test).step

    @cached_property
    def scorer(self) -> Scorer:
        """What settles answers, with one bound for all evaluations of the model."""
        return Scorer(self.model, self.data)

    def journal(self, name: str, spec: Spec, precision: str) -> Journal:
        of = self.weights.sha256, self.data_sha256
        fingerprint = journaled(spec, *of, device=self.device, chunk=self.chunk, precision=precision)
        folder = self.store.work(self.subject.cell) / f"{EVALUATION}{name}"
        return noting(Journal(folder, fingerprint), self.device)

    def outcome(self, name: str, journal: Journal) -> Outcome:
        each = evaluation(name)
        model = self.attacked if each.adaptive and self.attacked else self.model
        return each.run(model, self.data, self.subject.cell.base, journal, self.progress)

    def taken_over(
        self, name: str, spec: Spec, data: str, precision: str
    ) -> tuple[Outcome, Provenance] | None:
        """The outcome of the same evaluation by another cell of the base model that has these weights,
        and where it comes from.

        Seeds derive from the base model, hence it is the same bit by bit in the same precision and
        chunks. Which cell was first leaves no trace: warnings of that cell's records, side by side, and
        what its making says, are left out. Of a plug-in that is not loaded, or was another file then,
        nothing is taken: it may make another network of these weights.
        """
        for record in self.store.others(self.subject.cell, name):
            if (
                self.same_model(record, data)
                and record.spec["evaluation"] == spec["evaluation"]
                and up_to_date(record.spec)
                and (record.provenance.precision, record.provenance.chunk) == (precision, self.chunk)
            ):
                outcome = Outcome(record.count, record.parts, self.store.bits(record), record.sources)
                own = self.warnings(record.cell.cell, name, record.spec, outcome, data)
                if (making := self.store.making(record.cell.cell)) is not None:
                    own += making.provenance.begun
                remarks = tuple(remark for remark in record.remarks if remark not in own)
                return replace(outcome, remarks=remarks), record.provenance
        return None

    def warnings(self, cell: Cell, name: str, spec: Spec, outcome: Outcome, data: str) -> list[str]:
        """What `sanity` finds in an outcome of `cell` beside what is on record of it."""
        others, classes = self.comparable(cell, name, spec, data), self.data.info.classes
        return sanity.warnings(name, outcome.bits, outcome.parts, classes, others)

    def comparable(self, cell: Cell, name: str, spec: Spec, data: str) -> dict[str, Bits]:
        """Bits of attacks on `cell`, of these weights and data, that `name` can be held against."""
        found = {}
        for other in self.store.names(cell):
            if not sanity.comparable(name, other):
                continue
            record = self.store.record(cell, other)
            if (
                record is not None
                and self.same_model(record, data)
                and spec_hash(record.spec["model"]) == spec_hash(spec["model"])
            ):
                found[other] = self.store.bits(record)
        return found

    def same_model(self, record: Record, data: str) -> bool:
        """Whether `record` has these weights and the test images with the hash `data` behind it."""
        made = record.provenance
        return made.weights_sha256 == self.weights.sha256 and made.data_sha256 == data
