"""PGD-10 three times, worst case (column Adv; paper, Section 5.1)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.data import DatasetInfo
from benchmark.engine.recipes import LinfAttack
from benchmark.evaluation.protocol import VANISHING, Evaluation, Outcome, counted, not_finite, right
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.records import Count
from benchmark.records.specs import Spec, spec_of
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset


_WORDS = {1: "a", 2: "two", 3: "three"}


@dataclass(frozen=True)
class Pgd10x3(Evaluation):
    """The lowest of the accuracies of three whole-set PGD-10 runs from different random starts.

    An image counts as right if the final iterate is classified as its label, in evaluation mode and
    fp32. The stricter count of images that survive all three runs is the part `per-image-worst`; the
    parts `zero-gradients` and `zero-losses` count the clean images at which the attack may be blind.
    """

    type_name: ClassVar[str] = "pgd10x3"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "Adv"
    summary: ClassVar[str] = "worst of three PGD-10 runs at the dataset's L-infinity radius"
    runs: int = 3

    def spec(self, info: DatasetInfo) -> Spec | None:
        spec: Spec = spec_of(self)
        return spec | {"attack": spec_of(self.attack(info))}

    def attack(self, info: DatasetInfo) -> LinfAttack:
        """The attack of each run."""
        return info.threat

    def note(self, info: DatasetInfo) -> str | None:
        attack, many = self.attack(info), self.runs > 1
        runs = f"{_WORDS.get(self.runs, self.runs)} PGD-{attack.steps} run{'s' if many else ''}"
        ball = f"eps {pixel_units(attack.eps)}, step {pixel_units(attack.step_size)}"
        return f"{self.label} is {'the worst of ' if many else ''}{runs}, L-infinity, {ball}"

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        from benchmark.engine.counting import journaled_pgd_answers, journaled_vanishing

        attack, answers = self.attack(data.info), {}
        for run in range(self.runs):

            def show(_stage: str, done: int, total: int, note: str = "", run: int = run) -> None:
                progress(self.type_name, run * total + done, self.runs * total, note)

            answers[f"run{run}"] = journaled_pgd_answers(
                model, data.judged, attack, run_seed(base, run), journal, f"run{run}", show
            )
        bits = right(answers)
        parts = {name: counted(run_bits) for name, run_bits in bits.items()}
        worst = min(parts.values(), key=lambda count: count.k)
        survivors = np.logical_and.reduce(list(bits.values()))
        parts |= {"per-image-worst": counted(survivors)}
        parts |= vanished(journaled_vanishing(model, data.judged, journal), len(data.judged))
        return Outcome(worst, parts | not_finite(answers.values()), bits)

    def per_image(self, bits: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
        """Correctness under the run that the value is of, the first of them on a tie; 0 or 1."""
        return min(bits.values(), key=np.count_nonzero).astype(np.float64)


def vanished(counts: Counter[str], images: int) -> dict[str, Count]:
    """The parts `VANISHING` of `counts` among `images`."""
    return {name: Count(k=counts[name], n=images) for name in VANISHING}


def run_seed(base: Cell, run: int) -> int:
    """Seed of the random starts of one run against the models made from `base`."""
    return base.seed_for("pgd10x3", run)


def pixel_units(value: float) -> str:
    """`8/255` for a whole number of grey levels, else the number."""
    grey = value * 255
    return f"{grey:.0f}/255" if abs(grey - round(grey)) < 1e-6 else f"{value:g}"
