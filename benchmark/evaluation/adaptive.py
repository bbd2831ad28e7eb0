"""Attacks that see more of a module than its own gradient: through a stand-in, and from its base.

Robust accuracy is then the share of images that survive all parts. Every model meets as many random
starts (`benchmark.engine.adaptive`), base networks and methods that change weights alone included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.data.info import DatasetInfo
from benchmark.evaluation.autoattack import AttackStep, AutoAttack
from benchmark.evaluation.pgd import SURVIVORS, Pgd10x3
from benchmark.evaluation.protocol import Outcome, not_finite, right
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.counts import Count
from benchmark.records.store import Arrays, Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset

MODULE, STAND_IN, TRANSFER = PARTS = "module", "stand-in", "transfer"
"""What examples are crafted on, in the order of `Attacked.sources`."""
AGAIN = "module-again", "module-thrice"
"""The module attacked from the starts of the two other parts."""
TO_BASE = "to-base"
"""What the base network gets right of the examples that were crafted on the stand-in."""
Bits = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class AdaptivePgd(Pgd10x3):
    """PGD-10 through the module, through its stand-in, and transferred from its base network.

    The value counts the images that are right under all three. Beside it stand two more starts through
    the module, which show what restarts alone would find, and what the base gets right of the
    stand-in's examples, for a comparison in which both have met the other's.
    """

    type_name: ClassVar[str] = "pgd10x3-adaptive"
    label: ClassVar[str] = "Adv (adaptive)"
    summary: ClassVar[str] = (
        "per image the worst of PGD-10 through the module, its stand-in, and from the base network"
    )
    family: ClassVar[str] = "PGD-10, adaptive"
    role: ClassVar[str | None] = None
    adaptive: ClassVar[bool] = True

    @property
    def arrays(self) -> tuple[str, ...]:
        return (*PARTS, *AGAIN, TO_BASE)

    def passes(self, info: DatasetInfo) -> int:
        """Those of four attacks for all arrays: a base has three, a module with a stand-in five."""
        return super().passes(info) * 4 // len(self.arrays)

    def recount(self, bits: Bits) -> dict[str, Count]:
        counts = {name: Count.of(array) for name, array in bits.items()}
        return counts | {SURVIVORS: Count.of(_worst(bits))}

    def per_image(self, bits: Bits) -> NDArray[np.float64]:
        """Correctness under all three parts; 0 or 1."""
        return _worst(bits).astype(np.float64)

    def note(self, info: DatasetInfo) -> str | None:
        return f"{super().note(info)}; per image, through the module, its stand-in and from the base"

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        from benchmark.engine.adaptive import Attacked
        from benchmark.engine.counting import adversarial_batch, answers, journaled_batches, run_seed

        attacked, images, attack = Attacked.of(model), data.judged, self.attack(data.info)
        seeds = [run_seed(base, run) for run in range(self.runs)]
        runs = [*zip(PARTS, attacked.sources, seeds, strict=True)]
        runs += [*zip(AGAIN, (attacked.model,) * 2, seeds[1:], strict=True)]

        def by_part(start: int, stop: int) -> Arrays:
            """Answers by part; what is the same attack twice, as on a base network, is made once."""
            attacked.check(images.batch(start, stop)[0])
            known: dict[tuple[nn.Module, int], NDArray[np.int8]] = {}
            found = {}
            for name, source, seed in runs:
                if (source, seed) not in known:
                    x_adv, labels = adversarial_batch(source, images, start, stop, attack, seed)
                    known[source, seed] = answers(attacked.model, x_adv, labels).cpu().numpy()
                    if name == STAND_IN:
                        found[TO_BASE] = answers(attacked.base, x_adv, labels).cpu().numpy()
                found[name] = known[source, seed]
            return found

        made = journaled_batches(images, journal, "parts", by_part, progress, self.type_name)
        found = {name: made[name] for name in self.arrays}
        bits = right(found)
        parts = self.recount(bits)
        return Outcome(parts[SURVIVORS], parts | not_finite(found.values()), bits)


@dataclass(frozen=True)
class AdaptiveAutoAttack(AutoAttack):
    """AutoAttack on the module, then both APGDs through the stand-in on what survives, as RobustBench's
    maintainers attack MeanSparse, then those of the base network. Square sees nothing but answers and
    runs once."""

    type_name: ClassVar[str] = "autoattack-adaptive"
    family: ClassVar[str] = "AutoAttack, adaptive"
    role: ClassVar[str | None] = None  # type: ignore[assignment]
    adaptive: ClassVar[bool] = True
    stand_in: tuple[str, ...] = ("apgd-ce", "apgd-t")
    transfer: tuple[str, ...] = ("apgd-ce", "apgd-t")

    @property
    def steps(self) -> tuple[AttackStep, ...]:
        parts = ((1, STAND_IN, self.stand_in), (2, TRANSFER, self.transfer))
        others = (
            AttackStep(f"{name}-{attack}", attack, source)
            for source, name, attacks in parts
            for attack in attacks
        )
        return (*super().steps, *others)

    @property
    def label(self) -> str:
        return "Adv (AutoAttack, adaptive)"

    @property
    def summary(self) -> str:
        return "what survives AutoAttack, then APGD through the stand-in and from the base network"

    def note(self, info: DatasetInfo) -> str | None:
        return f"{super().note(info)}; then both APGDs through the module's stand-in and from the base"


def _worst(bits: Bits) -> NDArray[np.bool_]:
    worst: NDArray[np.bool_] = np.logical_and.reduce([bits[name] for name in PARTS])
    return worst


def masked(bits: Bits) -> NDArray[np.int8]:
    """Per image, whether it survives the module's own gradient and falls to another part (1), minus
    whether it falls to as many further starts through the module; (N,) of -1, 0 and 1.

    The mean is what the module's gradient masks, in points. A base network has 0 at every image.
    """
    own = bits[MODULE]
    falls = [
        own & ~np.logical_and.reduce([bits[name] for name in names])
        for names in ((STAND_IN, TRANSFER), AGAIN)
    ]
    difference: NDArray[np.int8] = falls[0].astype(np.int8) - falls[1].astype(np.int8)
    return difference
