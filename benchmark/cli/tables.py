"""`table1` to `table4`, `audit`, `posthoc`: make the cells of a table, print and write it."""

from enum import StrEnum
from typing import Annotated

import typer

from benchmark.algorithm.tunings import finetune
from benchmark.cli.options import LimitOption, command, file_name, listed, say, show, write_result
from benchmark.cli.scope import Scope, as_shown
from benchmark.cli.work import CollectOption, EvaluationsOption, Work, finishing
from benchmark.errors import UserError
from benchmark.plans.start import FIRST_METHOD, without_held_out
from benchmark.records.store import Store
from benchmark.report.tables import REPORTS
from benchmark.report.tables.beside import beside_paper, printed_in
from benchmark.report.tables.layout import Table
from benchmark.report.tables.render import FILES, rendered
from benchmark.report.view import View

_OF_PROTOCOLS = ("table3", "table4")
_PROTOCOLS = (
    "Readings of the paper to show one below the other, see `list`: rift (its text), "
    "rift-official-code, rift-held-out."
)
_FINE_TUNINGS = (
    "What to show beside the base model, see `list`: any fine-tuning and reading of the paper, such as "
    "rift (its text), rift-official-code, rift-held-out."
)


class Style(StrEnum):
    """What stands in a table."""

    OURS = "ours"
    PAPER = "paper"


class Format(StrEnum):
    """How a table is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


def add_table_command(app: typer.Typer, name: str) -> None:
    """The command of the table `name` of `REPORTS`."""
    spec = REPORTS[name]

    @app.command(
        name,
        help=f"{spec.heading}: {spec.summary}.\n\nMakes what is missing, then prints the table and "
        "writes it to results/tables/ as Markdown, LaTeX and CSV. With --seeds, --arch, --method, "
        "--evaluations, --limit or --style paper it is printed, not written.",
        rich_help_panel="Tables",
    )
    @command
    def make(
        scope: Scope,
        work: Work,
        protocol: Annotated[
            str | None,
            typer.Option(metavar="LIST", help=_PROTOCOLS if name in _OF_PROTOCOLS else _FINE_TUNINGS),
        ] = None,
        evaluations: EvaluationsOption = None,
        limit: LimitOption = None,
        collect: CollectOption = False,
        format: Annotated[  # noqa: A002 - the flag's name
            Format, typer.Option(help="How to print the table.")
        ] = Format.TEXT,
        style: Annotated[
            Style,
            typer.Option(
                help="`paper` (table1 to table4): the paper's rows and columns with its numbers, "
                "ours / paper; printed, not written."
            ),
        ] = Style.OURS,
        notes: Annotated[
            bool, typer.Option("--notes", help="Print all notes below the table, not the first only.")
        ] = False,
    ) -> None:
        chosen = scope.chosen(
            evaluations,
            limit,
            audited=spec.audited,
            of_posthoc=spec.of_posthoc,
            beyond_first=spec.beyond_first,
            precision=work.precision,
        )
        if style is Style.PAPER:
            if protocol is not None:
                raise UserError("--style paper is of the paper's own protocol; leave --protocol out")
            printed_in(name, chosen)
        defaults = without_held_out(spec.defaults, chosen)
        if protocol is None and (out := [name for name in spec.defaults if name not in defaults]):
            say(f"left out, as the checkpoints were trained on the images held out: {', '.join(out)}")
        finetunes = defaults if protocol is None else listed(protocol, finetune)
        if not (cells := spec.cells(chosen, finetunes)):
            whose = f"scale '{chosen.name}'" if scope.methods is None else f"--method {scope.methods}"
            raise UserError(
                f"{whose} has nothing for {name}: it names one method only; `{name}` shows all but the "
                f"first, as of --method {FIRST_METHOD},trades"
            )
        chosen = as_shown(chosen, cells, name, beyond_first=spec.beyond_first)
        cells = scope.matching(cells)
        made = work.make(*spec.parts(cells, chosen), collect=collect)
        with finishing(made, cells):
            view = View(work.store, chosen)
            table = spec.build(view, finetunes)
            if style is Style.PAPER:
                table = beside_paper(view, table)
            try:
                if (
                    style is Style.OURS
                    and not scope.suffix(chosen)
                    and evaluations is None
                    and limit is None
                ):
                    shown = "" if finetunes == defaults else f".{','.join(finetunes)}"
                    _write(table, work.store, file_name(f"{name}-{chosen.stem}{shown}"))
            finally:  # last, because a terminal may not take it, and it is shown where no file can be
                show(rendered(table, format, every_note=notes), nl=format is Format.TEXT)


def _write(table: Table, store: Store, name: str) -> None:
    folder = store.results / "tables"
    for kind, suffix in FILES.items():
        write_result(folder / f"{name}.{suffix}", rendered(table, kind).encode(), store.results)
    say(f"written to {folder / name}.{{{','.join(FILES.values())}}}")
