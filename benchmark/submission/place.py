"""Writing what was found right into a results tree: all of it or nothing, and nothing twice."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.records.files import write_atomically
from benchmark.records.store import MAKING
from benchmark.submission.entries import RECORDS, Entry
from benchmark.submission.expected import first_difference
from benchmark.submission.findings import Finding

SCALES = "scales"
"""The folder of a results tree for scales that are not the suite's."""


@dataclass(frozen=True)
class Sorted:
    """Entries that are `new` in a results tree, and those that are `there` byte for byte already."""

    new: tuple[Entry, ...]
    there: tuple[Entry, ...]


def sort(entries: Sequence[Entry], results: Path) -> Sorted:
    """Which of `entries` the tree `results` does not have; each place once."""
    places = {(entry.cell, entry.name): entry for entry in reversed(entries)}
    once = [entry for entry in entries if places[entry.cell, entry.name] is entry]
    there = tuple(entry for entry in once if _is_there(entry, results))
    return Sorted(tuple(entry for entry in once if entry not in there), there)


def _is_there(entry: Entry, results: Path) -> bool:
    targets = ((results / RECORDS / place, content) for place, content in entry.files.items())
    return all(target.is_file() and target.read_bytes() == content for target, content in targets)


def conflicts(
    entries: Sequence[Entry], on_file: Mapping[str, Entry], results: Path
) -> Iterator[Finding]:
    """What of `entries` would overwrite something else; `on_file` are entries by `<key>/<name>`."""
    for entry in entries:
        stem = f"{entry.cell.key}/{entry.name}"
        target = results / RECORDS / f"{stem}.json"
        if not target.exists() or _is_there(entry, results):
            continue
        other = on_file.get(stem)
        found = None
        if other is not None:
            ours, theirs = (each.file.model_dump(mode="json") for each in (entry, other))
            found = first_difference(ours, theirs, "")
        place, there, here = found or ("bytes", "others", "those on file")
        yield Finding(
            entry.path,
            place.removeprefix("."),
            f"is {there}, but '{target}' is on file with {here}; results are written once",
        )


def place(entries: Sequence[Entry], scales: Mapping[str, bytes], results: Path) -> None:
    """Write `entries` under `results`, and scale files by name; makings and bits before records.

    All files are staged first and then renamed into place; if that fails, those in place are removed
    again. A killed process may leave some: each is whole, and the same command goes on. Raises
    `UserError` where something cannot be written, or is there by now.
    """
    order = sorted(entries, key=lambda entry: entry.name != MAKING)
    files = {results / SCALES / f"{name}.toml": content for name, content in scales.items()}
    files |= {
        results / RECORDS / path: content for entry in order for path, content in entry.files.items()
    }
    written: list[Path] = []
    folders = _missing_folders(files)
    staging: str | None = None
    try:
        results.mkdir(parents=True, exist_ok=True)
        staging = tempfile.mkdtemp(prefix=".submitting-", dir=results)
        staged = [Path(staging, str(number)) for number in range(len(files))]
        for part, content in zip(staged, files.values(), strict=True):
            write_atomically(part, content)
        for part, target in zip(staged, files, strict=True):
            _move(part, target)
            written.append(target)
    except BaseException as error:
        for target in written:
            target.unlink()
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise UserError(
                f"cannot write to '{results}' ({error.strerror}); nothing was filed; name another tree "
                "by --results"
            ) from error
        raise
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _move(part: Path, target: Path) -> None:
    if target.exists():
        raise UserError(f"'{target}' has just been written by someone else; nothing was filed")
    target.parent.mkdir(parents=True, exist_ok=True)
    part.rename(target)


def _missing_folders(files: Mapping[Path, bytes]) -> list[Path]:
    """Folders that writing `files` will make, the deepest first."""
    folders = {folder for file in files for folder in file.parents if not folder.exists()}
    return sorted(folders, key=lambda folder: len(folder.parts), reverse=True)
