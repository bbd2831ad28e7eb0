"""What progress shows, kept: `--log-dir` writes it as JSON lines, and for TensorBoard."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.errors import UserError, system_problem
from benchmark.jobs.tasks import Display

FILE = "metrics.jsonl"
_NUMBER = r"[-+]?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"
_NUMBERS = {
    "loss": re.compile(rf"\bloss ({_NUMBER}|nan|inf)"),
    "epoch": re.compile(r"\bepoch ([0-9]+)/"),
    "selected_on": re.compile(rf"({_NUMBER}) %[^,]* selected on"),
}


class Logged:
    """A display that also writes each report: a line in `FILE`, and points of loss for TensorBoard.

    A line has `time` (Unix seconds), `cell`, `stage`, `done` and `total` steps, and of a training
    `epoch`, its `loss` and, at its end, `selected_on` (percent right on the selection images).
    """

    def __init__(self, shown: Display, directory: Path, stack: ExitStack) -> None:
        self.shown, self.directory, self.stack = shown, directory, stack
        self.board = cache(self._board)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with (directory / FILE).open("a"):  # reports are written one by one, none at the end
                pass
        except OSError as error:
            raise UserError(f"--log-dir: {system_problem(error)}") from error

    def update(self, worker: int, key: str, stage: str, done: int, total: int, note: str) -> None:
        """Show and write a report."""
        self.shown.update(worker, key, stage, done, total, note)
        found = {name: pattern.search(note) for name, pattern in _NUMBERS.items()}
        numbers = {name: float(match[1]) for name, match in found.items() if match}
        entry = {
            "time": round(time.time(), 3),
            "cell": key,
            "stage": stage,
            "done": done,
            "total": total,
        }
        with (self.directory / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry | numbers | {"note": note}) + "\n")
        if (board := self.board(key)) is not None:
            for name in numbers.keys() - {"epoch"}:
                board.add_scalar(f"{stage}/{name}", numbers[name], done)

    def finish(self, worker: int, key: str, cells: int, failed: int = 0) -> None:
        """Show that a base model is finished."""
        self.shown.finish(worker, key, cells, failed)

    def _board(self, key: str) -> Any:
        """Where TensorBoard reads of the cell `key`; None without the extra `tensorboard`."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        board = SummaryWriter(self.directory / key)
        self.stack.callback(board.close)
        return board


@contextmanager
def logged(shown: Display, directory: Path | None) -> Iterator[Display]:
    """`shown`, which also writes to `directory` unless that is None."""
    with ExitStack() as stack:
        yield shown if directory is None else Logged(shown, directory, stack)
