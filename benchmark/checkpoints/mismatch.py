"""Why a state dict does not fit a network, in words: first differences and what the file looks like.

Works on names and shapes alone. A guess is made only where it tells what to do: leave out a stage that
the network never uses, choose another dataset, or another architecture of `benchmark.models`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.data import DATASETS
from benchmark.data.info import CIFAR10
from benchmark.models import RESNETS, WIDE_RESNETS, build

Shapes = dict[str, tuple[int, ...]]

UNUSED = "sub_block1."
"""A second first stage that yaodongyu/TRADES's WideResNet builds, and saves, but never calls."""

SHOWN = 3
"""How many differences are named."""

ALIKE = 0.9
"""Share of names and shapes from which a file is said to look like an architecture."""

WIDEST = 4096
"""Channels and classes beyond which no architecture is tried."""


@dataclass(frozen=True)
class _Classifier:
    """The last layer, by the shape of its weight."""

    name: str
    classes: int
    inputs: int


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """The shape of every entry."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def misfit(file: Shapes, network: Shapes) -> str | None:
    """What keeps a file's state dict from being the network's, in one line; None if nothing does."""
    names = [name for name in {**network, **file} if file.get(name) != network.get(name)]
    if not names:
        return None
    parts = [_difference(name, file.get(name), network.get(name)) for name in names[:SHOWN]]
    if len(names) > SHOWN:
        parts.append(f"and {len(names) - SHOWN} more")
    return "; ".join([*parts, *_hints(file, network)])


def _difference(name: str, file: tuple[int, ...] | None, network: tuple[int, ...] | None) -> str:
    if network is None:
        return f"{name!r} {file} is in the file only"
    if file is None:
        return f"{name!r} {network} is in the network only"
    return f"{name!r} is {file} in the file and {network} in the network"


def _hints(file: Shapes, network: Shapes) -> list[str]:
    """What would mend the misfit, or what the file looks like; none if nothing is known."""
    used = {name: shape for name, shape in file.items() if not name.startswith(UNUSED)}
    if used == network:
        return [f"`--drop {UNUSED}` would leave this out, because the network never uses it"]
    there, here = _classifier(used), _classifier(network)
    if there is None:
        return []
    if here is not None and _body(used, there) == _body(network, here):
        hints = []
        if there.classes != here.classes:
            hints.append(f"the file has {there.classes} classes, the network {here.classes}")
        if there.inputs != here.inputs:
            hints.append(
                f"the file's classifier takes {there.inputs} inputs, the network's {here.inputs}: "
                "it is for images of another size, or its head averages other windows"
            )
        return hints
    likeness, name = max(
        ((_likeness(used, known), name) for name, known in _architectures(used, there)),
        default=(0.0, ""),
    )
    if likeness < ALIKE or likeness <= _likeness(used, network):
        return []
    channels = used["conv1.weight"][1]
    return [f"it looks like {name} (input channels: {channels}, classes: {there.classes})"]


def _classifier(shapes: Shapes) -> _Classifier | None:
    for name in ("linear", "fc"):
        shape = shapes.get(f"{name}.weight", ())
        if len(shape) == 2:
            return _Classifier(name, *shape)
    return None


def _body(shapes: Shapes, classifier: _Classifier) -> Shapes:
    """All but the classifier's entries, with the names and ranks of these."""
    head = f"{classifier.name}."
    return {name: (len(shape),) if name.startswith(head) else shape for name, shape in shapes.items()}


def _likeness(one: Shapes, other: Shapes) -> float:
    """Entries of equal name and shape as a share of all (Jaccard), in [0,1]."""
    return len(one.items() & other.items()) / len(one.items() | other.items())


def _architectures(file: Shapes, classifier: _Classifier) -> Iterator[tuple[str, Shapes]]:
    """Name and shapes of the known networks with the file's width, input channels and classes."""
    stem = file.get("conv1.weight", ())
    first = file.get("block1.layer.0.conv1.weight", ())
    if len(stem) != 4 or not all(0 < size <= WIDEST for size in (*stem[:2], classifier.classes)):
        return
    if len(first) != 4:
        names = [name if stem[0] == 64 else f"{name}-w{stem[0]}" for name in RESNETS]
    else:
        names = [f"{name}-{first[0] // 16}" for name in WIDE_RESNETS if 16 <= first[0] <= WIDEST]
    for side in sorted({info.side for info in DATASETS.values()}):
        info = replace(CIFAR10, classes=classifier.classes, channels=stem[1], side=side)
        for name in names:
            with torch.device("meta"):
                yield name, shapes_of(build(name, info).state_dict())
