"""`python -m benchmark check`: records against published numbers, and the paper's claims."""

from dataclasses import replace
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from benchmark.checkpoints.registry import registry
from benchmark.cli.options import PrecisionOption, ResultsOption, command, say, show, write_result
from benchmark.cli.scope import from_checkpoints
from benchmark.engine.precision import in_precision
from benchmark.errors import UserError
from benchmark.plans.named import arguments
from benchmark.plans.named import scale as scale_called
from benchmark.plans.scales import Scale
from benchmark.records.cells import OWN
from benchmark.records.store import Store
from benchmark.report.check.accepted import (
    accepted_bytes,
    accepted_path,
    accepting,
    read_accepted,
    regressions,
)
from benchmark.report.check.claims import claim_findings
from benchmark.report.check.criticality import FACTOR, NEAR, criticality_compared
from benchmark.report.check.numbers import COMPARED, checkpoints_compared, compared, is_compared
from benchmark.report.check.published import published
from benchmark.report.check.published_text import published_text
from benchmark.report.check.text import CHECK_FORMATS, Check
from benchmark.report.tables import REPORTS
from benchmark.report.view import View


class CheckFormat(StrEnum):
    """How a check is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"


@command
def check(
    scale: Annotated[
        str | None,
        typer.Option(
            help="A scale by name (default: `quick`), by the path of its TOML file, or by the name "
            "under which one is kept in results/scales/; `SCALE-from-NAME` for its cells that start "
            "from the checkpoint NAME; or `own`, checkpoints evaluated by `evaluate --checkpoint`."
        ),
    ] = None,
    from_checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Judge the cells that start from these checkpoints, as in `table1 --from-checkpoint`.",
        ),
    ] = None,
    precision: PrecisionOption = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB",
            help="Only verdicts whose id matches, such as `C1*` or `table1/*`, and their claims.",
        ),
    ] = None,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="Keep these verdicts in results/checks/ as the baseline of later checks."
        ),
    ] = False,
    show_published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Print all published numbers, claims and notes instead; needs no records.",
        ),
    ] = False,
    format: Annotated[  # noqa: A002 - the flag's name
        CheckFormat, typer.Option(help="How to print the verdicts.")
    ] = CheckFormat.TEXT,
    results: ResultsOption = Path("results"),
) -> None:
    """Compare records with published numbers, and judge the paper's claims by them.

    Numbers are compared at the scales `paper` and `short`, and for checkpoints evaluated by
    `evaluate --checkpoint NAME` (`--scale own`); claims are judged at every other scale too. Exits
    with code 1 if a verdict in results/checks/ was a match, within tolerance or holding, and is none
    of these any more.
    """
    if show_published:
        if accept or any(each is not None for each in (scale, from_checkpoint, precision, only)):
            raise UserError(
                "--published prints everything and judges nothing; leave --scale, --from-checkpoint, "
                "--precision, --only and --accept out"
            )
        if format is not CheckFormat.TEXT:
            raise UserError(f"--published prints text only; leave --format {format} out")
        show(published_text(published()), nl=False)
        return
    if accept and only is not None:
        raise UserError("--accept keeps all verdicts of a scale; leave --only out")
    store, records = Store(results, Path("artifacts")), results / "records"
    if not records.is_dir():  # a mistyped --results would have nothing to lose, and so pass for ever
        raise UserError(
            f"there is no folder '{records}'; name the results tree by --results, or make records: "
            "`python -m benchmark table1 --scale quick`"
        )
    shown = examine(store, "quick" if scale is None else scale, from_checkpoint, precision)
    findings = [each for each in shown.findings if only is None or fnmatchcase(each.id, only)]
    if only is not None and not findings:
        raise UserError(f"no verdict matches --only '{only}'; an id reads C1/DATASET/ARCH/METHOD/...")
    kept = {name for each in findings for name in (each.id, each.claim)}  # a case below its claim
    shown = replace(shown, findings=tuple(f for f in shown.findings if f.id in kept), only=only)
    path, worse = accepted_path(results, shown.name), []
    if (before := read_accepted(results, shown.name)) is not None:
        worse = regressions(before, findings, only)
        shown = replace(shown, accepted=str(path), regressions=tuple(worse))
    if accept:
        write_result(path, accepted_bytes(accepting(shown.name, findings)), results)
    show(CHECK_FORMATS[format](shown), nl=False)
    if accept:
        say(f"accepted: {path}" + (f", with {len(worse)} that got worse" if worse else ""))
    elif worse:
        say(f"got worse: {', '.join(each.id for each in worse)}")
        raise typer.Exit(1)


def examine(
    store: Store, scale: str, from_checkpoint: str | None = None, precision: str | None = None
) -> Check:
    """Check the records of `scale`: a name, a TOML file or `own`.

    `from_checkpoint` lists checkpoints that its cells start from, `precision` is the one they are made
    in. Raises `UserError` for an unknown scale and for broken records.
    """
    numbers = published()
    if scale == OWN:
        if from_checkpoint is not None or precision is not None:
            raise UserError(
                f"--scale {OWN} is of checkpoints as they are; leave --from-checkpoint and "
                "--precision out"
            )
        title = "Check of checkpoints: evaluated here against published numbers of the same weights"
        return Check(OWN, title, tuple(checkpoints_compared(store, numbers, registry())), numbers)
    chosen, argument = _chosen(scale, from_checkpoint, precision, store.results)
    view = View(store, chosen, argument, REPORTS)
    findings = (
        *compared(view, numbers),
        *criticality_compared(view, numbers),
        *claim_findings(view, numbers),
    )
    title = f"Check of scale {chosen.stem}: {chosen.summary}"
    return Check(chosen.stem, title, findings, numbers, _notes(chosen))


def _chosen(
    scale: str, from_checkpoint: str | None, precision: str | None, results: Path
) -> tuple[Scale, str]:
    """The scale, and what makes other commands take the same one behind `--scale`."""
    chosen, file = in_precision(scale_called(scale, results), precision), arguments(scale, results)
    if precision is not None:
        file += f" --precision {precision}"
    chosen = from_checkpoints(chosen, scale, from_checkpoint)
    if from_checkpoint is not None:
        file += f" --from-checkpoint {','.join(chosen.checkpoints)}"
    return chosen, file


def _notes(scale: Scale) -> tuple[str, ...]:
    notes = [
        "intervals are 95 %; claims about a method are judged over seeds: a single seed, or several "
        "that agree exactly, cannot decide them",
        "a claim fails if one of its cases does, C9 only if those of most models do; where nothing "
        "differs, 1 case in 40 fails by chance",
    ]
    if not is_compared(scale):
        others = ", ".join((*COMPARED, OWN))
        notes.append(
            f"numbers of scale {scale.stem} are not compared with published ones: other "
            f"networks, recipes or weights; those of {others} are"
        )
        return tuple(notes)
    notes.append(
        f"MRC is shown by seed and within tolerance up to a factor of {FACTOR:g}; a named module is "
        f"within tolerance if it is among the {NEAR} least (or most) critical in every seed"
    )
    if COMPARED[scale.name] == "neighbour":
        notes.append(
            f"scale {scale.name} trains by a shorter recipe: its numbers are neighbours of the "
            "published ones and never match"
        )
    return tuple(notes)
