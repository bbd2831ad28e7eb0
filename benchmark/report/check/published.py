"""Published numbers to hold records against: `results/published.toml`, read and checked (no torch).

The tables, criticality values and claims of the paper, what others report for the same methods, and
where the paper disagrees with itself. Accuracies are fractions in [0,1] under the names that this suite
gives to evaluations. Nothing here compares anything.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction as Rational
from functools import cache
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from baselines import method
from benchmark.algorithm.protocols import finetune
from benchmark.data import dataset_info
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS
from benchmark.models import arch
from benchmark.records.cells import BASE
from benchmark.records.checkout import shipped
from benchmark.records.files import Frozen

FILE = "results/published.toml"
OTHER = "other:"
"""Prefix of a network or method that this suite does not have; the rest is free text."""

OTHERS_EVALUATIONS = {
    "pgd10": "PGD-10, one run",
    "pgd20": "PGD-20",
    "pgd100": "PGD-100",
}
"""Evaluations of others that no evaluation here repeats: to be shown, never compared exactly."""

_WITHOUT_ATTACK = {name for name in EVALUATIONS if name == "clean" or name.startswith("corruptions")}

Tolerance = Literal["seeds", "same-weights", "neighbour"]
"""How close a record can be expected to come to a row: `seeds`, a mean over few seeds of the same
recipe; `same-weights`, the very weights; `neighbour`, another recipe, for orientation."""


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is not a fraction in [0,1] (write 0.8344 for 83.44 %)")
    return value


def _difference(value: float) -> float:
    if not -1 <= value <= 1:
        raise ValueError(f"{value} is not a difference of fractions (write 0.0198 for 1.98 points)")
    return value


def _named(known: Callable[[str], object], *, others: bool = False) -> AfterValidator:
    """Accepts the names that `known` knows, and after `OTHER`, if `others`, any that it does not."""

    def check(name: str) -> str:
        other = others and name.startswith(OTHER)
        try:
            known(name.removeprefix(OTHER) if other else name)
        except UserError as error:
            if other and name != OTHER:
                return name
            hint = f", or '{OTHER}...' for what this suite does not have" if others else ""
            raise ValueError(f"{error}{hint}") from error
        if other:
            raise ValueError(f"this suite has '{name.removeprefix(OTHER)}': leave out '{OTHER}'")
        return name

    return AfterValidator(check)


def _known_finetune(name: str) -> None:
    if name != BASE:
        finetune(name)


def _known_evaluation(name: str) -> None:
    if name not in (*EVALUATIONS, *OTHERS_EVALUATIONS):
        known = ", ".join((*EVALUATIONS, *OTHERS_EVALUATIONS))
        raise UserError(f"unknown evaluation '{name}'; known: {known}")


Text = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
"""One line without spaces at its ends."""

Fraction = Annotated[float, Field(strict=True), AfterValidator(_fraction)]
Difference = Annotated[float, Field(strict=True), AfterValidator(_difference)]
DatasetName = Annotated[str, _named(dataset_info)]
ArchName = Annotated[str, _named(arch, others=True)]
OwnArchName = Annotated[str, _named(arch)]
MethodName = Annotated[str, _named(method, others=True)]
FinetuneName = Annotated[str, _named(_known_finetune)]
EvaluationName = Annotated[str, _named(_known_evaluation)]


class Source(Frozen):
    """Where numbers come from; several links where several files hold them."""

    title: Text
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    kind: Literal["paper", "code", "log", "leaderboard"]


class Row(Frozen):
    """Published accuracies of one model.

    `finetunes` are the fine-tunings of this suite that the row may be a reading of, the likeliest first
    (`none` alone: a base model); `protocol` is what its authors did, in words; `seeds` is over how many
    the mean was taken, None where they do not say. `checkpoint` names the entry of `checkpoints.toml`
    with the weights of the row. `eps` is the L-infinity radius of pixels in [0,1] as written;
    `extra_data` says that training used more than the dataset's own training images.
    """

    id: Text
    source: Text
    where: Text
    label: Text
    dataset: DatasetName
    arch: ArchName
    method: MethodName
    finetunes: Annotated[tuple[FinetuneName, ...], Field(min_length=1)]
    protocol: Text
    seeds: Annotated[int, Field(strict=True, gt=0)] | None = None
    tolerance: Tolerance
    values: Annotated[dict[EvaluationName, Fraction], Field(min_length=1)]
    checkpoint: Text | None = None
    eps: Annotated[str, Field(pattern=r"^(\d+/255|0\.\d+)$")] = "8/255"
    extra_data: bool = False
    note: Text | None = None

    @property
    def ours(self) -> bool:
        """Whether both network and method are of this suite, so that a cell can be beside the row."""
        return not any(name.startswith(OTHER) for name in (self.arch, self.method))

    @property
    def comparable(self) -> dict[str, float]:
        """The values that an evaluation of this suite can be held against.

        None of others' attacks, and none under attack if `eps` is not the radius of this suite for the
        dataset.
        """
        own = {name: value for name, value in self.values.items() if name in EVALUATIONS}
        if isclose(float(Rational(self.eps)), dataset_info(self.dataset).threat.eps):
            return own
        return {name: value for name, value in own.items() if name in _WITHOUT_ATTACK}

    @model_validator(mode="after")
    def _checkpoint_if_same_weights(self) -> Self:
        if (self.tolerance == "same-weights") != (self.checkpoint is not None):
            raise ValueError("'checkpoint' is named exactly where tolerance is 'same-weights'")
        return self


class Change(Frozen):
    """Printed differences: the mean of the rows `after` minus that of the rows `before`, as printed."""

    id: Text
    source: Text
    where: Text
    after: Annotated[tuple[Text, ...], Field(min_length=1)]
    before: Annotated[tuple[Text, ...], Field(min_length=1)]
    values: Annotated[dict[EvaluationName, Difference], Field(min_length=1)]


class MeasuredModule(Frozen):
    """A published module robust criticality: rise of the mean robust loss, drop of robust accuracy
    (fraction). None where it is not given."""

    source: Text
    where: Text
    dataset: DatasetName
    arch: OwnArchName
    module: Text
    mrc: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    accuracy_drop: Fraction | None = None
    role: Literal["non-robust-critical", "robust-critical"] | None = None
    note: Text | None = None


class NamedModule(Frozen):
    """A module that a source names as the non-robust-critical one."""

    source: Text
    dataset: DatasetName
    arch: OwnArchName
    module: Text


class AlphaRange(Frozen):
    """Where alpha* is said to lie, with the fine-tuning learning rate it is said for."""

    source: Text
    where: Text
    low: Fraction
    high: Fraction
    lr: Annotated[float, Field(strict=True, gt=0)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low = {self.low} is above high = {self.high}")
        return self


class Claim(Frozen):
    """A claim of the paper that records can bear out or not; `numbers` is what its tables say."""

    id: Annotated[str, Field(pattern=r"^C[1-9]\d*$")]
    statement: Text
    where: Text
    numbers: Text | None = None
    note: Text | None = None


class Note(Frozen):
    """Something that does not fit together in a published text."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    where: Text
    text: Text


class Published(Frozen):
    """Everything in the file. Each id is unique within its kind; every source and row named exists."""

    schema_version: Literal[1]
    sources: dict[str, Source]
    rows: tuple[Row, ...]
    changes: tuple[Change, ...]
    criticality: tuple[MeasuredModule, ...]
    modules: tuple[NamedModule, ...]
    alpha: AlphaRange
    claims: tuple[Claim, ...]
    notes: tuple[Note, ...]

    def row(self, name: str) -> Row:
        """The row with the id `name`. Raises `UserError` if there is none."""
        for row in self.rows:
            if row.id == name:
                return row
        raise UserError(f"no published row is called '{name}'; '{FILE}' lists them")

    def claim(self, name: str) -> Claim:
        """The claim with the id `name`. Raises `UserError` if there is none."""
        for claim in self.claims:
            if claim.id == name:
                return claim
        known = ", ".join(claim.id for claim in self.claims)
        raise UserError(f"no published claim is called '{name}'; known: {known}")

    def notes_on(self, where: str) -> tuple[Note, ...]:
        """The notes about a place of the paper, such as `Table 1` or `Section 5.5`."""
        return tuple(
            note
            for note in self.notes
            if any(place == where or place.startswith(f"{where},") for place in note.where.split("; "))
        )

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        _once("row", [*(row.id for row in self.rows), *(change.id for change in self.changes)])
        _once("claim", [claim.id for claim in self.claims])
        _once("note", [note.id for note in self.notes])
        _once("criticality of", [f"{m.dataset}/{m.arch}/{m.module}" for m in self.criticality])
        _once("module of", [f"{m.dataset}/{m.arch}" for m in self.modules])
        return self

    @model_validator(mode="after")
    def _sources_exist(self) -> Self:
        named = [
            *((row.id, row.source) for row in self.rows),
            *((change.id, change.source) for change in self.changes),
            *((measured.module, measured.source) for measured in self.criticality),
            *((module.module, module.source) for module in self.modules),
            ("alpha", self.alpha.source),
        ]
        for entry, source in named:
            if source not in self.sources:
                known = ", ".join(sorted(self.sources))
                raise ValueError(f"'{entry}' is from the unknown source '{source}'; known: {known}")
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


def published(path: Path | None = None) -> Published:
    """The published numbers in `path`, by default those of the repository (read once).

    Raises `UserError` in one line, naming the file, the entry and what is wrong.
    """
    return _shipped() if path is None else _read(path)


@cache
def _shipped() -> Published:
    return _read(shipped(FILE))


def _read(path: Path) -> Published:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the published numbers '{path}': {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"'{path}' is not TOML: {error}") from error
    flat = _flat(content, path)
    try:
        return Published.model_validate(flat)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(f"'{path}': {_place(flat, first['loc'])}: {said}") from error


def _flat(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`content` with its `groups` resolved: what a group says holds for each of its rows and changes.

    A row may say it anew; a change takes only source and place.
    """
    flat: dict[str, Any] = {"rows": [], "changes": [], **content}
    groups = flat.pop("groups", [])
    if not (isinstance(groups, list) and all(isinstance(group, dict) for group in groups)):
        raise UserError(f"'{path}': groups: write them as [[groups]]")
    for number, group in enumerate(groups, start=1):
        shared = {name: value for name, value in group.items() if name not in ("rows", "changes")}
        place = {name: shared[name] for name in ("source", "where") if name in shared}
        for kind, common in (("rows", shared), ("changes", place)):
            entries = group.get(kind, [])
            if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
                raise UserError(f"'{path}': group {number}: {kind}: write a list of tables")
            flat[kind] = [*flat[kind], *({**common, **entry} for entry in entries)]
    return flat


def _place(flat: Mapping[str, Any], loc: tuple[str | int, ...]) -> str:
    """The place of an error in words: the kind of entry, its id (else its number), and the field."""
    if not loc:
        return "the whole file"
    kind, *rest = loc
    entries = flat.get(str(kind))
    if rest and isinstance(entries, list) and isinstance(rest[0], int):
        entry = entries[rest[0]]
        name = entry.get("id") or entry.get("module") if isinstance(entry, Mapping) else None
        rest[0] = f"'{name}'" if name else f"number {rest[0] + 1}"
    if rest and rest[-1] == "[key]":
        rest.pop()
    return " ".join([str(kind), *(str(part) for part in rest)])
