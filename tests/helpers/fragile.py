"""A worker process without torch, for tests of what happens to tasks and processes."""

import os
import signal
from multiprocessing.connection import Connection

from benchmark.jobs.tasks import Failure, Options
from benchmark.plans.scales import Scale


def serve(connection: Connection, scale: Scale, options: Options) -> None:
    """Take tasks as a worker does: die over seed 1, be busy at first with seed 2, fail seed 3."""
    while (order := connection.recv()) is not None:
        task, block = order
        connection.send(("progress", (task.base.key, "working", 1, 2, "")))
        if task.base.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if task.base.seed == 2 and not block:
            connection.send(("busy", None))
            continue
        failed = [Failure(cell.key, "no", True) for cell in task.cells if task.base.seed == 3]
        connection.send(("done", failed))
