"""The registry of checkpoints, `checkpoints.toml`: adversarially trained weights to start from.

Files that are downloaded or imported lie in the folder `checkpoints` of the data directory. Nothing
reads one before its sha256 has been checked. Some hashes are unknown, since nobody here could fetch
the file: then the user's word counts, given once by `checkpoints get NAME --accept-checksum SHA256` and
kept in `SHA256SUMS` beside the file. No torch.
"""

import functools
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from benchmark.checkpoints.entry import CheckpointEntry, FileSource
from benchmark.data.get.archives import of_folder
from benchmark.data.get.sha256sums import known_sha256, read_sums
from benchmark.errors import UserError, close_to, problems
from benchmark.models import key_name
from benchmark.records.checkout import shipped
from benchmark.records.files import at_home, read_toml

FILE = "checkpoints.toml"
VARIABLE = "BENCHMARK_CHECKPOINTS"
"""The environment variable that names a registry of one's own, instead of the shipped one."""

FOLDER = "checkpoints"
"""Where downloaded and imported files are, in the data directory."""

SCHEMA_VERSION = 1


class FileState(StrEnum):
    """What is known of the file of an entry on this machine."""

    VERIFIED = "verified"
    UNACCEPTED = "not accepted"
    DAMAGED = "damaged"
    MISSING = "missing"


class TrainedModel(NamedTuple):
    """The trained model that a checkpoint stands for, in the names of keys."""

    dataset: str
    arch: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.arch}/{self.method}/seed{self.seed}"


def registry(path: Path | None = None) -> dict[str, CheckpointEntry]:
    """The entries of the registry at `path` (None: the one in use) by name.

    Raises `UserError` naming the file, and the entries with all that is wrong with them.
    """
    return dict(_registry((path or registry_file()).resolve()))


def registry_file() -> Path:
    """The registry in use: the one in `VARIABLE`, else the shipped one."""
    named = os.environ.get(VARIABLE)
    return at_home(named) if named else shipped(FILE)


def checkpoint(name: str) -> CheckpointEntry:
    """The entry called `name`. Raises `UserError` with similar names if there is none."""
    known = registry()
    if name not in known:
        hint = close_to(name, known) or "`checkpoints list` names them"
        raise UserError(f"no checkpoint is called '{name}'; {hint}")
    return known[name]


def trained_model(name: str) -> TrainedModel:
    """The trained model that the checkpoint `name` stands for.

    Raises `UserError` if the registry has none of that name, or one that no cell can start from: its
    network or its method is none of this suite's.
    """
    found = checkpoint(name)
    elsewhere = f"`python -m benchmark evaluate --checkpoint {name}` evaluates it as it is"
    if found.is_zoo:
        raise UserError(
            f"checkpoint '{name}' is of '{found.arch}', no network of this suite; {elsewhere}"
        )
    if found.method is None:
        raise UserError(f"checkpoint '{name}' is of no training method of this suite; {elsewhere}")
    return TrainedModel(found.dataset, key_name(found.arch), found.method, found.seed)


def path_of(checkpoint: CheckpointEntry, directory: Path) -> Path:
    """Where its file is or would be; `directory` is the data directory (`--data-dir`)."""
    if checkpoint.kind is not FileSource.PATH:
        return directory / FOLDER / checkpoint.file
    return checkpoint.root / checkpoint.source if checkpoint.root else shipped(checkpoint.source)


def expected_sha256(checkpoint: CheckpointEntry, directory: Path) -> str | None:
    """The hash its file must have: the registry's, else one that was accepted; None for neither."""
    if checkpoint.sha256 is not None:
        return checkpoint.sha256
    folder = directory / FOLDER
    return (read_sums(folder) or {}).get(checkpoint.file) if folder.is_dir() else None


def verified_file(checkpoint: CheckpointEntry, directory: Path) -> Path:
    """The file of `checkpoint`, once its size and its sha256 are found right; nothing else is read.

    `directory` is the data directory. Raises `UserError`: how to get the file if it is not there, how
    to accept it if its hash is not known, and both hashes if it is another file.
    """
    path, name = path_of(checkpoint, directory), checkpoint.name
    if not path.is_file():
        raise UserError(f"checkpoint {name} is not at '{path}'; {how_to_get(checkpoint, directory)}")
    expected, found = expected_sha256(checkpoint, directory), known_sha256(path)
    if expected is None:
        raise UserError(
            f"'{path}' has sha256 {found}, and none is on record for {name}; if its publisher, or "
            f"someone you trust, states that one: `checkpoints get {name} --accept-checksum {found}"
            f"{of_folder(directory)}`"
        )
    ours, get = checkpoint.kind is FileSource.PATH, f"checkpoints get {name}{of_folder(directory)}"
    anew = how_to_get(checkpoint, directory) if ours else f"delete it and `{get}`"
    wrong, size = f"'{path}' is not {name}", path.stat().st_size
    if checkpoint.size not in (None, size):
        raise UserError(f"{wrong}: expected {checkpoint.size} bytes, found {size}; {anew}")
    if found != expected:
        raise UserError(f"{wrong}: expected sha256 {expected}, found {found}; {anew}")
    return path


def file_state(checkpoint: CheckpointEntry, directory: Path) -> FileState:
    """What `verified_file` finds, in a word."""
    if not path_of(checkpoint, directory).is_file():
        return FileState.MISSING
    if expected_sha256(checkpoint, directory) is None:
        return FileState.UNACCEPTED
    try:
        verified_file(checkpoint, directory)
    except UserError:
        return FileState.DAMAGED
    return FileState.VERIFIED


def how_to_get(checkpoint: CheckpointEntry, directory: Path) -> str:
    """What brings the file of an entry here, in words; `directory` is the data directory."""
    if checkpoint.kind is FileSource.PATH:
        if checkpoint.root not in (None, shipped(FILE).resolve().parent):
            return "put the right file there, or mend its entry in the registry"
        return "restore it from version control, or work from a clone: a wheel has the smallest only"
    get, there = f"checkpoints get {checkpoint.name}", of_folder(directory)
    return f"`{get}{there}` downloads it, `{get} --file PATH{there}` takes a copy of yours"


@functools.cache
def _registry(path: Path) -> Mapping[str, CheckpointEntry]:
    """The entries of the registry at `path`, read once per process."""
    content = read_toml(path, "registry")
    entries = content.pop("checkpoint", [])
    if content.pop("schema_version", None) != SCHEMA_VERSION:
        raise UserError(f"'{path}' does not say schema_version = {SCHEMA_VERSION}")
    if content or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        other = next(iter(content), "checkpoint")
        raise UserError(f"'{path}' holds '{other}'; a registry is a list of [[checkpoint]] tables")
    known: dict[str, CheckpointEntry] = {}
    files: dict[str, str] = {}
    wrong = []
    for number, fields in enumerate(entries, start=1):
        try:
            added = _entry(path, number, fields)
        except UserError as error:
            wrong.append(str(error))
            continue
        name, file = added.name, added.file
        if name in known:
            wrong.append(f"two entries are named '{name}'; rename one")
        if added.kind is not FileSource.PATH and (other := files.setdefault(file, name)) != name:
            wrong.append(f"{name}: file '{file}' is that of {other} too; name it otherwise")
        known[name] = added
    if wrong:
        raise UserError(f"'{path}', {'; '.join(wrong)}")
    return known


def _entry(path: Path, number: int, fields: dict[str, Any]) -> CheckpointEntry:
    which = f"checkpoint {fields.get('name', number)}"
    if "root" in fields:
        raise UserError(f"{which}: root: no entry sets it; leave it out")
    try:
        return CheckpointEntry(**fields, root=path.parent)
    except ValidationError as error:
        raise UserError(f"{which}: {'; '.join(problems(error, 'entry'))}") from error
