"""What is read from and written to `results/`: one record per evaluation, one making per model.

Accuracies are counts k of n; `value` = k / n is kept beside them for readers of the JSON.
"""

from collections.abc import Iterable
from operator import not_
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, FiniteFloat, model_validator

from benchmark.records.applied import Applied as Applied
from benchmark.records.cells import Cell, FinetunePart, Part
from benchmark.records.counts import Count as Count
from benchmark.records.counts import Sha256 as Sha256
from benchmark.records.files import Frozen, parse_model
from benchmark.records.specs import Spec, spec_hash

SCHEMA_VERSION: Literal[1] = 1
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "rift-benchmark")
"""Packages whose versions a provenance names, beside that of Python."""
MAKE_AGAIN = "restore it from version control or move it away to make it again"
WARNING = "warning: "
"""Begins those remarks of a record that warn of its number."""
VANISHING = ZERO_GRADIENTS, ZERO_LOSSES = "zero-gradients", "zero-losses"
"""Parts that count the clean images at which the cross-entropy's gradient by the pixels, or the
cross-entropy itself, is exactly zero in fp32."""


class CellName(Frozen):
    """A cell as it stands in a file."""

    scale: Part
    dataset: Part
    arch: Part
    method: Part
    finetune: FinetunePart
    seed: int = Field(ge=0, lt=10**18)

    @classmethod
    def of(cls, cell: Cell) -> "CellName":
        return cls(**vars(cell))

    @property
    def cell(self) -> Cell:
        return Cell(**self.model_dump())


class Provenance(Frozen):
    """Where, when and with what a number was made.

    `commit` is None outside a git checkout, `dirty` whether tracked files differed from it; `started`
    is UTC in ISO 8601. `seconds` is wall-clock time: of all finished epochs for a training, since
    `started` otherwise; `resumed` whether epochs or answers of an interrupted attempt were taken (steps
    such as criticality do not count), and `begun` what was different then, if anything was. `chunk` is
    the number of images that were classified, and attacked by PGD, at once; `benchmark.engine.pgd`
    tells on which hardware it matters, and AutoAttack's is in its spec. `plugins` are the sha256 of
    those that were loaded, by name; files hold them where there were some.
    """

    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str
    threads: int = Field(gt=0)
    precision: str
    chunk: int | None = Field(default=None, gt=0)
    started: str
    seconds: float = Field(ge=0)
    resumed: bool
    begun: list[str] = Field(default_factory=list)
    weights_sha256: Sha256
    data_sha256: Sha256
    plugins: dict[str, Sha256] = Field(default_factory=dict, exclude_if=not_)


class EpochLog(Frozen):
    """One epoch (counted from 1): mean training loss, last learning rate, and selection score."""

    epoch: int = Field(ge=1)
    loss: float
    lr: float
    selection: Count | None


class ModuleCriticality(Frozen):
    """MRC of one module: rise of the mean robust loss, drop of robust accuracy (fraction) and
    ||dW||/||W|| where that loss was taken; `epochs` is the number of epochs of ascent.

    The three values are None if the ascent diverged. `constrained` tells whether the constraint on
    ||dW|| was ever active.
    """

    module: str
    mrc: FiniteFloat | None
    accuracy_drop: FiniteFloat | None
    norm_ratio: FiniteFloat | None
    epochs: int
    constrained: bool

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        if len({value is None for value in (self.mrc, self.accuracy_drop, self.norm_ratio)}) != 1:
            raise ValueError("mrc, accuracy_drop and norm_ratio are all numbers or all null")
        return self

    @property
    def diverged(self) -> bool:
        return self.mrc is None

    @property
    def failed(self) -> bool:
        """Whether the ascent ended lower than it began; its ball contains W, where the rise is 0."""
        return self.mrc is not None and self.mrc < 0

    @property
    def valid(self) -> bool:
        """Whether `mrc` may rank the module, because the ascent neither diverged nor failed."""
        return not (self.diverged or self.failed)

    @property
    def remark(self) -> str | None:
        """A warning for readers of the values, if there is reason for one."""
        if self.diverged:
            return "the ascent diverged: there is no MRC"
        if self.failed:
            return "the ascent failed: it ended lower than it began, and MRC is not negative"
        if not self.constrained:
            return "the constraint was never active: MRC is under-estimated"
        return None


def flagged(entries: Iterable[ModuleCriticality]) -> list[str]:
    """Names of the modules with a valid MRC whose constraint was never active, in their order.

    Their ascent ended inside the ball: MRC is under-estimated and may make them look less critical.
    """
    return [entry.module for entry in entries if entry.valid and not entry.constrained]


def not_valid(entries: Iterable[ModuleCriticality]) -> list[str]:
    """Names of the modules whose ascent diverged or failed, in the order of `entries`."""
    return [entry.module for entry in entries if not entry.valid]


class CurvePoint(Frozen):
    """Accuracy at one interpolation coefficient; `robust` is None where it was not needed."""

    alpha: float = Field(ge=0, le=1)
    clean: Count
    robust: Count | None


class Training(Frozen):
    """How adversarially trained weights came to be."""

    kind: Literal["training"] = "training"
    epochs: list[EpochLog]
    best_epoch: int
    best: Count


class Checkpoint(Frozen):
    """Adversarially trained weights that were not trained here but read from a checkpoint.

    `name`, `source` (where the file comes from), `licence`, `what` (the model it really holds) and
    `eps` (of its training) are the registry's at that time; `file_sha256` is the hash of the file, and
    `notes` has a line for each change to its state dict. The `data_sha256` beside it hashes the
    training images that fine-tuning goes on with; its authors' are not known.
    """

    kind: Literal["checkpoint"] = "checkpoint"
    name: str
    file_sha256: Sha256
    source: str
    licence: str
    what: str
    eps: str
    notes: list[str]


class Finetuning(Frozen):
    """How fine-tuned weights came to be. An `OwnTuning` has no `epochs`, and a `best_epoch` of 0."""

    kind: Literal["fine-tuning"] = "fine-tuning"
    criticality: list[ModuleCriticality] | None
    modules: list[str]
    epochs: list[EpochLog]
    best_epoch: int
    best: Count
    alpha: float = Field(ge=0, le=1)
    reference: Count | None
    curve: list[CurvePoint]


class _ResultFile(Frozen):
    schema_version: Literal[1] = SCHEMA_VERSION
    cell: CellName
    spec: dict[str, Any]
    spec_hash: Sha256
    provenance: Provenance

    @model_validator(mode="after")
    def _hash_fits(self) -> Self:
        if spec_hash(self.spec) != self.spec_hash:
            raise ValueError("spec_hash is not the hash of spec")
        return self


class Making(_ResultFile):
    """One model: how its weights were made. Its file is `<key>/making.json`."""

    details: Training | Checkpoint | Finetuning | Applied = Field(discriminator="kind")


class Record(_ResultFile):
    """One evaluation of one model. Its file is `<key>/<evaluation>.json`.

    `parts` are the counts that the value is made of (per run, per corruption and severity), and those
    of images that may mislead: `not-finite`, `zero-gradients` and `zero-losses`; `bits_sha256` is the
    hash of the file of per-image correctness beside it. `sources` are sha256 by name of files that were
    read beside the dataset (corrupted copies, frost pictures), `remarks` what a reader should know.
    `same_as` is read and not written: in older records, the key of a cell with the very same weights
    whose evaluation was taken over.
    """

    evaluation: Part
    value: float = Field(ge=0, le=1)
    k: int
    n: int
    parts: dict[str, Count]
    bits_sha256: Sha256
    same_as: str | None = Field(default=None, exclude=True)
    sources: dict[str, Sha256] = Field(default_factory=dict)
    remarks: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if self.value != self.count.fraction:
            raise ValueError(f"value {self.value} is not k / n = {self.k} / {self.n}")
        return self

    @property
    def count(self) -> Count:
        return Count(k=self.k, n=self.n)

    @property
    def warnings(self) -> list[str]:
        """The remarks that warn of the number, without the word that marks them."""
        return [each.removeprefix(WARNING) for each in self.remarks if each.startswith(WARNING)]


F = TypeVar("F", bound=_ResultFile)


def parse_file(kind: type[F], text: str | bytes, path: object) -> F:
    """A record or making from JSON. Raises `UserError` with the path and the first thing wrong."""
    wrong = f"is not a {kind.__name__.lower()} of schema {SCHEMA_VERSION}"
    return parse_model(kind, text, path, wrong, MAKE_AGAIN)


def hashed(spec: Spec) -> dict[str, Any]:
    """`spec` with its hash, as the fields of a file."""
    return {"spec": spec, "spec_hash": spec_hash(spec)}
