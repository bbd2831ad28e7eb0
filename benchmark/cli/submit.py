"""`python -m benchmark submit`: check records that were made elsewhere, and file them."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import ResultsOption, command, say, show
from benchmark.errors import UserError
from benchmark.plans import named as scales
from benchmark.plans.scales import Scale
from benchmark.records.cells import ScaleName
from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.tables.render import summary
from benchmark.submission.examine import examine
from benchmark.submission.expected import Expected
from benchmark.submission.place import commands, conflicts, place, sort
from benchmark.submission.read import RECORDS, Problem, Reading, ResultEntry, grouped, read, visible


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
        bool, typer.Option("--check", help="File nothing: check the tree that --results names.")
    ] = False,
    scale: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="The TOML file of a scale of yours that records are of; it is filed with them.",
        ),
    ] = None,
    allow_dirty: Annotated[
        bool,
        typer.Option(
            "--allow-dirty",
            help="Accept what was made from a checkout with uncommitted changes. It stays marked as "
            "such, and --check passes it only with this option.",
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
    expected = Expected(
        {**_filed_scales(results), **{name: found for name, (found, _) in named.items()}}
    )
    if check:
        _check(results, expected, allow_dirty)
        return
    handed, there = read(records or ()), _on_file(results)
    examined = examine(handed.entries, there.entries, expected, allow_dirty=allow_dirty)
    _say_all("remark", examined.remarks)
    contents, other = _scale_files(handed.entries, named, results)
    clashes = conflicts(handed.entries, there.entries, results)
    if wrong := [*handed.problems, *examined.problems, *examined.foreign, *clashes, *other]:
        _say_all("refused", wrong)
        say(f"nothing was filed: {_counted(wrong)}")
        raise typer.Exit(2)
    new, old = sort(handed.entries, results)
    if (new or contents) and not dry_run:
        place(new, contents, results)
    for name in contents:
        show(f"{'would be filed' if dry_run else 'filed'}  {scales.filed(name, results)}")
    for entry in new:
        if dry_run:
            show(f"would be filed  {entry.cell.key}  {entry.name}")
        else:
            show(f"filed  {_line(entry, results)}")
    for entry in old:
        show(f"already there  {_line(entry, results)}")
    if new and not dry_run:
        say("what is made from records is now out of date; make it again:")
        for command in commands(sorted({entry.cell for entry in new}), expected, results):
            say(f"  {command}")


def _check(results: Path, expected: Expected, allow_dirty: bool) -> None:
    if not (results / RECORDS).is_dir():
        raise UserError(f"'{results}' has no folder {RECORDS}; name a results tree by --results")
    reading = read([results / RECORDS])
    examined = examine(reading.entries, (), expected, allow_dirty=allow_dirty)
    _say_all("remark", (*examined.foreign, *examined.remarks))
    wrong = [*reading.problems, *examined.problems]
    _say_all("wrong", wrong)
    ordered = sorted(reading.entries, key=lambda entry: entry.cell)
    for name, group in groupby(ordered, key=lambda entry: entry.cell.scale):
        entries = list(group)
        cells = len({entry.cell for entry in entries})
        kinds = Counter(type(entry.file).__name__.lower() for entry in entries)
        counts = ", ".join(_many(n, kind) for kind, n in kinds.items())
        show(f"{name}: {_many(cells, 'cell')}, {counts}")
    if wrong:
        say(f"{_counted(wrong)} of '{results}'")
        raise typer.Exit(2)
    show("nothing is wrong")


def _on_file(results: Path) -> Reading:
    """What the tree holds; its own mistakes are for --check."""
    root = results / RECORDS
    return read([root]) if any(path.suffix == ".json" for path in visible(root)) else Reading((), ())


# --- scales of one's own ----------------------------------------------------------------------------


def _filed_scales(results: Path) -> dict[str, Scale]:
    every = scales.filed("[!.]*", results)
    found = [scales.scale(str(path)) for path in sorted(every.parent.glob(every.name))]
    return {scale.name: scale for scale in found}


def _named_scales(paths: Sequence[Path]) -> dict[str, tuple[Scale, Path]]:
    for path in paths:
        if path.suffix != ".toml":
            raise UserError(f"--scale '{path}' is no TOML file; the suite's own scales need none")
    found = [(scales.scale(str(path)), path) for path in paths]
    return {named.name: (named, path) for named, path in found}


def _scale_files(
    entries: Sequence[ResultEntry], named: dict[str, tuple[Scale, Path]], results: Path
) -> tuple[dict[str, bytes], list[Problem]]:
    """Files of scales to be filed with `entries`, and those that would change one on file."""
    contents: dict[str, bytes] = {}
    wrong: list[Problem] = []
    used = {ScaleName.parse(entry.cell.scale).scale for entry in entries}
    for name, (_, path) in named.items():
        content, target = path.read_bytes(), scales.filed(name, results)
        if name not in used:
            continue
        if not target.exists():
            contents[name] = content
        elif target.read_bytes() != content:
            wrong.append(
                Problem(path, "name", f"is {name}, and '{target}' is another; take another name")
            )
    return contents, wrong


# --- lines ------------------------------------------------------------------------------------------


def _say_all(word: str, problems: Sequence[Problem]) -> None:
    for line in grouped(problems):
        say(f"{word}: {line}")


def _line(entry: ResultEntry, results: Path) -> str:
    record = entry.file
    shown = summary(Store(results, results), record) if isinstance(record, Record) else entry.name
    return f"{entry.cell.key}  {shown}"


def _counted(wrong: Sequence[Problem]) -> str:
    files = len({problem.path for problem in wrong})
    return f"{_many(len(wrong), 'mistake')} in {_many(files, 'file')}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
