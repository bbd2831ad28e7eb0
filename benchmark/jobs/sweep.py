"""Many cells: independent base models in parallel processes, each under its lock (no torch here).

A task is one base model with all its cells. Workers are spawned processes that take one task after
another; a task whose lock another command holds is put off and waited for at the end, and by then is
usually done. A failing cell is noted and the others go on. A worker that dies (out of memory, say)
fails its task only. Workers end when their parent does.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil
from filelock import Timeout

from benchmark.engine.precision import Precision
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.errors import UserError
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, cell_state
from benchmark.records.cells import Cell
from benchmark.records.store import Store

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

MEMORY_PER_JOB = 1.5 * 2**30


@dataclass(frozen=True)
class Task:
    """One base model and the cells to make from it."""

    base: Cell
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Options:
    """How to work: where things are, on what device, with how many threads per process.

    `memory` is what a process may hold of activations while it measures criticality, in bytes.
    """

    store: Store
    data: Path
    device: str
    threads: int
    precision: Precision = field(default_factory=Precision)
    memory: int | None = None
    takeover: Takeover = REFUSE


@dataclass(frozen=True)
class Failure:
    """A cell that could not be made; `user` if the user can mend it (exit code 2)."""

    key: str
    message: str
    user: bool


class Display(Protocol):
    """Shows the progress of several workers."""

    def update(self, slot: int, key: str, stage: str, done: int, total: int, note: str) -> None: ...

    def finish(self, slot: int, key: str, cells: int) -> None: ...


def tasks_for(store: Store, scale: Scale, cells: Iterable[Cell]) -> list[Task]:
    """Tasks for the cells that are not done. Later networks of the scale, the larger ones, first.

    Raises `UserError` if a cell is stale: stale records are never overwritten silently.
    """
    groups: dict[Cell, list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        state = cell_state(store, Plan.of(cell, scale), scale.evaluations)
        for part in (cell.base, cell) if state is not State.DONE else ():
            if cell_state(store, Plan.of(part, scale), scale.evaluations) is State.STALE:
                raise UserError(
                    f"the records of {part.key} are stale (made by another version of its settings); "
                    "--redo-stale moves them to results/superseded and makes them again"
                )
        if state is not State.DONE:
            groups.setdefault(cell.base, []).append(cell)
    order = {name: place for place, name in enumerate(scale.archs)}
    bases = sorted(groups, key=lambda base: (-order.get(base.arch, 0), base.key))
    return [Task(base, tuple(groups[base])) for base in bases]


def default_jobs(device: str, threads: int, tasks: int) -> int:
    """As many processes as cores and free memory allow; one on an accelerator."""
    if device != "cpu":
        return 1
    memory = int(psutil.virtual_memory().available // MEMORY_PER_JOB)
    return max(1, min(cores() // threads, memory, tasks))


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sweep(
    tasks: Sequence[Task], scale: Scale, options: Options, jobs: int, display: Display
) -> list[Failure]:
    """Make all cells of `tasks`; returns what failed. One job runs in this process."""
    if not tasks:
        return []
    if jobs == 1:
        return _sweep_here(tasks, scale, options, display)
    return _Pool(scale, options, min(jobs, len(tasks)), display).run(tasks)


def _sweep_here(
    tasks: Sequence[Task], scale: Scale, options: Options, display: Display
) -> list[Failure]:
    from benchmark.jobs.worker import Worker

    worker = Worker(scale, options, lambda *event: display.update(0, *event))
    failures: list[Failure] = []
    busy: list[Task] = []
    for task in tasks:
        try:
            failures += worker.do(task, block=False)
            display.finish(0, task.base.key, len(task.cells))
        except Timeout:
            busy.append(task)
    for task in busy:
        failures += worker.do(task, block=True)
        display.finish(0, task.base.key, len(task.cells))
    return failures


def serve(connection: Connection, scale: Scale, options: Options) -> None:
    """Body of a worker process: receive (task, block), send events, then the outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    _die_with_parent()
    from benchmark.jobs.worker import Worker

    worker = Worker(scale, options, lambda *event: connection.send(("progress", event)))
    while (order := connection.recv()) is not None:
        task, block = order
        try:
            connection.send(("done", worker.do(task, block=block)))
        except Timeout:
            connection.send(("busy", None))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


@dataclass
class _Slot:
    process: "BaseProcess"
    connection: Connection
    task: Task | None = None


class _Pool:
    """Worker processes and the tasks between them."""

    def __init__(self, scale: Scale, options: Options, jobs: int, display: Display) -> None:
        self.scale, self.options, self.jobs, self.display = scale, options, jobs, display
        self.slots: list[_Slot] = []
        self.waiting: list[tuple[Task, bool]] = []
        self.failures: list[Failure] = []

    def run(self, tasks: Sequence[Task]) -> list[Failure]:
        self.waiting = [(task, False) for task in tasks]
        try:
            self.slots = [self._spawn() for _ in range(self.jobs)]
            for slot in self.slots:
                self._assign(slot)
            while any(slot.task for slot in self.slots):
                ready = wait([slot.connection for slot in self.slots if slot.task])
                for index, slot in enumerate(self.slots):
                    if slot.connection in ready:
                        self._receive(index, slot)
        finally:
            for slot in self.slots:
                slot.process.terminate()
            for slot in self.slots:
                slot.process.join()
        return self.failures

    def _spawn(self) -> _Slot:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.scale, self.options), daemon=True)
        process.start()
        theirs.close()
        return _Slot(process, ours)

    def _assign(self, slot: _Slot) -> None:
        slot.task = None
        if self.waiting:
            slot.task, block = self.waiting.pop(0)
            with suppress(BrokenPipeError):  # a worker that died idle is noticed on receiving
                slot.connection.send((slot.task, block))

    def _receive(self, index: int, slot: _Slot) -> None:
        assert slot.task is not None
        task = slot.task
        try:
            kind, content = slot.connection.recv()
        except (EOFError, ConnectionError):
            slot.process.join()
            reason = f"its process died (exit code {slot.process.exitcode}; out of memory?)"
            self.failures += [Failure(cell.key, reason, False) for cell in task.cells]
            self.slots[index] = self._spawn()
            self._assign(self.slots[index])
            return
        if kind == "progress":
            self.display.update(index, *content)
            return
        if kind == "busy":
            self.waiting.append((task, True))
        else:
            self.failures += content
            self.display.finish(index, task.base.key, len(task.cells))
        self._assign(slot)


Report = Callable[[str, str, int, int, str], None]
