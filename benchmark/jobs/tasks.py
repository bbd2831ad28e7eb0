"""What a sweep makes and how: tasks, options, failures, and how many processes work on them.

A task is one base model with all its cells.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import Timeout

from benchmark.engine.precision import Precision
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.errors import UserError
from benchmark.models import arch, check
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, cell_state
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.plugins import LOADED, Plugin
from benchmark.records.store import Store

if TYPE_CHECKING:
    from benchmark.data.images import Dataset
    from benchmark.plans.running import Run

MEMORY_PER_JOB = 1.5 * 2**30
Report = Callable[[str, str, int, int, str], None]
"""Takes progress: key, stage, units done, their total, a note."""
Datasets = Mapping[str, "Dataset"]
"""Datasets by name, as they were loaded."""


@dataclass(frozen=True)
class Task:
    """One base model and the cells to make from it; `alone` where all weights are there, so that other
    processes may work on other cells of the same base model."""

    base: Cell
    cells: tuple[Cell, ...]
    alone: bool = False

    @property
    def locked(self) -> Cell:
        """The cell whose lock its work takes, by which it is named: the base model unless `alone`."""
        return self.cells[0] if self.alone else self.base


@dataclass(frozen=True)
class Options:
    """How to work: where things are, on what device, with how many threads per process.

    `memory` limits the activations of a process that measures criticality, in bytes. `make` is
    called for each cell, and does nothing where that has been done; None makes the cell's records.
    `plugins` are those that a worker imports; as a rule, those of this process.
    """

    store: Store
    data: Path
    device: str
    threads: int
    precision: Precision = field(default_factory=Precision)
    memory: int | None = None
    takeover: Takeover = REFUSE
    make: Callable[["Run"], None] | None = None
    plugins: tuple[Plugin, ...] = field(default_factory=lambda: tuple(LOADED.values()))


@dataclass(frozen=True)
class Failure:
    """A cell that could not be made; `user` if the user can mend it (exit code 2)."""

    key: str
    message: str
    user: bool


class Display(Protocol):
    """Shows the progress of several workers."""

    def update(self, worker: int, key: str, stage: str, done: int, total: int, note: str) -> None: ...

    def finish(self, worker: int, key: str, cells: int, failed: int = 0) -> None: ...


def tasks_for(store: Store, scale: Scale, cells: Iterable[Cell]) -> list[Task]:
    """Return tasks for the cells that are not done; later, larger networks of the scale come first.

    Raises `UserError` if a cell, or what it is made of, is stale: stale records are never overwritten
    silently; and for a network that its library does not have.
    """
    groups: dict[Cell, list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        plan = Plan.of(cell, scale)
        if cell_state(store, plan, scale.evaluations) is State.DONE:
            continue
        for part in plan.made_of:
            if cell_state(store, part, scale.evaluations) is State.STALE:
                raise UserError(
                    f"the records of {part.cell.key} are stale (made by another version of its "
                    "settings); --redo-stale moves them to results/superseded and makes them again"
                )
        groups.setdefault(cell.base, []).append(cell)
    for network in {base.arch for base in groups}:
        check(arch(network))
    order = {name: place for place, name in enumerate(scale.archs)}
    bases = sorted(groups, key=lambda base: (-order.get(base.arch, 0), base.key))
    return [Task(base, tuple(groups[base])) for base in bases]


def side_by_side(store: Store, tasks: Iterable[Task]) -> list[Task]:
    """`tasks`, those whose weights are all on disk split into one per cell."""
    found: list[Task] = []
    for task in tasks:
        made = all(store.has_weights(cell) for cell in (task.base, *task.cells))
        apart = [Task(task.base, (cell,), alone=True) for cell in task.cells]
        found += apart if made else [task]
    return found


@contextmanager
def locked_after_others(
    store: Store, cell: Cell, progress: Progress, *, alone: bool = False
) -> Iterator[None]:
    """Hold a lock of `store`, as `Store.lock`; `progress` is told if another process has it."""
    with ExitStack() as held:
        try:
            held.enter_context(store.lock(cell, 0, alone=alone))
        except Timeout:
            progress("waiting for another process", 0, 1)
            held.enter_context(store.lock(cell, alone=alone))
        yield


def default_jobs(device: str, threads: int, tasks: int) -> int:
    """Return as many processes for a device as cores and free memory allow; one on an accelerator."""
    if not device.startswith("cpu"):
        return 1
    import torch

    from benchmark.engine.device import free_memory

    memory = int(free_memory(torch.device("cpu")) // MEMORY_PER_JOB)
    return max(1, min(cores() // threads, memory, tasks))


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
