"""Architectures under the paper's names; widths by name: `resnet18`, `resnet18-w16`, `wrn-34-10`.

`FAMILIES` is the registry: a new architecture is one file and one line there. torch is imported only
when a network is built, so that tables and `status` start without it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from benchmark.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.info import DatasetInfo

WIDEST = 4096
"""Channels beyond which no network is guessed from a file."""


@dataclass(frozen=True)
class Arch:
    """A family of networks and its width: base channels of a ResNet, widening factor of a WRN."""

    version: ClassVar[int] = 1
    name: str
    family: str
    blocks: tuple[int, ...]
    width: int

    @property
    def label(self) -> str:
        """The name that a table shows, such as `ResNet18 (width 16)`."""
        family = _find(self.name)[0]
        return re.sub(r"-w(\d+)$", r" (width \1)", self.name.replace(family.start, family.label, 1))


@dataclass(frozen=True)
class Family:
    """Networks of one class and depth, which differ in their width.

    Names begin with `start` and end with `suffix`, in which the width stands for the word in capitals;
    a name without suffix has the width `width` (None: there is no such name). `family` stands in specs,
    `label` in tables, `summary` in lists. `network` is the class as MODULE:CLASS; it is called with
    `blocks` (how many each stage has), the width and the facts of the dataset. `first` is a convolution
    and its output channels per unit of width: by it the messages on a file that does not fit find the
    network that it may be for (None: they never name one of this family).
    """

    start: str
    family: str
    label: str
    summary: str
    network: str
    blocks: tuple[int, ...]
    width: int | None = None
    suffix: str = "-wWIDTH"
    first: tuple[str, int] | None = None

    @property
    def pattern(self) -> str:
        """How its names look, such as `resnet18[-wWIDTH]`."""
        return self.start + (self.suffix if self.width is None else f"[{self.suffix}]")

    def parse(self, name: str) -> Arch | None:
        """The architecture called `name`; None if it is none of the family."""
        end = re.sub("[A-Z]+", r"([1-9]\\d*)", self.suffix)
        match = re.fullmatch(re.escape(self.start) + end, name)
        width = int(match[1]) if match else self.width if name == self.start else None
        return None if width is None else Arch(name, self.family, self.blocks, width)

    def build(self, arch: Arch, info: "DatasetInfo") -> "nn.Module":
        """The network with torch's default initialisation."""
        module, _, network = self.network.partition(":")
        made: nn.Module = getattr(import_module(module), network)(arch.blocks, arch.width, info)
        return made

    def as_wide_as(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        """The name of its network that has parameters of `shapes` if any has; None if none can."""
        layer, channels = self.first or ("", 1)
        shape = shapes.get(layer, ())
        width = shape[0] // channels if len(shape) == 4 and shape[0] <= WIDEST else 0
        if width == self.width:
            return self.start
        return self.start + re.sub("[A-Z]+", str(width), self.suffix) if width else None


def _resnet(depth: int, *blocks: int) -> Family:
    return Family(
        f"resnet{depth}",
        "resnet",
        f"ResNet{depth}",
        f"ResNet, width 64; resnet{depth}-wN for width N",
        "benchmark.models.resnet:ResNet",
        blocks,
        width=64,
        first=("conv1.weight", 1),
    )


def _wide_resnet(depth: int, *blocks: int) -> Family:
    return Family(
        f"wrn-{depth}",
        "wide-resnet",
        f"WRN-{depth}",
        "Wide ResNet, widening factor FACTOR",
        "benchmark.models.wide_resnet:WideResNet",
        blocks,
        suffix="-FACTOR",
        first=("block1.layer.0.conv1.weight", 16),
    )


FAMILIES: dict[str, Family] = {
    family.start: family
    for family in (
        _resnet(10, 1, 1, 1, 1),
        _resnet(18, 2, 2, 2, 2),
        _resnet(34, 3, 4, 6, 3),
        _wide_resnet(10, 1, 1, 1),
        _wide_resnet(34, 5, 5, 5),
    )
}


def arch(name: str) -> Arch:
    """The architecture called `name`. Raises `UserError` for a name of no family."""
    return _find(name)[1]


def build(name: str, info: "DatasetInfo") -> "nn.Module":
    """The network `name` for images of `info`, with torch's default initialisation.

    Takes images in [0,1], shape (B, C, H, W), and normalises them inside; returns logits (B, K).
    """
    family, known = _find(name)
    return family.build(known, info)


def _find(name: str) -> tuple[Family, Arch]:
    for family in FAMILIES.values():
        if known := family.parse(name):
            return family, known
    patterns = ", ".join(family.pattern for family in FAMILIES.values())
    raise UserError(f"unknown architecture '{name}'; known: {patterns}")
