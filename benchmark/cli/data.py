"""`python -m benchmark data COMMAND`: what data there are, getting, importing and checking them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich import progress as bars
from rich.console import Console

from benchmark.cli.options import DataOption, ThreadsOption, guarded, say
from benchmark.data import dataset_info, load
from benchmark.data.get.archives import Archive
from benchmark.data.get.download import fetch, md5, verify_archive
from benchmark.data.get.inventory import INVENTORY, Availability, Cifar, archived, refuse_unless
from benchmark.data.info import DIGITS
from benchmark.errors import UserError
from benchmark.jobs.sweep import cores
from benchmark.progress import Progress

LINE_EVERY_S = 15.0

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Datasets and corrupted test sets: what is there, get it, import it, check it.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As `data list` names it.")]


@app.command("list")
@guarded
def list_data(data_dir: DataOption = Path("data")) -> None:
    """Every dataset and corrupted test set: its state, where it is, and the archive it comes in."""
    _show(DIGITS.name, Availability.EMBEDDED, DIGITS.label, "shipped with scikit-learn, nothing to get")
    for name, held in INVENTORY.items():
        archive, status = held.archive, held.status(data_dir)
        _show(name, status.state, archive.title, status.note)
        size = "size not known" if archive.size is None else f"{archive.size:,} bytes"
        there = "there" if (data_dir / archive.file).exists() else "not there"
        where = "would go to" if status.state is Availability.MISSING else "in"
        typer.echo(f"{'':35}{where} {status.folder}")
        typer.echo(f"{'':35}archive {archive.file}, {size}, md5 {archive.md5}, {there}")


@app.command()
@guarded
def get(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="As `data list` names them.")],
    data_dir: DataOption = Path("data"),
) -> None:
    """Download, verify and unpack; what is there and right is left alone."""
    for name, held in {name: archived(name) for name in names}.items():
        status = held.status(data_dir)
        if status.state is Availability.PRESENT:
            typer.echo(f"{name}: already in {status.folder} ({status.note})")
            continue
        if isinstance(held, Cifar):
            held.verify(data_dir)  # says what is wrong before anything is downloaded
        with _reporting(_Unit.MEGABYTES) as progress:
            file = fetch(held.archive, data_dir, progress=progress)
        _place(name, file, data_dir, [])


@app.command("import")
@guarded
def import_data(
    name: NameArgument,
    path: Annotated[Path, typer.Argument(help="The archive, or the folder that it unpacks to.")],
    accept_checksum: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-checksum",
            metavar="HASH",
            help="Take data of this hash although it is not the official one; may be repeated.",
        ),
    ] = None,
    data_dir: DataOption = Path("data"),
) -> None:
    """Verify an archive or an unpacked folder and put what it holds into the data directory."""
    held, accepted = archived(name), accept_checksum or []
    archive, status = held.archive, held.status(data_dir)
    if status.state is Availability.PRESENT:
        raise UserError(
            f"{archive.title} is in '{status.folder}' already; move it away to import another"
        )
    if not path.exists():
        raise UserError(f"'{path}' is not there; name {archive.file} or the folder that it unpacks to")
    if path.is_file() and (found := md5(path)) != archive.md5:
        refuse_unless(accepted, found, archive.md5, "md5", archive, path)
    _place(name, path, data_dir, accepted)


@app.command()
@guarded
def accept(
    name: NameArgument,
    content: Annotated[
        str, typer.Argument(metavar="HASH", help="The content hash that the refusal states.")
    ],
    data_dir: DataOption = Path("data"),
) -> None:
    """Use CIFAR files in the data directory although their content is not the official one."""
    from benchmark.data import cifar

    held = archived(name)
    if not isinstance(held, Cifar):
        raise UserError(f"only cifar10 and cifar100 can be accepted where they are, not {name}")
    if not cifar.present(held.info, data_dir):
        raise UserError(f"{held.info.label} is not complete under '{data_dir}'")
    cifar.accept(held.info, data_dir, content)
    typer.echo(f"{name}: {cifar.verify(held.info, data_dir)}")


@app.command()
@guarded
def generate(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="As `list` names it.")],
    threads: ThreadsOption = None,
    data_dir: DataOption = Path("data"),
) -> None:
    """Write the 19 corruptions that generator gen-v2 makes of a test set, 2.9 GB for CIFAR.

    Evaluations read them instead of making them for every model; the numbers are the same. What a
    stopped run has written is kept.
    """
    from benchmark.data.corruptions.files import write_files
    from benchmark.evaluation.corruptions import corruption_seed, generated_folder

    info = dataset_info(name)
    images = load(name, data_dir).test.images.numpy()
    folder, seed = generated_folder(data_dir, info), corruption_seed(info)
    with _reporting(_Unit.COPIES) as progress:
        write_files(images, folder, name, seed=seed, threads=threads or cores(), progress=progress)
    typer.echo(f"{name}: 19 corruptions of {len(images):,} images in {folder}")


@app.command()
@guarded
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Default: everything that is there."),
    ] = None,
    data_dir: DataOption = Path("data"),
) -> None:
    """Read everything that is there again, archives too; exit code 2 if something is damaged."""
    wrong, seen = False, False
    for name, held in {name: archived(name) for name in names or INVENTORY}.items():
        file = data_dir / held.archive.file
        checks: dict[str, Callable[[], str | None]] = {
            str(file): partial(_verify_file, held.archive, file),
            name: partial(held.verify, data_dir),
        }
        there = False
        for what, check in checks.items():
            try:
                note = check()
            except UserError as error:
                say(f"error: {error}")
                wrong = there = True
            else:
                if note is not None:
                    typer.echo(f"{what}: {note}")
                    there = True
        if names and not there:
            say(f"error: {name} is not in '{data_dir}'")
            wrong = True
        seen = seen or there
    if not (seen or names):
        say(f"nothing to verify in '{data_dir}'")
    if wrong:
        raise typer.Exit(2)


def _show(name: str, state: Availability, title: str, note: str) -> None:
    typer.echo(f"{name:<23}{state.value:<12}{title}{': ' if note else ''}{note}")


def _place(name: str, source: Path, directory: Path, accepted: list[str]) -> None:
    held = archived(name)
    with _reporting(_Unit.IMAGES) as progress:
        held.place(source, directory, accepted, progress)
    status = held.status(directory)
    typer.echo(f"{name}: in {status.folder} ({status.note})")


def _verify_file(archive: Archive, file: Path) -> str | None:
    if not file.exists():
        return None
    verify_archive(archive, file)
    return f"official archive, md5 {archive.md5}"


class _Unit(StrEnum):
    """What progress counts."""

    MEGABYTES = "MB"
    IMAGES = "images"
    COPIES = "copies of the test set"

    def text(self, count: int) -> str:
        """`count` bytes or images for people."""
        return f"{count / 1e6:,.1f}" if self is _Unit.MEGABYTES else f"{count:,}"


class _Lines:
    """Progress as plain lines: at most one in 15 s, and one at each end."""

    def __init__(self, unit: _Unit) -> None:
        self.unit, self.shown = unit, time.monotonic()

    def __call__(self, stage: str, done: int, total: int, note: str = "", /) -> None:
        now = time.monotonic()
        if now - self.shown < LINE_EVERY_S and done != total:
            return
        self.shown = now
        of = f" of {self.unit.text(total)}" if total else ""
        say(f"{stage}, {note}: {self.unit.text(done)}{of} {self.unit.value}")


class _Bar:
    """Progress as a bar for each stage."""

    def __init__(self, shown: bars.Progress) -> None:
        self.shown = shown
        self.tasks: dict[str, bars.TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "", /) -> None:
        name = f"{stage}, {note}"
        if name not in self.tasks:
            self.tasks[name] = self.shown.add_task(name)
        self.shown.update(self.tasks[name], completed=done, total=total or None)


@contextmanager
def _reporting(unit: _Unit) -> Iterator[Progress]:
    """Progress on standard error: bars on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(unit)
        return
    counted: list[bars.ProgressColumn] = [bars.MofNCompleteColumn()]
    if unit is _Unit.MEGABYTES:
        counted = [bars.DownloadColumn(), bars.TransferSpeedColumn()]
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), *counted)
    with bars.Progress(*columns, bars.TimeRemainingColumn(), console=console) as shown:
        yield _Bar(shown)
