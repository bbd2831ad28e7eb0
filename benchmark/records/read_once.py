"""A store for commands that only read, each record and making once, however many ask for it."""

from dataclasses import dataclass
from functools import cache

from benchmark.records.store import Store


@dataclass(frozen=True)
class ReadOnce(Store):
    """A store that caches what it reads; its files must not change while it is in use."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "record", cache(super().record))
        object.__setattr__(self, "making", cache(super().making))
