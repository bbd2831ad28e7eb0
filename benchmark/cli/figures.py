"""`figure1`, `figure3`, ...: make the cells of a figure, draw it and write it."""

import dataclasses
from pathlib import Path

import typer

from benchmark.cli.options import (
    ArtifactsOption,
    CompileOption,
    DataOption,
    DeviceOption,
    MemoryOption,
    PrecisionOption,
    ResultsOption,
    ThreadsOption,
    guarded,
    say,
    write_result,
)
from benchmark.cli.work import (
    CollectOption,
    ContinueOption,
    DryRunOption,
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
    work_on,
    working_options,
)
from benchmark.engine.takeover import Takeover
from benchmark.records.store import Store
from benchmark.report.figures import FIGURES
from benchmark.report.view import View

CHEAPEST = ("clean",)
"""A cell is made by being evaluated, also for a figure that shows how cells were made."""


def add_figure_commands(app: typer.Typer) -> None:
    """A command for each figure of `FIGURES`."""
    for name in FIGURES:
        _add(app, name)


def _add(app: typer.Typer, name: str) -> None:
    spec = FIGURES[name]

    @app.command(
        name,
        help=f"{spec.summary}.\n\nMakes what is missing, then writes the figure to results/figures/ as "
        "PNG and SVG, with the numbers it shows as CSV, and prints what it shows.",
        rich_help_panel="Figures",
    )
    @guarded
    def command(
        scale: ScaleOption = "quick",
        only: OnlyOption = None,
        seeds: SeedsOption = None,
        from_checkpoint: FromOption = None,
        collect: CollectOption = False,
        dry_run: DryRunOption = False,
        redo_stale: RedoOption = False,
        continue_anyway: ContinueOption = False,
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
        chosen = dataclasses.replace(
            chosen_scale(scale, seeds, from_checkpoint=from_checkpoint, precision=precision),
            evaluations=spec.evaluations or CHEAPEST,
        )
        chosen = as_shown(chosen, spec.cells(chosen), name)
        store, cells = Store(results, artifacts), matching_cells(spec.cells(chosen), only)
        takeover = Takeover(continue_anyway, redo_stale)
        options = working_options(
            store, chosen, data_dir, device, threads, precision, compiled, memory, takeover
        )
        failures = work_on(cells, chosen, options, jobs=jobs, dry_run=dry_run, collect=collect)
        if failures is None:
            return
        if any(failure.user for failure in failures):
            finish(failures)
        own = "" if seeds is None else f".seeds-{'+'.join(str(seed) for seed in chosen.seeds)}"
        stem = store.results / "figures" / f"{name}-{chosen.stem}{own}"
        picture = spec.build(View(store, chosen))
        drawn = picture.files()
        for suffix, content in drawn.items():
            write_result(stem.with_name(f"{stem.name}.{suffix}"), content)
        typer.echo(picture.caption)
        say(f"written to {stem}.{{{','.join(drawn)}}}")
        finish(failures)
