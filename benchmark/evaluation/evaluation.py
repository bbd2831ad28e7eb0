"""What an evaluation is to the runner."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.cells import Cell
from benchmark.data import DatasetInfo
from benchmark.progress import Progress
from benchmark.records import Count
from benchmark.specs import Spec
from benchmark.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Split


@dataclass(frozen=True)
class Outcome:
    """Value and parts as counts, and correctness per image: boolean arrays (N,) by name."""

    value: Count
    parts: dict[str, Count]
    bits: dict[str, NDArray[np.bool_]]


class Evaluation(Protocol):
    """A frozen dataclass. `label` heads its column; `summary` is its line in `list`."""

    version: ClassVar[int]
    label: ClassVar[str]
    summary: ClassVar[str]

    def spec(self, info: DatasetInfo) -> Spec | None:
        """What the number depends on beside the weights; None if `info` has no data for it."""

    def run(
        self,
        model: "nn.Module",
        split: "Split",
        info: DatasetInfo,
        base: Cell,
        journal: Journal,
        progress: Progress,
    ) -> Outcome:
        """Evaluate `model` on the test `split`.

        Seeds derive from `base`, so that a base model and its fine-tuned versions meet the same
        random starts and can be compared image by image. Finished chunks go to `journal`.
        """


def counted(bits: "NDArray[Any]") -> Count:
    """The number of true entries of `bits`, of its size."""
    return Count(k=int(bits.sum()), n=bits.size)
