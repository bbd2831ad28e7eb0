"""Architectures under the paper's names; widths by name: `resnet18`, `resnet18-w16`, `wrn-34-10`.

`FAMILIES` is the registry: a new architecture is one file and one line there. torch is imported only
when a network is built, so that tables and `status` start without it. Networks of timm and torchvision
are called `timm:NAME` and `torchvision:NAME`, and `timm-NAME` with dashes for underscores in keys.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import nn

WIDEST = 4096
"""Width of a network at most."""


@dataclass(frozen=True)
class Arch:
    """A family of networks and its width: base channels of a ResNet, widening factor of a WRN.

    `name` stands in keys. That of a library's network is derived from its full one, which `family` is.
    """

    version: ClassVar[int] = 1
    name: str
    family: str
    blocks: tuple[int, ...]
    width: int

    @property
    def label(self) -> str:
        """The name that a table shows, such as `ResNet18 (width 16)`."""
        return _find(self.name)[0].label_of(self)

    @property
    def batch_norm(self) -> bool:
        """Whether it has running statistics, which passes over images move."""
        return _find(self.name)[0].has_batch_norm(self)


@dataclass(frozen=True)
class Family:
    """Networks of one class and depth, which differ in their width.

    Names begin with `start` and end with `suffix`, in which the width stands for the word in capitals;
    a name without suffix has the width `width` (None: there is no such name), and is the only one where
    no word of the suffix is in capitals. `family` stands in specs,
    `label` in tables, `summary` in lists. `network` is the class as MODULE:CLASS; it is called with
    `blocks` (how many each stage has), the width and the facts of the dataset. `batch_norm` says that
    there are running statistics.
    """

    start: str
    family: str
    label: str
    summary: str
    network: str
    blocks: tuple[int, ...]
    width: int | None = None
    suffix: str = "-wWIDTH"
    batch_norm: bool = True

    @property
    def pattern(self) -> str:
        """How its names look, such as `resnet18[-wWIDTH]`."""
        return self.start + (self.suffix if self.width is None else f"[{self.suffix}]")

    def parse(self, name: str) -> Arch | None:
        """The architecture called `name`; None if it is none of the family.

        Raises `UserError` for a width of more than `WIDEST`.
        """
        end = re.sub("[A-Z]+", r"([1-9]\\d*)", self.suffix)
        match = re.fullmatch(re.escape(self.start) + end, name) if end != self.suffix else None
        width = int(match[1][:5]) if match else self.width if name == self.start else None
        if width is not None and width > WIDEST:
            raise UserError(f"'{name}' is too wide; a width is {WIDEST} at most")
        return None if width is None else Arch(name, self.family, self.blocks, width)

    def label_of(self, arch: Arch) -> str:
        """The name that a table shows."""
        return re.sub(r"-w(\d+)$", r" (width \1)", arch.name.replace(self.start, self.label, 1))

    def has_batch_norm(self, arch: Arch) -> bool:
        """Whether `arch` has running statistics."""
        return self.batch_norm

    def check(self, arch: Arch) -> None:
        """Raise `UserError` if there is no network behind the name after all."""

    def build(self, arch: Arch, info: DatasetInfo) -> "nn.Module":
        """The network with torch's default initialisation."""
        module, _, network = self.network.partition(":")
        made: nn.Module = getattr(import_module(module), network)(arch.blocks, arch.width, info)
        return made


@dataclass(frozen=True)
class LibraryFamily(Family):
    """The networks of a library, called `LIBRARY:NAME`; `benchmark.models.libraries` makes them.

    In keys a dash stands for the colon and for every underscore. Names of capitals or dashes, of which
    two could have one key, and names of weights (`NAME.TAG`, `hf-hub:NAME`) are none.
    """

    def parse(self, name: str) -> Arch | None:
        """The architecture called `name`, full or as in keys; None if it is none of the library.

        Whether the library has it, `check` says. Raises `UserError` for what cannot be a name of it.
        """
        key = f"{self.family}-"
        if name.startswith(key):
            own = name.removeprefix(key).replace("-", "_")
        elif name.startswith(self.start):
            own = name.removeprefix(self.start)
        else:
            return None
        if not re.fullmatch("[a-z0-9]+(_[a-z0-9]+)*", own):
            raise UserError(
                f"'{name}': the name of a network of {self.label} has lower-case letters, digits and "
                "underscores; tags of weights and hubs are refused, because nothing is downloaded"
            )
        return Arch(key + own.replace("_", "-"), self.start + own, (), 0)

    def label_of(self, arch: Arch) -> str:
        return arch.family

    def has_batch_norm(self, arch: Arch) -> bool:
        from benchmark.models.libraries import has_batch_norm

        return has_batch_norm(arch.family)

    def check(self, arch: Arch) -> None:
        from benchmark.models.libraries import known

        known(arch.family)

    def build(self, arch: Arch, info: DatasetInfo) -> "nn.Module":
        from benchmark.models.libraries import network

        return network(arch.family, info)


def _resnet(depth: int, *blocks: int) -> Family:
    return Family(
        f"resnet{depth}",
        "resnet",
        f"ResNet{depth}",
        f"ResNet, width 64; resnet{depth}-wN for width N",
        "benchmark.models.resnet:ResNet",
        blocks,
        width=64,
    )


def _preact_resnet(depth: int, *blocks: int) -> Family:
    return replace(
        _resnet(depth, *blocks),
        start=f"preact-resnet{depth}",
        family="preact-resnet",
        label=f"PreActResNet{depth}",
        summary=f"pre-activation ResNet, width 64; preact-resnet{depth}-wN for width N",
        network="benchmark.models.preact_resnet:PreActResNet",
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
    )


def _vit(size: str, depth: int, width: int) -> Family:
    return Family(
        f"vit-{size}",
        "vit",
        f"ViT-{size}",
        f"ViT of {depth} blocks, width {width}; vit-{size}-wN for width N",
        "benchmark.models.vit:VisionTransformer",
        (depth,),
        width=width,
        batch_norm=False,
    )


def _library(name: str) -> LibraryFamily:
    summary = f"{name}'s network NAME without weights, as in `{name}:resnet18`"
    return LibraryFamily(f"{name}:", name, name, summary, "", (), suffix="NAME")


FAMILIES: dict[str, Family] = {
    family.start: family
    for family in (
        _resnet(10, 1, 1, 1, 1),
        _resnet(18, 2, 2, 2, 2),
        _resnet(34, 3, 4, 6, 3),
        _wide_resnet(10, 1, 1, 1),
        _wide_resnet(34, 5, 5, 5),
        _preact_resnet(18, 2, 2, 2, 2),
        _vit("mini", 4, 64),
        _vit("tiny", 12, 192),
        _library("timm"),
        _library("torchvision"),
    )
}


def arch(name: str) -> Arch:
    """The architecture called `name`. Raises `UserError` for a name of no family."""
    return _find(name)[1]


def key_name(name: str) -> str:
    """What stands for the architecture `name` in keys; a name that is unknown, for itself.

    Raises `UserError` for what cannot be the name of a library's network.
    """
    for family in FAMILIES.values():
        if known := family.parse(name):
            return known.name
    return name


def check(known: Arch) -> None:
    """Raise `UserError` if a library has no such network, or is not installed."""
    _find(known.name)[0].check(known)


def build(name: str, info: DatasetInfo) -> "nn.Module":
    """The network `name` for images of `info`, with torch's default initialisation.

    Takes images in [0,1], shape (B, C, H, W), and normalises them inside; returns logits (B, K).
    """
    family, known = _find(name)
    return family.build(known, info)


@cache
def without_values(name: str, info: DatasetInfo) -> "nn.Module":
    """The network `name`, whose tensors have shapes and no values; shared, hence not to be changed."""
    import torch

    with suppress(Exception), torch.device("meta"):
        return build(name, info)
    with torch.random.fork_rng(devices=[]):  # a plug-in's may read values as it is made
        return build(name, info).to("meta")


def _find(name: str) -> tuple[Family, Arch]:
    for family in FAMILIES.values():
        if known := family.parse(name):
            return family, known
    patterns = [family.pattern for family in FAMILIES.values()]
    examples = [pattern.partition("[")[0] for pattern in patterns]
    raise unknown("architecture", name, examples, ", ".join(patterns))
