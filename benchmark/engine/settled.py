"""Answers in bf16 where rounding cannot turn them, and in fp32 elsewhere.

bf16 changes the difference of two logits by a rounding error; an image whose two largest logits lie
much further apart keeps its answer. That error is measured for the weights and the device at hand, on
about `MEASURED` clean, corrupted and attacked images. An answer is settled where the margin exceeds
`FACTOR` times the largest error; all others come from the network itself in fp32, and so does one
settled answer in `CHECKED`. If a checked one differs, none counts as settled: the whole evaluation is
made again in fp32. How many wrong answers that leaves is measured (docs/speed.md), not proven.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.corruptions.constants import SEVERITY_LEVELS
from benchmark.data.corruptions.generator import CORRUPTIONS_15, corrupt, unfit
from benchmark.data.images import Dataset, pixels
from benchmark.engine.folded_copy import cheaper, foldable
from benchmark.engine.pgd import example_starts, linf_pgd, training_mode
from benchmark.engine.precision import used
from benchmark.models.around import Around
from benchmark.models.segments import Operator

FACTOR, MEASURED, CHECKED = 4, 500, 100
REPAYS = 20_000
"""Answers of an evaluation from which on measuring costs less than it saves."""

_scorers: "WeakKeyDictionary[nn.Module, Scorer]" = WeakKeyDictionary()


class NotSettled(Exception):
    """An answer that was taken for settled is another one in fp32."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """Logits of `network` that decide as fp32 does, on images like those of `data`."""

    network: nn.Module
    data: Dataset

    @cached_property
    def rough(self) -> Callable[[Tensor], Tensor]:
        """The network in bf16. Its weights do not change while it is scored."""
        return cheaper(self.network, self.data.test.images.device)

    @cached_property
    def bound(self) -> float:
        """`FACTOR` times the largest move, by bf16, of a logit's distance from the largest one."""
        with torch.enable_grad(), training_mode(self.network, False):
            shown = list(like(self.data, self.network))
        with torch.no_grad(), training_mode(self.network, False):
            largest = max(moved(self.rough(x), self.network(x)) for x in shown)
        return FACTOR * largest

    def where_it_repays(self, answers: int) -> "Scorer | None":
        """This for an evaluation of so many `answers`; None where fp32 gives them all.

        Only networks of this suite, which are continuous in their weights, are ever rounded, and no
        module of a post-hoc method, which need not be.
        """
        fits = foldable(self.network) and not any(
            isinstance(part, Around | Operator) for part in self.network.modules()
        )
        rounds = fits and used().uses_bf16(self.data.test.images.device)
        return self if rounds and answers >= REPAYS else None

    @property
    def label(self) -> str:
        """What a record says of its precision."""
        return used().settled_label(self.bound)

    def logits(self, x: Tensor) -> Tensor:
        """Logits (B, K) of x (B, C, H, W) in [0,1]: those in bf16 where these settle the answer.

        Raises `NotSettled` if a checked answer differs.
        """
        logits = self.rough(x)
        asked = ~decided(logits, self.bound)
        checked = (~asked).nonzero().flatten()[::CHECKED]
        asked[checked] = True
        before = logits[checked].argmax(1)
        logits[asked] = self.network(x[asked])
        if not torch.equal(before, logits[checked].argmax(1)):
            raise NotSettled
        return logits


def decided(logits: Tensor, bound: float) -> Tensor:
    """Where the largest of logits (B, K) exceeds all others by more than `bound`; bool (B,).

    Never where one is NaN or infinite.
    """
    two = logits.topk(2, dim=1).values
    return (two[:, 0] - two[:, 1] > bound) & logits.isfinite().all(1)


def moved(rough: Tensor, exact: Tensor) -> float:
    """The largest change, from rough to exact logits (B, K), of a distance to the largest rough one."""
    best = rough.argmax(1, keepdim=True)
    change = (rough.gather(1, best) - rough) - (exact.gather(1, best) - exact)
    return float(change.abs().max())


@contextmanager
def scoring(chosen: Scorer | None) -> Iterator[None]:
    """Inside the block answers of the network of `chosen` are settled by it (None: in fp32)."""
    if chosen is not None:
        _scorers[chosen.network] = chosen
    try:
        yield
    finally:
        if chosen is not None:
            del _scorers[chosen.network]


def deciding_logits(network: nn.Module, x: Tensor) -> Tensor:
    """Logits (B, K) of x (B, C, H, W) whose largest is that in fp32."""
    known = _scorers.get(network)
    logits: Tensor = network(x) if known is None else known.logits(x)
    return logits


def like(data: Dataset, network: nn.Module) -> Iterator[Tensor]:
    """The first test images, as they are, attacked, and corrupted as hard as evaluations do."""
    third = data.test.first(MEASURED // 3)
    x, labels = third.batch(0, len(third))
    yield x
    threat, shape = data.info.threat, tuple(x.shape[1:])
    start = example_starts(0, 0, len(x), shape, threat.eps).to(x.device)
    yield linf_pgd(network, x, labels, threat, start)
    if unfit(third.images.shape, str(third.images.dtype)):
        return
    images, ids = third.images.cpu().numpy(), np.arange(len(third))
    for name, part in zip(CORRUPTIONS_15, np.array_split(ids, len(CORRUPTIONS_15)), strict=True):
        if len(part):
            made = corrupt(images[part], name, SEVERITY_LEVELS[-1], seed=0, ids=part)
            yield pixels(torch.from_numpy(made).to(x.device))
