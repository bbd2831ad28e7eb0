"""All files that are looked at together, in every order they are looked up in (no torch)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from benchmark.records.cells import Cell
from benchmark.records.records import Making, Record, Training
from benchmark.records.store import MAKING
from benchmark.submission.entries import Entry


@dataclass(frozen=True)
class Library:
    """Entries by their place: what is handed in, and what is on file."""

    entries: dict[tuple[Cell, str], Entry]

    @classmethod
    def of(cls, *entries: Iterable[Entry]) -> "Library":
        """The first of those at one place counts."""
        found: dict[tuple[Cell, str], Entry] = {}
        for each in entries:
            for entry in each:
                found.setdefault((entry.cell, entry.name), entry)
        return cls(found)

    def record(self, cell: Cell, name: str) -> Record | None:
        entry = self.entries.get((cell, name))
        return entry.file if entry is not None and isinstance(entry.file, Record) else None

    def making(self, cell: Cell) -> Making | None:
        entry = self.entries.get((cell, MAKING))
        return entry.file if entry is not None and isinstance(entry.file, Making) else None

    @cached_property
    def by_weights(self) -> dict[str, list[Entry]]:
        """Entries by the hash of their weights."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            found.setdefault(entry.file.provenance.weights_sha256, []).append(entry)
        return found

    @cached_property
    def by_cell(self) -> dict[Cell, list[Entry]]:
        """Entries by their cell."""
        found: dict[Cell, list[Entry]] = {}
        for entry in self.entries.values():
            found.setdefault(entry.cell, []).append(entry)
        return found

    @cached_property
    def test_images(self) -> dict[str, Counter[str]]:
        """How many records are of which test images, by dataset."""
        found: dict[str, Counter[str]] = {}
        for entry in self.entries.values():
            if isinstance(entry.file, Record):
                counter = found.setdefault(entry.cell.dataset, Counter())
                counter[entry.file.provenance.data_sha256] += 1
        return found

    def trained(self, cell: Cell) -> Cell | None:
        """The base model behind `cell`, if this suite trained it."""
        making = self.making(cell.base)
        return cell.base if making is not None and isinstance(making.details, Training) else None
