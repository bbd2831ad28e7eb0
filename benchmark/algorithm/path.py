"""The path from the adversarially trained to the fine-tuned weights, and the accuracy along it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.counting import clean_count, journaled_pgd_answers
from benchmark.engine.weights import interpolate
from benchmark.progress import Progress
from benchmark.records.records import Count, CurvePoint
from benchmark.records.store import Arrays, Journal


@dataclass(frozen=True)
class Path:
    """Accuracy of `model` on `images` with weights between `start` and `end` (Equation 9).

    Robust accuracy takes one PGD run by `attack` from starts drawn from `seed`. Points that are in
    `journal` are read from it, and `start` under attack from `reference`, which all paths from there
    share. `grid` are the alphas that will be asked for, for progress alone. What `known` has, the curve
    on record of the same work, is not counted again.
    """

    model: nn.Module
    start: Mapping[str, Tensor]
    end: Mapping[str, Tensor]
    images: Split
    attack: LinfAttack
    seed: int
    journal: Journal
    reference: Journal
    grid: tuple[float, ...]
    progress: Progress
    known: Mapping[float, CurvePoint]

    def at(self, alpha: float) -> nn.Module:
        """The model at (1 - alpha) `start` + alpha `end`."""
        self.model.load_state_dict(interpolate(self.start, self.end, alpha))
        return self.model

    def clean(self, alpha: float) -> Count:
        if (known := self.known.get(alpha)) is not None:
            return known.clean

        def counted() -> Arrays:
            return {key: np.array(n) for key, n in clean_count(self.at(alpha), self.images)}

        kept = self.journal.once(f"clean-{alpha:.4f}", counted)
        self.progress("interpolation: clean", self.grid.index(alpha) + 1, len(self.grid))
        return Count(**{"n": len(self.images)} | {key: int(n) for key, n in kept.items()})

    def robust(self, alpha: float) -> Count:
        if (known := self.known.get(alpha)) is not None and known.robust is not None:
            return known.robust

        def show(_stage: str, done: int, total: int, _note: str = "") -> None:
            self.progress("interpolation: robust", done, total, f"alpha {alpha:.2f}")

        model, name = self.at(alpha), f"robust-{alpha:.4f}"
        journal = self.journal if alpha else self.reference
        return Count.of(
            journaled_pgd_answers(model, self.images, self.attack, self.seed, journal, name, show)
        )
