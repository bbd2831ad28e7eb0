"""One worker: makes the cells of a base model under its lock."""

import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache, partial

import torch

from benchmark.algorithm.selection import NamedModule
from benchmark.checkpoints.registry import verified_file
from benchmark.checkpoints.start import registered_weights
from benchmark.data import load
from benchmark.data.images import Dataset
from benchmark.engine.device import torch_device
from benchmark.engine.first_choice import first_choice
from benchmark.engine.precision import use
from benchmark.engine.training import TrainingFailed
from benchmark.engine.workspace import AVERAGE, WeightsDiffer
from benchmark.errors import UserError, system_problem
from benchmark.evaluation import evaluation
from benchmark.jobs.tasks import Datasets, Failure, Options, Report, Task, locked_after_others
from benchmark.models import without_values
from benchmark.plans.cost import repays_compiling
from benchmark.plans.plan import Plan
from benchmark.plans.plugins import load_again
from benchmark.plans.running import Run, candidates
from benchmark.plans.scales import Scale
from benchmark.progress import Progress, silent
from benchmark.records.cells import Cell
from benchmark.run import run_cell, second_network


class Worker:
    """Makes the cells of tasks; keeps datasets between them. `report` takes progress.

    `loaded` are datasets that this process has read before.
    """

    def __init__(
        self, scale: Scale, options: Options, report: Report, loaded: Datasets | None = None
    ) -> None:
        torch.set_num_threads(options.threads)
        self.scale, self.options, self.report = scale, options, report
        self.dataset, self._loaded = cache(self._dataset), loaded or {}

    def _dataset(self, name: str) -> Dataset:
        found = self._loaded.get(name) or load(name, self.options.data)
        return found.to(torch_device(self.options.device))

    def do(self, task: Task, block: bool) -> list[Failure]:
        """Make the cells of `task`; returns what failed: all, where their lock cannot be had.

        Raises `filelock.Timeout` if another process has the base model and `block` is False.
        """
        cell, store = task.locked, self.options.store
        with ExitStack() as held:
            try:
                held.enter_context(
                    locked_after_others(store, cell, self._progress(cell), alone=task.alone)
                    if block
                    else store.lock(cell, 0, alone=task.alone)
                )
            except UserError as error:
                return [failure(cell.key, error) for cell in task.cells]
            return self.make(task)

    def make(self, task: Task) -> list[Failure]:
        """Make the cells of `task`, which nobody else works on; returns what failed."""
        return [failed for cell in task.cells if (failed := self._make(cell))]

    def _progress(self, cell: Cell) -> Progress:
        return lambda stage, done, total, note="": self.report(cell.key, stage, done, total, note)

    def _compute_for(self, base: Cell) -> None:
        """Compute in the numbers that were chosen when work on the base model `base` began, or now."""
        options, device = self.options, torch_device(self.options.device)
        repays = partial(repays_compiling, base, self.scale, options.device)
        use(first_choice(options.precision, options.store, base, device, repays))

    def _make(self, cell: Cell) -> Failure | None:
        options = self.options
        try:
            load_again(options.plugins)
            plan, data = Plan.of(cell, self.scale), self.dataset(cell.dataset)
            run = Run(plan, data, options.store, self._progress(cell), options.memory, options.takeover)
            if plan.partner is not None and run.missing(self.scale.evaluations):
                self._compute_for(plan.partner.cell)  # as whoever makes it for itself
                second_network(run)
            self._compute_for(cell.base)
            if options.make is None:
                run_cell(run, self.scale.evaluations)
            else:
                options.make(run)
        except Exception as error:  # noqa: BLE001 - any failure is this cell's alone
            return failure(cell.key, error)
        return None


def refuse_missing(tasks: Sequence[Task], scale: Scale, options: Options) -> Datasets:
    """Return the datasets by name. Raises `UserError` for what workers would miss: images, checkpoint,
    averaged weights, modules, double precision, or data of an evaluation without a fresh record."""
    names = dict.fromkeys(cell.dataset for task in tasks for cell in task.cells)
    data = {name: load(name, options.data) for name in names}
    needed: dict[tuple[str, str], Run] = {}
    for task in tasks:
        for cell in task.cells:
            run = Run(Plan.of(cell, scale), data[cell.dataset], options.store, silent)
            found = run.plan.base.checkpoint
            if found is not None:
                verified_file(found, options.data)
            _refuse_without_average(run.plan, options)
            if not options.store.has_weights(cell):
                _refuse_misfit(run)
            if options.device.startswith("mps") and (made := run.plan.forward) and made.double:
                raise UserError(
                    f"{cell.finetune} needs double precision, which mps has not; --device cpu"
                )
            needed |= {(cell.dataset, name): run for name in run.missing(scale.evaluations)}
    for (_, name), run in needed.items():
        evaluation(name).check(run.test_data)
    return data


def _refuse_misfit(run: Run) -> None:
    """Raise `UserError` for a module that is named and that the network does not have, and for a method
    that can make no module of it."""
    plan, forward = run.plan, run.plan.forward
    if forward is not None:
        try:
            forward.build(run.bare(), run.bare() if forward.partner else None)
        except UserError as error:
            raise UserError(f"{error}; or leave {plan.cell.finetune} out (--protocol)") from error
        plan = plan.before
    if plan.finetune is not None and isinstance(plan.finetune.selector, NamedModule):
        network = without_values(plan.cell.arch, plan.base.info)
        plan.finetune.selector.select(candidates(plan, network, None))


def _refuse_without_average(plan: Plan, options: Options) -> None:
    """Raise `UserError` if `plan` starts from the mean of the last epochs' weights, which its finished
    base model lacks, as one from the registry does."""
    store, base = options.store, plan.base.cell
    if not (plan.finetune and plan.finetune.start == "average") or store.has_weights(plan.cell):
        return
    trained = store.has_weights(base) or registered_weights(base, store, options.data)
    if trained and not (store.work(base) / AVERAGE).is_file():
        raise UserError(
            f"{plan.cell.key} begins at the mean of the last epochs' weights, which is not beside the "
            f"weights of {base.key} (the registry has those alone); leave it out (--protocol, or "
            "--collect for a figure of the others), or train with --results and --artifacts of your own"
        )


def failure(key: str, error: Exception) -> Failure:
    """Describe `error` in one line; unexpected ones keep their type and place."""
    if isinstance(error, UserError):
        return Failure(key, str(error), True)
    if isinstance(error, OSError):
        return Failure(key, system_problem(error), True)
    if isinstance(error, TrainingFailed | WeightsDiffer):
        return Failure(key, str(error), False)
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    place = f"{frame.f_globals.get('__name__')}:{line}"
    return Failure(key, f"{type(error).__name__}: {error} (at {place})", False)
