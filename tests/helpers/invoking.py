"""The command line, called inside this process."""

from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.records.store import Store

TINY = Path(__file__).parents[1] / "tiny.toml"
MINI = Path(__file__).parents[1] / "mini.toml"


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Command:
    """Commands on one store."""

    store: Store

    def __call__(self, name: str, *arguments: str) -> Said:
        """Run command `name`; one job makes things in this process unless `arguments` ask for more."""
        places = ["--results", str(self.store.results), "--artifacts", str(self.store.artifacts)]
        jobs = [] if name == "status" or "--jobs" in arguments else ["--jobs", "1"]
        return said(name, *arguments, *places, *jobs)


def said(*arguments: str) -> Said:
    """What the command line says to `arguments`; an exception that it lets through is raised."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return Said(result.exit_code, result.stdout, result.stderr)
