"""The ascent of one module as Algorithm 1 of the paper reads.

Every epoch sums the gradients of the mean robust loss of each batch, all taken at the epoch's first
weights (line 12), and steps W by `lr` times that sum. When ||dW|| reaches `radius` ||W||, dW is
projected onto that sphere and the ascent stops (lines 15-18; line 17 prints theta_t + dW where the
projected point is theta + dW). The loss that counts is the one at the end (line 21).
"""

import math

import torch
from torch import nn

from benchmark.recipes import CriticalitySettings
from benchmark.rift.adversarial_examples import AdversarialSet, robust_loss
from benchmark.rift.ascent import Ascent, MovingWeight, Reached, add_gradient


def algorithm1(
    model: nn.Module,
    moving: MovingWeight,
    examples: AdversarialSet,
    settings: CriticalitySettings,
    _seed: int,
) -> Ascent:
    """At most `settings.steps` epochs of ascent of `moving`. Nothing is drawn."""
    bound = settings.radius * moving.original_norm
    epochs, constrained = 0, False
    while epochs < settings.steps and not constrained:
        total = torch.zeros_like(moving.weight)
        for batch in examples.batches(settings.batch_size):
            add_gradient(total, model, moving.weight, batch)
        moving.ascend(total, settings.lr)
        epochs += 1
        length = moving.distance()
        if not math.isfinite(length):
            return Ascent(None, epochs, constrained)
        if length >= bound:
            constrained = True
            moving.shrink(bound / length if length > 0 else 0.0)
    loss, accuracy = robust_loss(model, examples)
    reached = Reached(loss, accuracy, moving.norm_ratio()) if math.isfinite(loss) else None
    return Ascent(reached, epochs, constrained)
