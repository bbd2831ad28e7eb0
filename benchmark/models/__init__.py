"""Architectures under the paper's names; widths by name: `resnet18`, `resnet18-w16`, `wrn-34-10`.

`RESNETS` and `WIDE_RESNETS` hold the blocks per stage of each family; a new kind of network is one
file and a line in `arch` and `build`. torch is imported only by `build`, so that tables and `status`
start without it.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.info import DatasetInfo


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
        """The name that a table shows."""
        text = self.name.replace("resnet", "ResNet").replace("wrn", "WRN")
        return re.sub(r"-w(\d+)$", r" (width \1)", text)


RESNETS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
WIDE_RESNETS = {"wrn-10": (1, 1, 1), "wrn-34": (5, 5, 5)}


def arch(name: str) -> Arch:
    """The architecture called `name`. Raises `UserError` for a name of no family."""
    match = re.fullmatch(r"(resnet\d+)(?:-w([1-9]\d*))?|(wrn-\d+)-([1-9]\d*)", name)
    if match and match[1] in RESNETS:
        return Arch(name, "resnet", RESNETS[match[1]], int(match[2] or 64))
    if match and match[3] in WIDE_RESNETS:
        return Arch(name, "wide-resnet", WIDE_RESNETS[match[3]], int(match[4]))
    known = ", ".join([*(f"{n}[-wWIDTH]" for n in RESNETS), *(f"{n}-FACTOR" for n in WIDE_RESNETS)])
    raise UserError(f"unknown architecture '{name}'; known: {known}")


def build(name: str, info: "DatasetInfo") -> "nn.Module":
    """The network `name` for images of `info`, with torch's default initialisation.

    Takes images in [0,1], shape (B, C, H, W), and normalises them inside; returns logits (B, K).
    """
    from benchmark.models.resnet import ResNet
    from benchmark.models.wide_resnet import WideResNet

    known = arch(name)
    network = {"resnet": ResNet, "wide-resnet": WideResNet}[known.family]
    return network(known.blocks, known.width, info)
