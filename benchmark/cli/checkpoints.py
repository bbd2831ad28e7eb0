"""`python -m benchmark checkpoints COMMAND`: weights to start from: got, checked, given on."""

import re
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from benchmark.checkpoints.entry import CheckpointEntry, FileSource
from benchmark.checkpoints.registry import FileState, checkpoint, file_state, path_of, registry
from benchmark.cli.options import (
    ArtifactsOption,
    DataOption,
    NamesArgument,
    ResultsOption,
    command,
    say,
    show,
    write_result,
)
from benchmark.cli.progress import Unit, getting
from benchmark.errors import UserError
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.tables.render import MISSING, points
from benchmark.report.wrapping import wrapped

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Adversarially trained weights: what is registered, get it, check it, export your own.",
)


@app.command("list")
@command
def list_checkpoints(data_dir: DataOption = Path("data")) -> None:
    """Every registered checkpoint: what it really is, published numbers, and whether it is here."""
    heads, indent, entries = ("name", "here", "Std", "AA", "MB"), " " * 4, registry().values()
    rows = [_row(entry, file_state(entry, data_dir)) for entry in entries]
    align = ("left", "left", "right", "right", "right")
    lines = tabulate(rows, heads, "plain", disable_numparse=True, colalign=align).splitlines()
    show(lines[0])
    for entry, line in zip(entries, lines[1:], strict=True):
        show(line)
        show("\n".join(wrapped(_what(entry), indent, indent)))
    say("Std and AA (AutoAttack) are what was published, in percent, AA at the eps of the entry.")


@app.command()
@command
def get(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="As `checkpoints list` names them.")
    ],
    file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Take this copy of yours instead of a download.")
    ] = None,
    accept_checksum: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHA256",
            help="Take a file of this hash where the registry knows none; may be repeated.",
        ),
    ] = None,
    data_dir: DataOption = Path("data"),
) -> None:
    """Download or import files and verify them; what is there and right is left alone."""
    from benchmark.checkpoints.get import get_checkpoint

    entries = [checkpoint(name) for name in dict.fromkeys(names)]
    accepted = [_sha256(text) for text in accept_checksum or ()]
    if file is not None and len(entries) > 1:
        raise UserError("--file is one file; name one checkpoint")
    for entry in entries:
        before = file_state(entry, data_dir)
        with getting(Unit.MEGABYTES) as progress:
            path = get_checkpoint(entry, data_dir, copy=file, accepted=accepted, progress=progress)
        where = "in the repository" if entry.kind is FileSource.PATH else "in place"
        already = " already" if before is FileState.VERIFIED else ""
        show(f"{entry.name}: {where}{already}, verified: {path}")
        if accepted and before is not FileState.VERIFIED:
            say(f"{entry.name}: its sha256 was accepted by you; {path.with_name('SHA256SUMS')} says so")


@app.command()
@command
def verify(
    names: NamesArgument = None,
    results: ResultsOption = Path("results"),
    data_dir: DataOption = Path("data"),
) -> None:
    """Check hash, size and fit: the file is loaded strictly into its network; exit code 1 if one fails.

    Weights of a cell of this suite are compared with those behind its records, too.
    """
    chosen = [checkpoint(name) for name in dict.fromkeys(names or ())]
    if not names:
        chosen = [entry for entry in registry().values() if path_of(entry, data_dir).is_file()]
        if not chosen:
            say(f"nothing to verify in '{data_dir}'")
    from benchmark.checkpoints.load import refuse_unsafe_environment

    refuse_unsafe_environment("a checkpoint")
    wrong = False
    for entry in chosen:
        try:
            show(f"{entry.name}: {_verified(entry, data_dir, results)}")
        except UserError as error:
            say(f"error: {entry.name}: {error}")
            wrong = True
    if wrong:
        raise typer.Exit(1)


@app.command("export")
@command
def export_cell(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A finished cell.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The safetensors file; its card is FILE with .md.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Its name in the registry. Default: that of the file.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Default: MIT, or that of the checkpoint it started from.")
    ] = None,
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
) -> None:
    """Write the weights of a cell with a model card, and print its entry for checkpoints.toml."""
    from benchmark.jobs.export import export, exported_paths, source_of, toml_block

    cell = Cell.parse(key)
    path, card = exported_paths(out)
    source = source_of(path)
    default = re.sub(r"[^a-z0-9.]+", "-", path.stem.lower()).strip("-.")
    made = export(
        cell, source or path.name, Store(results, artifacts), name=name or default, licence=licence
    )
    write_result(path, made.content)
    write_result(card, made.card.encode())
    show(toml_block(made.entry), nl=False)
    beside = f"a registry in '{path.parent}'; in any other, its source is the path from there"
    say(f"wrote {path} and {card}; the table above goes into {'the registry' if source else beside}")


@app.command("card")
@command
def show_card(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered checkpoint of a cell.")],
    results: ResultsOption = Path("results"),
) -> None:
    """Print the model card of a checkpoint that this suite made, from its entry and its records."""
    from benchmark.jobs.export import card

    show(card(checkpoint(name), Store(results, Path())), nl=False)


def _row(entry: CheckpointEntry, here: FileState) -> list[str]:
    known = (entry.published.get(name) for name in ("clean", "autoattack"))
    numbers = (MISSING if value is None else points(value) for value in known)
    size = MISSING if entry.size is None else f"{entry.size / 1e6:.1f}"
    return [entry.name, here.value, *numbers, size]


def _what(entry: CheckpointEntry) -> str:
    """`cifar10, wrn-34-10, trades, eps 0.031, licence MIT. TRADES with beta 6.`"""
    method = entry.method or "no method of this suite"
    facts = f"{entry.dataset}, {entry.arch}, {method}, eps {entry.eps}, licence {entry.licence}."
    return " ".join([facts, entry.what, *(["Extra data."] if entry.extra_data else [])])


def _verified(entry: CheckpointEntry, data_dir: Path, results: Path) -> str:
    """What was found right, in a line. Raises `UserError` for the first thing that is not."""
    from benchmark.engine.weights import Weights
    from benchmark.jobs.checkpoint import load_model_file, registered_model

    own = registered_model(entry, data_dir)
    _, loaded = load_model_file(own)
    found = [f"sha256 {loaded.file_sha256[:12]}...", f"{own.weights.stat().st_size:,} bytes"]
    found.append(f"fits {entry.arch}")
    if entry.cell is not None and (making := Store(results, Path()).making(Cell.parse(entry.cell))):
        if Weights.of(loaded.state, loaded.module).sha256 != making.provenance.weights_sha256:
            raise UserError(f"'{own.weights}' holds other weights than those behind {entry.cell}")
        found.append(f"the weights behind {entry.cell}")
    return "; ".join([*found, *loaded.notes])


def _sha256(text: str) -> str:
    found = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        raise UserError(f"--accept-checksum '{text}' is no sha256; that is 64 hexadecimal digits")
    return found
