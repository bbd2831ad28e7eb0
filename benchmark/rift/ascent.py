"""What both definitions of criticality share: one weight that moves, its gradient, where it got to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.attacks import training_mode
from benchmark.rift.adversarial_examples import AdversarialSet


@dataclass(frozen=True, eq=False)
class MovingWeight:
    """The weight W of `module` and its value before the ascent; dW is the difference.

    Norms are L2 norms of the whole tensor.
    """

    module: str
    weight: Tensor
    original: Tensor
    original_norm: float

    @torch.no_grad()
    def ascend(self, gradient: Tensor, lr: float) -> None:
        """Step W by `lr * gradient`."""
        self.weight.add_(gradient, alpha=lr)

    @torch.no_grad()
    def shrink(self, factor: float) -> None:
        """Multiply dW by `factor`."""
        self.weight.copy_(self.original + factor * (self.weight - self.original))

    @torch.no_grad()
    def distance(self) -> float:
        """||dW||; not finite if an entry of W is not, or if the norm overflows."""
        return float((self.weight - self.original).norm())

    def norm_ratio(self) -> float:
        """||dW|| / ||W||; 0 for a weight that is all zeros, whose ball has no room to move."""
        return self.distance() / self.original_norm if self.original_norm > 0 else 0.0


@dataclass(frozen=True)
class Reached:
    """The end or the peak of an ascent: mean robust loss, accuracy (fraction) and ||dW|| / ||W||."""

    loss: float
    accuracy: float
    norm_ratio: float


@dataclass(frozen=True)
class Ascent:
    """What an ascent of `epochs` epochs came to; `reached` is None if it diverged.

    `constrained` says whether the constraint was ever active.
    """

    reached: Reached | None
    epochs: int
    constrained: bool


@contextmanager
def moving_weight(model: nn.Module, module: str) -> Iterator[MovingWeight]:
    """Inside the block `model` is in evaluation mode and the weight of `module` alone is free.

    Afterwards the weight has its old bits, and every mode and `requires_grad` its old value.
    """
    weight = model.get_submodule(module).get_parameter("weight")
    original = weight.detach().clone()
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(parameter is weight)
    try:
        with training_mode(model, False):
            yield MovingWeight(module, weight, original, float(original.norm()))
    finally:
        with torch.no_grad():
            weight.copy_(original)
        for parameter, flag in before:
            parameter.requires_grad_(flag)


def add_gradient(total: Tensor, model: nn.Module, weight: Tensor, batch: AdversarialSet) -> None:
    """Add to `total` the gradient of the mean cross-entropy over `batch` with respect to `weight`."""
    for chunk in batch.chunks():
        loss = F.cross_entropy(model(chunk.x_adv), chunk.labels, reduction="sum") / len(batch)
        total += torch.autograd.grad(loss, weight)[0]
