"""An entry of the registry: where a checkpoint is, which network it fits, what it really is."""

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from baselines import method
from benchmark.checkpoints.networks import is_zoo, network, pixels
from benchmark.checkpoints.robustbench import PREFIX, ZooArch
from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.models import Arch, arch, key_name
from benchmark.records.cells import Cell, Part
from benchmark.records.files import Frozen
from benchmark.records.records import Sha256


class FileSource(StrEnum):
    """Where the file of an entry comes from."""

    PATH = "path"
    URL = "url"
    ROBUSTBENCH = "robustbench"


def _known_to(lookup: Callable[[str], object]) -> AfterValidator:
    """A validator that turns what `lookup` refuses into an error of the field."""

    def check(value: str) -> str:
        try:
            lookup(value)
        except UserError as error:
            raise ValueError(str(error)) from error
        return value

    return AfterValidator(check)


def _network(name: str) -> None:
    if not (is_zoo(name) and len(name) > len(PREFIX)):
        arch(name)


MethodName = Annotated[str, _known_to(method)]
Line = Annotated[str, Field(pattern=r"^\S([^\n]*\S)?$")]
Fraction = Annotated[float, Field(ge=0, le=1)]


class CheckpointEntry(Frozen):
    """One table of `checkpoints.toml`.

    `source` is an address (with further `mirrors`), `robustbench:ID`, or a path from the folder of the
    registry; `file` is the file's name and `arch` the network it fits, one of this suite or
    `robustbench:ID`. `method` is the AT method of this suite that the weights stand for in tables, None
    where it has none such; `cell` is the key of the cell whose weights they are, if this suite made
    them. `entry`, `prefix` and `drop` are arguments of `load.load_checkpoint`, `normalization` of
    `networks.normalised`. `eps` is the radius of its training, in pixels of [0,1]. `published` are
    accuracies in [0,1] by evaluation. `sha256` and `size` (bytes) are None where they are not known.
    """

    name: Part
    dataset: Annotated[str, _known_to(dataset_info)]
    arch: Annotated[str, _known_to(_network)]
    method: MethodName | None = None
    seed: int = Field(default=0, ge=0)
    cell: Annotated[str, _known_to(Cell.parse)] | None = None
    source: Line
    mirrors: tuple[Line, ...] = ()
    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: Sha256 | None = None
    size: int | None = Field(default=None, gt=0)
    entry: str | None = None
    prefix: str | None = None
    drop: tuple[str, ...] = ()
    normalization: str = "dataset"
    licence: Line
    what: Line
    eps: str = Field(pattern=r"^[0-9]+(\.[0-9]+)?(/[1-9][0-9]*)?$")
    extra_data: bool = False
    selects_on: Literal["test", "hold-out", "unknown"]
    published: dict[str, Fraction] = Field(default_factory=dict)
    link: str | None = None
    root: Path | None = Field(default=None, exclude=True, repr=False)
    """The folder of the registry; no entry of the file sets it."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.sha256 is None and self.kind is not FileSource.ROBUSTBENCH:
            raise ValueError("sha256 is missing; only files of RobustBench's zoo may be without one")
        if self.mirrors and self.kind is not FileSource.URL:
            raise ValueError("only an address has mirrors")
        if self.kind is FileSource.PATH:
            if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", self.source):
                raise ValueError(f"source begins with {scheme[0]}; https: and http: are right")
            path = PurePosixPath(self.source)
            if path.is_absolute() or ".." in path.parts or path.name != self.file:
                raise ValueError(f"source '{self.source}' is no path below the registry to {self.file}")
        if odd := [address for address in self.mirrors if not _is_address(address)]:
            raise ValueError(f"mirror '{odd[0]}' is no http or https address")
        if self.cell is not None:
            made = Cell.parse(self.cell)
            stands_for = made.method if made.is_base else None
            ours = (self.dataset, key_name(self.arch), self.method, self.seed)
            if (made.dataset, made.arch, stands_for, made.seed) != ours:
                what = "another dataset, arch, seed or method (none, if fine-tuned)"
                raise ValueError(f"cell '{self.cell}' is of {what}")
        try:
            for name in self.published:
                evaluation(name)
            pixels(self.arch, dataset_info(self.dataset), self.normalization)
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def kind(self) -> FileSource:
        """What `source` is."""
        if self.source.startswith(PREFIX):
            return FileSource.ROBUSTBENCH
        return FileSource.URL if _is_address(self.source) else FileSource.PATH

    @property
    def is_zoo(self) -> bool:
        """Whether its network is RobustBench's, which only `evaluate --checkpoint` takes."""
        return is_zoo(self.arch)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the file may be downloaded, best first; empty unless `source` is an address."""
        return (self.source, *self.mirrors) if self.kind is FileSource.URL else ()

    @property
    def checksum(self) -> str:
        """The hash as downloads name it; it must be known."""
        return f"sha256:{self.sha256}"

    @property
    def network(self) -> tuple[Arch | ZooArch, DatasetInfo]:
        """Its architecture, and its dataset with the normalisation that it was trained with.

        Raises `UserError` for a network of RobustBench's where that is not installed.
        """
        return network(self.arch, dataset_info(self.dataset), self.normalization)

    @property
    def summary(self) -> str:
        """What it really is, where it comes from and under which licence, for notes and remarks."""
        return f"checkpoint {self.name}: {self.what.rstrip('.')} ({self.source}; {self.licence})"


def _is_address(text: str) -> bool:
    return re.match(r"https?://[^/]+/", text) is not None
