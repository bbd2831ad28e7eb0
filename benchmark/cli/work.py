"""What the commands that make cells share: their flags, and the way from flags to a sweep."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.log_dir import logged
from benchmark.cli.options import HOW, PLACES, Computing, Places, begin, say
from benchmark.cli.progress import display
from benchmark.cli.slurm import OnSlurm
from benchmark.cli.states import show_costs, show_missing_data, show_states
from benchmark.engine.precision import asked
from benchmark.engine.takeover import Takeover
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS
from benchmark.jobs.pool import sweep
from benchmark.jobs.tasks import Failure, Options, cores, default_jobs, side_by_side, tasks_for
from benchmark.plans.cost import costs_left, repays_compiling
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import supersede_stale
from benchmark.records.cells import Cell
from benchmark.report.tables.layout import Part

MEGABYTES = 500

EvaluationsOption = Annotated[
    str | None,
    typer.Option(
        "--evaluations",
        metavar="LIST",
        autocompletion=lambda: list(EVALUATIONS),
        help="Evaluations (columns) instead of the scale's, see `list`; NAME-first-N is on the first N "
        "test images.",
    ),
]
CollectOption = Annotated[bool, typer.Option("--collect", help="Run nothing; show what is on record.")]


@dataclasses.dataclass(frozen=True)
class Work(Places, Computing, OnSlurm):
    """The flags of the commands that make cells, and what they ask for."""

    device: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=HOW,
            help="cpu, cuda, cuda:1, mps, ..., or several, with --jobs on each (cuda:0,cuda:1; cuda: "
            "all that are visible). Default: cpu, in Slurm's jobs cuda.",
        ),
    ] = None
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=HOW,
            help="Base models worked on at once, on each device; not on Slurm. Default: what cores and "
            "free memory allow.",
        ),
    ] = None
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GIB",
            min=0,
            max=2**20,
            rich_help_panel=HOW,
            help="Memory for activations, per process, while criticality is measured. Less is slower; "
            "the numbers stay the same. Default: half of what is free.",
        ),
    ] = None
    log_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=PLACES,
            help="Write what progress shows (cell, stage, step, epoch, loss) to DIR/metrics.jsonl too, "
            "and for TensorBoard if the extra `tensorboard` is installed. Not of jobs on Slurm.",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Run and write nothing; say what would be made, its cost, and which data are missing.",
        ),
    ] = False
    redo_stale: Annotated[
        bool,
        typer.Option(
            "--redo-stale",
            help="Move stale records to results/superseded, rename unfinished trainings of other "
            "settings, and make both again.",
        ),
    ] = False
    continue_anyway: Annotated[
        bool,
        typer.Option(
            "--continue-anyway",
            help="Go on with a training that was begun in another precision, with another number of "
            "threads, another release of torch, or on a CPU instead of a GPU or the other way round; "
            "the record names both.",
        ),
    ] = False

    def options(self, scale: Scale) -> Options:
        """Return how to make cells of `scale`: as the flags ask, or else the scale."""
        here = 0 if self.on_slurm else cores()  # a job has the cores that it is given
        return Options(
            store=self.store,
            data=self.data_dir,
            device=self.device or ("cuda" if self.on_slurm else "cpu"),
            threads=self.threads or scale.threads or here,
            precision=asked(scale.precision or self.precision, self.compiled),
            memory=None if self.memory is None else int(self.memory * 2**30),
            takeover=Takeover(self.continue_anyway, self.redo_stale),
        )

    def make(self, *parts: Part, collect: bool = False) -> list[Failure]:
        """Make what is missing of each part's cells under its scale, nothing if `collect`; returns what
        failed. Ends the command after a dry run.

        What a later part evaluates an earlier one has made, so that no cell waits for another.
        """
        parts = tuple(part for part in parts if part[0])
        for cells, scale in parts:
            _refuse_without_data(cells, scale)
        if self.dry_run:
            for cells, scale in parts:
                show_states(self.store, scale, cells)
            show_costs(self.store, *parts)
            for cells, scale in parts[-1:]:  # whose evaluations are those of all
                show_missing_data(self.data_dir, scale, cells)
            raise typer.Exit
        if self.slurm_cancel:
            self.end([Plan.of(cell, scale) for cells, scale in parts for cell in cells], self.store)
        if collect:
            return []
        if self.redo_stale:
            for cells, scale in parts:
                for cell in cells:
                    supersede_stale(self.store, Plan.of(cell, scale), scale.evaluations)
        for cells, scale in parts[1:]:  # what is wrong there is said before the first cell is made
            if tasks := tasks_for(self.store, scale, cells):
                from benchmark.jobs.worker import refuse_missing

                refuse_missing(tasks, scale, self.options(scale))
        failures: list[Failure] = []
        for place, (cells, scale) in enumerate(parts):
            failed = {failure.key for failure in failures}  # and would fail again
            left = [cell for cell in cells if cell.key not in failed]
            failures += self._make((left, scale), *parts[place + 1 :], apart=place > 0)
        return failures

    def _make(self, part: Part, *later: Part, apart: bool) -> list[Failure]:
        cells, scale = part
        store, options, began = self.store, self.options(scale), time.monotonic()
        tasks = tasks_for(store, scale, cells)
        if not tasks:
            return []
        if scale.checkpoints:
            from benchmark.checkpoints.load import refuse_unsafe_environment

            refuse_unsafe_environment("a checkpoint")
        begin(store, MEGABYTES)
        if self.on_slurm:
            self.hand_over(tasks, scale, options)
            return []
        from benchmark.engine.device import devices
        from benchmark.jobs.worker import refuse_missing

        options = dataclasses.replace(options, device=",".join(devices(options.device)))
        loaded = refuse_missing(tasks, scale, options)
        bases = [task.base for task in tasks]
        if apart:
            tasks = side_by_side(store, tasks)
        workers = self.jobs or default_jobs(options.device, options.threads, len(tasks))
        workers = min(workers * len(options.device.split(",")), len(tasks))
        if workers > 1:
            loaded = {}  # processes read their own, and this one has no use for them
        count = sum(len(task.cells) for task in tasks)
        say(
            f"cells to make: {count}, base models: {len(bases)}, processes: {workers}, threads each: "
            f"{options.threads}; stop at any moment, the same command continues"
        )
        if self.compiled is None:
            repaid = [base.key for base in bases if repays_compiling(base, scale, options.device)]
            if repaid:
                said = ", ".join(repaid)
                say(f"will be compiled, unless begun uncompiled: {said} (--no-compile turns it off)")
        costs = costs_left(store, options.data, part, *later)
        with display(workers, len(tasks), costs=costs) as bars, logged(bars, self.log_dir) as shown:
            failures = sweep(tasks, scale, options, workers, shown, loaded)
        made = count - len({failure.key for failure in failures})
        say(f"cells made: {made} of {count}, in {time.monotonic() - began:.0f} s")
        return failures


def _refuse_without_data(cells: Sequence[Cell], scale: Scale) -> None:
    """Raise `UserError` if no dataset of `cells` has data for any evaluation of `scale`."""
    plans, names = (Plan.of(cell, scale) for cell in cells), scale.evaluations
    if names and not any(plan.evaluation_spec(name) for plan in plans for name in names):
        datasets = ", ".join(dict.fromkeys(cell.dataset for cell in cells))
        raise UserError(f"{datasets}: no data for {', '.join(names)}; choose others by --evaluations")


@contextmanager
def finishing(failures: Sequence[Failure], cells: Sequence[Cell] = ()) -> Iterator[None]:
    """Show inside what was made; what failed is listed last, also where showing fails.

    Given `cells`, nothing is shown if a user can mend what failed, or if all of them did: an older
    table or figure stays in its place.
    """
    mendable = any(failure.user for failure in failures)
    if not cells or not (mendable or {cell.key for cell in cells} <= {each.key for each in failures}):
        try:
            yield
        except (UserError, OSError):
            _list(failures)
            raise
    if failures:
        _list(failures)
        raise typer.Exit(2 if mendable else 1)


def _list(failures: Sequence[Failure]) -> None:
    if failures:
        say(f"failed: {len(failures)}")
    for message in dict.fromkeys(failure.message for failure in failures):
        keys = [failure.key for failure in failures if failure.message == message]
        say(f"  {', '.join(keys)}: {message}")
