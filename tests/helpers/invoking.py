"""The command line, called inside this process, and refusals."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import typer.testing
from typer.main import get_command

from benchmark.cli.app import app
from benchmark.errors import UserError
from benchmark.records.store import Store

# The commands are built once: that takes longer than most of them run.
typer.testing._get_command = cache(get_command)

TINY = Path(__file__).parents[1] / "tiny.toml"
MINI = Path(__file__).parents[1] / "mini.toml"
MINE = """
name = "mine"
summary = "my own"
datasets = ["digits"]
archs = ["resnet18-w8"]
seeds = [0]
"""
"""The file of a scale that says no more than it has to."""
WITHOUT_JOBS = ("status", "evaluate", "bf16", "checkpoints")


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str

    def errors(self, exit_code: int = 2) -> list[str]:
        """What was wrong, a line each, of a command that ended with `exit_code`."""
        assert self.exit_code == exit_code, self
        lines = self.stderr.splitlines()
        return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]

    @property
    def refusal(self) -> str:
        """The one line of an error that the user can mend, which is all that was written."""
        (line,) = self.errors()
        assert (self.stdout, self.stderr) == ("", f"error: {line}\n")
        return line

    def good(self) -> "Said":
        """The same, of a command that ended well."""
        assert self.exit_code == 0, self.stderr
        return self


@dataclass(frozen=True)
class Command:
    """Commands on one store."""

    store: Store

    def __call__(self, name: str, *arguments: object) -> Said:
        """Run command `name`; one job makes things in this process unless `arguments` ask for more."""
        places = ["--results", self.store.results, "--artifacts", self.store.artifacts]
        jobs = [] if name in WITHOUT_JOBS or "--jobs" in arguments else ["--jobs", "1"]
        return said(name, *arguments, *places, *jobs)


def said(*arguments: object) -> Said:
    """What the command line says to `arguments`; an exception that it lets through is raised."""
    result = typer.testing.CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return Said(result.exit_code, result.stdout, result.stderr)


def refused(call: Callable[[], object], match: str | None = None) -> str:
    """The one line by which `call` is refused, in which `match`, if given, is found."""
    with pytest.raises(UserError, match=match) as refusal:
        call()
    (line,) = str(refusal.value).splitlines()
    return line
