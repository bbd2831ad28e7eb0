"""What an evaluation is to the runner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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

    from benchmark.data.images import Dataset


@dataclass(frozen=True)
class Outcome:
    """Value and parts as counts, and correctness per image: boolean arrays (N,) by name.

    `sources` are sha256 by name of files that were read beside the dataset, `remarks` what a reader
    of the number should know.
    """

    value: Count
    parts: dict[str, Count]
    bits: dict[str, NDArray[np.bool_]]
    sources: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class Evaluation(Protocol):
    """A frozen dataclass. `label` heads its column; `summary` is its line in `list`."""

    version: ClassVar[int]

    @property
    def label(self) -> str: ...

    @property
    def summary(self) -> str: ...

    def spec(self, info: DatasetInfo) -> Spec | None:
        """What the number depends on beside the weights; None if `info` has no data for it."""

    def note(self, info: DatasetInfo) -> str | None:
        """What a table says of this column for `info`; None if its name says it all."""
        return None

    def check(self, data: "Dataset") -> None:
        """Raise `UserError` if something that `run` needs is not there; called before training."""
        return

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        """Evaluate `model` on the test split of `data`.

        Seeds derive from `base`, so that a base model and its fine-tuned versions meet the same
        random starts and can be compared image by image. Finished chunks go to `journal`.
        """

    def per_image(self, bits: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
        """The share of each image's trials that were right, from the bits of an `Outcome`; (N,).

        Its mean over images is the value of the record, so that two models can be compared image by
        image. This is the mean over all arrays; an evaluation whose value is not says which counts.
        """
        shares: NDArray[np.float64] = np.mean(list(bits.values()), axis=0, dtype=np.float64)
        return shares


def counted(bits: "NDArray[Any]") -> Count:
    """The number of true entries of `bits`, of its size."""
    return Count(k=int(bits.sum()), n=bits.size)
