"""`table1` to `table4` and `audit`: make the cells of a table, print it and write it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmark.algorithm.protocols import finetune
from benchmark.cli.options import (
    ArtifactsOption,
    CompileOption,
    DataOption,
    DeviceOption,
    LimitOption,
    MemoryOption,
    PrecisionOption,
    ResultsOption,
    ThreadsOption,
    guarded,
    listed,
    say,
    write_result,
)
from benchmark.cli.work import (
    CollectOption,
    ContinueOption,
    DryRunOption,
    EvaluationsOption,
    FromOption,
    JobsOption,
    OnlyOption,
    RedoOption,
    ScaleOption,
    SeedsOption,
    as_shown,
    chosen_scale,
    finish,
    matching_cells,
    without_held_out,
    work_on,
    working_options,
)
from benchmark.engine.takeover import Takeover
from benchmark.errors import UserError
from benchmark.records.store import Store
from benchmark.report.tables import REPORTS
from benchmark.report.tables.layout import Table
from benchmark.report.tables.render import FILES, FORMATS
from benchmark.report.view import View


class Format(StrEnum):
    """How a table is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print the table.")]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="LIST",
        help="Which readings of the paper to show side by side: rift (its text), rift-official-code, "
        "rift-held-out. Tables 1, 2 and the audit take any fine-tuning, see `list`.",
    ),
]


def add_table_commands(app: typer.Typer) -> None:
    """A command for each table of `REPORTS`."""
    for name in REPORTS:
        _add(app, name)


def _add(app: typer.Typer, name: str) -> None:
    spec = REPORTS[name]

    @app.command(
        name,
        help=f"{spec.heading}: {spec.summary}.\n\nMakes what is missing, then prints the table and "
        "writes it to results/tables/ as Markdown, LaTeX and CSV.",
        rich_help_panel="Tables",
    )
    @guarded
    def command(
        scale: ScaleOption = "quick",
        protocol: ProtocolOption = None,
        only: OnlyOption = None,
        seeds: SeedsOption = None,
        from_checkpoint: FromOption = None,
        evaluations: EvaluationsOption = None,
        limit: LimitOption = None,
        collect: CollectOption = False,
        dry_run: DryRunOption = False,
        redo_stale: RedoOption = False,
        continue_anyway: ContinueOption = False,
        format: FormatOption = Format.TEXT,  # noqa: A002 - the flag's name
        jobs: JobsOption = None,
        threads: ThreadsOption = None,
        device: DeviceOption = "cpu",
        precision: PrecisionOption = None,
        compiled: CompileOption = False,
        memory: MemoryOption = None,
        results: ResultsOption = Path("results"),
        artifacts: ArtifactsOption = Path("artifacts"),
        data_dir: DataOption = Path("data"),
    ) -> None:
        chosen = chosen_scale(
            scale,
            seeds,
            evaluations,
            limit,
            audited=spec.audited,
            from_checkpoint=from_checkpoint,
            beyond_first=spec.beyond_first,
            precision=precision,
        )
        defaults = without_held_out(spec.defaults, chosen)
        finetunes = defaults if protocol is None else listed(protocol, finetune)
        store = Store(results, artifacts)
        if not (cells := spec.cells(chosen, finetunes)):
            raise UserError(f"scale '{chosen.name}' has nothing for {name}: it names one method only")
        chosen = as_shown(chosen, cells, name, beyond_first=spec.beyond_first)
        cells = matching_cells(cells, only)
        takeover = Takeover(continue_anyway, redo_stale)
        options = working_options(
            store, chosen, data_dir, device, threads, precision, compiled, memory, takeover
        )
        failures = work_on(cells, chosen, options, jobs=jobs, dry_run=dry_run, collect=collect)
        if failures is None:
            return
        table = spec.build(View(store, chosen), finetunes)
        typer.echo(FORMATS[format](table), nl=format is Format.TEXT)
        refused = any(failure.user for failure in failures)
        if not refused and seeds is None and evaluations is None and limit is None:
            shown = "" if finetunes == defaults else f".{'+'.join(finetunes)}"
            _write(table, store, f"{name}-{chosen.stem}{shown}")
        finish(failures)


def _write(table: Table, store: Store, stem: str) -> None:
    folder = store.results / "tables"
    for kind, suffix in FILES.items():
        write_result(folder / f"{stem}.{suffix}", FORMATS[kind](table).encode())
    say(f"written to {folder / stem}.{{{','.join(FILES.values())}}}")
