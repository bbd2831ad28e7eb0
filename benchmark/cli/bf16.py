"""`python -m benchmark bf16`: measures what `benchmark.report.bf16` describes, files and shows it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.checkpoints.registry import checkpoint
from benchmark.cli.options import (
    DeviceOption,
    LimitOption,
    Places,
    ThreadsOption,
    begin,
    command,
    say,
    show,
    write_result,
)
from benchmark.cli.progress import working_on
from benchmark.cli.work import MEGABYTES
from benchmark.errors import UserError
from benchmark.evaluation.first import limited
from benchmark.jobs.tasks import cores, locked_after_others
from benchmark.records.cells import Cell
from benchmark.records.files import inside, locked
from benchmark.report.bf16 import EMULATED, as_json, as_table, changes_path, read_changes
from benchmark.report.tables.render import markdown, text

if TYPE_CHECKING:
    from benchmark.jobs.bf16 import Comparison


@command
def bf16(
    places: Places,
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="A cell whose weights are in --artifacts.")
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
    device: DeviceOption = None,
) -> None:
    """Count the images on which PGD-10 in bf16 succeeds and in fp32 fails, or the other way round.

    Both attack the same weights from the same random starts. Adds the result to results/bf16.json and
    shows what is there; without a model it only shows.
    """
    if key is not None and registered is not None:
        raise UserError("one model at a time: a KEY or a --checkpoint")
    if key is not None or registered is not None:
        import torch

        from benchmark.engine.device import torch_device
        from benchmark.jobs.bf16 import Comparison, bf16_units, cell_model
        from benchmark.jobs.checkpoint import registered_model

        on = torch_device(device or "cpu")
        if bf16_units(on) == EMULATED and not emulated:
            raise UserError(
                f"'{on}' has no bf16 units, and emulated bf16 says little about devices that have "
                "them; --emulated measures it anyway and marks the result"
            )
        torch.set_num_threads(threads or cores())
        if registered is not None:
            own = registered_model(checkpoint(registered), places.data_dir)
            cell = own.cell(registered)
        else:
            cell = Cell.parse(key or "")
            own = cell_model(cell, places.store, places.data_dir)
        _add(Comparison(own, cell, limited("pgd10x3", limit), places.store, on), places.data_dir)
    if measured := read_changes(places.results):
        show(text(as_table(measured)))
    else:
        say(f"nothing in '{changes_path(places.results)}'; name a KEY or a --checkpoint to measure")


def _add(comparison: "Comparison", data_dir: Path) -> None:
    store = comparison.store
    begin(store, MEGABYTES)
    cell = comparison.cell
    with working_on(cell.key) as progress, locked_after_others(store, cell, progress):
        if not comparison.is_among(read_changes(store.results)):
            found = comparison.measure(data_dir, progress)
            with locked(inside(store.artifacts / "bf16.lock", store.artifacts)):
                both = (*read_changes(store.results), found)
                measured = tuple(sorted(both, key=lambda each: each.place))
                path = changes_path(store.results)
                table = markdown(as_table(measured)).encode()
                write_result(path.with_suffix(".md"), table, store.results)
                write_result(path, as_json(measured), store.results)  # last: from then on it is done
        for journal in comparison.journals.values():
            journal.remove()
