"""`run`, `show` and `status`: make cells named one by one, show one, and show which are made."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmark.cli.options import (
    ArtifactsOption,
    LimitOption,
    PrecisionOption,
    ResultsOption,
    command,
    say,
    show,
)
from benchmark.cli.scope import Scope, scale_of
from benchmark.cli.states import show_states, show_values
from benchmark.cli.work import EvaluationsOption, Work, finishing
from benchmark.errors import UserError
from benchmark.plans.plan import Plan
from benchmark.plans.states import without_plugins
from benchmark.records.cells import Cell, bases_first
from benchmark.records.store import Store
from benchmark.report.cell import cell_as_text
from benchmark.report.tables import REPORTS

WATCH_S = 30.0


@command
def run(
    work: Work,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Cells to make.")],
    scale: Annotated[
        str | None, typer.Option(help="A TOML file, if the keys are of a scale of yours.")
    ] = None,
    evaluations: EvaluationsOption = None,
    limit: LimitOption = None,
) -> None:
    """Make single cells, each with its base model, and print their records."""
    named = [Cell.parse(key) for key in keys]
    chosen = scale_of(named, scale, evaluations, limit, work.precision)
    cells = bases_first(named)
    for cell in cells:
        Plan.of(cell, chosen)
    with finishing(work.make((cells, chosen))):
        show_values(work.store, chosen, cells)


@command
def show_cell(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A cell on record, such as `status` lists them.")
    ],
    results: ResultsOption = Path("results"),
) -> None:
    """All that is on record of a cell: how it was made, its modules, its curve, its accuracies."""
    show(cell_as_text(Store(results, Path("artifacts")), Cell.parse(key)))  # artifacts are not read


@command
def status(
    scope: Scope,
    precision: PrecisionOption = None,
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Refresh every half minute while cells are being made or are on Slurm."
        ),
    ] = False,
) -> None:
    """Which cells are done, missing, stale or running, and what of them is on Slurm or failed there."""
    chosen = scope.chosen(precision=precision, results=results)
    store = Store(results, artifacts)
    tables = [spec for spec in REPORTS.values() if spec.of_tables]
    listed = [cell for spec in tables for cell in spec.cells(chosen, spec.defaults)]
    for key in store.keys_on_disk():
        if key.partition("/")[0] in chosen.key_names:
            why = without_plugins(store, key)
            try:
                cell = Cell.parse(key)
                Plan.of(cell, chosen)
                listed += [cell] if scope.has(chosen, cell) else []
            except UserError as error:
                why = why or f"of no cell of this version: {error}"
            if why:
                say(f"'{results / 'records' / key}' is {why}")
    matching = scope.matching(list(dict.fromkeys(listed)))
    while show_states(store, chosen, matching) and watch:
        time.sleep(WATCH_S)
        Console().clear()
