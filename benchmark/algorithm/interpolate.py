"""Step 3 of RiFT: the point between both weights with the best clean accuracy that stays robust."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from benchmark.engine.choice import most_accurate
from benchmark.records.records import Count, CurvePoint

Accuracy = Callable[[float], Count]


def interpolate(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """(1 - alpha) start + alpha end for every entry of the state dicts (Equation 9).

    Running statistics of batch normalisation are interpolated like weights, as in the released
    code (Immortalise/RiFT, utils.py). Exact at both ends; integer entries are rounded.
    """
    if start.keys() != end.keys():
        raise ValueError("cannot interpolate between state dicts of different networks")
    if alpha in (0, 1):
        return {name: tensor.clone() for name, tensor in (end if alpha else start).items()}
    return {name: _between(start[name], end[name], alpha) for name in start}


def _between(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    if start.is_floating_point():
        return (1 - alpha) * start + alpha * end
    return torch.round((1 - alpha) * start.double() + alpha * end.double()).to(start.dtype)


def best_alpha(
    grid: Sequence[float],
    clean: Accuracy,
    robust: Accuracy,
    reference: Count,
    tolerance: float,
    *,
    whole: bool = False,
) -> tuple[float, list[CurvePoint]]:
    """alpha* by `most_accurate`, and the points looked at; all of them if `whole`.

    At alpha = 0 the robust accuracy is `reference`, so that point always satisfies.
    """
    best, (cleans, robusts) = most_accurate(
        grid, clean, robust, reference, tolerance, known={0.0: reference}, whole=whole
    )
    points = [CurvePoint(alpha=alpha, clean=cleans[alpha], robust=robusts.get(alpha)) for alpha in grid]
    return best or 0.0, points
