"""What the commands share: where things are, messages on standard error, and errors as one line."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import FIRST, limited
from benchmark.records.files import write_atomically

WORK, PLACES = "How to work", "Places"
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        rich_help_panel=WORK,
        help="Threads per process. Default: the scale's. Other values may change the last bits.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        rich_help_panel=WORK,
        help="Of attacks and adversarial training: auto (bf16 where the hardware has it), fp32, or "
        "bf16, which takes in criticality too. Counting, and choosing alpha*, is in fp32 always. "
        "Default: what the scale fixes, else auto; where it fixes another, keys read SCALE-in-NAME/...",
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option(
        "--compile",
        rich_help_panel=WORK,
        help="Compile networks for attacks and adversarial training; takes a minute or so per model "
        "before it is faster, and a C++ compiler.",
    ),
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory",
        metavar="GIB",
        min=0,
        rich_help_panel=WORK,
        help="Activations a process may hold while it measures criticality. Less takes longer and "
        "changes no number. Default: no limit.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", rich_help_panel=WORK, help="cpu, cuda, cuda:1, mps, ...")
]
ResultsOption = Annotated[
    Path,
    typer.Option(
        "--results",
        envvar="BENCHMARK_RESULTS",
        rich_help_panel=PLACES,
        help="Records and tables; kept for good.",
    ),
]
ArtifactsOption = Annotated[
    Path,
    typer.Option(
        "--artifacts",
        envvar="BENCHMARK_ARTIFACTS",
        rich_help_panel=PLACES,
        help="Weights and unfinished work; may be deleted.",
    ),
]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="BENCHMARK_DATA",
        rich_help_panel=PLACES,
        help="Where datasets are, or are downloaded to; `data list` says what is there.",
    ),
]

LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=1,
        help="Evaluate on the first N test images only. The records and columns are named so and are "
        "never taken for whole ones.",
    ),
]

P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors that a user can mend into one line and exit code 2."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except UserError as error:
            say(f"error: {error}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            say("stopped; the same command continues where this one was")
            raise typer.Exit(130) from None

    return wrapper


def listed_evaluations(text: str) -> tuple[str, ...]:
    """The evaluations named in a comma-separated list. Raises `UserError` for an unknown one."""
    return listed(text, evaluation)


def listed(text: str, known: Callable[[str], object]) -> tuple[str, ...]:
    """The names in a comma-separated list, each once; `known` raises `UserError` for an unknown one."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        known(name)
    return names


def limited_evaluations(names: Sequence[str], limit: int | None) -> tuple[str, ...]:
    """`names`, each on the first `limit` test images unless it says otherwise (None: on all)."""
    if limit is None:
        return tuple(names)
    return tuple(name if FIRST in name else limited(name, limit) for name in names)


def say(message: str) -> None:
    """Write `message` to standard error; standard output is for results."""
    typer.echo(message, err=True)


def write_result(path: Path, content: bytes) -> None:
    """Write a table or a figure. Raises `UserError` where that is not possible."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(
            f"cannot write '{path}' ({error.strerror}); name another folder by --results"
        ) from error
