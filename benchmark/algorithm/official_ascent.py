"""The ascent of one module as the released code does it (Immortalise/RiFT, main.py).

Plain SGD, without momentum or weight decay, goes through the examples in shuffled batches. After every
epoch dW is scaled back to `radius` ||W|| if it is longer, and the mean robust loss of all examples is
taken; the ascent then goes on. The loss that counts is the largest of these. The released code starts
that maximum at 0, and no NaN exceeds it, so that an ascent with no other loss has an MRC below all
others, and one that is lost later keeps its earlier maximum. Here both have diverged, which is no MRC;
the released code's protocol ranks both below all others.
"""

import math

import torch

from benchmark.algorithm.adversarial_examples import robust_loss
from benchmark.algorithm.ascent import Ascent, MovingWeight, Reached, add_gradients
from benchmark.algorithm.rolling import Tail
from benchmark.engine.recipes import OfficialCriticality
from benchmark.records.cells import derive_seed


def official_ascent(
    moving: MovingWeight, tail: Tail, settings: OfficialCriticality, seed: int
) -> Ascent:
    """`settings.steps` epochs of projected ascent of `moving`, and the peak among their ends.

    The order of an epoch (counted from 0) is fixed by `seed`, the module's name and the epoch. Of
    equal losses the earlier epoch is the peak.
    """
    network, examples = tail.network, tail.examples
    bound = settings.radius * moving.original_norm
    begun = moving.begun()
    peak, constrained = begun.reached, begun.constrained
    for epoch in range(begun.epochs, settings.steps):
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", moving.module, epoch))
        order = torch.randperm(len(examples), generator=generator, device="cpu")
        order = order.to(examples.labels.device)
        for rows in torch.split(order, settings.batch_size):
            gradient = torch.zeros_like(moving.weight)
            add_gradients([gradient], network, [moving.weight], examples.take(rows))
            moving.ascend(gradient, settings.lr)
        length = moving.distance()
        if not math.isfinite(length):
            return Ascent(None, epoch + 1, constrained)
        if length > bound:
            constrained = True
            moving.shrink(bound / length)
        loss, accuracy = robust_loss(network, examples)
        if not math.isfinite(loss):
            return Ascent(None, epoch + 1, constrained)
        if peak is None or loss > peak.loss:
            peak = Reached(loss, accuracy, moving.norm_ratio())
        moving.keep(Ascent(peak, epoch + 1, constrained))
    return Ascent(peak, settings.steps, constrained)
