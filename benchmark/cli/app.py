"""Every command of the command line."""

import platform
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from baselines import METHODS
from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import ALPHA_1, AND, CURVE, MIRRORED, MODULE, TUNINGS
from benchmark.cli.bf16 import bf16
from benchmark.cli.cells import run, show_cell, status
from benchmark.cli.check import check
from benchmark.cli.checkpoints import app as checkpoints_app
from benchmark.cli.data import app as data_app
from benchmark.cli.evaluate import evaluate
from benchmark.cli.evidence import evidence
from benchmark.cli.figures import add_figure_command
from benchmark.cli.leaderboard import leaderboard_command
from benchmark.cli.options import OneLine, command, show
from benchmark.cli.submit import submit
from benchmark.cli.tables import add_table_command
from benchmark.data import DATASETS
from benchmark.evaluation import EVALUATIONS
from benchmark.models import FAMILIES
from benchmark.plans.named import SCALES
from benchmark.plans.plugins import installed
from benchmark.records.cells import BASE, HELD_OUT
from benchmark.records.plugins import LOADED
from benchmark.report.figures import FIGURES
from benchmark.report.tables import REPORTS

app = typer.Typer(
    cls=OneLine,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Benchmark and reproduction suite for **Robust Critical Fine-Tuning** (RiFT, ICCV 2023).

Start with `python -m benchmark table1`: it trains small networks on the embedded digits dataset,
applies RiFT, evaluates everything and prints the paper's Table 1, in minutes and offline.
Every command can be stopped at any moment; run it again and it continues.""",
    epilog="Cells are named SCALE/DATASET/ARCH/METHOD/FINETUNE/seedN, "
    "for example quick/digits/resnet10-w16/pgd-at/rift/seed0.",
)


def _version(asked: bool) -> None:
    if asked:
        show(
            f"rift-benchmark {installed_version('rift-benchmark')}, Python {platform.python_version()}"
        )
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_version, help="Show which version this is and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.add_typer(data_app, name="data", rich_help_panel="Data")
app.add_typer(checkpoints_app, name="checkpoints", rich_help_panel="Data")
for _name in REPORTS:
    add_table_command(app, _name)
for _name in FIGURES:
    add_figure_command(app, _name)
app.command("run", rich_help_panel="Cells")(run)
app.command("show", rich_help_panel="Cells")(show_cell)
app.command("status", rich_help_panel="Cells")(status)


@app.command("list", rich_help_panel="Cells")
@command
def list_names() -> None:
    """Names of everything: scales, datasets, networks, methods, fine-tunings, evaluations, ..."""
    sections = {
        "scales": {name: scale.summary for name, scale in SCALES.items()},
        "datasets": {name: info.label for name, info in DATASETS.items()},
        "networks": {family.pattern.partition("[")[0]: family.summary for family in FAMILIES.values()},
        "methods": {name: method.label for name, method in METHODS.items()},
        "fine-tunings": {
            BASE: "the adversarially trained base model",
            BASE + HELD_OUT: "the same, trained without the hold-out",
        }
        | {
            name: f"{'fine-tunes' if tuning.forward is None else 'makes a module'}: {tuning.label}"
            for name, tuning in TUNINGS.items()
        }
        | {
            f"{MODULE}NAME": f"fine-tunes one module, such as {MODULE}layer2.1.conv2",
            f"TUNING{AND}MODULE": f"a module of fine-tuned weights, such as rift{AND}mean-sparse",
            f"...{ALPHA_1}": "after what trains weights: these as fine-tuned, alpha = 1",
            f"...{CURVE}": "after what is searched: with the robust accuracy of every point",
            f"...{MIRRORED}": "after a module: the best robust accuracy that keeps the clean one",
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
    plugins = {name: f"installed; --plugin {name} loads it" for name in installed()}
    plugins |= {name: f"loaded from {plugin.source}" for name, plugin in LOADED.items()}
    sections |= {"plug-ins": plugins} if plugins else {}
    for title, names in sections.items():
        show(title)
        for name, summary in names.items():
            show(f"  {name:<31} {summary}")


app.command("evaluate", rich_help_panel="Cells")(evaluate)
app.command("evidence", rich_help_panel="Cells")(evidence)
app.command("bf16", rich_help_panel="Cells")(bf16)
app.command("check", rich_help_panel="Results")(check)
app.command("leaderboard", rich_help_panel="Results")(leaderboard_command)
app.command("submit", rich_help_panel="Results")(submit)
