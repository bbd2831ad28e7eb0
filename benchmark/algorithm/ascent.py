"""What all definitions of criticality share: one weight that moves, its gradient, where it got to."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.algorithm.adversarial_examples import AdversarialSet, Tally, robust_loss
from benchmark.algorithm.rolling import Tail
from benchmark.engine.pgd import frozen, training_mode
from benchmark.engine.precision import used
from benchmark.models.segments import Network
from benchmark.progress import Progress, silent
from benchmark.records.stopping import due, stop_if_asked
from benchmark.records.store import Journal


@dataclass(frozen=True)
class Reached:
    """The end or the peak of an ascent: mean robust loss, accuracy (fraction) and ||dW|| / ||W||."""

    loss: float
    accuracy: float
    norm_ratio: float


@dataclass(frozen=True)
class Ascent:
    """What an ascent of `epochs` epochs came to; `reached` is None if it diverged, or has no end yet.

    `constrained` tells whether the constraint was ever active.
    """

    reached: Reached | None
    epochs: int
    constrained: bool


@dataclass(eq=False)
class MovingWeight:
    """The weight W of `module` and its value before the ascent; dW is the difference.

    Norms are L2 norms of the whole tensor. `journal`, if any, keeps the progress, last saved (or begun)
    at `since`.
    """

    module: str
    weight: Tensor
    original: Tensor
    original_norm: float
    journal: Journal | None = None
    since: float = field(default_factory=time.monotonic)

    @torch.no_grad()
    def begun(self) -> Ascent:
        """Restore the weight that a killed run left and return its progress; 0 epochs if none."""
        kept = self.journal.get(f"ascent-{self.module}") if self.journal else None
        if kept is None:
            return Ascent(None, 0, False)
        self.weight.copy_(torch.from_numpy(kept["weight"]))
        reached = Reached(*map(float, kept["reached"])) if kept["reached"].size else None
        return Ascent(reached, int(kept["epochs"]), bool(kept["constrained"]))

    def keep(self, ascent: Ascent) -> None:
        """Save weight and `ascent` to the journal, each minute and on a stop."""
        if self.journal and due(self.since):
            self.since, weight = time.monotonic(), self.weight.detach().cpu().numpy()
            kept = {name: np.array(getattr(ascent, name)) for name in ("epochs", "constrained")}
            kept["reached"] = np.array(astuple(ascent.reached) if ascent.reached else ())
            self.journal.put(f"ascent-{self.module}", weight=weight, **kept)

    @torch.no_grad()
    def ascend(self, gradient: Tensor, lr: float) -> None:
        self.weight.add_(gradient, alpha=lr)

    @torch.no_grad()
    def shrink(self, factor: float) -> None:
        self.weight.copy_(self.original + factor * (self.weight - self.original))

    @torch.no_grad()
    def distance(self) -> float:
        """||dW||; not finite if an entry of W is not, or if the norm overflows."""
        return float((self.weight - self.original).norm())

    def norm_ratio(self) -> float:
        """||dW|| / ||W||; 0 for a weight that is all zeros, whose ball has no room to move."""
        return self.distance() / self.original_norm if self.original_norm > 0 else 0.0


def weight_of(model: nn.Module, module: str) -> nn.Parameter:
    """The weight W of the module of this name."""
    return model.get_submodule(module).get_parameter("weight")


@contextmanager
def moving_weight(
    model: nn.Module, module: str, journal: Journal | None = None
) -> Iterator[MovingWeight]:
    """Inside the block `model` is in evaluation mode and the weight of `module` alone is free.

    Afterwards the weight has its old bits, and every mode and `requires_grad` its old value.
    """
    weight = weight_of(model, module)
    original = weight.detach().clone()
    with training_mode(model, False), frozen(model, free=[weight]):
        try:
            yield MovingWeight(module, weight, original, float(original.norm()), journal)
        finally:
            with torch.no_grad():
                weight.copy_(original)


def add_gradients(
    totals: Sequence[Tensor], network: Network, weights: Sequence[Tensor], batch: AdversarialSet
) -> list[Tensor]:
    """Add to each of `totals` the gradient of the mean cross-entropy over `batch` with respect to its
    counterpart in `weights`. Returns the logits (B, K) of each of the batch's chunks.

    Once examples are crafted, only this may be in bf16 (`Precision.ascent_in_bf16`); the losses that
    count are taken in fp32 (`robust_loss`).
    """
    seen = []
    for chunk in batch.chunks():
        stop_if_asked()  # costs an epoch of this module's ascent
        bf16 = used().ascent_in_bf16
        with torch.autocast(chunk.x_adv.device.type, torch.bfloat16, enabled=bf16):
            logits = network(chunk.x_adv)
        logits = logits.to(chunk.x_adv.dtype)
        loss = F.cross_entropy(logits, chunk.labels, reduction="sum") / len(batch)
        for total, gradient in zip(totals, torch.autograd.grad(loss, weights), strict=True):
            total += gradient
        seen.append(logits.detach())
    return seen


def gradients_and_loss(
    weights: Sequence[Tensor], tail: Tail, batch_size: int, progress: Progress = silent
) -> tuple[list[Tensor], tuple[float, float]]:
    """Sums over batches of the gradients by each of `weights`, and `robust_loss` there.

    The robust loss comes from the same pass if gradients are in fp32 and batches split into the same
    chunks as the whole set, else from a separate pass.
    """
    totals, tally, examples = [torch.zeros_like(each) for each in weights], Tally(), tail.examples
    parts = []
    for batch in examples.batches(batch_size):
        logits = add_gradients(totals, tail.network, weights, batch)
        for chunk, answers in zip(batch.chunks(), logits, strict=True):
            tally.add(answers, chunk.labels)
            parts.append(len(chunk))
        progress("criticality: first gradients", tally.examples, len(examples))
    exact = parts == [len(chunk) for chunk in examples.chunks()] and not used().ascent_in_bf16
    return totals, tally.means() if exact else robust_loss(tail.network, examples)
