"""Floating-point operations, counted as torch meets them: convolutions and matrix products, no more."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmark.data.info import DatasetInfo, LinfAttack
from benchmark.engine.training import training_step
from benchmark.errors import UserError, reason
from benchmark.models import build

SMALL, IMAGES = "resnet10-w8", 4


class Way(NamedTuple):
    """One image's way through a network: operations, and how many weights it meets.

    `tails` is the number of ways that its ways from each Conv2d and Linear module on make together.
    """

    operations: int
    weights: int
    tails: float


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up, in `total`, what the operations inside the block take."""

    total: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def counted(work: Callable[[], object]) -> int:
    """Operations of `work`."""
    counter: Any = Counting()  # type: ignore[no-untyped-call]
    with counter:
        work()
    return int(counter.total)


@cache
def of_image(arch: str, info: DatasetInfo) -> Way:
    """The way of one image through the network called `arch`.

    Nothing is computed and no weight is made, but of a plug-in's network that asks for values. Raises
    `UserError` if it cannot take such an image.
    """
    with suppress(Exception):
        return _of_image(arch, info, "meta")
    try:
        return _of_image(arch, info, "cpu")
    except UserError:
        raise
    except Exception as error:  # whatever somebody's code raises
        size = f"{info.channels}x{info.side}x{info.side}"
        said = f"{type(error).__name__}: {reason(error)}"
        raise UserError(f"{arch} fails on an image of {size}: {said}") from error


def _of_image(arch: str, info: DatasetInfo, device: str) -> Way:
    with torch.random.fork_rng(devices=[]), torch.device(device):
        network, images = build(arch, info).eval(), torch.zeros(1, info.channels, info.side, info.side)
    counter: Any = Counting()  # type: ignore[no-untyped-call]
    before: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_pre_hook(lambda *_: before.append(counter.total))
    with counter:
        network(images)
    tails = sum(1 - done / counter.total for done in before) if counter.total else 0.0
    return Way(counter.total, sum(each.numel() for each in network.parameters()), tails)


@cache
def passes(method: Any, attack: LinfAttack, info: DatasetInfo, epoch: int = 0) -> float:
    """Operations of a training step of `method` in `epoch` per image, relative to one forward pass.

    `method` is a `Method`. Counted on a small network: the ratio hardly depends on which.
    """
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = build(SMALL, info)
        x = torch.rand(IMAGES, info.channels, info.side, info.side)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    labels = torch.zeros(IMAGES, dtype=torch.long)
    step = x, labels, epoch, method, attack, optimizer, torch.Generator()
    ways = counted(lambda: network(x))
    return counted(lambda: training_step(network, *step)) / ways
