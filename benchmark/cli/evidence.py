"""`python -m benchmark evidence`: measures what `records.evidence` describes, files and shows it."""

import dataclasses
from typing import Annotated

import typer

from benchmark.cli.figures import CHEAPEST
from benchmark.cli.log_dir import logged
from benchmark.cli.options import begin, command, say, show
from benchmark.cli.progress import display
from benchmark.cli.scope import FromOption, ScaleOption, Scope
from benchmark.cli.work import MEGABYTES, CollectOption, Work, finishing
from benchmark.errors import UserError
from benchmark.jobs.evidence import EvidenceFile
from benchmark.jobs.pool import sweep
from benchmark.jobs.tasks import Task
from benchmark.plans.states import evidence_cells
from benchmark.report.theorems import text


@command
def evidence(
    work: Work,
    scale: ScaleOption = "quick",
    seeds: Annotated[
        str | None, typer.Option(metavar="LIST", help="Only these of the scale's seeds, e.g. 0,2.")
    ] = None,
    from_checkpoint: FromOption = None,
    collect: CollectOption = False,
) -> None:
    """Test two theorems on the first dataset, network and method of a scale: does the robust loss rise
    by at most MRC inside the ball (3.1), and does MRC stay when a layer is rescaled (A.4)?

    Makes the RiFT cells that are missing, measures seed by seed, prints what was measured and writes it
    to results/evidence/. Measured on this machine only, never on Slurm.
    """
    whole, chosen = (
        dataclasses.replace(
            Scope(scale, seeds=which, from_checkpoint=from_checkpoint).chosen(precision=work.precision),
            evaluations=CHEAPEST,
        )
        for which in (None, seeds)
    )
    cells, own = evidence_cells(chosen), [cell.seed for cell in evidence_cells(whole)]
    if unknown := [cell.seed for cell in cells if cell.seed not in own]:
        known = ", ".join(map(str, own))
        raise UserError(f"scale '{whole.name}' has no seed {unknown[0]}; it has {known}")
    file = EvidenceFile(work.store, whole, work.redo_stale or work.dry_run or collect)
    file.fresh()
    if work.on_slurm:
        raise UserError(
            "evidence is never measured on Slurm; make its cells there first, by `run` or a table"
        )
    failures = work.make((cells, chosen), collect=collect)
    failed = {failure.key for failure in failures}
    tasks = [
        Task(cell.base, (cell,))
        for cell in cells
        if not (collect or failed & {cell.key, cell.base.key} or file.has(cell))
    ]
    if tasks:
        from benchmark.jobs.worker import refuse_missing

        options = dataclasses.replace(work.options(chosen), make=file.measure)
        loaded = refuse_missing(tasks, chosen, options)
        begin(work.store, MEGABYTES)
        with display(1, len(tasks)) as bars, logged(bars, work.log_dir) as shown:
            failures += sweep(tasks, chosen, options, 1, shown, loaded)
    with finishing(failures):
        _show(file, own)


def _show(file: EvidenceFile, seeds: list[int]) -> None:
    found, stale = file.read()
    if found is None:
        say(f"no evidence at scale '{file.scale.stem}'; leave out --collect to measure it")
        return
    show(text(found))
    for reason in stale.values():
        say(f"stale: {reason}")
    measured = {each.seed for each in found.seeds}
    if missing := [str(seed) for seed in seeds if seed not in measured]:
        say(f"not measured: seed {', '.join(missing)}")
