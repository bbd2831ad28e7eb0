"""What is wrong with a file, as a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Wrong = Iterator[tuple[str, str]]
"""Fields and what is wrong with them, of a file that the caller names."""

SHOWN = 100
"""Signs of a value that a line shows at most."""


@dataclass(frozen=True)
class Finding:
    """`text` says of `field` of the file at `path` what is there and what would be right."""

    path: Path
    field: str
    text: str

    @property
    def line(self) -> str:
        return f"{self.path}: {self.field} {self.text}"


def grouped(findings: Iterable[Finding]) -> list[str]:
    """Lines of `findings`, in order; where several files have the same, one names the first of them."""
    same: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        same.setdefault((finding.field, finding.text), []).append(finding)
    return [
        each[0].line if len(each) == 1 else f"{len(each)} files, such as {each[0].line}"
        for each in same.values()
    ]


def shown(value: Any) -> str:
    """`value` in one short line."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
