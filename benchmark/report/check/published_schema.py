"""Schema of `results/published.toml`.

The tables, criticality values and claims of the paper, what others report for the same methods, and
where the paper disagrees with itself. Accuracies are fractions in [0,1] under the names that this suite
gives to evaluations.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from baselines import method
from benchmark.algorithm.tunings import finetune
from benchmark.data import dataset_info
from benchmark.engine.recipes import same_radius
from benchmark.errors import UserError, unknown
from benchmark.evaluation import EVALUATIONS, evaluation
from benchmark.models import arch
from benchmark.records.cells import BASE
from benchmark.records.files import Frozen
from benchmark.records.ranges import Share

OTHER = "other:"
"""Prefix of a network or method that this suite does not have; the rest is free text."""

OTHERS_EVALUATIONS = {"pgd10": "PGD-10, one run", "pgd20": "PGD-20", "pgd100": "PGD-100"}
"""Evaluations of others that no evaluation here repeats: shown, never compared."""

Tolerance = Literal["seeds", "same-weights", "neighbour"]
"""How close a record can be expected to come to a row: `seeds`, a mean over few seeds of the same
recipe; `same-weights`, the very weights; `neighbour`, another recipe, for orientation."""


def attacks(name: str) -> bool:
    """Return whether the evaluation `name` attacks the model, and so may differ between runs."""
    return evaluation(name).kind not in ("clean", "corruptions")


def _named(known: Callable[[str], object], *, others: bool = False) -> AfterValidator:
    """Accept names for which `known` raises no `UserError` and, if `others`, `OTHER` plus any text,
    even the name of a plug-in's model, which need not be the published one."""

    def check(name: str) -> str:
        if others and name.startswith(OTHER) and name != OTHER:
            return name
        try:
            known(name)
        except UserError as error:
            hint = f", or '{OTHER}...' for what this suite does not have" if others else ""
            raise ValueError(f"{error}{hint}") from error
        return name

    return AfterValidator(check)


def _known_finetune(name: str) -> None:
    if name != BASE:
        finetune(name)


def _known_evaluation(name: str) -> None:
    if name not in (*EVALUATIONS, *OTHERS_EVALUATIONS):
        raise unknown("evaluation", name, (*EVALUATIONS, *OTHERS_EVALUATIONS))


Text = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
"""One line without spaces at its ends."""

Difference = Annotated[float, Field(strict=True, ge=-1, le=1, allow_inf_nan=False)]
DatasetName = Annotated[str, _named(dataset_info)]
ArchName = Annotated[str, _named(arch, others=True)]
OwnArchName = Annotated[str, _named(arch)]
MethodName = Annotated[str, _named(method, others=True)]
FinetuneName = Annotated[str, _named(_known_finetune)]
EvaluationName = Annotated[str, _named(_known_evaluation)]


class Citation(Frozen):
    """A source of numbers."""

    title: Text
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    kind: Literal["paper", "code", "log", "leaderboard"]


class _Printed(Frozen):
    id: Text
    source: Text
    where: Text


class PublishedRow(_Printed):
    """Published accuracies of one model.

    `finetunes` are the fine-tunings of this suite that the row may stand for, the likeliest first
    (`none` alone: a base model); `protocol` is what its authors did, in words; `seeds` is the number
    that the mean is over, None where they do not give it. `checkpoint` names the entry of
    `checkpoints.toml` with the weights of the row. `eps` is the L-infinity radius of pixels in [0,1] as
    written; `extra_data`: training used more than the dataset's own training images.
    """

    label: Text
    dataset: DatasetName
    arch: ArchName
    method: MethodName
    finetunes: Annotated[tuple[FinetuneName, ...], Field(min_length=1)]
    protocol: Text
    seeds: Annotated[int, Field(strict=True, gt=0)] | None = None
    tolerance: Tolerance
    values: Annotated[dict[EvaluationName, Share], Field(min_length=1)]
    checkpoint: Text | None = None
    eps: Annotated[str, Field(pattern=r"^(\d+/255|0\.\d+)$")] = "8/255"
    extra_data: bool = False
    note: Text | None = None

    @property
    def ours(self) -> bool:
        """Whether this suite has both network and method, so that a cell can be beside the row."""
        return not any(name.startswith(OTHER) for name in (self.arch, self.method))

    @property
    def comparable(self) -> dict[str, float]:
        """The values that an evaluation of this suite can be compared with.

        Leaves out evaluations this suite lacks and, unless `eps` is its radius for the dataset,
        all attacks.
        """
        same_eps = same_radius(self.eps, dataset_info(self.dataset).threat.eps)
        own = {name: value for name, value in self.values.items() if name in EVALUATIONS}
        return {name: value for name, value in own.items() if same_eps or not attacks(name)}

    @model_validator(mode="after")
    def _checkpoint_if_same_weights(self) -> Self:
        if (self.tolerance == "same-weights") != (self.checkpoint is not None):
            raise ValueError("'checkpoint' is named exactly where tolerance is 'same-weights'")
        return self


class PrintedChange(_Printed):
    """Printed differences: the mean of the rows `after` minus that of the rows `before`, as printed."""

    after: Annotated[tuple[Text, ...], Field(min_length=1)]
    before: Annotated[tuple[Text, ...], Field(min_length=1)]
    values: Annotated[dict[EvaluationName, Difference], Field(min_length=1)]


class PublishedModule(Frozen):
    """A module that a source names as the non-robust-critical one."""

    source: Text
    dataset: DatasetName
    arch: OwnArchName
    module: Text


class PublishedCriticality(PublishedModule):
    """A published module robust criticality: rise of the mean robust loss, drop of robust accuracy
    (fraction). None where it is not given."""

    where: Text
    mrc: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    accuracy_drop: Share | None = None
    role: Literal["non-robust-critical", "robust-critical"] | None = None
    note: Text | None = None


class AlphaRange(Frozen):
    """The published range of alpha*, and the fine-tuning learning rate that it is given for."""

    source: Text
    where: Text
    low: Share
    high: Share
    lr: Annotated[float, Field(strict=True, gt=0)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low = {self.low} is above high = {self.high}")
        return self


class Claim(Frozen):
    """A claim of the paper that records can confirm or refute; `numbers` quotes its tables."""

    id: Annotated[str, Field(pattern=r"^C[1-9]\d*$")]
    statement: Text
    where: Text
    numbers: Text | None = None
    note: Text | None = None


class Note(Frozen):
    """An inconsistency of a published text."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    where: Text
    text: Text


class Published(Frozen):
    """Everything in the file. Each id is unique within its kind; every source and row named exists."""

    schema_version: Literal[1]
    sources: dict[str, Citation]
    rows: tuple[PublishedRow, ...]
    changes: tuple[PrintedChange, ...]
    criticality: tuple[PublishedCriticality, ...]
    modules: tuple[PublishedModule, ...]
    alpha: AlphaRange
    claims: tuple[Claim, ...]
    notes: tuple[Note, ...]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        _once("row", [entry.id for entry in (*self.rows, *self.changes)])
        _once("claim", [claim.id for claim in self.claims])
        _once("note", [note.id for note in self.notes])
        _once("criticality of", [f"{m.dataset}/{m.arch}/{m.module}" for m in self.criticality])
        _once("module of", [f"{m.dataset}/{m.arch}" for m in self.modules])
        return self

    @model_validator(mode="after")
    def _sources_exist(self) -> Self:
        named = [
            *((entry.id, entry.source) for entry in (*self.rows, *self.changes)),
            *((entry.module, entry.source) for entry in (*self.criticality, *self.modules)),
            ("alpha", self.alpha.source),
        ]
        for entry, source in named:
            if source not in self.sources:
                raise ValueError(f"'{entry}': {unknown('source', source, sorted(self.sources))}")
        return self

    @model_validator(mode="after")
    def _changes_are_of_rows(self) -> Self:
        rows = {row.id: row for row in self.rows}
        for change in self.changes:
            for name in (*change.after, *change.before):
                if name not in rows:
                    raise ValueError(f"change '{change.id}' is of '{name}', which is no row")
                if missing := sorted(set(change.values) - set(rows[name].values)):
                    raise ValueError(f"change '{change.id}' has {missing[0]}, which '{name}' has not")
        return self


def _once(what: str, names: Sequence[str]) -> None:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{what} '{twice[0]}' stands there twice")
