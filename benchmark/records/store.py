"""The trees `results/` and `artifacts/`: records and working files.

`results/records/<key>/` holds what is kept: `<evaluation>.json` with `<evaluation>.<hash>.npz`
(per-image correctness, packed; `<evaluation>.npz` in older trees), and `making.json`.
`artifacts/<key>/` holds working files: weights, training state, journals of unfinished work, and the
lock of a base model. Results are written once: the first writer wins, whether or not locks hold.
"""

import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError, line
from benchmark.records.bits import HASH, bits_beside, bits_path
from benchmark.records.cells import FINETUNE, Cell
from benchmark.records.files import (
    drop,
    inside,
    locked,
    names_in,
    read_if_there,
    remove,
    sweep,
    write_atomically,
    write_once,
)
from benchmark.records.records import F, Making, Record, parse_file

MAKING = "making"
WEIGHTS = "weights.safetensors"
EVALUATION = "evaluation-"  # begins the names of journals of evaluations
DEVICES = "devices"  # the chunk that says where the work of a journal was done, and is none itself
Bits = dict[str, NDArray[np.bool_]]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Store:
    """Both trees, and where records and working files are in them."""

    results: Path
    artifacts: Path

    def check_writable(self, megabytes: int) -> None:
        """Raise `UserError` unless both trees can be written and have `megabytes` MB of space."""
        for folder, option in ((self.results, "--results"), (self.artifacts, "--artifacts")):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise UserError(
                    f"cannot write to '{folder}' ({error.strerror}); name another folder by {option}"
                ) from error
            free = shutil.disk_usage(folder).free // 2**20
            if free < megabytes:
                raise UserError(
                    f"'{folder}' has {free} MB free and this needs about {megabytes} MB; free some "
                    f"space or name another folder by {option}"
                )

    def record_path(self, cell: Cell, evaluation: str) -> Path:
        return self.results / "records" / cell.key / f"{evaluation}.json"

    def work(self, cell: Cell) -> Path:
        """Folder of the working files of `cell`."""
        return inside(self.artifacts / cell.key, self.artifacts)

    def lock(
        self, cell: Cell, timeout: float = -1, *, alone: bool = False
    ) -> AbstractContextManager[None]:
        """The lock of the base model of `cell`, as `locked`; whoever holds it works on that model, or,
        if `alone`, on `cell` only."""
        locks = self.work(cell if alone else cell.base) / "lock"
        return locked(inside(locks, self.artifacts), timeout)

    def lock_to_make(self, cell: Cell) -> AbstractContextManager[None]:
        """The lock of the base model `cell` until its weights are there; where they are, none."""
        return nullcontext() if self.has_weights(cell) else self.lock(cell)

    def has_weights(self, cell: Cell) -> bool:
        """Whether the weights of `cell` are here; a record of their making is not enough."""
        return (self.work(cell) / WEIGHTS).exists()

    def sweep(self) -> None:
        """Remove what killed processes left: temporary files, journals of what is on record."""
        for root in (self.results, self.artifacts):
            sweep(root)
        for journal in self.artifacts.glob(f"*/*/*/*/*/*/{EVALUATION}*"):
            place = self.results / "records" / journal.parent.relative_to(self.artifacts)
            with suppress(OSError):
                if (place / f"{journal.name.removeprefix(EVALUATION)}.json").exists():
                    remove(journal)

    def record(self, cell: Cell, evaluation: str) -> Record | None:
        """The record on disk, fresh or stale; None if there is none.

        Refuses one that is broken or cannot be read.
        """
        path = self.record_path(cell, evaluation)
        record = _read(Record, path)
        if record and (record.cell.cell != cell or record.evaluation != evaluation):
            raise UserError(
                f"'{path}' holds the record {record.cell.cell.key} {record.evaluation}, which does "
                "not belong there; move it to its own folder"
            )
        return record

    def others(self, cell: Cell, evaluation: str) -> Iterator[Record]:
        """Records of `evaluation` of the other cells of the base model of `cell`, in order of keys."""
        folder = self.record_path(cell, evaluation).parents[2]
        for finetune in filter(re.compile(FINETUNE).fullmatch, names_in(folder)):
            other = replace(cell, finetune=finetune)
            related = other != cell and other.base == cell.base
            if related and (record := self.record(other, evaluation)) is not None:
                yield record

    def making(self, cell: Cell) -> Making | None:
        """How the weights of `cell` were made; None if that is not on disk."""
        path = self.record_path(cell, MAKING)
        making = _read(Making, path)
        if making and making.cell.cell != cell:
            raise UserError(f"'{path}' belongs to {making.cell.cell.key}; move it to its own folder")
        return making

    def lost_making(self, cell: Cell) -> bool:
        """Whether the making of `cell` is gone, while its weights, which have a copy, are there."""
        return (self.work(cell) / WEIGHTS).is_file() and self.making(cell) is None

    def names(self, cell: Cell) -> list[str]:
        """Names of the files of `cell` in order: its evaluations, and `MAKING`, if that is there."""
        found = names_in(self.record_path(cell, MAKING).parent)
        return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))

    def of(self, cell: Cell) -> Iterator[Record | Making]:
        """Every record and making of `cell`, by name of file. Raises `UserError` for a broken one."""
        for name in self.names(cell):
            found = self.making(cell) if name == MAKING else self.record(cell, name)
            if found is not None:
                yield found

    def write_record(self, record: Record, bits: bytes) -> Record:
        """Write a record and its bits once; the record last, so that it is never without them.

        Returns the one on file: that of the first writer, if it is of the same weights and spec. Raises
        `UserError` if it is of others.
        """
        path, filed = self.record_path(record.cell.cell, record.evaluation), None
        if not path.exists():
            write_atomically(bits_path(path, record.bits_sha256), bits, self.results)
            filed = write_once(path, _as_json(record), self.results)
        there = record if filed else _read(Record, path)
        if there is not None:
            kept = bits_beside(path, there.bits_sha256)
            written = path.parent.glob(f"{path.stem}.{'[0-9a-f]' * HASH}.npz")
            for other in (*written, path.with_suffix(".npz")):
                if other != kept:  # of a writer that was killed, or not the first
                    other.unlink(missing_ok=True)
        if there is None or _identity(there) != _identity(record):
            raise UserError(f"'{path}' exists and results are written once; move it away first")
        return there

    def write_making(self, making: Making) -> Making:
        """Write a making once; returns the one on file, which is the first writer's."""
        path = self.record_path(making.cell.cell, MAKING)
        filed = not path.exists() and write_once(path, _as_json(making), self.results)
        return making if filed else self.making(making.cell.cell) or making

    def bits_file(self, record: Record) -> Path:
        """The file of bits of `record`, which is on disk."""
        return bits_beside(self.record_path(record.cell.cell, record.evaluation), record.bits_sha256)

    def bits(self, record: Record) -> Bits:
        """Per-image correctness behind `record`. Raises `UserError` if the file is not the one."""
        path = self.bits_file(record)
        content = read_if_there(path) or b""
        if hashlib.sha256(content).hexdigest() != record.bits_sha256:
            raise UserError(f"'{path}' is missing or not what its record was written with")
        with np.load(io.BytesIO(content), allow_pickle=False) as packed:
            names = [name for name in packed.files if name != "n"]
            return {
                name: np.unpackbits(packed[name], count=int(packed["n"])).astype(bool) for name in names
            }

    def supersede(self, cell: Cell, name: str, old_hash: str) -> None:
        """Move a stale record or making out of the tree, to `results/superseded/<hash>/<key>/`."""
        target = inside(self.results / "superseded" / old_hash[:12] / cell.key, self.results)
        target.mkdir(parents=True, exist_ok=True)
        path = inside(self.record_path(cell, name), self.results)
        record = None if name == MAKING else self.record(cell, name)
        bits = () if record is None else (self.bits_file(record),)
        for part in (*bits, path):  # the record last: until then it can be done again
            with suppress(FileNotFoundError):
                os.replace(part, target / part.name)

    def keys_on_disk(self) -> Iterator[str]:
        """Keys of all cells that have a record or making, in order; other folders as lines."""
        root = self.results / "records"
        keys = names_in(root)
        for _ in range(5):
            keys = [f"{key}/{name}" for key in keys for name in names_in(root / key)]
        for key in sorted(keys):
            if any(name.endswith(".json") for name in names_in(root / key)):
                yield line(key)

    def cells_on_disk(self) -> Iterator[Cell]:
        """The cells of these keys, without those that name none."""
        for key in self.keys_on_disk():
            with suppress(UserError):
                yield Cell.parse(key)


def _read(kind: type[F], path: Path) -> F | None:
    content = read_if_there(path)
    return None if content is None else parse_file(kind, content, path)


def _as_json(content: Record | Making) -> bytes:
    return (content.model_dump_json(indent=1) + "\n").encode()


def _identity(record: Record) -> tuple[str, str]:
    return record.spec_hash, record.provenance.weights_sha256


@dataclass(frozen=True)
class Journal:
    """Finished chunks of unfinished work: arrays by name in a folder, valid for one fingerprint.

    A chunk is one file, renamed into place: a sha256 and the npz that it hashes. Chunks left by another
    fingerprint are dropped, and one that is damaged counts as missing: its work is done again.
    """

    folder: Path
    fingerprint: str

    def __post_init__(self) -> None:
        mark = inside(self.folder, self.folder.parent) / "fingerprint"
        if self.folder.exists() and read_if_there(mark) != self.fingerprint.encode():
            remove(self.folder)
        if not self.folder.exists():
            self._write(mark, self.fingerprint.encode())

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        path = self._path(name)
        if (content := read_if_there(path)) is None:
            return None
        seal, packed = content[:32], content[32:]
        if hashlib.sha256(packed).digest() != seal:
            drop(path, "is damaged")
            return None
        with np.load(io.BytesIO(packed), allow_pickle=False) as chunk:
            return dict(chunk)

    def put(self, name: str, **arrays: NDArray[Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        packed = buffer.getvalue()
        self._write(self._path(name), hashlib.sha256(packed).digest() + packed)

    def once(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The chunk `name`, or what `make` gives, which is then kept."""
        kept: Arrays | None = self.get(name)
        if kept is None:
            kept = make()
            self.put(name, **kept)
        return kept

    def _write(self, path: Path, content: bytes) -> None:
        with suppress(FileNotFoundError):  # another process has just done it all and removed the folder
            write_atomically(path, content)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.chunk"

    def drop(self, pattern: str) -> None:
        """Forget the chunks whose names match the glob `pattern`."""
        for path in self.folder.glob(f"{pattern}.chunk"):
            path.unlink(missing_ok=True)

    @property
    def empty(self) -> bool:
        """Whether nothing is finished."""
        return all(path.stem == DEVICES for path in self.folder.glob("*.chunk"))

    def remove(self) -> None:
        """Forget everything, once the result has been written."""
        shutil.rmtree(self.folder, ignore_errors=True)
