"""The ascent of one module in steps that are shares of its norm: MRC that no rescaling can change.

Algorithm 1 steps by an absolute rate. Where batch normalisation follows a layer, multiplying its weight
by beta divides its gradient by beta, so that the same rate moves it by a share of its norm that is
beta^2 times smaller (Appendix A, Equations 25 to 43 claim the invariance of the maximum, which the
ascent need not find). Here a step is `rate` times the radius of the ball, along the gradient.
"""

import math
from functools import partial

from torch import Tensor

from benchmark.algorithm.adversarial_examples import robust_loss
from benchmark.algorithm.ascent import Ascent, MovingWeight, Reached, gradients_and_loss
from benchmark.algorithm.rolling import Tail
from benchmark.engine.recipes import ScaleFreeCriticality
from benchmark.records.evidence import ROUNDING


def scale_free(
    moving: MovingWeight,
    tail: Tail,
    settings: ScaleFreeCriticality,
    reference: tuple[float, float],
    first: Tensor | None = None,
) -> Ascent:
    """At most `settings.steps` normalised steps of `moving`, and the peak of the loss on their path.

    `reference` is `robust_loss` at the start, a point of the path; of equal losses the earlier is the
    peak. `first` is the gradient at the start, if known. A zero gradient or radius ends the ascent.
    The constraint counts as active on the border, where one step may end by rounding inside or outside.
    """
    bound = settings.radius * moving.original_norm
    begun = moving.begun()
    peak, constrained = begun.reached or Reached(*reference, 0.0), begun.constrained
    passed = partial(gradients_and_loss, [moving.weight], tail, len(tail.examples))
    known = first if begun.epochs == 0 else None
    gradient = passed()[0][0] if known is None else known
    for step in range(begun.epochs + 1, settings.steps + 1):
        length = float(gradient.norm())
        if not math.isfinite(length):
            return Ascent(None, step - 1, constrained)
        if length == 0 or bound == 0:
            return Ascent(peak, step - 1, constrained)
        moving.ascend(gradient, settings.rate * bound / length)
        distance = moving.distance()
        constrained = constrained or distance >= bound * (1 - ROUNDING)
        if distance > bound:
            moving.shrink(bound / distance)
        if step < settings.steps:
            (gradient,), (loss, accuracy) = passed()
        else:
            loss, accuracy = robust_loss(tail.network, tail.examples)
        if not math.isfinite(loss):
            return Ascent(None, step, constrained)
        if loss > peak.loss:
            peak = Reached(loss, accuracy, moving.norm_ratio())
        if step < settings.steps:
            moving.keep(Ascent(peak, step, constrained))
    return Ascent(peak, settings.steps, constrained)
