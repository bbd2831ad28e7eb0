"""`python -m benchmark submit`: check records that were made elsewhere, and file them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import ResultsOption, command, say
from benchmark.errors import UserError
from benchmark.plans import named as scales
from benchmark.plans.scales import Scale
from benchmark.records.cells import Slot
from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.tables.render import summary
from benchmark.submission.entries import RECORDS, Entry, Reading, read
from benchmark.submission.examine import examine
from benchmark.submission.expected import Today
from benchmark.submission.findings import Finding, grouped
from benchmark.submission.place import SCALES, conflicts, place, sort
from benchmark.submission.refresh import commands


@command
def submit(
    records: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RECORDS...",
            help="Records (.json, with their .npz and making.json beside them), folders of them, or "
            "whole results trees.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="File nothing: check the tree that --results names."),
    ] = False,
    scale: Annotated[
        list[Path] | None,
        typer.Option(
            "--scale",
            metavar="FILE",
            help="The TOML file of a scale of yours that records are of; it is filed with them.",
        ),
    ] = None,
    allow_dirty: Annotated[
        bool,
        typer.Option(
            "--allow-dirty",
            help="Take what was made from a checkout with uncommitted changes. It says so for good, "
            "and --check passes it with this option only.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is wrong, or what would be filed.")
    ] = False,
    results: ResultsOption = Path("results"),
) -> None:
    """Check records that were made elsewhere and file them into results/, all or none.

    Checked are the files, counts against bits, specs against this version, provenance, every choice in
    a making, and whether it all fits together. Whatever is wrong is listed, and then nothing is filed.
    """
    if check == bool(records):
        raise UserError("name RECORDS to submit, or --check to check the results tree; not both")
    named = _named_scales(scale or ())
    today = Today({**_filed_scales(results), **{name: found for name, (found, _) in named.items()}})
    if check:
        _check(results, today, allow_dirty)
        return
    handed, there = read(records or ()), _on_file(results)
    examined = examine(handed.entries, there.entries, today, allow_dirty=allow_dirty)
    _say_all("remark", examined.remarks)
    on_file = {f"{entry.cell.key}/{entry.name}": entry for entry in there.entries}
    wrong = [*handed.findings, *examined.findings, *conflicts(handed.entries, on_file, results)]
    contents, other = _scale_files(handed.entries, named, results)
    if wrong := [*wrong, *other]:
        _say_all("refused", wrong)
        files = len({finding.path for finding in wrong})
        say(f"nothing was filed: {_many(len(wrong), 'mistake')} in {_many(files, 'file')}")
        raise typer.Exit(2)
    found = sort(handed.entries, results)
    if dry_run:
        for entry in found.new:
            typer.echo(f"would be filed  {entry.cell.key}  {entry.name}")
    elif found.new:
        place(found.new, contents, results)
        for entry in found.new:
            typer.echo(f"filed  {_line(entry, results)}")
    for entry in found.there:
        typer.echo(f"already there  {_line(entry, results)}")
    if found.new and not dry_run:
        _say_refresh(found.new, today, results)


def _check(results: Path, today: Today, allow_dirty: bool) -> None:
    """Check a results tree, and print how much is in it."""
    if not (results / RECORDS).is_dir():
        raise UserError(f"'{results}' has no folder {RECORDS}; name a results tree by --results")
    reading = read([results / RECORDS])
    examined = examine(reading.entries, (), today, allow_dirty=allow_dirty)
    _say_all("remark", examined.remarks)
    wrong = [*reading.findings, *examined.findings]
    _say_all("wrong", wrong)
    for name, entries in _by_scale(reading.entries).items():
        cells = len({entry.cell for entry in entries})
        kinds = Counter(type(entry.file).__name__.lower() for entry in entries)
        typer.echo(
            f"{name}: {_many(cells, 'cell')}, " + ", ".join(_many(n, k) for k, n in kinds.items())
        )
    if wrong:
        files = len({finding.path for finding in wrong})
        say(f"{_many(len(wrong), 'mistake')} in {_many(files, 'file')} of '{results}'")
        raise typer.Exit(2)
    typer.echo("nothing is wrong")


def _on_file(results: Path) -> Reading:
    """What the tree holds; its own mistakes are for --check."""
    root = results / RECORDS
    return read([root]) if any(root.rglob("*.json")) else Reading((), ())


def _by_scale(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.cell):
        found.setdefault(entry.cell.scale, []).append(entry)
    return found


# --- scales of one's own ----------------------------------------------------------------------------


def _filed_scales(results: Path) -> dict[str, Scale]:
    """Scales that were filed with records."""
    found = [scales.scale(str(path)) for path in sorted((results / SCALES).glob("*.toml"))]
    return {scale.name: scale for scale in found}


def _named_scales(paths: Sequence[Path]) -> dict[str, tuple[Scale, Path]]:
    """Scales of --scale by name, with their files."""
    found: dict[str, tuple[Scale, Path]] = {}
    for path in paths:
        if path.suffix != ".toml":
            raise UserError(f"--scale '{path}' is no TOML file; the suite's own scales need none")
        named = scales.scale(str(path))
        found[named.name] = named, path
    return found


def _scale_files(
    entries: Sequence[Entry], named: dict[str, tuple[Scale, Path]], results: Path
) -> tuple[dict[str, bytes], list[Finding]]:
    """Files of scales to be filed with `entries`, and those that would change one on file."""
    contents: dict[str, bytes] = {}
    wrong: list[Finding] = []
    for name, (_, path) in named.items():
        content, target = path.read_bytes(), results / SCALES / f"{name}.toml"
        if not any(Slot.parse(entry.cell.scale).scale == name for entry in entries):
            continue
        if not target.exists():
            contents[name] = content
        elif target.read_bytes() != content:
            wrong.append(
                Finding(path, "name", f"is {name}, and '{target}' is another; take another name")
            )
    return contents, wrong


# --- what is said -----------------------------------------------------------------------------------


def _say_all(word: str, findings: Sequence[Finding]) -> None:
    for line in grouped(findings):
        say(f"{word}: {line}")


def _say_refresh(entries: Sequence[Entry], today: Today, results: Path) -> None:
    cells = {entry.cell for entry in entries}
    say("what is made from records is now out of date; make it again:")
    for line in commands(sorted(cells), today, results):
        say(f"  {line}")


def _line(entry: Entry, results: Path) -> str:
    """An entry of the tree `results`."""
    said = entry.name
    if isinstance(entry.file, Record):
        said = summary(Store(results, results), entry.file)
    return f"{entry.cell.key}  {said}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
