"""`python -m benchmark data COMMAND`: what data there are, getting, importing and checking them."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import DataOption, NamesArgument, ThreadsOption, command, say, show
from benchmark.cli.progress import Unit, getting
from benchmark.data import dataset_info, load
from benchmark.data.get.archives import Archive
from benchmark.data.get.download import fetch, hash_of, verify_archive
from benchmark.data.get.inventory import INVENTORY, Availability, Cifar, archived, refuse_unless
from benchmark.data.info import DIGITS
from benchmark.errors import UserError
from benchmark.jobs.tasks import cores

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Datasets and corrupted test sets: what is there, get it, import it, check it.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As `data list` names it.")]


@app.command("list")
@command
def list_data(data_dir: DataOption = Path("data")) -> None:
    """Every dataset and corrupted test set: its state, where it is, and the archive it comes in."""
    _show(DIGITS.name, Availability.EMBEDDED, DIGITS.label, "shipped with scikit-learn, nothing to get")
    for name, entry in INVENTORY.items():
        archive, status = entry.archive, entry.status(data_dir)
        _show(name, status.state, archive.title, status.note)
        size = "size not known" if archive.size is None else f"{archive.size:,} bytes"
        there = "there" if (data_dir / archive.file).exists() else "not there"
        where = "would go to" if status.state is Availability.MISSING else "in"
        show(f"{'':35}{where} {status.folder}")
        show(f"{'':35}archive {archive.file}, {size}, md5 {archive.md5}, {there}")


@app.command()
@command
def get(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="As `data list` names them.")],
    data_dir: DataOption = Path("data"),
) -> None:
    """Download, verify and unpack; what is there and right is left alone."""
    for name, entry in {name: archived(name) for name in names}.items():
        status = entry.status(data_dir)
        if status.state is Availability.PRESENT:
            show(f"{name}: already in {status.folder} ({status.note})")
            continue
        if isinstance(entry, Cifar):
            entry.verify(data_dir)  # says what is wrong before anything is downloaded
        with getting(Unit.MEGABYTES) as progress:
            file = fetch(entry.archive, data_dir, progress=progress)
        _place(name, file, data_dir, [])


@app.command("import")
@command
def import_data(
    name: NameArgument,
    path: Annotated[Path, typer.Argument(help="The archive, or the folder that it unpacks to.")],
    accept_checksum: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HASH",
            help="Take data of this hash although it is not the official one; may be repeated.",
        ),
    ] = None,
    data_dir: DataOption = Path("data"),
) -> None:
    """Verify an archive or an unpacked folder and put what it holds into the data directory."""
    entry, accepted = archived(name), accept_checksum or []
    archive, status = entry.archive, entry.status(data_dir)
    if status.state is Availability.PRESENT:
        raise UserError(
            f"{archive.title} is in '{status.folder}' already; move it away to import another"
        )
    if not path.exists():
        raise UserError(f"'{path}' is not there; name {archive.file} or the folder that it unpacks to")
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"'{path}' is neither a plain file nor a folder; name one of them")
    if path.is_file() and (found := hash_of(path, "md5")) != archive.md5:
        refuse_unless(accepted, found, archive.md5, "md5", archive, path, data_dir)
    _place(name, path, data_dir, accepted)


@app.command()
@command
def accept(
    name: NameArgument,
    content: Annotated[
        str, typer.Argument(metavar="HASH", help="The content hash that the refusal states.")
    ],
    data_dir: DataOption = Path("data"),
) -> None:
    """Use CIFAR files in the data directory although their content is not the official one."""
    from benchmark.data import cifar

    entry = archived(name)
    if not isinstance(entry, Cifar):
        raise UserError(f"only cifar10 and cifar100 can be accepted where they are, not {name}")
    if not cifar.present(entry.info, data_dir):
        raise UserError(f"{entry.info.label} is not complete under '{data_dir}'")
    cifar.accept(entry.info, data_dir, content)
    show(f"{name}: {cifar.verify(entry.info, data_dir)}")


@app.command()
@command
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
    with getting(Unit.COPIES) as progress:
        write_files(images, folder, name, seed=seed, threads=threads or cores(), progress=progress)
    show(f"{name}: 19 corruptions of {len(images):,} images in {folder}")


@app.command()
@command
def verify(names: NamesArgument = None, data_dir: DataOption = Path("data")) -> None:
    """Read everything that is there again, archives too; exit code 1 if something is damaged."""
    wrong, seen = False, False
    for name, entry in {name: archived(name) for name in names or INVENTORY}.items():
        file = data_dir / entry.archive.file
        there = False
        for what, check in (
            (str(file), partial(_verify_file, entry.archive, file)),
            (name, partial(entry.verify, data_dir)),
        ):
            try:
                if (note := check()) is None:
                    continue
                show(f"{what}: {note}")
            except UserError as error:
                say(f"error: {error}")
                wrong = True
            there = True
        if names and not there:
            say(f"error: {name} is not in '{data_dir}'")
            wrong = True
        seen = seen or there
    if not (seen or names):
        say(f"nothing to verify in '{data_dir}'")
    if wrong:
        raise typer.Exit(1)


def _show(name: str, state: Availability, title: str, note: str) -> None:
    show(f"{name:<23}{state.value:<12}{title}{': ' if note else ''}{note}")


def _place(name: str, source: Path, directory: Path, accepted: list[str]) -> None:
    entry = archived(name)
    with getting(Unit.IMAGES) as progress:
        entry.place(source, directory, accepted, progress)
    status = entry.status(directory)
    show(f"{name}: in {status.folder} ({status.note})")


def _verify_file(archive: Archive, file: Path) -> str | None:
    if not file.exists():
        return None
    verify_archive(archive, file)
    return f"official archive, md5 {archive.md5}"
