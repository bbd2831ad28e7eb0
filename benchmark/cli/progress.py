"""Progress for people: live bars on a terminal, plain lines elsewhere (a log, a pipe, CI)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import MappingProxyType

from rich import progress as rich
from rich.console import Console
from rich.table import Column

from benchmark.cli.time_left import Costs, TimeLeft
from benchmark.errors import line
from benchmark.jobs.tasks import Display
from benchmark.progress import Progress
from benchmark.report.leaderboard.wording import duration

LINE_EVERY_S = 15.0


class Unit(StrEnum):
    """What progress counts."""

    STEPS = ""
    MEGABYTES = " MB"
    IMAGES = " images"
    COPIES = " copies of the test set"

    def text(self, count: int) -> str:
        """`count` steps, bytes or images for people."""
        return f"{count / 1e6:,.1f}" if self is Unit.MEGABYTES else str(count)


WIDE = 140
"""Columns from which a row of `LiveBars` is one line; on less it is two."""


class LiveBars:
    """A bar per worker (cell, stage, loss, time left in the stage) and one for base models, which says
    how long everything takes yet."""

    def __init__(
        self,
        console: Console,
        workers: int,
        models: int,
        unit: Unit = Unit.STEPS,
        costs: Costs = MappingProxyType({}),
    ) -> None:
        self.lines = console.width < WIDE
        self.left = TimeLeft(costs)
        counted: list[rich.ProgressColumn] = [
            rich.MofNCompleteColumn(table_column=Column(min_width=7, justify="right", no_wrap=True))
        ]
        if unit is Unit.MEGABYTES:
            counted = [rich.DownloadColumn(), rich.TransferSpeedColumn()]
        self.progress = rich.Progress(
            rich.TextColumn(
                "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)
            ),
            rich.BarColumn(bar_width=8 if self.lines else 24),
            *counted,
            rich.TimeRemainingColumn(compact=True, table_column=Column(min_width=5, no_wrap=True)),
            console=console,
            expand=True,
        )
        if models:
            self.overall = self._row("base models", models)
        self.rows = {worker: self._row("starting") for worker in range(workers)}

    def _row(self, title: str, total: int | None = None) -> rich.TaskID:
        return self.progress.add_task(title, total=total, title=title)

    def update(self, worker: int, key: str, stage: str, done: int, total: int, note: str) -> None:
        title = line(f"{_short(key)} {stage}" if key else stage)
        row = self.rows.get(worker)
        if row is None:
            row = self.rows[worker] = self._row(title)
        elif (task := self.progress.tasks[row]).fields["title"] != title or done < task.completed:
            self.progress.reset(row, title=title)
        shown = f"{title}, {line(note)}" if note else title
        if key and self.lines:  # the cell, and below it the stage with its epoch and loss
            shown = shown.replace(": ", ":\n  ", 1)
        self.progress.update(row, completed=done, total=total or None, description=shown)
        self.left.update(worker, key, stage, done, total)
        if (seconds := self.left.seconds) is not None:
            said = f"base models; about {duration(seconds)} left of everything"
            self.progress.update(self.overall, description=said)

    def finish(self, worker: int, key: str, cells: int, failed: int = 0) -> None:
        self.left.finish(worker)
        self.progress.advance(self.overall, not failed)


def _short(key: str) -> str:
    """A key without the scale, and with the method, in which few differ, last."""
    _, dataset, arch, method, finetune, seed = key.split("/")
    return f"{dataset}/{arch} {finetune} {seed} {method}:"


class LogLines:
    """A line when a worker reaches a new stage or epoch, or begins one again, as for another alpha; at
    most one in 15 s otherwise.

    What is not counted in steps, as a download, has a line at its end, too.
    """

    def __init__(
        self,
        console: Console,
        models: int,
        unit: Unit = Unit.STEPS,
        costs: Costs = MappingProxyType({}),
    ) -> None:
        self.console, self.models, self.unit, self.done = console, models, unit, 0
        self.left = TimeLeft(costs)
        self.started = time.monotonic()
        self.stages: dict[int, tuple[str, float, float, int]] = {}
        self.last: dict[int, int] = {}

    def update(self, worker: int, key: str, stage: str, done: int, total: int, note: str) -> None:
        self.left.update(worker, key, stage, done, total)
        now, title = time.monotonic(), f"{key}  {stage}" if key else stage
        name, began, shown, first = self.stages.get(worker, ("", now, 0.0, done))
        fresh = name != title or done < self.last.get(worker, 0)
        self.last[worker] = done
        if fresh:
            began, first = now, done
        ended = self.unit is not Unit.STEPS and done == total
        if not (fresh or ended or note.startswith("epoch") or now - shown >= LINE_EVERY_S):
            return
        self.stages[worker] = (title, began, now, first)
        rate = (done - first) / (now - began) if now > began else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        counted = self.unit.text(done) + (f"/{self.unit.text(total)}" if total else "")
        if (seconds := self.left.seconds) is not None:
            note = f"{note}; about {duration(seconds)} left of everything".removeprefix("; ")
        self._line(f"{title} {counted}{self.unit}{left}{', ' + note if note else ''}")

    def finish(self, worker: int, key: str, cells: int, failed: int = 0) -> None:
        self.left.finish(worker)
        self.done += not failed
        what = f"failed (cells: {failed} of {cells})" if failed else f"finished (cells: {cells})"
        self._line(f"{key}  {what}; base models {self.done}/{self.models}")

    def _line(self, text: str) -> None:
        shown = f"[{time.monotonic() - self.started:6.0f} s] {line(text)}"
        self.console.print(shown, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def display(
    workers: int, models: int, unit: Unit = Unit.STEPS, costs: Costs = MappingProxyType({})
) -> Iterator[Display]:
    """Progress on standard error: bars on a terminal, lines elsewhere; of cells with their `costs`."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LogLines(console, models, unit, costs)
        return
    bars = LiveBars(console, workers, models, unit, costs)
    with bars.progress:
        yield bars


@contextmanager
def working_on(key: str) -> Iterator[Progress]:
    """Progress of work on the one model `key`."""
    with display(1, 1) as shown:

        def progress(stage: str, done: int, total: int, note: str = "", /) -> None:
            shown.update(0, key, stage, done, total, note)

        yield progress
        shown.finish(0, key, 1)


@contextmanager
def getting(unit: Unit) -> Iterator[Progress]:
    """Progress of downloads and of files that are written, each stage on its own."""
    rows: dict[str, int] = {}
    with display(0, 0, unit) as shown:

        def progress(stage: str, done: int, total: int, note: str = "", /) -> None:
            shown.update(rows.setdefault(stage, len(rows)), "", stage, done, total, note)

        yield progress
