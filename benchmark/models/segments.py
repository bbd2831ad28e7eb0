"""Networks as segments that run one after another, for work that starts in the middle of one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

Network = Callable[[Tensor], Tensor]
"""A map from images or activations (B, ...) to activations or logits: a module or a part of one."""


class Place(nn.Identity):
    """Where a post-hoc method may put an operator on activations of `channels` channels along `axis`.

    It hands on what it is given, and has no tensors. Networks name theirs: before every activation and,
    in a Wide ResNet, after every residual sum (MeanSparse, arXiv 2406.05927, and its released code).
    """

    def __init__(self, channels: int, axis: int = 1) -> None:
        super().__init__()
        self.channels, self.axis = channels, axis


class Operator(nn.Module):
    """What a post-hoc method puts in a `Place`. It need not be continuous."""


class Segment(NamedTuple):
    """Some of a network's submodules, by name, and what they make of their input (B, ...).

    `run` leaves its input as it is.
    """

    parts: tuple[str, ...]
    run: Network

    def holds(self, module: str) -> bool:
        """Whether the module of this dotted name runs in the segment."""
        return any(f"{module}.".startswith(f"{part}.") for part in self.parts)


@runtime_checkable
class Segmented(Protocol):
    """A network that can be cut. Its segments, run in order, are its `forward` to the last bit, and
    hold its modules in the order of `named_modules`."""

    def segments(self) -> list[Segment]: ...


def segments_of(model: nn.Module) -> list[Segment]:
    """The segments of `model`; a network that cannot be cut is one segment.

    So is one whose `forward` is not of the class that knows the segments, or has hooks around it.
    """
    own = next(each for each in (model, *type(model).__mro__) if "forward" in vars(each))
    hooked = model._forward_hooks or model._forward_pre_hooks
    if isinstance(model, Segmented) and "segments" in vars(own) and not hooked:
        return model.segments()
    return [Segment(tuple(name for name, _ in model.named_children()), model)]


def blocks_of(model: nn.Module, stages: Sequence[str]) -> list[Segment]:
    """A segment for every block of the stages of these names, input first."""
    return [
        Segment((f"{stage}.{position}",), block)
        for stage in stages
        for position, block in model.get_submodule(stage).named_children()
    ]


def window_means(out: Tensor, window: int) -> Tensor:
    """Means of out (B, C, H, W) over windows of `window` pixels a side, or over all if it is smaller;
    (B, features)."""
    whole = out.shape[2] <= window
    return out.mean((2, 3)) if whole else F.avg_pool2d(out, window).flatten(1)


def in_sequence(segments: Sequence[Segment]) -> Network:
    """`segments` one after another as one function."""

    def run(x: Tensor) -> Tensor:
        for segment in segments:
            x = segment.run(x)
        return x

    return run
