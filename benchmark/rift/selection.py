"""Which modules a fine-tuning moves (paper, Equation 7, and the rows of Tables 3 and 4; no torch)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from benchmark.records import ModuleCriticality


class Selector(Protocol):
    """A frozen dataclass; `needs_criticality` says whether MRC has to be measured first."""

    version: ClassVar[int]
    needs_criticality: ClassVar[bool]
    everything: ClassVar[bool]

    def select(
        self, modules: Sequence[str], criticality: Sequence[ModuleCriticality] | None
    ) -> list[str]:
        """Names among `modules` (all Conv/Linear modules, input first)."""


def ranked(criticality: Sequence[ModuleCriticality] | None) -> list[str]:
    """Module names from least to most critical; the module nearer the input first on a tie."""
    if criticality is None:
        raise ValueError("this selection needs the criticality of every module")
    return [entry.module for entry in sorted(criticality, key=lambda entry: entry.mrc)]


@dataclass(frozen=True)
class LeastCritical(Selector):
    """The `count` modules with the lowest MRC (count = 1: Equation 7; more: Table 4)."""

    version: ClassVar[int] = 1
    needs_criticality: ClassVar[bool] = True
    everything: ClassVar[bool] = False
    count: int = 1

    def select(
        self, modules: Sequence[str], criticality: Sequence[ModuleCriticality] | None
    ) -> list[str]:
        return ranked(criticality)[: self.count]


@dataclass(frozen=True)
class MostCritical(Selector):
    """The module with the highest MRC (Table 3, robust-critical)."""

    version: ClassVar[int] = 1
    needs_criticality: ClassVar[bool] = True
    everything: ClassVar[bool] = False

    def select(
        self, modules: Sequence[str], criticality: Sequence[ModuleCriticality] | None
    ) -> list[str]:
        return ranked(criticality)[-1:]


@dataclass(frozen=True)
class LastLayer(Selector):
    """The classifier, weight and bias (Table 3, last layer; linear probing)."""

    version: ClassVar[int] = 1
    needs_criticality: ClassVar[bool] = False
    everything: ClassVar[bool] = False

    def select(
        self, modules: Sequence[str], criticality: Sequence[ModuleCriticality] | None
    ) -> list[str]:
        return [modules[-1]]


@dataclass(frozen=True)
class AllLayers(Selector):
    """Every parameter of the network, batch normalisation's too (Table 3, all layers).

    The released code fine-tunes all parameters when no layer is named (Immortalise/RiFT, main.py).
    """

    version: ClassVar[int] = 1
    needs_criticality: ClassVar[bool] = False
    everything: ClassVar[bool] = True

    def select(
        self, modules: Sequence[str], criticality: Sequence[ModuleCriticality] | None
    ) -> list[str]:
        return list(modules)
