"""How sure a network is of answers that are right and of those that are wrong: what mixing rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.pgd import Pgd10x3
from benchmark.evaluation.protocol import Kind, Outcome, not_finite, right
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.counts import Count
from benchmark.records.store import Arrays, Journal

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchmark.data.images import Dataset

CONDITIONS = "clean", "attacked"
SURE = "-sure"
"""Ends the name of the bits that say whether an image's margin is above the median of all images."""


@dataclass(frozen=True)
class Margins(Pgd10x3):
    """Answers to clean images and to those of one PGD-10 run, and which of them the network is sure of.

    A margin is the largest probability minus the second (Bai et al., arXiv 2402.02263); an image is
    sure where it is above the median under the same condition. The value counts right answers under
    attack.
    """

    type_name: ClassVar[str] = "margins"
    label: ClassVar[str] = "Adv (one run, with margins)"
    summary: ClassVar[str] = "which right and wrong answers have large margins, clean and under PGD-10"
    kind: ClassVar[Kind] = "other"
    family: ClassVar[str | None] = None  # type: ignore[assignment]
    strength: ClassVar[int] = 0
    role: ClassVar[str | None] = None
    runs: int = 1

    @property
    def arrays(self) -> tuple[str, ...]:
        return tuple(f"{each}{end}" for each in CONDITIONS for end in ("", SURE))

    @property
    def parts(self) -> tuple[str, ...]:
        return self.arrays

    def answers(self, images: int) -> int:
        return images

    def recount(self, bits: Mapping[str, NDArray[np.bool_]]) -> dict[str, Count]:
        return {name: Count.of(array) for name, array in bits.items()}

    def per_image(self, bits: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
        """Correctness under attack; 0 or 1."""
        return bits[CONDITIONS[1]].astype(np.float64)

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        from benchmark.engine.counting import adversarial_batch, journaled_batches, run_seed

        images, attack, seed = data.judged, self.attack(data.info), run_seed(base, 0)

        def both(start: int, stop: int) -> Arrays:
            x, labels = images.batch(start, stop)
            x_adv, _ = adversarial_batch(model, images, start, stop, attack, seed)
            found: dict[str, NDArray[Any]] = {}
            for name, shown in zip(CONDITIONS, (x, x_adv), strict=True):
                found[name], found[name + SURE] = _answers_and_margins(model, shown, labels)
            return found

        found = journaled_batches(images, journal, "margins", both, progress, self.type_name)
        answers = {name: found[name] for name in CONDITIONS}
        bits = right(answers)
        for name in CONDITIONS:
            bits[name + SURE] = found[name + SURE] > np.median(found[name + SURE])
        bits = {name: bits[name] for name in self.arrays}
        value = Count.of(bits[CONDITIONS[1]])
        return Outcome(value, self.recount(bits) | not_finite(answers.values()), bits)


def _answers_and_margins(
    model: "nn.Module", x: "Tensor", labels: "Tensor"
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Answers (B,) and margins (B,) in [0, 1] of the model itself; NaN has no margin, which is 0."""
    import torch

    from benchmark.engine.counting import judged
    from benchmark.engine.pgd import training_mode

    with torch.no_grad(), training_mode(model, False):
        logits = model(x)
    first, second = logits.cpu().double().softmax(1).topk(2, 1).values.unbind(1)
    margins = (first - second).nan_to_num(0.0)
    return judged(logits, labels).cpu().numpy(), margins.numpy()


def surer_where_right(right: NDArray[np.bool_], sure: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values (N,) whose mean is the share of sure images among the `right` ones minus that among the
    others, and whose spread is its own (its influence function).

    Raises `ValueError` if all or none are right.
    """
    shares = right.mean(), 1 - right.mean()
    if not all(shares):
        raise ValueError("all images are right, or all are wrong")
    ours, theirs = sure[right].mean(), sure[~right].mean()
    values: NDArray[np.float64] = np.where(
        right, (sure - ours) / shares[0], (theirs - sure) / shares[1]
    ) + (ours - theirs)
    return values
