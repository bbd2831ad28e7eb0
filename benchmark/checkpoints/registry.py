"""The registry of checkpoints, `checkpoints.toml`: adversarially trained weights to start from.

An entry says where a file is, the hash it must have, which network it fits, and what it *really* is.
Files that are downloaded or imported lie in the folder `checkpoints` of the data directory. Nothing
reads one before its sha256 has been checked. Some hashes are unknown, since nobody here could fetch
the file: then the user's word counts, given once by `checkpoints get NAME --accept-checksum SHA256` and
kept in `SHA256SUMS` beside the file. No torch.
"""

import difflib
import functools
import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from baselines import method
from benchmark.checkpoints.networks import check_zoo_normalization, is_zoo, network, normalised
from benchmark.checkpoints.robustbench import PREFIX
from benchmark.data import dataset_info
from benchmark.data.get.sha256sums import known_sha256, read_sums
from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError, first_problem
from benchmark.evaluation import evaluation
from benchmark.models import Arch, arch
from benchmark.records.cells import PART, Cell
from benchmark.records.checkout import shipped
from benchmark.records.files import Frozen
from benchmark.records.records import Sha256

if TYPE_CHECKING:
    from benchmark.checkpoints.robustbench import ZooArch

FILE = "checkpoints.toml"
VARIABLE = "BENCHMARK_CHECKPOINTS"
"""The environment variable that names a registry of one's own, instead of the shipped one."""

FOLDER = "checkpoints"
"""Where downloaded and imported files are, in the data directory."""

SCHEMA_VERSION = 1
_FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


class Source(StrEnum):
    """Where the file of an entry comes from."""

    PATH = "path"
    URL = "url"
    ROBUSTBENCH = "robustbench"


class State(StrEnum):
    """What is known of the file of an entry on this machine."""

    VERIFIED = "verified"
    UNACCEPTED = "not accepted"
    DAMAGED = "damaged"
    MISSING = "missing"


def _known(value: str, lookup: Any) -> str:
    """`value`, if `lookup` knows it; its error becomes one of the field."""
    try:
        lookup(value)
    except UserError as error:
        raise ValueError(str(error)) from error
    return value


def _known_arch(value: str) -> str:
    return value if is_zoo(value) and len(value) > len(PREFIX) else _known(value, arch)


Name = Annotated[str, Field(pattern=f"^{PART}$")]
Line = Annotated[str, Field(pattern=r"^\S([^\n]*\S)?$")]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Checkpoint(Frozen):
    """One entry of the registry.

    `source` is an address (with further `mirrors`), `robustbench:ID`, or a path from the folder of the
    registry; `file` is the file's name and `arch` the network it fits, one of this suite or
    `robustbench:ID`. `method` is the AT method of this suite that the weights stand for in tables, None
    where it has none such; `cell` is the key of the cell whose weights they are, if this suite made
    them. `entry`, `prefix` and `drop` are those of `benchmark.checkpoints.load.load_checkpoint`,
    `normalization` that of `benchmark.checkpoints.networks.normalised`. `published` are accuracies by
    evaluation, as fractions. `sha256` and `size` (bytes) are None where they are not known.
    """

    name: Name
    dataset: Annotated[str, AfterValidator(lambda value: _known(value, dataset_info))]
    arch: Annotated[str, AfterValidator(_known_arch)]
    method: Annotated[str, AfterValidator(lambda value: _known(value, method))] | None = None
    seed: int = Field(default=0, ge=0)
    cell: Annotated[str, AfterValidator(lambda value: _known(value, Cell.parse))] | None = None
    source: Line
    mirrors: tuple[Line, ...] = ()
    file: str = Field(pattern=f"^{_FILE_NAME}$")
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
        if self.sha256 is None and self.kind is not Source.ROBUSTBENCH:
            raise ValueError("sha256 is missing; only files of RobustBench's zoo may be without one")
        if self.mirrors and self.kind is not Source.URL:
            raise ValueError("only an address has mirrors")
        if self.kind is Source.PATH:
            path = PurePosixPath(self.source)
            if path.is_absolute() or ".." in path.parts or path.name != self.file:
                raise ValueError(f"source '{self.source}' is no path below the registry to {self.file}")
        for address in self.mirrors:
            if not _is_address(address):
                raise ValueError(f"mirror '{address}' is no http address")
        if self.cell is not None:
            made = Cell.parse(self.cell)
            stands_for = made.method if made.is_base else None
            ours = (self.dataset, self.arch, self.method, self.seed)
            if (made.dataset, made.arch, stands_for, made.seed) != ours:
                raise ValueError(
                    f"cell '{self.cell}' is of another dataset, arch, seed or method (none, if "
                    "fine-tuned)"
                )
        for name in self.published:
            _known(name, evaluation)
        try:
            if self.is_zoo:
                check_zoo_normalization(self.normalization)
            else:
                normalised(dataset_info(self.dataset), self.normalization)
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def kind(self) -> Source:
        """What `source` is."""
        if self.source.startswith(PREFIX):
            return Source.ROBUSTBENCH
        return Source.URL if _is_address(self.source) else Source.PATH

    @property
    def is_zoo(self) -> bool:
        """Whether its network is RobustBench's, which only `evaluate --checkpoint` takes."""
        return is_zoo(self.arch)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the file may be downloaded, best first; empty unless `source` is an address."""
        return (self.source, *self.mirrors) if self.kind is Source.URL else ()

    @property
    def eps_value(self) -> float:
        """The radius of its training, in pixels of [0,1]."""
        above, _, below = self.eps.partition("/")
        return float(above) / float(below or 1)

    @property
    def network(self) -> "tuple[Arch | ZooArch, DatasetInfo]":
        """Its architecture, and its dataset with the normalisation that it was trained with.

        Raises `UserError` for a network of RobustBench's where that is not installed.
        """
        return network(self.arch, dataset_info(self.dataset), self.normalization)

    @property
    def summary(self) -> str:
        """What it really is, where it comes from and under which licence, for notes and remarks."""
        return f"checkpoint {self.name}: {self.what.rstrip('.')} ({self.source}; {self.licence})"


def registry(path: Path | None = None) -> dict[str, Checkpoint]:
    """The entries of a registry by name; without `path` of the one in `VARIABLE`, else the shipped one.

    Raises `UserError` naming the file, the entry and the first thing that is wrong with it.
    """
    return dict(_registry((path or registry_file()).resolve()))


def registry_file() -> Path:
    """The registry in use: the one in `VARIABLE`, else the shipped one."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else shipped(FILE)


def checkpoint(name: str) -> Checkpoint:
    """The entry called `name`. Raises `UserError` with similar names if there is none."""
    known = registry()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        hint = f"close to it: {', '.join(near)}" if near else "`checkpoints list` names them"
        raise UserError(f"no checkpoint is called '{name}'; {hint}")
    return known[name]


def place(checkpoint: Checkpoint, directory: Path) -> Path:
    """Where its file is or would be; `directory` is the data directory (`--data-dir`)."""
    if checkpoint.kind is not Source.PATH:
        return directory / FOLDER / checkpoint.file
    return (
        shipped(checkpoint.source) if checkpoint.root is None else checkpoint.root / checkpoint.source
    )


def expected_sha256(checkpoint: Checkpoint, directory: Path) -> str | None:
    """The hash its file must have: the registry's, else one that was accepted; None for neither."""
    if checkpoint.sha256 is not None:
        return checkpoint.sha256
    folder = directory / FOLDER
    return (read_sums(folder) or {}).get(checkpoint.file) if folder.is_dir() else None


def held(checkpoint: Checkpoint, directory: Path) -> Path:
    """The file of `checkpoint`, once its size and its sha256 are found right.

    `directory` is the data directory. Nothing but its hash has been taken of the file. Raises
    `UserError`: how to get it if it is not there, how to accept it if its hash is not known, and both
    hashes if it is another file.
    """
    path, name = place(checkpoint, directory), checkpoint.name
    if not path.is_file():
        raise UserError(f"checkpoint {name} is not at '{path}'; {how_to_get(checkpoint)}")
    expected, found = expected_sha256(checkpoint, directory), known_sha256(path)
    if expected is None:
        raise UserError(
            f"'{path}' has sha256 {found}, and none is on record for {name}; if its publisher, or "
            f"someone you trust, states that one: `checkpoints get {name} --accept-checksum {found}`"
        )
    size = path.stat().st_size
    if checkpoint.size not in (None, size):
        raise UserError(
            f"'{path}' is not {name}: expected {checkpoint.size} bytes, found {size}; "
            f"{_replace(checkpoint)}"
        )
    if found != expected:
        raise UserError(
            f"'{path}' is not {name}: expected sha256 {expected}, found {found}; {_replace(checkpoint)}"
        )
    return path


def state(checkpoint: Checkpoint, directory: Path) -> State:
    """What `held` would say, in a word."""
    if not place(checkpoint, directory).is_file():
        return State.MISSING
    if expected_sha256(checkpoint, directory) is None:
        return State.UNACCEPTED
    try:
        held(checkpoint, directory)
    except UserError:
        return State.DAMAGED
    return State.VERIFIED


def how_to_get(checkpoint: Checkpoint) -> str:
    """What brings the file of an entry here, in words."""
    if checkpoint.kind is Source.PATH:
        return "restore it from version control"
    return (
        f"`checkpoints get {checkpoint.name}` downloads it, `checkpoints get {checkpoint.name} --file "
        "PATH` takes a copy of yours"
    )


def _replace(checkpoint: Checkpoint) -> str:
    if checkpoint.kind is Source.PATH:
        return how_to_get(checkpoint)
    return f"delete it and `checkpoints get {checkpoint.name}`"


def _is_address(text: str) -> bool:
    return re.match(r"https?://[^/]+/", text) is not None


@functools.cache
def _registry(path: Path) -> Mapping[str, Checkpoint]:
    """The entries of the registry at `path`, read once per process."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read '{path}' ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is not TOML: {error}") from error
    entries = content.pop("checkpoint", [])
    if content.pop("schema_version", None) != SCHEMA_VERSION:
        raise UserError(f"'{path}' does not say schema_version = {SCHEMA_VERSION}")
    if content or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        other = next(iter(content), "checkpoint")
        raise UserError(f"'{path}' holds '{other}'; a registry is a list of [[checkpoint]] tables")
    known: dict[str, Checkpoint] = {}
    files: dict[str, str] = {}
    for number, fields in enumerate(entries, start=1):
        added = _entry(path, number, fields)
        if added.name in known:
            raise UserError(f"'{path}' has two entries named '{added.name}'; rename one")
        if added.kind is not Source.PATH and (other := files.setdefault(added.file, added.name)) != (
            added.name
        ):
            raise UserError(
                f"'{path}', {added.name}: file '{added.file}' is that of {other} too; name it otherwise"
            )
        known[added.name] = added
    return known


def _entry(path: Path, number: int, fields: dict[str, Any]) -> Checkpoint:
    """One table of the file as an entry."""
    which = f"checkpoint {fields.get('name', number)}"
    if "root" in fields:
        raise UserError(f"'{path}', {which}: root: no entry sets it; leave it out")
    try:
        return Checkpoint(**fields, root=path.parent)
    except ValidationError as error:
        raise UserError(f"'{path}', {which}: {first_problem(error, 'entry')}") from error
