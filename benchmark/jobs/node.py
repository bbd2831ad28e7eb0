"""What a node of a cluster does: the work of one job, which at a time limit files itself again."""

import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.jobs.queue import ENDED, FAILED
from benchmark.jobs.tasks import Display, Failure, Options, Task
from benchmark.plans.scales import Scale
from benchmark.records import stopping

if TYPE_CHECKING:
    from benchmark.plans.running import Run

Show = Callable[[int, int], AbstractContextManager[Display]]


@dataclass(frozen=True)
class NodeWork:
    """The callable that a node runs: makes the cells of `task` as a process here would, without a lock.

    `versions` are those of the submitting machine. `grace` is the time (seconds) that a step has to end
    once Slurm has signalled the limit; after that the job is requeued as it stands.
    """

    task: Task
    scale: Scale
    options: Options
    versions: dict[str, str]
    show: Show
    grace: int

    def __call__(self) -> None:
        """Make the cells; the last line of the log is what failed, or that all is made."""
        from submitit import JobEnvironment

        number = signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]
        again = signal.getsignal(number)  # submitit's: files this job again and ends the process
        assert callable(again)

        def told(_number: int, _frame: object) -> None:
            stopping.ask()
            signal.alarm(self.grace)

        signal.signal(signal.SIGALRM, again)
        signal.signal(number, told)
        try:
            failures = self._make()
        except stopping.StopRequested:
            signal.alarm(0)
            again(number, None)
            raise
        signal.alarm(0)
        for failed in failures:
            print(f"{FAILED} {failed.key}: {failed.message}", file=sys.stderr)  # noqa: T201 - its log
        if failures:
            raise SystemExit(1)
        print(ENDED, file=sys.stderr)  # noqa: T201

    def checkpoint(self) -> Any:
        """What submitit calls when the job begins again: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _make(self) -> list[Failure]:
        from benchmark.jobs.worker import Worker

        try:
            self._check_node()
        except UserError as error:
            return [Failure(cell.key, str(error), True) for cell in self.task.cells]
        with self.show(1, 1) as shown:
            worker = Worker(self.scale, self.options, lambda *event: shown.update(0, *event))
            return worker.make(self.task)

    def _check_node(self) -> None:
        """Raise `UserError` unless this node has the job's folders, versions, data and device."""
        from benchmark.data.get.inventory import INVENTORY, Availability
        from benchmark.engine.device import torch_device
        from benchmark.engine.provenance import machine_versions

        node, store, here = f"node {socket.gethostname()}", self.options.store, machine_versions()
        for place in (store.results, store.artifacts):
            if not place.is_dir():
                raise UserError(f"{node} has no '{place}'; name a folder that all nodes share")
        store.check_writable(0)
        for name, version in self.versions.items():
            if here.get(name) != version:
                found = f"{name} {here.get(name)}"
                raise UserError(f"{node} has {found}, and the job was submitted with {version}")
        data, where = INVENTORY.get(self.task.base.dataset), self.options.data
        if data and data.status(where).state is Availability.MISSING:  # nodes cannot download
            raise UserError(f"{node} has no {data.name} in '{where}', which all nodes have to share")
        torch_device(self.options.device)


def train(run: "Run") -> None:
    """Make the base model alone."""
    from benchmark.run import adversarial_training

    adversarial_training(run)


def measure(run: "Run") -> None:
    """Measure the criticality that the cell needs, and no more."""
    from benchmark.run import adversarial_training, measure_criticality

    measure_criticality(run, adversarial_training(run))
