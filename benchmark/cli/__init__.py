"""The command line: `python -m benchmark COMMAND`. This and its sub-commands are all that prints.

Results go to standard output, progress and messages to standard error. Exit codes: 0 all is well, 1 a
cell failed or a check found something worse than before, 2 the input was wrong.
"""

from pathlib import Path
from typing import Annotated

import typer

from baselines import METHODS
from benchmark.algorithm.protocols import ALPHA_1, CURVE, MODULE, PROTOCOLS, TUNINGS
from benchmark.cli.bf16 import bf16
from benchmark.cli.check import check
from benchmark.cli.checkpoints import app as checkpoints_app
from benchmark.cli.data import app as data_app
from benchmark.cli.evaluate import evaluate
from benchmark.cli.evidence import evidence
from benchmark.cli.figures import add_figure_commands
from benchmark.cli.leaderboard import leaderboard_command
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
    say,
)
from benchmark.cli.submit import submit
from benchmark.cli.tables import add_table_commands
from benchmark.cli.work import (
    ContinueOption,
    DryRunOption,
    EvaluationsOption,
    FromOption,
    JobsOption,
    OnlyOption,
    RedoOption,
    ScaleOption,
    SeedsOption,
    chosen_scale,
    finish,
    matching_cells,
    scale_of,
    show_states,
    show_values,
    work_on,
    working_options,
)
from benchmark.data import DATASETS
from benchmark.engine.takeover import Takeover
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS
from benchmark.models import FAMILIES
from benchmark.plans import scales
from benchmark.plans.plan import Plan
from benchmark.records.cells import BASE, HELD_OUT, Cell
from benchmark.records.store import Store
from benchmark.report.figures.figures import FIGURES
from benchmark.report.tables.reports import REPORTS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="""Benchmark and reproduction suite for **Robust Critical Fine-Tuning** (RiFT, ICCV 2023).

Start with `python -m benchmark table1`: it trains small networks on the embedded digits dataset,
applies RiFT, evaluates everything and prints the paper's Table 1, in minutes and without network.
Every command can be stopped at any moment; the same command continues.""",
    epilog="Cells are named SCALE/DATASET/ARCH/METHOD/FINETUNE/seedN, "
    "for example quick/digits/resnet10-w16/pgd-at/rift/seed0.",
)
app.add_typer(data_app, name="data", rich_help_panel="Data")
app.add_typer(checkpoints_app, name="checkpoints", rich_help_panel="Data")
add_table_commands(app)
add_figure_commands(app)


@app.command(rich_help_panel="Cells")
@guarded
def run(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Cells to make.")],
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="A TOML file, if the keys are of a scale of yours."),
    ] = None,
    evaluations: EvaluationsOption = None,
    limit: LimitOption = None,
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
    """Make single cells, each with its base model, and print their records."""
    named = [Cell.parse(key) for key in keys]
    chosen = scale_of(named, scale, evaluations, limit, precision)
    store = Store(results, artifacts)
    cells = list(dict.fromkeys(part for cell in named for part in (cell.base, cell)))
    for cell in cells:
        Plan.of(cell, chosen)
    takeover = Takeover(continue_anyway, redo_stale)
    options = working_options(
        store, chosen, data_dir, device, threads, precision, compiled, memory, takeover
    )
    failures = work_on(cells, chosen, options, jobs=jobs, dry_run=dry_run)
    if failures is None:
        return
    show_values(store, chosen, cells)
    finish(failures)


@app.command(rich_help_panel="Cells")
@guarded
def status(
    scale: ScaleOption = "quick",
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    from_checkpoint: FromOption = None,
    precision: PrecisionOption = None,
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
) -> None:
    """Which cells are done, missing, stale or running."""
    chosen = chosen_scale(scale, seeds, from_checkpoint=from_checkpoint, precision=precision)
    store = Store(results, artifacts)
    tables = [spec for spec in REPORTS.values() if not spec.audited]
    listed = [cell for spec in tables for cell in spec.cells(chosen, spec.defaults)]
    for key in store.keys_on_disk():
        if key.partition("/")[0] in chosen.slots:
            try:
                cell = Cell.parse(key)
                Plan.of(cell, chosen)
            except UserError as error:
                say(f"results/records/{key} is of no cell of this version: {error}")
            else:
                listed.append(cell)
    show_states(store, chosen, matching_cells(list(dict.fromkeys(listed)), only))


@app.command("list", rich_help_panel="Cells")
@guarded
def list_names() -> None:
    """Names of everything: scales, datasets, networks, methods, fine-tunings, evaluations, ..."""
    sections = {
        "scales": {name: scale.summary for name, scale in scales.SCALES.items()},
        "datasets": {name: info.label for name, info in DATASETS.items()},
        "networks": {family.pattern.partition("[")[0]: family.summary for family in FAMILIES.values()},
        "methods": {name: method.label for name, method in METHODS.items()},
        "fine-tunings": {
            BASE: "the adversarially trained base model",
            BASE + HELD_OUT: "the same, trained without the hold-out",
        }
        | {name: f"fine-tunes: {tuning.label}" for name, tuning in TUNINGS.items()}
        | {
            f"{MODULE}NAME": f"fine-tunes one module, such as {MODULE}layer2.1.conv2",
            f"...{ALPHA_1}": "after any of these: the weights as fine-tuned, alpha = 1",
            f"...{CURVE}": "after any of these: alpha* with every alpha's robust accuracy",
        },
        "protocols": {name: protocol.summary for name, protocol in PROTOCOLS.items()}
        | {f"...{p.suffix}": f"any fine-tuning as {n}" for n, p in PROTOCOLS.items() if p.suffix},
        "evaluations": {
            name: f"column {evaluation.label}: {evaluation.summary}"
            for name, evaluation in EVALUATIONS.items()
        },
        "tables": {name: spec.summary for name, spec in REPORTS.items()},
        "figures": {name: spec.summary for name, spec in FIGURES.items()},
    }
    for title, names in sections.items():
        typer.echo(title)
        for name, summary in names.items():
            typer.echo(f"  {name:<31} {summary}")


app.command("evaluate", rich_help_panel="Cells")(evaluate)
app.command("evidence", rich_help_panel="Cells")(evidence)
app.command("bf16", rich_help_panel="Cells")(bf16)
app.command("check", rich_help_panel="Results")(check)
app.command("leaderboard", rich_help_panel="Results")(leaderboard_command)
app.command("submit", rich_help_panel="Results")(submit)


def main() -> None:
    """Entry point of `python -m benchmark`."""
    app()
