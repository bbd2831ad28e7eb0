"""The ascent of one module as Algorithm 1 of the paper reads.

Every epoch sums the gradients of the mean robust loss of each batch, all taken at the epoch's first
weights (line 12), and steps W by `lr` times that sum. When ||dW|| reaches `radius` ||W||, dW is
projected onto that sphere and the ascent stops (lines 15-18; line 17 prints theta_t + dW where the
projected point is theta + dW). The loss that counts is the one at the end (line 21).

In the first epoch all modules are at theta, so that one pass over the examples gives the gradients of
all of them, each with the bits that a pass of its own would give it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.algorithm.adversarial_examples import robust_loss
from benchmark.algorithm.ascent import (
    Ascent,
    MovingWeight,
    Reached,
    add_gradients,
    gradients_and_loss,
    weight_of,
)
from benchmark.algorithm.rolling import Tail
from benchmark.engine.pgd import frozen, training_mode
from benchmark.engine.recipes import CriticalitySettings
from benchmark.progress import Progress, silent


def first_gradients(
    model: nn.Module,
    modules: Sequence[str],
    tail: Tail,
    batch_size: int,
    progress: Progress = silent,
) -> tuple[dict[str, Tensor], tuple[float, float]]:
    """Sums of the first epoch's gradients, by name of each of `modules`, and `robust_loss` of `model`.

    `tail` holds all of `modules`. The graph of a chunk is as large as in the ascent of the first of
    `modules` alone.
    """
    weights = [weight_of(model, module) for module in modules]
    with training_mode(model, False), frozen(model, free=weights):
        totals, reference = gradients_and_loss(weights, tail, batch_size, progress)
    return dict(zip(modules, totals, strict=True)), reference


def algorithm1(
    moving: MovingWeight, tail: Tail, settings: CriticalitySettings, first: Tensor | None = None
) -> Ascent:
    """At most `settings.steps` epochs of ascent of `moving`. Nothing is drawn.

    `first` is the sum of gradients of the first epoch if it is known.
    """
    bound = settings.radius * moving.original_norm
    begun = moving.begun()
    epochs, constrained = begun.epochs, begun.constrained
    while epochs < settings.steps and not constrained:
        known = first if epochs == 0 else None
        moving.ascend(_epoch(moving, tail, settings) if known is None else known, settings.lr)
        epochs += 1
        length = moving.distance()
        if not math.isfinite(length):
            return Ascent(None, epochs, constrained)
        if length >= bound:
            constrained = True
            moving.shrink(bound / length if length > 0 else 0.0)
        moving.keep(Ascent(None, epochs, constrained))
    loss, accuracy = robust_loss(tail.network, tail.examples)
    reached = Reached(loss, accuracy, moving.norm_ratio()) if math.isfinite(loss) else None
    return Ascent(reached, epochs, constrained)


def _epoch(moving: MovingWeight, tail: Tail, settings: CriticalitySettings) -> Tensor:
    total = torch.zeros_like(moving.weight)
    for batch in tail.examples.batches(settings.batch_size):
        add_gradients([total], tail.network, [moving.weight], batch)
    return total
