"""PGD-10 three times, worst case (column Adv; paper, Section 5.1), and as the released code runs it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.data.info import DatasetInfo, LinfAttack
from benchmark.engine.recipes import pixel_units, released_step
from benchmark.evaluation.protocol import NOT_FINITE, Evaluation, Kind, Outcome, not_finite, right
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.records import VANISHING, Count
from benchmark.records.specs import Spec, spec_of
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset


SURVIVORS = "per-image-worst"
"""The part that counts the images which are right in every run."""
_WORDS = {1: "a", 2: "two", 3: "three"}


@dataclass(frozen=True)
class Pgd10x3(Evaluation):
    """The lowest of the accuracies of three whole-set PGD-10 runs from different random starts.

    An image counts as right if the final iterate is classified as its label, in evaluation mode and
    as fp32 decides (`engine.settled`). The part `per-image-worst` is stricter: images that survive all
    three runs; `zero-gradients` and `zero-losses` count clean images where the attack may be blind.
    """

    type_name: ClassVar[str] = "pgd10x3"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "Adv"
    summary: ClassVar[str] = "worst of three PGD-10 runs at the dataset's L-infinity radius"
    kind: ClassVar[Kind] = "attack"
    family: ClassVar[str] = "PGD-10"
    strength: ClassVar[int] = 1
    role: ClassVar[str | None] = "Adv"
    optional_parts: ClassVar[frozenset[str]] = frozenset({NOT_FINITE, *VANISHING})
    runs: int = 3

    def spec(self, info: DatasetInfo) -> Spec | None:
        spec: Spec = spec_of(self)
        return spec | {"attack": spec_of(self.attack(info))}

    def attack(self, info: DatasetInfo) -> LinfAttack:
        return info.threat

    @property
    def arrays(self) -> tuple[str, ...]:
        return tuple(f"run{run}" for run in range(self.runs))

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.arrays, SURVIVORS)

    def passes(self, info: DatasetInfo) -> int:
        return self.attack(info).passes

    def recount(self, bits: Mapping[str, NDArray[np.bool_]]) -> dict[str, Count]:
        survivors = np.logical_and.reduce(list(bits.values()))
        return super().recount(bits) | {SURVIVORS: Count.of(survivors)}

    def note(self, info: DatasetInfo) -> str | None:
        attack, many = self.attack(info), self.runs > 1
        runs = f"{_WORDS.get(self.runs, self.runs)} PGD-{attack.steps} run{'s' if many else ''}"
        ball = f"eps {pixel_units(attack.eps)}, step {pixel_units(attack.step_size)}"
        return f"{self.label} is {'the worst of ' if many else ''}{runs}, L-infinity, {ball}"

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        from benchmark.engine.counting import journaled_pgd_answers, journaled_vanishing, run_seed

        attack, answers = self.attack(data.info), {}
        for run in range(self.runs):

            def show(_stage: str, done: int, total: int, note: str = "", run: int = run) -> None:
                progress(self.type_name, run * total + done, self.runs * total, note)

            answers[f"run{run}"] = journaled_pgd_answers(
                model, data.judged, attack, run_seed(base, run), journal, f"run{run}", show
            )
        bits = right(answers)
        parts = self.recount(bits)
        worst = min((parts[name] for name in bits), key=lambda count: count.k)
        parts |= vanished(journaled_vanishing(model, data.judged, journal), len(data.judged))
        return Outcome(worst, parts | not_finite(answers.values()), bits)

    def per_image(self, bits: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
        """Correctness under the worst run, the first of them on a tie; 0 or 1."""
        return min(bits.values(), key=np.count_nonzero).astype(np.float64)


@dataclass(frozen=True)
class Pgd10OfficialCode(Pgd10x3):
    """One whole-set PGD-10 run at step 2/225 (Immortalise/RiFT, main.py and utils.py)."""

    type_name: ClassVar[str] = "pgd10-official-code"
    label: ClassVar[str] = "Adv (official code)"
    summary: ClassVar[str] = "one PGD-10 run at the released code's step"
    role: ClassVar[str | None] = None
    runs: int = 1

    def attack(self, info: DatasetInfo) -> LinfAttack:
        return released_step(info.threat)


def vanished(counts: Counter[str], images: int) -> dict[str, Count]:
    """The parts `VANISHING` of `counts` among `images`."""
    return {name: Count(k=counts[name], n=images) for name in VANISHING}
