"""`python -m benchmark bf16`: measures what `benchmark.report.bf16` describes, files and shows it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from filelock import FileLock
from rich.console import Console

from benchmark.checkpoints.registry import checkpoint
from benchmark.cli.options import (
    ArtifactsOption,
    DataOption,
    DeviceOption,
    LimitOption,
    ResultsOption,
    ThreadsOption,
    guarded,
    limited_evaluations,
    say,
    write_result,
)
from benchmark.cli.progress import display
from benchmark.cli.work import MEGABYTES
from benchmark.errors import UserError
from benchmark.jobs.sweep import cores
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.bf16 import EMULATED, as_json, as_table, changes_path, read_changes
from benchmark.report.tables.render import markdown, text

if TYPE_CHECKING:
    from benchmark.jobs.bf16 import Comparison


@guarded
def bf16(
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="A cell whose weights are in --artifacts."),
    ] = None,
    registered: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", metavar="NAME", help="Instead: one of the registry, see `checkpoints list`."
        ),
    ] = None,
    emulated: Annotated[
        bool,
        typer.Option(
            "--emulated", help="Measure where bf16 can only be emulated, too; the result says so."
        ),
    ] = False,
    limit: LimitOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
    data_dir: DataOption = Path("data"),
) -> None:
    """Count what attacks in bf16 change: PGD-10 flags of a model in bf16 against fp32, image by image.

    Both attack the same weights from the same random starts. Adds the result to results/bf16.json and
    shows what is there; without a model it only shows.
    """
    if key is not None and registered is not None:
        raise UserError("one model at a time: a KEY or a --checkpoint")
    if key is not None or registered is not None:
        import torch

        from benchmark.jobs.bf16 import Comparison, bf16_units, cell_model
        from benchmark.jobs.checkpoint import registered_model
        from benchmark.jobs.worker import torch_device

        on, store = torch_device(device), Store(results, artifacts)
        if bf16_units(on) == EMULATED and not emulated:
            raise UserError(
                f"'{device}' has no bf16 units, and what it emulates says little of those that have; "
                "--emulated measures it all the same, marked so"
            )
        torch.set_num_threads(threads or cores())
        (evaluation,) = limited_evaluations(("pgd10x3",), limit)
        if registered is not None:
            own = registered_model(checkpoint(registered), data_dir)
            cell = own.cell(registered)
        else:
            cell = Cell.parse(key or "")
            own = cell_model(cell, store)
        _add(Comparison(own, cell, evaluation, store, on), data_dir)
    if measured := read_changes(results):
        typer.echo(text(as_table(measured)))
    else:
        say(f"nothing in '{changes_path(results)}'; name a KEY or a --checkpoint to measure")


def _add(comparison: "Comparison", data_dir: Path) -> None:
    """Measure and file what is not on file."""
    store, key = comparison.store, comparison.cell.key
    store.check_writable(MEGABYTES)
    with display(Console(stderr=True), 1, 1) as bars, store.lock(comparison.cell):

        def progress(stage: str, done: int, total: int, note: str = "") -> None:
            bars.update(0, key, stage, done, total, note)

        if not comparison.is_among(read_changes(store.results)):
            found = comparison.measure(data_dir, progress)
            with FileLock(store.artifacts / "bf16.lock"):
                measured = (*read_changes(store.results), found)
                path = changes_path(store.results)
                write_result(path, as_json(measured))
                write_result(path.with_suffix(".md"), markdown(as_table(measured)).encode())
            for journal in comparison.journals.values():
                journal.remove()
        bars.finish(0, key, 1)
