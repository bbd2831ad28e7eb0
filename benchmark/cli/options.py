"""What the commands share: flags, messages on standard error, and errors as one line."""

import dataclasses
import inspect
import sys
import warnings
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from benchmark.errors import UserError, line, printable, system_problem
from benchmark.plans.plugins import load_all
from benchmark.records.checkout import unnamed
from benchmark.records.files import at_home, sweep, write_atomically
from benchmark.records.ranges import MOST_THREADS
from benchmark.records.specs import spec_hash
from benchmark.records.store import Store

HOW, PLACES = "How to work", "Places"
LONGEST = 240
"""Characters of the name of a table or figure: with a hash and a suffix, the 255 of file systems."""
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        rich_help_panel=HOW,
        help="Threads per process. Default: the scale's, if there is one, else all cores. Other values "
        "may change the last bits.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        rich_help_panel=HOW,
        help="Precision of attacks and adversarial training: auto (bf16 where the hardware has it), "
        "fp32, or bf16 (criticality, too). alpha* is always chosen in fp32, and answers are counted as "
        "in fp32. Default: what the scale fixes, else auto; with another NAME than the fixed one, keys "
        "read SCALE-in-NAME/...",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", rich_help_panel=HOW, help="cpu, cuda, cuda:1, mps, ... Default: cpu."),
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
NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: everything that is there.")
]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        rich_help_panel=PLACES,
        help="A file that adds methods, networks, datasets, ... (docs/plugins.md), or the name of "
        "an installed plug-in; repeatable. Also in BENCHMARK_PLUGINS.",
    ),
]

LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=1,
        max=999_999_999,
        help="Evaluate on the first N test images only. Such results are named NAME-first-N and never "
        "taken for those of the whole test set.",
    ),
]


@dataclasses.dataclass(frozen=True)
class Computing:
    """The flags of what computes with networks."""

    threads: ThreadsOption = None
    device: DeviceOption = None
    precision: PrecisionOption = None
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            rich_help_panel=HOW,
            help="Compile networks for attacks and adversarial training; needs a C++ compiler, and a "
            "minute or so per model before it is faster. Default: on where all the work on a base "
            "model repays that, decided when the work begins; off for `evaluate`.",
            show_default=False,
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class Places:
    """The flags of what reads and writes all three folders."""

    results: ResultsOption = Path("results")
    artifacts: ArtifactsOption = Path("artifacts")
    data_dir: DataOption = Path("data")

    @property
    def store(self) -> Store:
        return Store(self.results, self.artifacts)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Turn `function` into a command for typer.

    A parameter that is a dataclass becomes the flags that its fields are. `--plugin` is a flag of every
    command. `~` in paths is the home folder. What killed processes left in the trees is removed first.
    """
    signature = inspect.signature(function)
    groups: dict[str, Any] = {}
    flags: list[inspect.Parameter] = []
    flag = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in signature.parameters.items():
        group = parameter.annotation
        if dataclasses.is_dataclass(group):
            groups[name], fields = group, dataclasses.fields(group)
            flags += [flag(each.name, default=each.default, annotation=each.type) for each in fields]
        else:
            flags.append(flag(name, default=parameter.default, annotation=group))
    flags.append(flag("plugin", default=None, annotation=PluginOption))

    @wraps(function)
    def wrapper(**given: Any) -> None:
        plugins = given.pop("plugin") or ()
        given = {name: _at_home(value) for name, value in given.items()}
        if "artifacts" in given:
            Store(given["results"], given["artifacts"]).sweep()
        elif "results" in given:
            sweep(given["results"])
        for name, group in groups.items():
            values = {field.name: given.pop(field.name) for field in dataclasses.fields(group)}
            given[name] = group(**values)
        load_all(plugins)
        function(**given)

    wrapper.__signature__ = signature.replace(parameters=flags)  # type: ignore[attr-defined]
    return wrapper


def _at_home(value: Any) -> Any:
    if isinstance(value, list):
        return [_at_home(each) for each in value]
    return at_home(value) if isinstance(value, Path) else value


class OneLine(TyperGroup):
    """Commands whose errors are one line on standard error and exit code 2.

    These are what the user can mend, flags included, and what the system refuses, as a full disk does.
    """

    def main(self, *arguments: Any, **options: Any) -> Any:
        plain = warnings.formatwarning
        warnings.formatwarning = lambda *said, **more: printable(plain(*said, **more))
        try:
            code = super().main(*arguments, **options | {"standalone_mode": False})
        except (_USAGE, UserError, OSError) as error:
            code = 2
            if message := _line(error):  # there is none where the help was asked for
                say(f"error: {message}")
        finally:
            warnings.formatwarning = plain
        sys.exit(code)


def _line(error: Exception) -> str:
    if isinstance(error, OSError):
        return system_problem(error)
    return " ".join(error.format_message().split()) if isinstance(error, _USAGE) else str(error)


_USAGE = cast(type[typer.BadParameter], typer.BadParameter.__bases__[0])  # of all flags that do not fit


def listed(text: str, known: Callable[[str], object]) -> tuple[str, ...]:
    """Return the names in a comma-separated list, each once; `known` raises `UserError` for others."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        known(name)
    return names


def show(text: str, *, nl: bool = True) -> None:
    """Write `text` to standard output, and a line end if `nl`; nothing in it controls a terminal."""
    typer.echo(printable(text), nl=nl)


def say(message: str) -> None:
    """Write `message`, a line, to standard error; standard output is for results."""
    typer.echo(line(message), err=True)


def begin(store: Store, megabytes: int) -> None:
    """Refuse a store that cannot take `megabytes` MB; say at once if records will name no commit."""
    store.check_writable(megabytes)
    if (why := unnamed()) is not None:
        say(f"remark: records will name no commit, and `submit` says so of them: {why}")


def file_name(whole: str) -> str:
    """Return `whole`, or its beginning and a hash where that is too long to name a file by."""
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}-{spec_hash({'shown': whole})[:8]}"


def write_result(path: Path, content: bytes, root: Path | None = None) -> None:
    """Write a table or a figure, in the tree `root` (None: where `--out` says).

    Raises `UserError` where that is not possible.
    """
    try:
        write_atomically(path, content, root)
    except OSError as error:
        flag = "--out" if root is None else "--results"
        raise UserError(
            f"cannot write '{path}' ({error.strerror}); name another folder by {flag}"
        ) from error
