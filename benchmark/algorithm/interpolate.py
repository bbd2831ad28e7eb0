"""Step 3 of RiFT: the point between both weights with the best clean accuracy that stays robust."""

from collections.abc import Callable, Sequence

from benchmark.engine.choice import most_accurate
from benchmark.records.records import Count, CurvePoint

Accuracy = Callable[[float], Count]


def best_alpha(
    grid: Sequence[float],
    clean: Accuracy,
    robust: Accuracy,
    reference: Count,
    tolerance: float,
    *,
    whole: bool = False,
) -> tuple[float, list[CurvePoint]]:
    """alpha* by `most_accurate`, and all points; `robust` is None where not needed, unless `whole`.

    At alpha = 0 it is `reference`, so that point always satisfies.
    """
    best, (cleans, robusts) = most_accurate(
        grid, clean, robust, reference, tolerance, known={0.0: reference}, whole=whole
    )
    points = [CurvePoint(alpha=alpha, clean=cleans[alpha], robust=robusts.get(alpha)) for alpha in grid]
    return best or 0.0, points
