"""A store for commands that only read, each record and making once, however many ask for it."""

from dataclasses import dataclass, field

from benchmark.records.cells import Cell
from benchmark.records.records import Making, Record
from benchmark.records.store import Store


@dataclass(frozen=True)
class ReadOnce(Store):
    """A store that caches what it reads; its files must not change while it is in use."""

    _records: dict[tuple[Cell, str], Record | None] = field(default_factory=dict, compare=False)
    _makings: dict[Cell, Making | None] = field(default_factory=dict, compare=False)

    def record(self, cell: Cell, evaluation: str) -> Record | None:
        """As of any store, from the file when it is first asked for."""
        if (cell, evaluation) not in self._records:
            self._records[cell, evaluation] = super().record(cell, evaluation)
        return self._records[cell, evaluation]

    def making(self, cell: Cell) -> Making | None:
        """As of any store, from the file when it is first asked for."""
        if cell not in self._makings:
            self._makings[cell] = super().making(cell)
        return self._makings[cell]
