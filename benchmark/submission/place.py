"""Writing into a results tree: all or nothing, nothing twice; and what has to be made again then."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.plans.named import arguments, filed, of_tree
from benchmark.plans.start import without_held_out
from benchmark.records.bits import bits_beside
from benchmark.records.cells import OWN, Cell
from benchmark.records.files import inside, link_once, staging, write_atomically
from benchmark.records.plugins import flags
from benchmark.records.records import Record
from benchmark.records.store import MAKING
from benchmark.report.figures import FIGURES
from benchmark.report.tables import REPORTS
from benchmark.submission.expected import Expected, first_difference
from benchmark.submission.read import RECORDS, Problem, ResultEntry, shown
from benchmark.submission.together import Library


def sort(entries: Sequence[ResultEntry], results: Path) -> tuple[list[ResultEntry], list[ResultEntry]]:
    """Split `entries` into those new to the tree `results` and those that it has byte for byte.

    Each place counts once.
    """
    once = Library(entries).entries.values()
    there = [entry for entry in once if _is_there(entry, results)]
    return [entry for entry in once if entry not in there], there


def _is_there(entry: ResultEntry, results: Path) -> bool:
    target = results / RECORDS / entry.cell.key / f"{entry.name}.json"
    bits = True
    if isinstance(entry.file, Record):  # whose bits may have the name of older trees
        bits = _holds(bits_beside(target, entry.file.bits_sha256), entry.packed)
    return bits and _holds(target, entry.content)


def _holds(target: Path, content: bytes | None) -> bool:
    return target.is_file() and target.read_bytes() == content


def conflicts(
    entries: Sequence[ResultEntry], on_file: Sequence[ResultEntry], results: Path
) -> Iterator[Problem]:
    """What of `entries` would overwrite something else in the tree `results`, which holds `on_file`."""
    filed_entries = Library(on_file).entries
    for entry in entries:
        target = results / RECORDS / entry.cell.key / f"{entry.name}.json"
        if not target.exists() or _is_there(entry, results):
            continue
        if _holds(target, entry.content):
            text = f"are missing or damaged beside '{target}', which is this record; restore them there"
            yield Problem(entry.path, "bits", text)
            continue
        found = None
        if (other := filed_entries.get((entry.cell, entry.name))) is not None:
            ours, theirs = (each.file.model_dump(mode="json") for each in (entry, other))
            found = first_difference(ours, theirs, "")
        place, there, here = found or ("file", "written otherwise", "the same values")
        yield Problem(
            entry.path,
            place.removeprefix("."),
            f"is {shown(there)}, but '{target}' is on file with {shown(here)}; results are written "
            "once",
        )


def place(entries: Sequence[ResultEntry], scales: Mapping[str, bytes], results: Path) -> None:
    """Write `entries` under `results`, and scale files by name; makings and bits before records.

    All files are staged first and then linked into place; if that fails, those in place are removed
    again. A killed process may leave some: each is whole, and the same command goes on. Raises
    `UserError` where something cannot be written, or another file is there by now.
    """
    order = sorted(entries, key=lambda entry: entry.name != MAKING)
    files = {filed(name, results): content for name, content in scales.items()}
    files |= {
        results / RECORDS / path: content for entry in order for path, content in entry.files.items()
    }
    written: list[Path] = []
    for target in files:
        inside(target, results)
    folders = {folder for file in files for folder in file.parents if not folder.exists()}
    try:
        with staging(results) as folder:
            staged = {folder / str(number): target for number, target in enumerate(files)}
            for part, target in staged.items():
                write_atomically(part, files[target])
            for part, target in staged.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                if link_once(part, target):
                    written.append(target)
                elif not _holds(target, files[target]):
                    problem = f"'{target}' has just been written by someone else; nothing was filed"
                    raise UserError(problem)  # noqa: TRY301 - what is written is taken back below
    except BaseException as error:
        for target in written:
            target.unlink()
        for folder in sorted(folders, reverse=True):  # those in others first
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise UserError(
                f"cannot write to '{results}' ({error.strerror}); nothing was filed; name another tree "
                "by --results"
            ) from error
        raise


# --- what is out of date then -----------------------------------------------------------------------


def commands(cells: Collection[Cell], expected: Expected, results: Path) -> list[str]:
    """Commands for what shows some of `cells`: tables on file or complete, figures on file, leaderboard
    and checks.

    `cells` are in the tree `results`; those of models from elsewhere stand in no table.
    """
    made: list[str] = []
    checks: list[str] = []
    place = of_tree(results) + flags()
    for name in dict.fromkeys(cell.scale for cell in cells):
        if name == OWN:
            checks.append(f"python -m benchmark check --scale {OWN}{place}")
            continue
        scale, own = expected.scale(name), {cell for cell in cells if cell.scale == name}
        options = f"--scale {arguments(name, results)}"
        checks.append(f"python -m benchmark check {options}{place}")
        options += f" --collect{place}"
        for report, spec in REPORTS.items():
            shown = spec.scale(scale)
            wanted = spec.cells(shown, without_held_out(spec.defaults, shown))
            written = (results / "tables" / f"{report}-{name}.csv").exists()
            if not own.isdisjoint(wanted) and (
                written or all((results / RECORDS / each.key).is_dir() for each in wanted)
            ):
                made.append(f"python -m benchmark {report} {options}")
        for figure in FIGURES:
            if (results / "figures" / f"{figure}-{name}.csv").exists():
                made.append(f"python -m benchmark {figure} {options}")
    return [*made, f"python -m benchmark leaderboard{place}", *checks]
