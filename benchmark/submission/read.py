"""Records and makings, read once and parsed without trusting them; and how problems are reported."""

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from benchmark.data.get.unpack import DAMAGE
from benchmark.data.sealed import read_header
from benchmark.errors import UserError
from benchmark.records.bits import bits_beside, bits_path
from benchmark.records.cells import Cell
from benchmark.records.records import Making, Record
from benchmark.records.store import MAKING, Bits

RECORDS = "records"
LARGEST_JSON = 2**24
"""Largest JSON file (bytes); the suite's have a hundredth of it."""
LARGEST_BITS = 2**26
"""Largest file of bits (bytes), as it is and unpacked."""
SHOWN = 100
"""Characters of a value that a line shows at most."""

Problems = Iterator[tuple[str, str]]
"""Field and text of each `Problem` of a file that the caller names."""


@dataclass(frozen=True)
class Problem:
    """`text` tells of `field` of the file at `path` what is there and what would be right."""

    path: Path
    field: str
    text: str

    @property
    def line(self) -> str:
        return f"{self.path}: {self.field} {self.text}"


def grouped(problems: Iterable[Problem]) -> list[str]:
    """Lines of `problems`, in order; where several files have the same, one names the first of them."""
    same: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        same.setdefault((problem.field, problem.text), []).append(problem)
    return [
        each[0].line if len(each) == 1 else f"{len(each)} files, such as {each[0].line}"
        for each in same.values()
    ]


def shown(value: Any) -> str:
    """`value` in one short line."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


@dataclass(frozen=True, eq=False)
class ResultEntry:
    """A record or a making: what its file holds, as bytes and parsed.

    `packed` is the file of bits beside a record and `bits` what it holds; None and empty for a
    making, and where that file is missing or broken. `beside` is its path.
    """

    path: Path
    content: bytes = field(repr=False)
    file: Record | Making = field(repr=False)
    packed: bytes | None = field(default=None, repr=False)
    bits: Bits = field(default_factory=dict, repr=False)
    beside: Path | None = None

    @property
    def cell(self) -> Cell:
        return self.file.cell.cell

    @property
    def name(self) -> str:
        """The evaluation, or `making`."""
        return self.file.evaluation if isinstance(self.file, Record) else MAKING

    @property
    def files(self) -> dict[str, bytes]:
        """Its files by their path under `records/`, as they are written; a record after its bits."""
        place = Path(self.cell.key, f"{self.name}.json")
        packed = {}
        if self.packed is not None and isinstance(self.file, Record):
            packed = {bits_path(place, self.file.bits_sha256).as_posix(): self.packed}
        return packed | {place.as_posix(): self.content}


@dataclass(frozen=True)
class Reading:
    """What was read, and the problems of single files; broken ones are no entries."""

    entries: tuple[ResultEntry, ...]
    problems: tuple[Problem, ...]


def read(paths: Sequence[Path]) -> Reading:
    """Read every record and making of `paths`: single JSON files, folders of them, or results trees.

    A single record brings the making beside it. In a results tree (a folder `records`, or one that
    holds it) every file must be at the place that its contents name; elsewhere a file must be so if
    its folder reads like a key. A file that is named twice is read once. Raises `UserError` for a path
    that does not exist or holds nothing.
    """
    files = {file: tree for path in paths for file, tree in _files(path).items()}
    entries: list[ResultEntry] = []
    problems: list[Problem] = []
    for path, tree in files.items():
        wrong: list[tuple[str, str]] = []
        if path.suffix != ".json":
            continue
        entries += filter(None, [_entry(path, tree, wrong)])
        problems += [Problem(path, *each) for each in wrong]
    known = {entry.beside for entry in entries} | {problem.path for problem in problems}
    for path, tree in files.items():
        of_none = path not in known and _record_of(path) not in known
        if tree and path.is_dir():
            text = "is a link to a folder, in which nothing was checked; put that folder in its place"
            problems.append(Problem(path, "file", text))
        elif tree and path.suffix != ".json" and of_none:
            problems.append(Problem(path, "file", "is no record, no bits of one and no making"))
    return Reading(tuple(entries), tuple(problems))


def _record_of(bits: Path) -> Path:
    """The record that a file of bits is of, by its name."""
    return bits.with_name(re.sub(r"(\.[0-9a-f]{12})?\.npz$", ".json", bits.name))


def visible(root: Path) -> list[Path]:
    """The files and the links below `root` in order, but hidden ones, in hidden folders too: nobody's
    records."""
    every = (path for path in sorted(root.rglob("*")) if path.is_file() or path.is_symlink())
    found = {path: path.relative_to(root).parts for path in every}
    return [path for path, parts in found.items() if not any(p.startswith(".") for p in parts)]


def _files(path: Path) -> Mapping[Path, Path | None]:
    """Files of one argument, and the folder `records` of the results tree that they are in, if any."""
    if path.is_dir():
        root = path / RECORDS if (path / RECORDS).is_dir() else path
        found = dict.fromkeys(visible(root), root if root.name == RECORDS else None)
        if not any(file.suffix == ".json" for file in found):
            raise UserError(
                f"'{path}' holds no records; name a results tree, a folder of it or a record"
            )
        return found
    if not path.is_file():
        raise UserError(f"'{path}' does not exist; name record files, or folders that hold them")
    if path.suffix != ".json":
        raise UserError(f"'{path}' is no record; name its .json file, its bits are read from beside it")
    making = path.with_name(f"{MAKING}.json")
    return {file: None for file in (making, path) if file.is_file()}


def _entry(path: Path, tree: Path | None, wrong: list[tuple[str, str]]) -> ResultEntry | None:
    """The entry at `path`, None if it cannot be parsed; adds to `wrong` what is wrong."""
    kind = Making if path.stem == MAKING else Record
    if (content := _content(path, LARGEST_JSON, wrong)) is None:
        return None
    if (file := _parsed(kind, content, wrong)) is None:
        return None
    entry = ResultEntry(path, content, file)
    if isinstance(file, Record):
        beside = bits_beside(path, file.bits_sha256)
        entry = ResultEntry(path, content, file, *_bits(beside, file, wrong), beside)
    wrong += _misplaced(entry, tree)
    return entry


def _content(path: Path, largest: int, wrong: list[tuple[str, str]]) -> bytes | None:
    try:
        if (size := path.stat().st_size) <= largest:
            return path.read_bytes()
        wrong.append(("file", f"{path.name} has {size:,} bytes, more than {largest:,}"))
    except OSError as error:
        wrong.append(("file", f"{path.name} cannot be read ({error.strerror})"))
    return None


# --- JSON -------------------------------------------------------------------------------------------


def _parsed(
    kind: type[Record | Making], content: bytes, wrong: list[tuple[str, str]]
) -> Record | Making | None:
    """`content` as a `kind`; None if it is none."""
    try:
        # As UTF-8: bytes would be read in other encodings too.
        json.loads(
            content.decode(), parse_constant=_finite, parse_float=_finite, object_pairs_hook=_once
        )
        # The bytes themselves, for they are what every command will read.
        return kind.model_validate_json(content, strict=True)
    except ValidationError as error:
        for each in error.errors():
            place = ".".join(str(part) for part in each["loc"]) or "file"
            told = each["type"] not in ("missing", "json_invalid") and each["loc"]
            there = f", not {shown(each['input'])}" if told else ""
            wrong.append((place, f"does not fit schema 1: {shown(each['msg'])}{there}"))
    except (ValueError, RecursionError) as error:
        wrong.append(("file", f"is not JSON ({shown(error)})"))
    return None


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which every reader finds the same: no name stands twice."""
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise ValueError(f"{shown(name)} stands twice in one object")
        found[name] = value
    return found


def _misplaced(entry: ResultEntry, tree: Path | None) -> Problems:
    """Whether the file is where its contents belong."""
    if entry.path.stem != entry.name:
        yield "evaluation", f"is {entry.name}, which belongs into {entry.name}.json"
    folder = entry.path.resolve().parent
    inside = tree is not None and folder.is_relative_to(tree.resolve())
    names = folder.relative_to(tree.resolve()).parts if tree and inside else folder.parts[-6:]
    try:
        named = Cell.parse("/".join(names))
    except UserError:
        if tree is not None:
            yield "file", f"is at no key of a results tree; its contents are {entry.cell.key}"
    else:
        if named != entry.cell:
            yield "cell", f"is {entry.cell.key}, but its path says {named.key}"


# --- bits -------------------------------------------------------------------------------------------


def _bits(beside: Path, record: Record, wrong: list[tuple[str, str]]) -> tuple[bytes | None, Bits]:
    """The file of bits of `record`, and what it holds."""
    if not beside.is_file():
        wrong.append(("bits", f"are missing: {beside.name} must be beside it"))
        return None, {}
    if (packed := _content(beside, LARGEST_BITS, wrong)) is None:
        return None, {}
    if (found := hashlib.sha256(packed).hexdigest()) != record.bits_sha256:
        wrong.append(("bits_sha256", f"is {record.bits_sha256}, but {beside.name} has {found}"))
    try:
        return packed, dict(unpacked(packed))
    except (*DAMAGE, OSError) as error:
        wrong.append(("bits", f"cannot be read from {beside.name} ({shown(error)})"))
        return packed, {}


def unpacked(packed: bytes) -> Iterator[tuple[str, Any]]:
    """Boolean arrays (N,) by name, of a file of packed bits.

    Nothing is read before its size is known to be what its header claims. Raises `ValueError`, among
    others, for what is not such a file.
    """
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST_BITS:
            raise ValueError(f"its arrays have more than {LARGEST_BITS:,} bytes")
        for member in archive.infolist():
            with archive.open(member) as file:
                if (header := read_header(file)).size != member.file_size:
                    raise ValueError(f"{member.filename} is said to be {header}, which it is not")
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        members = {name: np.asarray(arrays[name]) for name in arrays.files}
    n = members.pop("n", None)
    if n is None or n.shape != () or n.dtype.kind not in "iu":
        raise ValueError("it does not say its number n of images")
    if not members:
        raise ValueError("it has no arrays of bits")
    count = int(n)
    for name, array in members.items():
        if count < 1 or array.dtype != np.uint8 or array.shape != (-(-count // 8),):
            raise ValueError(f"{name} is {array.dtype}{array.shape}, which is not {count} packed bits")
        yield name, np.unpackbits(array, count=count).astype(bool)
