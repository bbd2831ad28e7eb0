"""What the commands that make cells share: their flags, and the way from flags to a sweep."""

import dataclasses
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Listing

from benchmark.checkpoints.registry import checkpoint
from benchmark.cli.options import WORK, limited_evaluations, listed, listed_evaluations, say
from benchmark.cli.progress import display
from benchmark.engine.precision import asked, in_precision
from benchmark.engine.takeover import Takeover
from benchmark.errors import UserError
from benchmark.jobs.sweep import Failure, Options, cores, default_jobs, sweep, tasks_for
from benchmark.plans import named as scales
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.start import held_out, starting_from
from benchmark.plans.states import State, cell_state, record_state, supersede_stale
from benchmark.records.cells import HELD_OUT, Cell, ScaleName
from benchmark.records.store import Store
from benchmark.report.tables.render import summary

MEGABYTES = 500

ScaleOption = Annotated[
    str,
    typer.Option(
        "--scale",
        help="What the tables cost: `quick` (digits, minutes), `narrow` and `small` (real images on a "
        "CPU, hours), `short` (the paper's networks on a GPU, hours), `paper` (GPU days), or the path "
        "of a TOML file with a scale of your own.",
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="GLOB", help="Make only cells whose key matches, such as `*/rift/*`."
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="LIST",
        help="Seeds instead of the scale's, e.g. 0,1,2; the table is printed, not written.",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from-checkpoint",
        metavar="NAME,...",
        help="Start from these adversarially trained weights instead of training, see `checkpoints "
        "list`; only what they are of is made and shown. Keys then read SCALE-from-NAME/...",
    ),
]
EvaluationsOption = Annotated[
    str | None,
    typer.Option(
        "--evaluations",
        metavar="LIST",
        help="Evaluations (columns) instead of the scale's, see `list`; NAME-first-N is on the first N "
        "test images. A table is then printed, not written.",
    ),
]
CollectOption = Annotated[
    bool, typer.Option("--collect", help="Run nothing; render what the records hold.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Run and write nothing; say what would be made.")
]
RedoOption = Annotated[
    bool,
    typer.Option(
        "--redo-stale",
        help="Move stale records to results/superseded, rename unfinished trainings of other settings, "
        "and make both again.",
    ),
]
ContinueOption = Annotated[
    bool,
    typer.Option(
        "--continue-anyway",
        help="Go on with a training that was begun in another precision, with another number of "
        "threads or on another machine; the record names both.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        rich_help_panel=WORK,
        help="Base models worked on at once. Default: what cores and free memory allow.",
    ),
]


def chosen_scale(
    name: str,
    seeds: str | None = None,
    evaluations: str | None = None,
    limit: int | None = None,
    *,
    audited: bool = False,
    from_checkpoint: str | None = None,
    beyond_first: bool = False,
    precision: str | None = None,
) -> Scale:
    """The scale called `name` with what the flags change, and the audit's evaluations if `audited`.

    `from_checkpoint` is a comma-separated list of checkpoints to start from; `beyond_first` is that of
    `starting_from`, `precision` that of `in_precision`.
    """
    chosen = in_precision(scales.scale(name), precision)
    if from_checkpoint is not None and chosen.checkpoints:
        raise UserError(f"--scale {name} starts from checkpoints already; leave --from-checkpoint out")
    names = chosen.checkpoints
    if from_checkpoint is not None:
        names = listed(from_checkpoint, checkpoint)
    if names:
        chosen = starting_from(chosen, names, beyond_first=beyond_first)
    wanted = chosen.for_audit if audited else chosen.evaluations
    if evaluations is not None:
        wanted = listed_evaluations(evaluations)
    chosen = dataclasses.replace(chosen, evaluations=limited_evaluations(wanted, limit))
    if seeds is None:
        return chosen
    parts = seeds.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UserError(f"--seeds '{seeds}' is not a list of whole numbers such as 0,1,2")
    numbers = tuple(dict.fromkeys(int(part) for part in parts))
    if chosen.checkpoints and (other := [seed for seed in numbers if seed not in chosen.seeds]):
        own = ", ".join(str(seed) for seed in chosen.seeds)
        raise UserError(f"--seeds {other[0]}: the checkpoints are of seed {own}")
    return chosen.with_seeds(numbers)


def scale_of(
    cells: Sequence[Cell],
    name: str | None,
    evaluations: str | None,
    limit: int | None,
    precision: str | None = None,
) -> Scale:
    """The scale that all `cells` are of, called `name` or what their keys say, as the flags change it.

    It starts from the checkpoints, and is in the precision, that their keys name. Raises `UserError` if
    one is of another scale.
    """
    known, named, _ = ScaleName.parse(cells[0].scale)
    names = list(dict.fromkeys(cell.checkpoint for cell in cells if cell.checkpoint is not None))
    chosen = chosen_scale(name or known, None, evaluations, limit, precision=precision or named)
    if names and not chosen.checkpoints:
        chosen = starting_from(chosen, names)
    for cell in cells:
        if cell.scale not in chosen.slots:
            raise UserError(
                f"{cell.key} is of scale '{cell.scale}', not '{chosen.stem}'; run one scale at a time"
            )
    return chosen


def without_held_out(finetunes: Sequence[str], scale: Scale) -> tuple[str, ...]:
    """`finetunes` but for those on a hold-out, unless the checkpoints of `scale` have not seen it.

    For what is shown by default; what the user asks for by name is refused instead.
    """
    if all(held_out(name) for name in scale.checkpoints):
        return tuple(finetunes)
    kept = tuple(name for name in finetunes if HELD_OUT not in name)
    if out := [name for name in finetunes if name not in kept]:
        say(f"left out, since the checkpoints were trained on what they hold out: {', '.join(out)}")
    return kept


def as_shown(scale: Scale, cells: Sequence[Cell], what: str, *, beyond_first: bool = False) -> Scale:
    """`scale` with those of its checkpoints that `cells` start from; says which `what` leaves out.

    Raises `UserError` if `cells` are none.
    """
    if not cells:
        raise UserError(f"{what} is of another dataset or network than the checkpoints; see `table1`")
    names = [name for name in scale.checkpoints if name in {cell.checkpoint for cell in cells}]
    if len(names) == len(scale.checkpoints):
        return scale
    out = ", ".join(name for name in scale.checkpoints if name not in names)
    say(f"{what} has no place beside {', '.join(names)} for {out}; name it alone")
    return starting_from(scale, names, beyond_first=beyond_first)


def matching_cells(cells: Sequence[Cell], only: str | None) -> list[Cell]:
    """The cells whose key matches the glob `only`. Raises `UserError` if there are none."""
    chosen = [cell for cell in cells if only is None or fnmatchcase(cell.key, only)]
    if not chosen:
        raise UserError(f"no cell matches --only '{only}'; a key of this scale reads {cells[0].key}")
    return chosen


def working_options(
    store: Store,
    scale: Scale,
    data: Path,
    device: str,
    threads: int | None,
    precision: str | None,
    compiled: bool,
    memory: float | None,
    takeover: Takeover,
) -> Options:
    """How to work, as the flags say or else the scale; `memory` is in GiB."""
    held = None if memory is None else int(memory * 2**30)
    chosen = asked(scale.precision or precision, compiled)
    return Options(store, data, device, threads or scale.threads or cores(), chosen, held, takeover)


def work_on(
    cells: Sequence[Cell],
    scale: Scale,
    options: Options,
    *,
    jobs: int | None,
    dry_run: bool,
    collect: bool = False,
) -> list[Failure] | None:
    """Make `cells` unless the flags say otherwise; returns what failed, None after a dry run."""
    if dry_run:
        show_states(options.store, scale, cells)
        return None
    return [] if collect else make_cells(cells, scale, options, jobs)


def make_cells(
    cells: Sequence[Cell], scale: Scale, options: Options, jobs: int | None
) -> list[Failure]:
    """Make what is missing of `cells` and say so; returns what failed."""
    store, began = options.store, time.monotonic()
    if options.takeover.redo_stale:
        for part in dict.fromkeys(part for cell in cells for part in (cell.base, cell)):
            supersede_stale(store, Plan.of(part, scale), scale.evaluations)
    tasks = tasks_for(store, scale, cells)
    if not tasks:
        return []
    if scale.checkpoints:
        from benchmark.checkpoints.load import refuse_unsafe_environment

        refuse_unsafe_environment("a checkpoint")
    store.check_writable(MEGABYTES)
    workers = min(jobs or default_jobs(options.device, options.threads, len(tasks)), len(tasks))
    count = sum(len(task.cells) for task in tasks)
    say(
        f"cells to make: {count}, of {len(tasks)} base models, {workers} at a time, threads each: "
        f"{options.threads}; stop at any moment, the same command continues"
    )
    with display(Console(stderr=True), workers, len(tasks)) as shown:
        failures = sweep(tasks, scale, options, workers, shown)
    made = count - len({failure.key for failure in failures})
    say(f"cells made: {made} of {count}, in {time.monotonic() - began:.0f} s")
    return failures


def show_states(store: Store, scale: Scale, cells: Sequence[Cell]) -> None:
    """Print which cells are done, missing, stale or running."""
    listing = Listing("cell", "state", *scale.evaluations, box=None, pad_edge=False)
    totals = dict.fromkeys(State, 0)
    for cell in cells:
        plan = Plan.of(cell, scale)
        state = cell_state(store, plan, scale.evaluations)
        totals[state] += 1
        records = [record_state(store, plan, name).value for name in scale.evaluations]
        listing.add_row(cell.key, state.value, *records)
    needed = max((len(cell.key) for cell in cells), default=0)
    needed += sum(2 + max(len(name), len(State.MISSING)) for name in ("state", *scale.evaluations))
    Console(width=max(140, needed, Console().width)).print(listing)
    typer.echo(", ".join(f"{count} {state}" for state, count in totals.items() if count))


def show_values(store: Store, scale: Scale, cells: Sequence[Cell]) -> None:
    """Print the records of `cells`, and say what they remark."""
    for cell in cells:
        for name in scale.evaluations:
            record = store.record(cell, name)
            if record is not None:
                typer.echo(f"{cell.key}  {summary(store, record)}")
                for remark in record.remarks:
                    say(f"{cell.key}  {name}: {remark}")


def finish(failures: Sequence[Failure]) -> None:
    """Say what failed, each reason once, and end with the exit code for it."""
    if not failures:
        return
    say(f"failed: {len(failures)}")
    for message in dict.fromkeys(failure.message for failure in failures):
        keys = [failure.key for failure in failures if failure.message == message]
        say(f"  {', '.join(keys)}: {message}")
    raise typer.Exit(2 if any(failure.user for failure in failures) else 1)
