"""Work that outlives its process: weights are made once, a killed run goes on where it stopped."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.info import DatasetInfo
from benchmark.engine.kept_weights import ALPHA, FINETUNED, TUNING, moved, read_weights
from benchmark.engine.method import Method, OwnTuning
from benchmark.engine.own_tuning import tuned_by
from benchmark.engine.provenance import (
    check_repeatable,
    done_elsewhere,
    journaled,
    noting,
    provenance,
)
from benchmark.engine.recipes import Recipe
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.engine.training import Fitted, fit
from benchmark.engine.training_state import TrainingState, has_ended
from benchmark.engine.weights import Weights, load_unfinished, save_tensors
from benchmark.errors import UserError
from benchmark.progress import Progress, silent
from benchmark.records.cells import Cell
from benchmark.records.records import (
    Applied,
    CellName,
    Count,
    EpochLog,
    Finetuning,
    Making,
    Training,
    hashed,
    parse_file,
)
from benchmark.records.records import Checkpoint as FromCheckpoint
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import WEIGHTS, Journal, Store

AVERAGE = "average.safetensors"
TRAINING, FINETUNING = "training.safetensors", "finetuning.safetensors"  # unfinished
_LOGS = TypeAdapter(list[EpochLog])


class WeightsDiffer(RuntimeError):
    """Weights made again do not have the bytes that existing records were made with."""


@dataclass(frozen=True)
class Made:
    """Weights that were just made, and what goes on record with them.

    `chunk` is how many images were evaluated at once in choosing them (None: nothing was chosen),
    `seconds` the time of the training (None: since it began), `mean` the mean of the last epochs'
    weights, if there is one. `between` is the fine-tuning and the alpha that `state` follows from,
    `module` the spec of its module (`Weights`).
    """

    state: Mapping[str, Tensor]
    details: Training | Finetuning | FromCheckpoint | Applied
    chunk: int | None = None
    resumed: bool = False
    continued: Sequence[str] = ()
    seconds: float | None = None
    mean: Mapping[str, Tensor] = field(default_factory=dict)
    between: tuple[str, float] | None = None
    module: Spec | None = None

    @classmethod
    def by(
        cls, training: Fitted, state: Mapping[str, Tensor], details: Training | Finetuning, chunk: int
    ) -> "Made":
        """`state`, which came of `training`."""
        told = training.resumed, training.begun, training.seconds, training.mean
        return cls(state, details, chunk, *told)


@dataclass(frozen=True)
class Workspace:
    """The working files of `cell` for what `spec` describes, beginning at the weights `start` if any.

    `device` is where the work is done; `takeover` decides on states that were left by other settings.
    `told` takes what a record says of steps that were done elsewhere.
    """

    store: Store
    cell: Cell
    spec: Spec
    device: torch.device
    start: Weights | None = None
    takeover: Takeover = REFUSE
    progress: Progress = silent
    told: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """What the work depends on, but for hardware and versions."""
        return " ".join((spec_hash(self.spec), *([self.start.sha256] if self.start else [])))

    def file(self, name: str) -> Path:
        return self.store.work(self.cell) / name

    def steps(self, stage: str, *weights: Weights, chunk: int, name: str = "") -> Journal:
        """Finished steps of `stage` on `weights`, `chunk` images at a time, in the folder `name`."""
        hashes = (each.sha256 for each in weights)
        mark = journaled(self.spec, *hashes, device=self.device, chunk=chunk)
        journal = noting(Journal(self.file(name or stage), mark), self.device)
        self.told.extend(done_elsewhere(journal, stage, self.device))
        return journal

    def once(self, data: str, make: Callable[[], Made]) -> Weights:
        """Return the weights left by the same work, or those of `make`, filed with their `making.json`.

        `data` is the sha256 of the training images. Raises `UserError` before `make` is called if
        records exist whose weights are not here and cannot be made again bit by bit on this machine,
        and `WeightsDiffer` after it if they were not.
        """
        if (kept := self._kept()) is not None:
            return kept
        started, known = datetime.now(UTC), self.store.making(self.cell)
        if known is not None and self.start is not None:
            ends = known.spec_hash, known.provenance.weights_sha256
            if ends == (spec_hash(self.spec), self.start.sha256):  # as at alpha = 0, on any machine
                return self.start
        if known is not None and known.details.kind != "checkpoint":  # tensors of a file repeat
            log = known.details.epochs if isinstance(known.details, Training) else []
            if not has_ended(self.file(TRAINING), self.fingerprint, log):
                check_repeatable(known, self.device)
        made = make()
        weights = Weights.of(dict(made.state), made.module)
        told = provenance(
            started,
            device=self.device,
            weights=weights.sha256,
            data=data,
            resumed=made.resumed,
            chunk=made.chunk,
            seconds=made.seconds,
            begun=list(dict.fromkeys((*self.told, *made.continued))),
        )
        name = CellName.of(self.cell)
        making = Making(cell=name, **hashed(self.spec), provenance=told, details=made.details)
        try:
            making = self._file(making)
        except WeightsDiffer:
            if (others := self._kept()) is None:  # of a process that was first
                raise
            return others
        if made.mean:
            beside = {"fingerprint": f"{self.fingerprint} {weights.sha256}"}
            save_tensors(self.file(AVERAGE), made.mean, beside)
        tensors, tags = weights.state, {"making": making.model_dump_json(), **weights.tags}
        if made.between is not None:
            tensors, (tags[TUNING], alpha) = {}, made.between
            tags[ALPHA] = repr(alpha)
        save_tensors(self.file(WEIGHTS), tensors, {"fingerprint": self.fingerprint} | tags)
        self.file(TRAINING).unlink(missing_ok=True)
        return weights

    def fit(self, *what: Any, state: str = TRAINING, **how: Any) -> Fitted:
        """`benchmark.engine.training.fit`, continued where a killed run left `state`."""
        of = _hash_of(how.get("trainable"))
        return fit(
            *what,
            **how,
            checkpoint=self.file(state),
            fingerprint=f"{self.fingerprint} {of}".rstrip(),
            takeover=self.takeover,
            progress=self.progress,
        )

    def fit_once(
        self,
        model: nn.Module,
        split: Split,
        info: DatasetInfo,
        method: Method | OwnTuning,
        recipe: Recipe,
        **how: Any,
    ) -> Fitted:
        """The result of `fit`, or of an own tuning: that on file, by this or another cell that shares
        it, else a new one. A file of other parameters (criticality measured anew) is not used."""
        of = _hash_of(how.get("trainable"))
        if (kept := self._tuned(of)) is not None:
            return kept
        if isinstance(method, OwnTuning):
            fitted = tuned_by(method, model, split, info, recipe, progress=self.progress, **how)
        else:
            fitted = self.fit(model, split, info, method, recipe, state=FINETUNING, **how)
        if (kept := self._tuned(of)) is not None:  # by another process
            return kept
        told = {
            "trainable": of,
            "log": _LOGS.dump_json(fitted.epochs).decode(),
            "begun": json.dumps(fitted.begun),
        }
        told["best"] = fitted.best.model_dump_json()
        tensors = moved(fitted.state, self.start.state if self.start else {})
        save_tensors(self.file(FINETUNED), tensors, {"fingerprint": self.fingerprint} | told)
        self.file(FINETUNING).unlink(missing_ok=True)
        return fitted

    def average(self, weights: Weights) -> Weights:
        """The mean of the last epochs' weights, which the training of `weights` left beside them.

        Raises `UserError` if it did not, here.
        """
        path, mark = self.file(AVERAGE), f"{self.fingerprint} {weights.sha256}"
        state, metadata = load_unfinished(path) or ({}, {})
        if metadata.get("fingerprint") != mark:
            raise UserError(
                f"the mean of the last epochs' weights of {self.cell.key} is not at '{path}'; train it "
                "here, or leave out what begins there"
            )
        return Weights.of(state)

    def _tuned(self, of: str) -> Fitted | None:
        """What `fit_once` left of parameters with the hash `of`; its unfinished state is done with.

        Files of earlier versions do not say which parameters were trained.
        """
        if (found := load_unfinished(self.file(FINETUNED))) is None:
            return None
        delta, kept = found
        if (kept.get("fingerprint"), kept.get("trainable", of)) != (self.fingerprint, of):
            return None
        state = (self.start.state if self.start else {}) | delta
        self.file(FINETUNING).unlink(missing_ok=True)
        log, begun = _LOGS.validate_json(kept["log"]), json.loads(kept["begun"])
        if not log:
            best = Count.model_validate_json(kept["best"])
            return Fitted([], 0, best, state, None, resumed=False, begun=begun)
        return Fitted.of(TrainingState(len(log), log, state, begun=begun), resumed=False)

    def _kept(self) -> Weights | None:
        """Weights left by the same work, which is done; their making is restored if it was lost."""
        path, kept = self.file(WEIGHTS), read_weights(self.store, self.cell)
        if kept is None:
            return None
        weights, metadata = kept
        if metadata.get("fingerprint") != self.fingerprint:
            return None
        making = parse_file(Making, metadata["making"], path)
        if making.provenance.weights_sha256 != weights.sha256:
            if TUNING in metadata:  # a point whose end was made anew, of other settings or modules
                return None
            raise UserError(f"the tensors in '{path}' are not those it was written with; delete it")
        self._file(making)
        self.file(TRAINING).unlink(missing_ok=True)
        return weights

    def _file(self, making: Making) -> Making:
        """Write `making`, or return the one on disk, which has to be of the same weights."""
        known = self.store.write_making(making)
        if known.provenance.weights_sha256 != making.provenance.weights_sha256:
            raise WeightsDiffer(
                f"the weights just made for {self.cell.key} are not those behind its records; use "
                "another --results, or move its records away"
            )
        return known


def _hash_of(names: Collection[str] | None) -> str:
    """What stands for the parameters `names` in a fingerprint; nothing for all of a network."""
    return "" if names is None else spec_hash({"trainable": sorted(names)})
