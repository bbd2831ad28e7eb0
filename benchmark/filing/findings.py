"""What is wrong with a file, as a line."""

from collections.abc import Iterator
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


def shown(value: Any) -> str:
    """`value` in one short line."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
