"""Progress for people: live bars on a terminal, plain lines elsewhere (a log, a pipe, CI)."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

LINE_EVERY_S = 15.0


class Bars:
    """One bar per worker (cell, stage, loss, time left in the stage) and one for base models."""

    def __init__(self, console: Console, jobs: int, models: int) -> None:
        wide = console.width >= 140
        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=24 if wide else 8),
            MofNCompleteColumn(table_column=Column(min_width=7, justify="right", no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(min_width=5, no_wrap=True)),
            TextColumn(
                "{task.fields[note]}",
                table_column=Column(width=44 if wide else 10, no_wrap=True),
            ),
            console=console,
            expand=True,
        )
        self.overall = self.progress.add_task("base models", total=models, note="")
        self.slots: list[TaskID] = [
            self.progress.add_task("starting", total=None, note="") for _ in range(jobs)
        ]
        self.showing: dict[int, str] = {}

    def update(self, slot: int, key: str, stage: str, done: int, total: int, note: str) -> None:
        line = f"{_short(key)} {stage}"
        if self.showing.get(slot) != line:
            self.showing[slot] = line
            self.progress.reset(self.slots[slot], description=line)
        self.progress.update(self.slots[slot], completed=done, total=total, note=note)

    def finish(self, slot: int, key: str, cells: int) -> None:
        self.progress.advance(self.overall)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()


def _short(key: str) -> str:
    """A key without what all cells of a command share, the method, which few differ in, last."""
    _, _, arch, method, finetune, seed = key.split("/")
    return f"{arch} {finetune} {seed} {method}:"


class Lines:
    """A line when a worker reaches a new stage or epoch, at most one in 15 s within a stage."""

    def __init__(self, console: Console, jobs: int, models: int) -> None:
        self.console, self.models, self.done = console, models, 0
        self.started = time.monotonic()
        self.stage: dict[int, tuple[str, float, float, int]] = {}

    def update(self, slot: int, key: str, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        name, began, shown, first = self.stage.get(slot, ("", now, 0.0, done))
        fresh = name != f"{key} {stage}"
        if fresh:
            began, first = now, done
        if not (fresh or "epoch" in note or now - shown >= LINE_EVERY_S):
            return
        self.stage[slot] = (f"{key} {stage}", began, now, first)
        rate = (done - first) / (now - began) if now > began else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        self._line(f"{key}  {stage} {done}/{total}{left}{', ' + note if note else ''}")

    def finish(self, slot: int, key: str, cells: int) -> None:
        self.done += 1
        self._line(f"{key}  finished (cells: {cells}); base models {self.done}/{self.models}")

    def _line(self, line: str) -> None:
        elapsed = time.monotonic() - self.started
        self.console.print(f"[{elapsed:6.0f} s] {line}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


def display(console: Console, jobs: int, models: int) -> Bars | Lines:
    """Bars if `console` is a terminal, else lines."""
    return (Bars if console.is_terminal else Lines)(console, jobs, models)
