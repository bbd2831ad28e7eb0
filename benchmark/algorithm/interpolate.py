"""Step 3 of RiFT: the point between both weights with the best clean accuracy that stays robust."""

from collections.abc import Callable, Sequence

from benchmark.records.records import Count, CurvePoint

Accuracy = Callable[[float], Count]


def satisfies(robust: Count, reference: Count, tolerance: float) -> bool:
    """Whether `robust` is not below `reference` by more than `tolerance` (fraction), in counts."""
    return (reference.k - robust.k) <= tolerance * reference.n + 1e-9


def best_alpha(
    grid: Sequence[float],
    clean: Accuracy,
    robust: Accuracy,
    reference: Count,
    tolerance: float,
    *,
    whole: bool = False,
) -> tuple[float, list[CurvePoint]]:
    """alpha* and the points looked at; all of them if `whole`.

    Clean accuracy is cheap and is taken at every alpha; robust accuracy is taken in order of
    falling clean accuracy (smaller alpha first on a tie) until one satisfies the constraint, which
    is then the best: the same alpha* as a full grid. At alpha = 0 the robust accuracy is
    `reference`, so that point always satisfies.
    """
    cleans = {alpha: clean(alpha) for alpha in grid}
    robusts: dict[float, Count] = {0.0: reference}
    best = 0.0
    for alpha in sorted(grid, key=lambda alpha: (-cleans[alpha].k, alpha)):
        if alpha not in robusts:
            robusts[alpha] = robust(alpha)
        if satisfies(robusts[alpha], reference, tolerance):
            best = alpha
            break
    if whole:
        robusts = {alpha: robusts[alpha] if alpha in robusts else robust(alpha) for alpha in grid}
    points = [CurvePoint(alpha=alpha, clean=cleans[alpha], robust=robusts.get(alpha)) for alpha in grid]
    return best, points
