"""Many cells: independent base models in parallel processes, each under its lock.

`Options.device` may name several devices, separated by commas, which workers are assigned in turn.
Workers are spawned processes that take one task after another; a task whose lock another command holds
is put off to the end and waited for; by then it is usually done. A failing cell is noted and the others
go on. A worker that dies (out of memory, say) fails what is left of its task only. Workers end with
their parent.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from filelock import Timeout

from benchmark.jobs.allocator import settings_for_workers
from benchmark.jobs.tasks import Datasets, Display, Failure, Options, Task
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, cell_state
from benchmark.records.cells import Cell

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


@dataclass(frozen=True)
class _Tolerant:
    """`display`, without which work goes on: a full disk or a lost terminal ends no training."""

    display: Display

    def update(self, worker: int, key: str, stage: str, done: int, total: int, note: str) -> None:
        with suppress(OSError):
            self.display.update(worker, key, stage, done, total, note)

    def finish(self, worker: int, key: str, cells: int, failed: int = 0) -> None:
        with suppress(OSError):
            self.display.finish(worker, key, cells, failed)


def sweep(
    tasks: Sequence[Task],
    scale: Scale,
    options: Options,
    jobs: int,
    display: Display,
    loaded: Datasets | None = None,
) -> list[Failure]:
    """Make all cells of `tasks`; returns what failed.

    One job runs in this process, on the datasets that it has `loaded`.
    """
    if not tasks:
        return []
    display = _Tolerant(display)
    if jobs > 1:
        return _Pool(scale, options, min(jobs, len(tasks)), display).run(tasks)
    from benchmark.jobs.worker import Worker

    own = replace(options, device=options.device.split(",")[0])
    worker = Worker(scale, own, lambda *event: display.update(0, *event), loaded)
    failures: list[Failure] = []
    waiting = [(task, False) for task in tasks]
    while waiting:
        task, block = waiting.pop(0)
        try:
            failed = worker.do(task, block=block)
            display.finish(0, task.locked.key, len(task.cells), len(failed))
            failures += failed
        except Timeout:
            waiting.append((task, True))
    return failures


def serve(connection: Connection, scale: Scale, options: Options) -> None:
    """Body of a worker process: receive (task, block), send events, then the outcome."""
    for name in ("SIGINT", "SIGHUP"):  # the parent ends its workers
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _die_with_parent()
    from benchmark.jobs.worker import Worker

    worker = Worker(scale, options, lambda *event: connection.send(("progress", event)))
    while (order := connection.recv()) is not None:
        task, block = order
        try:
            connection.send(("done", worker.do(task, block=block)))
        except Timeout:
            connection.send(("busy", None))


@contextmanager
def _held_back() -> Iterator[None]:
    """Keep Control-C and a hang-up from processes that begin inside the block, which go on importing
    when it ends; this one is told them then."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # lets them through where it is begun
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


@dataclass
class _Process:
    process: "BaseProcess"
    connection: Connection
    device: str
    task: Task | None = None


class _Pool:
    def __init__(self, scale: Scale, options: Options, jobs: int, display: Display) -> None:
        self.scale, self.options, self.jobs, self.display = scale, options, jobs, display
        self.workers: list[_Process] = []
        self.waiting: list[tuple[Task, bool]] = []
        self.failures: list[Failure] = []

    def run(self, tasks: Sequence[Task]) -> list[Failure]:
        self.waiting = [(task, False) for task in tasks]
        try:
            self.workers = [self._spawn(index) for index in range(self.jobs)]
            for worker in self.workers:
                self._assign(worker)
            while any(worker.task for worker in self.workers):
                ready = wait([worker.connection for worker in self.workers if worker.task])
                for index, worker in enumerate(self.workers):
                    if worker.connection in ready:
                        self._receive(index, worker)
        finally:
            for worker in self.workers:
                worker.process.terminate()
            for worker in self.workers:
                worker.process.join()
        return self.failures

    def _spawn(self, index: int) -> _Process:
        devices = self.options.device.split(",")
        own = replace(self.options, device=devices[index % len(devices)])
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.scale, own), daemon=True)
        with settings_for_workers(), _held_back():
            process.start()
        theirs.close()
        return _Process(process, ours, own.device)

    def _assign(self, worker: _Process) -> None:
        worker.task = None
        if self.waiting:
            worker.task, block = self.waiting.pop(0)
            with suppress(BrokenPipeError):  # a worker that died idle is noticed on receiving
                worker.connection.send((worker.task, block))

    def _made(self, cell: Cell) -> bool:
        """Whether all records of `cell` are there, whatever became of who made them."""
        plan = Plan.of(cell, self.scale)
        return cell_state(self.options.store, plan, self.scale.evaluations) is State.DONE

    def _receive(self, index: int, worker: _Process) -> None:
        assert worker.task is not None
        task = worker.task
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            reason = f"its process died (exit code {worker.process.exitcode}; out of memory?)"
            left = [cell for cell in task.cells if not self._made(cell)]
            kind, content = "done", [Failure(cell.key, reason, False) for cell in left]
            worker = self.workers[index] = self._spawn(index)
        if kind == "progress":
            self.display.update(index, *content)
            return
        if kind == "busy":
            self.waiting.append((task, True))
        else:
            self.failures += content
            self.display.finish(index, task.locked.key, len(task.cells), len(content))
        self._assign(worker)
