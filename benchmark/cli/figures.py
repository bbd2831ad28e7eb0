"""`figure1`, `figure3`, ...: make the cells of a figure, draw it and write it."""

import dataclasses

import typer

from benchmark.cli.options import command, file_name, say, show, write_result
from benchmark.cli.scope import Scope, as_shown
from benchmark.cli.work import CollectOption, Work, finishing
from benchmark.errors import UserError
from benchmark.report.figures import FIGURES
from benchmark.report.view import View

CHEAPEST = ("clean",)
"""A cell is made by being evaluated, also for a figure that shows how cells were made."""


def add_figure_command(app: typer.Typer, name: str) -> None:
    """The command of the figure `name` of `FIGURES`."""
    spec = FIGURES[name]

    @app.command(
        name,
        help=f"{spec.summary[0].upper()}{spec.summary[1:]}.\n\nMakes what is missing, then writes the "
        "figure to results/figures/ as PNG and SVG, with its numbers as CSV, and prints what it shows.",
        rich_help_panel="Figures",
    )
    @command
    def make(scope: Scope, work: Work, collect: CollectOption = False) -> None:
        chosen = scope.chosen(
            audited=spec.audited, of_posthoc=spec.of_posthoc, precision=work.precision
        )
        chosen = dataclasses.replace(chosen, evaluations=spec.wanted(chosen) or CHEAPEST)
        chosen = as_shown(chosen, spec.cells(chosen), name)
        cells = scope.matching(spec.cells(chosen))
        stem = file_name(f"{name}-{chosen.stem}{scope.suffix(chosen)}")
        path = work.results / "figures" / stem
        with finishing(work.make((cells, chosen), collect=collect), cells):
            try:
                picture = spec.build(View(work.store, chosen))
            except UserError as error:
                if not work.on_slurm:
                    raise
                say(f"nothing drawn yet: {error}")
                return
            drawn = picture.files()
            for suffix, content in drawn.items():
                write_result(path.with_name(f"{path.name}.{suffix}"), content, work.results)
            show(picture.caption)
            say(f"written to {path}.{{{','.join(drawn)}}}")
