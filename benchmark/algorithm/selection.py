"""What a fine-tuning moves (paper, Equation 7, and the rows of Tables 3 and 4; no torch)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from benchmark.algorithm.official_code import readme_module
from benchmark.errors import UserError, unknown
from benchmark.records.records import ModuleCriticality

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Candidates:
    """What there is to select from, and what a selection may go by.

    `modules` are the names of all Conv/Linear modules, input first; `criticality` is None unless the
    selector needs it; `seed` is for selectors that draw. `released_order` ranks as the released code
    does. `network` is the network itself; its tensors have shapes and no values where a choice on
    record is taken again: one that asks for values is believed then.
    """

    modules: Sequence[str]
    criticality: Sequence[ModuleCriticality] | None
    dataset: str
    arch: str
    seed: int
    released_order: bool = False
    network: "nn.Module | None" = None

    @property
    def ranked(self) -> list[str]:
        """Module names from least to most critical; the module nearer the input first on a tie.

        Modules without a valid MRC are left out, except in the released order: there a negative MRC
        ranks by its value and a diverged ascent before all others, since losses that are all NaN leave
        the released code's maximum at 0 (Immortalise/RiFT, main.py).
        """
        if self.criticality is None:
            raise ValueError("this selection needs the criticality of every module")
        entries = [entry for entry in self.criticality if entry.valid or self.released_order]
        order = sorted(entries, key=lambda entry: -np.inf if entry.mrc is None else entry.mrc)
        return [entry.module for entry in order]

    def ranking(self, count: int) -> list[str]:
        """`ranked`, of `count` modules at least. Raises `UserError` if there are fewer."""
        ranked = self.ranked
        if len(ranked) < count:
            others, remedy = "", "choose fewer"
            if len(ranked) < len(self.modules):
                others = " (the ascent of the others diverged or ended lower than it began)"
                remedy = "choose by name (module-NAME) or lower the ascent's rate"
            raise UserError(
                f"{self.arch}: {count} to be chosen by MRC, but only {len(ranked)} of "
                f"{len(self.modules)} modules have a valid one{others}; {remedy}"
            )
        return ranked


class Selector(Protocol):
    """A frozen dataclass; `needs_criticality` says whether MRC has to be measured first,
    `everything` that all parameters are trained, those outside of modules too."""

    version: ClassVar[int] = 1
    needs_criticality: ClassVar[bool] = False
    everything: ClassVar[bool] = False

    def select(self, given: Candidates) -> list[str]:
        """Names of what is trained: modules, blocks, which stand for all in them, or parameters."""


@dataclass(frozen=True)
class LeastCritical(Selector):
    """The `count` modules with the lowest MRC (count = 1: Equation 7; more: Table 4)."""

    needs_criticality: ClassVar[bool] = True
    count: int = 1

    def select(self, given: Candidates) -> list[str]:
        return given.ranking(self.count)[: self.count]


@dataclass(frozen=True)
class MostCritical(Selector):
    """The module with the highest MRC (Table 3, robust-critical)."""

    needs_criticality: ClassVar[bool] = True

    def select(self, given: Candidates) -> list[str]:
        return given.ranking(1)[-1:]


@dataclass(frozen=True)
class ReadmeModule(Selector):
    """The layer that the README of the released code names, or the least critical one for a dataset
    or network that it does not know (Immortalise/RiFT, README.md)."""

    needs_criticality: ClassVar[bool] = True

    def select(self, given: Candidates) -> list[str]:
        named = readme_module(given.dataset, given.arch)
        return given.ranking(1)[:1] if named is None else [named]


@dataclass(frozen=True)
class LastLayer(Selector):
    """The classifier, weight and bias (Table 3, last layer; linear probing)."""

    def select(self, given: Candidates) -> list[str]:
        return [given.modules[-1]]


@dataclass(frozen=True)
class AllLayers(Selector):
    """Every parameter of the network, batch normalisation's too (Table 3, all layers).

    The released code fine-tunes all parameters when no layer is named (Immortalise/RiFT, main.py).
    """

    everything: ClassVar[bool] = True

    def select(self, given: Candidates) -> list[str]:
        return list(given.modules)


@dataclass(frozen=True)
class NoModule(Selector):
    """None: what remains of fine-tuning are its passes over clean images in training mode."""

    def select(self, given: Candidates) -> list[str]:
        return []


@dataclass(frozen=True)
class Untouched(Selector):
    """None, and there is no fine-tuning either: a post-hoc method makes a module of the weights."""

    def select(self, given: Candidates) -> list[str]:
        return []


@dataclass(frozen=True)
class RandomModule(Selector):
    """One module, all equally likely, drawn from the cell's seed: what choosing by MRC is worth."""

    def select(self, given: Candidates) -> list[str]:
        draw = np.random.Generator(np.random.Philox(given.seed))
        return [given.modules[int(draw.integers(len(given.modules)))]]


@dataclass(frozen=True)
class BatchNormAffine(Selector):
    """Weight and bias of every batch normalisation: a scale and a shift for each channel."""

    def select(self, given: Candidates) -> list[str]:
        from torch.nn.modules.batchnorm import _BatchNorm

        assert given.network is not None
        named = given.network.named_modules()
        found = [name for name, m in named if isinstance(m, _BatchNorm) and m.affine]
        if not found:
            raise UserError(
                f"{given.arch} has no batch normalisation with a weight to train; choose modules"
            )
        return found


@dataclass(frozen=True)
class NamedModules(Selector):
    """These `modules`, whatever their criticality."""

    modules: tuple[str, ...]

    def select(self, given: Candidates) -> list[str]:
        if others := [name for name in self.modules if name not in given.modules]:
            raise unknown("Conv or Linear module of the model", others[0], given.modules)
        return list(self.modules)


def in_keys(module: str) -> str:
    """How a key names `module`: in lower case, with a dash for every underscore."""
    return module.lower().replace("_", "-")


@dataclass(frozen=True)
class NamedModule(Selector):
    """The module called `module`, as it is or as in keys."""

    module: str

    def select(self, given: Candidates) -> list[str]:
        found = [name for name in given.modules if in_keys(name) == in_keys(self.module)]
        if not found:
            raise UserError(
                f"{given.arch} has no module '{self.module}'; it has {', '.join(given.modules)}"
            )
        return found
