"""What `tox -e bench` measured: its file, the table on the screen, and the table of the README.

    python tests/benchmarks/report.py results/benchmarks/NAME.json

prints the file as Markdown. Only samples are believed when a file is read: medians and ratios stand in
it for other readers and are computed anew.
"""

import os
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    computed_field,
    model_validator,
)
from tabulate import tabulate

from benchmark.errors import UserError
from benchmark.records.files import write_atomically

SCHEMA_VERSION: Literal[1] = 1
PLAIN = "plain"
SECONDS = "s"

Positive = Annotated[FiniteFloat, Field(gt=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Machine(_Model):
    """What timings depend on besides the code; those of two machines never share a file.

    `threads` are those that torch computes with, `cores` those that the process may use;
    `accelerator` is the CUDA device's name, whether a group uses it or not.
    """

    processor: str
    accelerator: str | None
    cores: int = Field(gt=0)
    threads: int = Field(gt=0)
    bf16_units: bool
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Self:
        """This machine, with the threads that torch computes with now."""
        import torch

        from benchmark.engine.precision import has_bf16_units
        from benchmark.engine.provenance import device_name, machine_versions
        from benchmark.jobs.tasks import cores

        cpu, cuda = torch.device("cpu"), torch.cuda.is_available()
        return cls(
            processor=device_name(cpu).removeprefix("cpu, "),
            accelerator=torch.cuda.get_device_name() if cuda else None,
            cores=cores(),
            threads=torch.get_num_threads(),
            bf16_units=has_bf16_units(cpu),
            versions=machine_versions(),
        )


class Origin(_Model):
    """The commit that was measured, whether files differed from it, and when (UTC, ISO 8601)."""

    commit: str
    dirty: bool
    date: str


class Variant(_Model):
    """One way to do the step: its samples, one per round, in the unit of its group.

    `cpu_s` are the CPU seconds (of all threads) of the same rounds, none for what is counted rather
    than timed; `first_s` is the warm-up: the very first call, compilation included,
    or what the race has in its place.
    """

    name: str
    samples: list[Positive] = Field(min_length=1)
    cpu_s: list[FiniteFloat] = []
    first_s: FiniteFloat | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def median(self) -> float:
        return statistics.median(self.samples)


class Group(_Model):
    """One row of the table of speeds at one size: `plain` first, then what is to be faster.

    Round i of all variants was measured back to back. `asked` are the least ratios to `plain` by
    variant, `exactness` says what was compared and found equal, `left_out` why a variant is
    missing. A `detail` is no row of the README's table.
    """

    row: str
    size: str
    unit: str = SECONDS
    detail: bool = False
    origin: Origin
    variants: list[Variant] = Field(min_length=1)
    asked: dict[str, Positive] = {}
    exactness: str | None = None
    left_out: dict[str, str] = {}

    @model_validator(mode="after")
    def _rounds_correspond(self) -> Self:
        if self.variants[0].name != PLAIN:
            raise ValueError(f"the first variant is '{self.variants[0].name}', not '{PLAIN}'")
        if len({len(variant.samples) for variant in self.variants}) != 1:
            raise ValueError("the variants do not have the same number of samples")
        return self

    @property
    def key(self) -> tuple[str, str]:
        return self.row, self.size

    @property
    def plain(self) -> Variant:
        return self.variants[0]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratios(self) -> dict[str, tuple[float, float, float]]:
        """Plain over variant: ratio of the medians, least and largest ratio of a round."""
        found = {}
        for variant in self.variants[1:]:
            each = [p / v for p, v in zip(self.plain.samples, variant.samples, strict=True)]
            found[variant.name] = (self.plain.median / variant.median, min(each), max(each))
        return found


class Report(_Model):
    """All groups measured on one machine, each with the commit it is of."""

    schema_version: Literal[1] = SCHEMA_VERSION
    machine: Machine
    groups: list[Group] = []

    def updated(self, group: Group) -> Self:
        """With `group` in place of the one of the same row and size, or else at the end."""
        known = {each.key: each for each in self.groups} | {group.key: group}
        return self.model_copy(update={"groups": list(known.values())})

    def write(self, path: Path) -> None:
        """Write to `path` in one step."""
        write_atomically(path, (self.model_dump_json(indent=1) + "\n").encode())


def read(path: Path) -> Report:
    """The report in `path`. Raises `UserError` if there is none."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"cannot read '{path}' ({error.strerror}); name a file of `tox -e bench`"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UserError(
            f"'{path}' is not a report of `tox -e bench`: {where}: {first['msg']}; move it away"
        ) from error


def report_to_update(path: Path, machine: Machine) -> Report:
    """The report in `path`, or an empty one if there is no such file.

    Raises `UserError` if the file is damaged, cannot be written, or is of another machine.
    """
    if not path.exists():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise UserError(f"cannot write '{path}': '{folder}' is not a folder that can be written to")
        return Report(machine=machine)
    found = read(path)
    ours, theirs = machine.model_dump(), found.machine.model_dump()
    for name, value in ours.items():
        if theirs[name] != value:
            raise UserError(
                f"'{path}' was measured with {name} {theirs[name]}, this would be with {value}; "
                "name another file, ratios of two machines are not mixed"
            )
    return found


def screen(groups: Sequence[Group]) -> str:
    """Every variant of every group as a table for a terminal."""
    head = ["row", "size", "variant", "median", "ratio", "[min-max]", "asked", "exactness"]
    lines = []
    for group in groups:
        first = [group.row, group.size], [group.exactness or ""]
        for variant in group.variants:
            before, after = first if variant is group.plain else (["", ""], [""])
            middle = [variant.name, amount(variant.median, group.unit), *_ratio(group, variant.name)]
            lines.append([*before, *middle, *after])
        lines += [["", "", name, "left out", "", "", "", why] for name, why in group.left_out.items()]
    widths = [20, 26, None, None, None, None, None, 52]
    return tabulate(lines, head, maxcolwidths=widths, disable_numparse=True)


def markdown(report: Report) -> str:
    """The table of a README: a line per fast variant in the order of their names, without padding, and
    below it what it was measured on."""
    head = [
        "step",
        "size",
        "variant",
        "plain",
        "variant takes",
        "ratio [min–max]",
        "asked",
        "exactness",
    ]
    lines = []
    ordered = sorted(report.groups, key=lambda group: group.key)
    for group in (group for group in ordered if not group.detail):
        for variant in group.variants[1:]:
            ratio, spread, asked = _ratio(group, variant.name)
            times = [amount(each.median, group.unit) for each in (group.plain, variant)]
            first = [group.row, group.size, variant.name]
            lines.append([*first, *times, f"{ratio} {spread}", asked, group.exactness or ""])
    align = ["left"] * 3 + ["right"] * 4 + ["left"]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    table = tabulate(
        cells, head, tablefmt="github", colalign=align if cells else None, disable_numparse=True
    )
    table = re.sub(r" {2,}", " ", re.sub(r"-{4,}", "---", table))
    return f"{table}\n\n{_measured_on(report)}"


def _measured_on(report: Report) -> str:
    machine = report.machine
    commits = sorted(
        {(g.origin.commit[:10], g.origin.dirty, g.origin.date[:10]) for g in report.groups}
    )
    states = [f"{commit}{' with changes' if dirty else ''} ({date})" for commit, dirty, date in commits]
    parts = [
        machine.processor,
        f"{machine.cores} cores",
        f"{machine.threads} threads",
        f"{'with' if machine.bf16_units else 'no'} bf16 units",
        *([machine.accelerator] if machine.accelerator else []),
        f"torch {machine.versions.get('torch', 'unknown')}",
    ]
    return f"Measured on {', '.join(parts)}; commit {', '.join(states) or 'none'}."


def _ratio(group: Group, name: str) -> tuple[str, str, str]:
    """Ratio to plain, its spread, and what was asked for with what became of it."""
    if name not in group.ratios:
        return "", "", ""
    ratio, least, most = group.ratios[name]
    asked = ""
    if name in group.asked:
        wanted = group.asked[name]
        asked = f"{wanted:g}x" if ratio >= wanted else f"{wanted:g}x, missed"
    return times_as_fast(ratio), f"[{times_as_fast(least)}–{times_as_fast(most)}]", asked


def times_as_fast(ratio: float) -> str:
    """A ratio with two digits after the point below 10, one below 100, none above."""
    return f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}x"


def amount(value: float, unit: str) -> str:
    """`value` in three digits, whole numbers in all of theirs; seconds as s, ms or µs."""
    if unit != SECONDS:
        return f"{value:g} {unit}" if value == int(value) else f"{_three_digits(value)} {unit}"
    scale, name = (1, "s") if value >= 1 else (1e3, "ms") if value >= 1e-3 else (1e6, "µs")
    return f"{_three_digits(value * scale)} {name}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def main(arguments: Sequence[str]) -> int:
    """Print the Markdown of the one file named; 2 and a line on standard error if it cannot be read."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python tests/benchmarks/report.py results/benchmarks/NAME.json\n")
        return 2
    try:
        text = markdown(read(Path(arguments[0])))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
