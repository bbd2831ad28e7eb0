"""The only module that knows `results/` and `artifacts/`.

`results/records/<key>/` holds what is kept: `<evaluation>.json` with `<evaluation>.npz` (per-image
correctness, packed), and `making.json`. `artifacts/<key>/` holds working files: weights, training
state, journals of unfinished work, and the lock of a base model. Results are written once.
"""

import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.errors import UserError
from benchmark.records.cells import PART, Cell
from benchmark.records.files import inside, read_if_there, write_atomically
from benchmark.records.records import F, Making, Record, parse_file
from benchmark.text import line

MAKING = "making"
Bits = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Store:
    """Both trees; every path of the suite comes from here."""

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

    def lock(self, cell: Cell) -> FileLock:
        """The lock of the base model of `cell`; whoever holds it works on that model."""
        folder = self.work(cell.base)
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(inside(folder / "lock", self.artifacts))

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
        for path in sorted(folder.glob(f"*/seed{cell.seed}/{evaluation}.json")):
            if not re.fullmatch(PART, path.parts[-3]):
                continue
            other = replace(cell, finetune=path.parts[-3])
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

    def of(self, cell: Cell) -> Iterator[Record | Making]:
        """Every record and making of `cell`, by name of file. Raises `UserError` for a broken one."""
        for path in sorted(self.record_path(cell, MAKING).parent.glob("*.json")):
            found = _read(Making, path) if path.stem == MAKING else _read(Record, path)
            if found is not None:
                yield found

    def write_record(self, record: Record, bits: bytes) -> None:
        """Write a record and its bits once; the record last, so that it is never without them."""
        self._write_once(self.record_path(record.cell.cell, record.evaluation), record, bits)

    def write_making(self, making: Making) -> None:
        self._write_once(self.record_path(making.cell.cell, MAKING), making)

    def _write_once(self, path: Path, content: Record | Making, bits: bytes | None = None) -> None:
        if path.exists():
            raise UserError(f"'{path}' exists and results are written once; move it away first")
        if bits is not None:
            write_atomically(path.with_suffix(".npz"), bits, self.results)
        write_atomically(path, (content.model_dump_json(indent=1) + "\n").encode(), self.results)

    def bits(self, record: Record) -> Bits:
        """Per-image correctness behind `record`. Raises `UserError` if the file is not the one."""
        path = self.record_path(record.cell.cell, record.evaluation).with_suffix(".npz")
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
        for part in (path, path.with_suffix(".npz")):
            if part.exists():
                os.replace(part, target / part.name)

    def keys_on_disk(self) -> Iterator[str]:
        """Keys of all cells that have a record or making, in order; other folders as lines."""
        root = self.results / "records"
        folders = {path.parent for path in root.glob("*/*/*/*/*/*/*.json")}
        yield from sorted(line(folder.relative_to(root).as_posix()) for folder in folders)


def _read(kind: type[F], path: Path) -> F | None:
    content = read_if_there(path)
    return None if content is None else parse_file(kind, content, path)


def pack_bits(bits: Mapping[str, NDArray[Any]]) -> tuple[bytes, str]:
    """The bytes of a packed npz of equally long boolean arrays, and their sha256."""
    lengths = {len(array) for array in bits.values()}
    if len(lengths) != 1:
        raise ValueError(f"bits of one record have one length, not {sorted(lengths)}")
    buffer = io.BytesIO()
    packed = {name: np.packbits(array.astype(bool)) for name, array in bits.items()}
    np.savez_compressed(buffer, n=np.int64(lengths.pop()), **packed)  # type: ignore[arg-type]
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


_SEAL_BYTES = 32


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
            shutil.rmtree(self.folder)
        if not self.folder.exists():
            write_atomically(mark, self.fingerprint.encode())

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        content = read_if_there(self._path(name)) or b""
        seal, packed = content[:_SEAL_BYTES], content[_SEAL_BYTES:]
        if hashlib.sha256(packed).digest() != seal:
            return None
        with np.load(io.BytesIO(packed), allow_pickle=False) as chunk:
            return dict(chunk)

    def put(self, name: str, **arrays: NDArray[Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        packed = buffer.getvalue()
        write_atomically(self._path(name), hashlib.sha256(packed).digest() + packed)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.chunk"

    def drop(self, pattern: str) -> None:
        """Forget the chunks whose names match the glob `pattern`."""
        for path in self.folder.glob(f"{pattern}.chunk"):
            path.unlink()

    @property
    def empty(self) -> bool:
        return not any(self.folder.glob("*.chunk"))

    def remove(self) -> None:
        """Forget everything, once the result has been written."""
        shutil.rmtree(self.folder, ignore_errors=True)
