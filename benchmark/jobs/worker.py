"""One worker: makes the cells of a base model under its lock."""

import traceback
from contextlib import suppress
from functools import cache

import torch
from filelock import FileLock, Timeout

from benchmark.data import load
from benchmark.data.images import Dataset
from benchmark.engine import precision
from benchmark.engine.training import TrainingFailed
from benchmark.engine.workspace import WeightsDiffer
from benchmark.errors import UserError
from benchmark.jobs.tasks import Failure, Make, Options, Report, Task
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.plans.scales import Scale
from benchmark.run import run_cell


class Worker:
    """Makes each cell of its tasks by `make` (None: its records); keeps the dataset between tasks."""

    def __init__(
        self, scale: Scale, options: Options, report: Report, make: Make | None = None
    ) -> None:
        torch.set_num_threads(options.threads)
        precision.use(options.precision)
        self.scale, self.options, self.report = scale, options, report
        self.make = make or self._make_records
        self.dataset = cache(self._dataset)

    def _dataset(self, name: str) -> Dataset:
        return load(name, self.options.data).to(torch_device(self.options.device))

    def do(self, task: Task, block: bool) -> list[Failure]:
        """Make the cells of `task`; returns what failed.

        Raises `filelock.Timeout` if another process has the base model and `block` is False.
        """
        lock = self.options.store.lock(task.base)
        if block:
            self._wait(lock, task)
        else:
            lock.acquire(timeout=0)
        try:
            return self._do_locked(task)
        finally:
            lock.release()

    def _wait(self, lock: FileLock, task: Task) -> None:
        while True:
            self.report(task.base.key, "waiting for another process", 0, 1, "")
            with suppress(Timeout):
                lock.acquire(timeout=2)
                return

    def _do_locked(self, task: Task) -> list[Failure]:
        failures: list[Failure] = []
        for cell in task.cells:

            def progress(
                stage: str, done: int, total: int, note: str = "", key: str = cell.key
            ) -> None:
                self.report(key, stage, done, total, note)

            try:
                plan, data = Plan.of(cell, self.scale), self.dataset(cell.dataset)
                how = self.options.memory, self.options.takeover
                self.make(Run(plan, data, self.options.store, progress, *how))
            except Exception as error:  # noqa: BLE001 - any failure is this cell's alone
                failures.append(failure(cell.key, error))
        return failures

    def _make_records(self, run: Run) -> None:
        run_cell(run, self.scale.evaluations)


def torch_device(name: str) -> torch.device:
    """The device called `name`. Raises `UserError` if this machine does not have it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{name}' is not to be had ({reason}); try --device cpu") from error
    return device


def failure(key: str, error: Exception) -> Failure:
    """One line about `error`; unexpected ones keep their type and place."""
    if isinstance(error, UserError):
        return Failure(key, str(error), True)
    if isinstance(error, TrainingFailed | WeightsDiffer):
        return Failure(key, str(error), False)
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    place = f"{frame.f_globals.get('__name__')}:{line}"
    return Failure(key, f"{type(error).__name__}: {error} (at {place})", False)
