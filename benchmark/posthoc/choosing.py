"""The numbers of a module, chosen by its adaptive robust accuracy.

An attack through the module alone would favour the threshold that masks most.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.adaptive import Attacked, WorstCase
from benchmark.engine.choice import most_accurate, most_robust
from benchmark.engine.counting import clean_count
from benchmark.engine.forward import ForwardMethod, Numbers
from benchmark.errors import UserError
from benchmark.progress import Progress
from benchmark.records.applied import ChoicePoint
from benchmark.records.counts import Count
from benchmark.records.store import Journal


@dataclass(frozen=True)
class Candidate:
    """The `module` of `method`, beside `base`, the network that everything started from, on the images
    `judged` that choose; finished batches are in `journal`. `seeds` are of the three parts' starts."""

    method: ForwardMethod
    module: nn.Module
    base: nn.Module
    judged: Split
    attack: LinfAttack
    seeds: tuple[int, ...]
    journal: Journal
    progress: Progress

    def by_rule(
        self, tolerance: float, *, mirrored: bool, whole: bool
    ) -> tuple[Numbers, Count, list[ChoicePoint]]:
        """Numbers by the protocol's rule, the base's robust count, and the points looked at.

        Raises `UserError` if no point of the grid satisfies the rule.
        """
        worst = WorstCase(self.base, self.judged, self.attack, self.seeds)
        grid: Sequence[Numbers] = self.method.grid
        places, done = range(len(grid)), iter(range(1, len(grid) + 2))
        count = self.method.counter(self.module, self.judged)

        def robust_of(attacked: Attacked, name: str) -> Count:
            found = Count.of(worst.answers(attacked, self.journal, name))
            self.progress("numbers: adaptive", next(done), len(grid) + 1, name)
            return found

        def clean(place: int) -> Count:
            return count(grid[place])

        def robust(place: int) -> Count:
            module = self.method.at(self.module, grid[place])
            attacked = Attacked(module, self.method.stand_in(module), self.base)
            return robust_of(attacked, "-".join(f"{name}-{x:g}" for name, x in grid[place].items()))

        reference = robust_of(Attacked(self.base, None, None), "base")
        if mirrored:
            accuracy = clean_count(self.base, self.judged)
            best, (cleans, robusts) = most_robust(places, clean, robust, accuracy, tolerance)
        else:
            best, (cleans, robusts) = most_accurate(
                places, clean, robust, reference, tolerance, known={}, whole=whole
            )
        if best is None:
            raise UserError(
                f"no numbers of {type(self.method).__name__} keep the base's accuracy within "
                f"{100 * tolerance:g} points; give its grid a point that changes nothing"
            )
        points = [
            ChoicePoint(numbers=dict(grid[place]), clean=cleans[place], robust=robusts.get(place))
            for place in places
        ]
        return grid[best], reference, points
