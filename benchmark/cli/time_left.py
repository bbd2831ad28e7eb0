"""Time left of a whole command, known after its first `SOON` seconds."""

import math
import time
from collections.abc import Mapping

from benchmark.evaluation.first import whole_name

Costs = Mapping[str, Mapping[str, float]]
"""By key, what each stage of a cell costs, in the order of work; the unit does not matter."""
SOON = 5.0
"""Seconds of work from which on its rate says something."""


class TimeLeft:
    """What is done of `costs` and when, as workers report it.

    A worker makes cell after cell, and a cell stage by stage in the order of its costs, so that a
    report says that what comes before it is done. What was done when a cell is first heard of was done
    by an earlier command or for another cell, and took no time.
    """

    def __init__(self, costs: Costs) -> None:
        self.costs, self.began, self.moved = costs, math.inf, -math.inf
        self.done: dict[str, float] = {}
        self.at: dict[int, str] = {}
        self.earlier = 0.0

    def update(self, worker: int, key: str, stage: str, done: int, total: int) -> None:
        """Note that `done` of `total` steps of a stage are made. The first report of one that costs
        something starts the clock: waiting for another process does not."""
        if self.at.get(worker) not in (None, key):
            self.finish(worker)
        self.at[worker] = key
        whole, _, part = stage.partition(":")
        names, costs = [*(stages := self.costs.get(key, {}))], [*stages.values()]
        fitting = [name for name in names if name.startswith(whole)]
        if not fitting:
            return
        self.began = min(self.began, now := time.monotonic())
        # Reports of `pgd10x3-first-9` say `pgd10x3`, with which `pgd10x3-adaptive` begins, too.
        name = min(fitting, key=lambda name: whole_name(name) != whole)
        place = names.index(name)
        made = sum(costs[:place]) + (costs[place] * done / total if total and not part else 0.0)
        self.earlier += made if key not in self.done else 0.0
        if made > self.done.setdefault(key, made):
            self.done[key], self.moved = made, now

    def finish(self, worker: int) -> None:
        """Note that the worker has made its cell, or failed at it."""
        key = self.at.pop(worker, "")
        if key in self.costs:
            whole = sum(self.costs[key].values())
            self.earlier += whole if key not in self.done else 0.0
            self.done[key], self.moved = whole, time.monotonic()

    @property
    def seconds(self) -> float | None:
        """Seconds left of everything at the rate so far; None as long as that is not known.

        Parts of a stage say nothing of how much of it is done: during them the rate is that before.
        """
        passed, made = self.moved - self.began, sum(self.done.values()) - self.earlier
        if passed < SOON or made <= 0:
            return None
        total = sum(sum(stages.values()) for stages in self.costs.values())
        return passed * max(total - self.earlier - made, 0.0) / made
