"""One worker: makes the cells of a base model under its lock."""

from contextlib import suppress
from functools import cached_property

import torch
from filelock import FileLock, Timeout

from benchmark.data import load
from benchmark.data.images import Dataset
from benchmark.engine import precision
from benchmark.engine.training import TrainingFailed
from benchmark.engine.workspace import WeightsDiffer
from benchmark.errors import UserError
from benchmark.jobs.sweep import Failure, Options, Report, Task
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.plans.scales import Scale
from benchmark.plans.states import State, cell_state
from benchmark.run import run_cell


class Worker:
    """Keeps the dataset between tasks; `report(key, stage, done, total, note)` takes progress."""

    def __init__(self, scale: Scale, options: Options, report: Report) -> None:
        torch.set_num_threads(options.threads)
        precision.use(options.precision)
        self.scale, self.options, self.report = scale, options, report
        self.loaded: dict[str, Dataset] = {}

    @cached_property
    def device(self) -> torch.device:
        return torch_device(self.options.device)

    def dataset(self, name: str) -> Dataset:
        if name not in self.loaded:
            self.loaded[name] = load(name, self.options.data).to(self.device)
        return self.loaded[name]

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
        store = self.options.store
        for cell in task.cells:
            try:
                plan = Plan.of(cell, self.scale)
                if cell_state(store, plan, self.scale.evaluations) is State.DONE:
                    continue

                def progress(
                    stage: str, done: int, total: int, note: str = "", key: str = cell.key
                ) -> None:
                    self.report(key, stage, done, total, note)

                data, options = self.dataset(cell.dataset), self.options
                run = Run(plan, data, store, progress, options.memory, options.takeover)
                run_cell(run, self.scale.evaluations)
            except Exception as error:  # noqa: BLE001 - any failure is this cell's alone
                failures.append(failure(cell.key, error))
        return failures


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
    trace, place = error.__traceback__, ""
    while trace is not None:
        frame = trace.tb_frame
        place = f"{frame.f_globals.get('__name__')}:{trace.tb_lineno}"
        trace = trace.tb_next
    return Failure(key, f"{type(error).__name__}: {error} (at {place})", False)
