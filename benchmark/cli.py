"""The command line: `python -m benchmark COMMAND`. This and its sub-commands are all that prints.

Results go to standard output, progress and messages to standard error. Exit codes: 0 all is well, 1 a
cell failed, 2 the input was wrong.
"""

import dataclasses
import time
from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Listing

from baselines import METHODS
from benchmark import scales
from benchmark.cells import BASE, Cell
from benchmark.console import (
    WORK,
    ArtifactsOption,
    DataOption,
    DeviceOption,
    ResultsOption,
    ThreadsOption,
    guarded,
    listed_evaluations,
    say,
)
from benchmark.data import DATASETS
from benchmark.data_commands import app as data_app
from benchmark.display import display
from benchmark.errors import UserError
from benchmark.evaluate_command import evaluate
from benchmark.evaluation import EVALUATIONS
from benchmark.files import write_atomically
from benchmark.models import RESNETS, WIDE_RESNETS
from benchmark.plans import Plan
from benchmark.render import FILES, FORMATS
from benchmark.rift.presets import FINETUNES
from benchmark.scales import Scale
from benchmark.states import State, cell_state, record_state, supersede_stale
from benchmark.store import Store
from benchmark.sweep import Failure, Options, cores, default_jobs, sweep, tasks_for
from benchmark.tables import TABLES, Reader, table_spec

MEGABYTES = 500

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="""Benchmark and reproduction suite for **Robust Critical Fine-Tuning** (RiFT, ICCV 2023).

Start with `python -m benchmark table1`: it trains small networks on the embedded digits dataset,
applies RiFT, evaluates everything and prints the paper's Table 1, in minutes and without network.
Every command can be stopped at any moment; the same command continues.""",
    epilog="Cells are named SCALE/DATASET/ARCH/METHOD/FINETUNE/seedN, "
    "for example quick/digits/resnet18-w16/pgd-at/rift/seed0.",
)
app.add_typer(data_app, name="data", rich_help_panel="Data")


class Format(StrEnum):
    """How a table is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


ScaleOption = Annotated[
    str,
    typer.Option(
        "--scale",
        help="What the tables cost: `quick` (digits, minutes), `narrow` (real images on a CPU, hours), "
        "`short` (the paper's networks on a GPU, hours), `paper` (GPU days), or the path of a TOML "
        "file with a scale of your own.",
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="GLOB", help="Make only cells whose key matches, such as `*/rift/*`."
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="LIST",
        help="Seeds instead of the scale's, e.g. 0,1,2; the table is printed, not written.",
    ),
]
EvaluationsOption = Annotated[
    str | None,
    typer.Option(
        "--evaluations",
        metavar="LIST",
        help="Evaluations (columns) instead of the scale's, see `list`; the table is printed, not "
        "written.",
    ),
]
CollectOption = Annotated[
    bool, typer.Option("--collect", help="Run nothing; render what the records hold.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Run and write nothing; say what would be made.")
]
RedoOption = Annotated[
    bool,
    typer.Option("--redo-stale", help="Move stale records to results/superseded and make them again."),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the table.")]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        rich_help_panel=WORK,
        help="Base models worked on at once. Default: what cores and free memory allow.",
    ),
]


def _table_command(name: str) -> None:
    spec = TABLES[name]

    @app.command(
        name,
        help=f"The paper's Table {name[-1]}: {spec.summary}.\n\nMakes what is missing, then prints the "
        "table and writes it to results/tables/ as Markdown, LaTeX and CSV.",
        rich_help_panel="Tables",
    )
    @guarded
    def command(
        scale: ScaleOption = "quick",
        only: OnlyOption = None,
        seeds: SeedsOption = None,
        evaluations: EvaluationsOption = None,
        collect: CollectOption = False,
        dry_run: DryRunOption = False,
        redo_stale: RedoOption = False,
        format: FormatOption = Format.TEXT,  # noqa: A002 - the flag's name
        jobs: JobsOption = None,
        threads: ThreadsOption = None,
        device: DeviceOption = "cpu",
        results: ResultsOption = Path("results"),
        artifacts: ArtifactsOption = Path("artifacts"),
        data_dir: DataOption = Path("data"),
    ) -> None:
        chosen, store = _scale(scale, seeds, evaluations), Store(results, artifacts)
        if not (cells := spec.cells(chosen)):
            raise UserError(f"scale '{chosen.name}' has nothing for {name}: it names one method only")
        cells = _matching(cells, only)
        failures: list[Failure] = []
        if dry_run:
            _show_states(store, chosen, cells)
            return
        if not collect:
            options = _options(store, chosen, data_dir, device, threads)
            failures = _make(cells, chosen, options, jobs, redo_stale)
        refused = any(failure.user for failure in failures)
        own = seeds is not None or evaluations is not None
        _render(name, Reader(store, chosen), format, write=not own and not refused)
        _finish(failures)


for _name in TABLES:
    _table_command(_name)


@app.command(rich_help_panel="Cells")
@guarded
def run(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Cells to make.")],
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="A TOML file, if the keys are of a scale of yours."),
    ] = None,
    dry_run: DryRunOption = False,
    redo_stale: RedoOption = False,
    jobs: JobsOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
    data_dir: DataOption = Path("data"),
) -> None:
    """Make single cells, each with its base model, and print their records."""
    named = [Cell.parse(key) for key in keys]
    chosen = _scale(scale or named[0].scale, None)
    for cell in named:
        if cell.scale != chosen.name:
            raise UserError(
                f"{cell.key} is of scale '{cell.scale}', not '{chosen.name}'; run one scale at a time"
            )
    store = Store(results, artifacts)
    cells = list(dict.fromkeys(part for cell in named for part in (cell.base, cell)))
    for cell in cells:
        Plan.of(cell, chosen)
    if dry_run:
        _show_states(store, chosen, cells)
        return
    options = _options(store, chosen, data_dir, device, threads)
    failures = _make(cells, chosen, options, jobs, redo_stale)
    _show_values(store, chosen, cells)
    _finish(failures)


@app.command(rich_help_panel="Cells")
@guarded
def status(
    scale: ScaleOption = "quick",
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
) -> None:
    """Which cells are done, missing, stale or running."""
    chosen, store = _scale(scale, seeds), Store(results, artifacts)
    listed = [cell for spec in TABLES.values() for cell in spec.cells(chosen)]
    for key in store.keys_on_disk():
        if key.startswith(f"{chosen.name}/"):
            try:
                cell = Cell.parse(key)
                Plan.of(cell, chosen)
            except UserError as error:
                say(f"results/records/{key} is of no cell of this version: {error}")
            else:
                listed.append(cell)
    _show_states(store, chosen, _matching(list(dict.fromkeys(listed)), only))


@app.command("list", rich_help_panel="Cells")
@guarded
def list_names() -> None:
    """Names of scales, datasets, networks, methods, fine-tunings, evaluations and tables."""
    networks = {name: f"ResNet, width 64; {name}-wN for width N" for name in RESNETS}
    networks |= {f"{name}-K": "Wide ResNet, widening factor K" for name in WIDE_RESNETS}
    sections = {
        "scales": {name: scale.summary for name, scale in scales.SCALES.items()},
        "datasets": {name: info.label for name, info in DATASETS.items()},
        "networks": networks,
        "methods": {name: method.label for name, method in METHODS.items()},
        "fine-tunings": {BASE: "the adversarially trained base model"}
        | {
            name: f"fine-tunes {tuning.label}; "
            + ("its own alpha*" if tuning.interpolation else "alpha = 1")
            + f"; chosen on {tuning.selects_on} images"
            for name, tuning in FINETUNES.items()
        },
        "evaluations": {
            name: f"column {evaluation.label}: {evaluation.summary}"
            for name, evaluation in EVALUATIONS.items()
        },
        "tables": {name: spec.summary for name, spec in TABLES.items()},
    }
    for title, names in sections.items():
        typer.echo(title)
        for name, summary in names.items():
            typer.echo(f"  {name:<31} {summary}")


app.command("evaluate", rich_help_panel="Cells")(evaluate)


def _scale(name: str, seeds: str | None, evaluations: str | None = None) -> Scale:
    chosen = scales.scale(name)
    if evaluations is not None:
        chosen = dataclasses.replace(chosen, evaluations=listed_evaluations(evaluations))
    if seeds is None:
        return chosen
    parts = seeds.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UserError(f"--seeds '{seeds}' is not a list of whole numbers such as 0,1,2")
    numbers = tuple(dict.fromkeys(int(part) for part in parts))
    return dataclasses.replace(chosen, seeds=numbers)


def _matching(cells: Sequence[Cell], only: str | None) -> list[Cell]:
    chosen = [cell for cell in cells if only is None or fnmatchcase(cell.key, only)]
    if not chosen:
        raise UserError(f"no cell matches --only '{only}'; a key of this scale reads {cells[0].key}")
    return chosen


def _options(store: Store, scale: Scale, data: Path, device: str, threads: int | None) -> Options:
    return Options(store, data, device, threads or scale.threads or cores())


def _make(
    cells: Sequence[Cell], scale: Scale, options: Options, jobs: int | None, redo_stale: bool
) -> list[Failure]:
    store, began = options.store, time.monotonic()
    if redo_stale:
        for part in dict.fromkeys(part for cell in cells for part in (cell.base, cell)):
            supersede_stale(store, Plan.of(part, scale), scale.evaluations)
    tasks = tasks_for(store, scale, cells)
    if not tasks:
        return []
    store.check_writable(MEGABYTES)
    workers = min(jobs or default_jobs(options.device, options.threads, len(tasks)), len(tasks))
    count = sum(len(task.cells) for task in tasks)
    say(
        f"cells to make: {count}, of {len(tasks)} base models, {workers} at a time, threads each: "
        f"{options.threads}; stop at any moment, the same command continues"
    )
    with display(Console(stderr=True), workers, len(tasks)) as shown:
        failures = sweep(tasks, scale, options, workers, shown)
    made = count - len({failure.key for failure in failures})
    say(f"cells made: {made} of {count}, in {time.monotonic() - began:.0f} s")
    return failures


def _render(name: str, reader: Reader, how: Format, write: bool) -> None:
    table = table_spec(name).build(reader)
    typer.echo(FORMATS[how](table), nl=how is Format.TEXT)
    if not write:
        return
    stem = reader.store.results / "tables" / f"{name}-{reader.scale.name}"
    for kind, suffix in FILES.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        try:
            write_atomically(path, FORMATS[kind](table).encode())
        except OSError as error:
            raise UserError(
                f"cannot write '{path}' ({error.strerror}); name another folder by --results"
            ) from error
    say(f"written to {stem}.{{{','.join(FILES.values())}}}")


def _show_states(store: Store, scale: Scale, cells: Sequence[Cell]) -> None:
    listing = Listing("cell", "state", *scale.evaluations, box=None, pad_edge=False)
    totals = dict.fromkeys(State, 0)
    for cell in cells:
        plan = Plan.of(cell, scale)
        state = cell_state(store, plan, scale.evaluations)
        totals[state] += 1
        records = [record_state(store, plan, name).value for name in scale.evaluations]
        listing.add_row(cell.key, state.value, *records)
    Console(width=max(140, Console().width)).print(listing)
    typer.echo(", ".join(f"{count} {state}" for state, count in totals.items() if count))


def _show_values(store: Store, scale: Scale, cells: Sequence[Cell]) -> None:
    for cell in cells:
        for name in scale.evaluations:
            record = store.record(cell, name)
            if record is not None:
                typer.echo(f"{cell.key}  {record.summary}")


def _finish(failures: Sequence[Failure]) -> None:
    if not failures:
        return
    say(f"failed: {len(failures)}")
    for message in dict.fromkeys(failure.message for failure in failures):
        keys = [failure.key for failure in failures if failure.message == message]
        say(f"  {', '.join(keys)}: {message}")
    raise typer.Exit(2 if any(failure.user for failure in failures) else 1)


def main() -> None:
    """Entry point of `python -m benchmark`."""
    app()
