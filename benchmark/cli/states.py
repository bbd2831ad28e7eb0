"""What is printed of cells: which are done, what they cost, which data they lack, their values."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from benchmark.checkpoints.registry import FileState, checkpoint, file_state
from benchmark.cli.options import say, show
from benchmark.data.get.archives import of_folder
from benchmark.data.get.inventory import INVENTORY, Availability
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.jobs.queue import FAILED, by_cell
from benchmark.plans.cost import NOMINAL, costs, rates
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, cell_states
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.tables.layout import Part
from benchmark.report.tables.render import summary


def show_states(store: Store, scale: Scale, cells: Sequence[Cell]) -> bool:
    """Print which cells are done, missing, stale or running, and what Slurm has of them.

    Returns whether any of them is being made, or waits for that on Slurm, or may: it does not answer.
    """
    rows, totals, mute = [], dict.fromkeys(State, 0), False
    try:
        jobs = by_cell(store)
    except UserError as error:
        jobs, mute = {}, shutil.which("squeue") is not None
        say(f"cannot tell which jobs Slurm has: {error}")
    for cell in cells:
        plan = Plan.of(cell, scale)
        state, records = cell_states(store, plan, scale.evaluations)
        totals[state] += 1
        job = () if state is State.DONE or not jobs else (jobs.get(cell.key, ""),)
        rows.append([cell.key, state.value, *(each.value for each in records.values()), *job])
    headers = ["cell", "state", *scale.evaluations, *(["on Slurm"] if jobs else [])]
    show(tabulate(rows, headers, "plain", disable_numparse=True))
    show(", ".join(f"{count} {state}" for state, count in totals.items() if count))
    on_slurm = (jobs.get(cell.key, FAILED) for cell in cells)
    waits = any(not said.startswith(FAILED) for said in on_slurm)
    return bool(totals[State.RUNNING]) or mute or waits


def show_costs(store: Store, *parts: Part) -> None:
    """Print what the cells of `parts` cost, made from nothing, and what the hours go by."""
    if not (found := costs(*parts)):
        return
    cells, scale = parts[0]
    reached = rates(store, scale, cells)
    device, rate = max(reached.items(), key=lambda item: item[1], default=("", NOMINAL))
    rows = [(c.dataset, c.arch, c.cells, c.operations, c.size) for c in found]
    totals = (sum(c.cells for c in found), sum(c.operations for c in found), sum(c.size for c in found))
    shown = [
        [*names, count, f"{flop / 1e18:.3g}", f"{flop / rate / 3600:.3g}", f"{size / 1e9:.2g}"]
        for *names, count, flop, size in [*rows, ("all", "", *totals)]
    ]
    headers = ["dataset", "network", "cells", "EFLOP", "hours", "disk, GB"]
    show(tabulate(shown, headers, "pipe", disable_numparse=True))
    how = f"reached on {device} by a training on record" if device else "a round number, not measured"
    show(f"cost from scratch; operations are counted, hours assume {rate / 1e12:.3g} TFLOP/s, {how}")


def show_missing_data(directory: Path, scale: Scale, cells: Sequence[Cell]) -> None:
    """Print what `cells` need and `directory` lacks, with the commands that get it."""
    datasets = list(dict.fromkeys(cell.dataset for cell in cells))
    if any("fog" in evaluation(name).sources for name in scale.evaluations):  # of a published set
        datasets += [f"{name}-c" for name in datasets]
    needed = [name for name in datasets if name in INVENTORY]
    missing = [
        name for name in needed if INVENTORY[name].status(directory).state is Availability.MISSING
    ]
    starts = dict.fromkeys(cell.checkpoint for cell in cells if cell.checkpoint is not None)
    absent = [
        name for name in starts if file_state(checkpoint(name), directory) is not FileState.VERIFIED
    ]
    for kind, names in ("data", missing), ("checkpoints", absent):
        if names:
            get = f"python -m benchmark {kind} get {' '.join(names)}{of_folder(directory)}"
            show(f"missing in '{directory}': {get}")
    pictures = any(evaluation(name).sources == ("frost",) for name in scale.evaluations)
    lacks_frost = pictures and not (directory / "frost").is_dir()
    if lacks_frost:
        show(f"missing in '{directory}': a folder 'frost' of pictures of yours (docs/data.md)")
    if needed and not (missing or absent or lacks_frost):
        show(f"all data are in '{directory}'")


def show_values(store: Store, scale: Scale, cells: Sequence[Cell]) -> None:
    """Print the records of `cells` and their remarks."""
    for cell in cells:
        for name in scale.evaluations:
            if (record := store.record(cell, name)) is not None:
                show(f"{cell.key}  {summary(store, record)}")
                for remark in record.remarks:
                    say(f"{cell.key}  {name}: {remark}")
