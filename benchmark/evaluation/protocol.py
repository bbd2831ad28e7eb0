"""What an evaluation is to the runner."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.records import Count
from benchmark.records.specs import Spec
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset

Kind = Literal["clean", "attack", "corruptions", "other"]
NOT_FINITE = "not-finite"
"""The part that counts images with an answer that is not finite, where there are any."""


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
    """A frozen dataclass. `label` heads its column; `summary` is its line in `list`.

    Everything that the rest of the suite asks of an evaluation is answered here, so that a new one is
    one file and one line. What is not a field has no part in the spec.
    """

    version: ClassVar[int]

    @property
    def label(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def kind(self) -> Kind:
        """What the images are (clean, attacked, corrupted), or something else."""
        return "other"

    @property
    def role(self) -> str | None:
        """The column of the paper's tables that it can stand in (Std, OOD, Adv, AutoAttack)."""
        return None

    @property
    def family(self) -> str | None:
        """The family of an attack, as the title of a ranking; None for what does not attack."""
        return None

    @property
    def adaptive(self) -> bool:
        """Whether `run` takes an `Attacked`, which knows what else examples are crafted on."""
        return False

    @property
    def strength(self) -> int:
        """How strong an attack is among families; a stronger one breaks at least as many images."""
        return 0

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
        """Evaluate `model` on `data.judged`: the test split, or its first images under a limit.

        Seeds derive from `base`, so that a base model and its fine-tuned versions meet the same
        random starts and can be compared image by image. Finished chunks go to `journal`.
        """

    @property
    def arrays(self) -> tuple[str, ...] | None:
        """Names of the arrays of bits, in order; None if they are not known beforehand."""
        return None

    @property
    def parts(self) -> tuple[str, ...] | None:
        """Names of the parts that every record has; None if they are not known beforehand."""
        return None

    @property
    def optional_parts(self) -> frozenset[str]:
        """Names of parts that a record lacks if there was nothing to count, or if it is older."""
        return frozenset({NOT_FINITE})

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of files read beside the dataset, whose hashes every record has."""
        return ()

    @property
    def pooled(self) -> bool:
        """Whether every array of bits counts, so that an image has several answers."""
        return False

    @property
    def nested(self) -> bool:
        """Whether each array of bits holds what is left of the one before."""
        return False

    def answers(self, images: int) -> int:
        """How many answers it asks of a network on a test split of so many images."""
        return images * len(self.arrays or ("",))

    def passes(self, info: DatasetInfo) -> int:
        """Forward and backward passes per answer, as far as known beforehand."""
        return 1

    def recount(self, bits: Mapping[str, NDArray[np.bool_]]) -> dict[str, Count]:
        """The parts that `bits` determine."""
        return {name: Count.of(array) for name, array in bits.items()}

    def per_image(self, bits: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
        """The share of each image's trials that were right, from the bits of an `Outcome`; (N,).

        Its mean over images is the value of the record, so that two models can be compared image by
        image. This is the mean over all arrays; an evaluation whose value is another one overrides it.
        """
        shares: NDArray[np.float64] = np.mean(list(bits.values()), axis=0, dtype=np.float64)
        return shares


def right(answers: Mapping[str, NDArray[np.int8]]) -> dict[str, NDArray[np.bool_]]:
    """Correctness per image of `answers` (`benchmark.engine.counting`) by name."""
    return {name: array > 0 for name, array in answers.items()}


def not_finite(answers: Iterable[NDArray[np.int8]]) -> dict[str, Count]:
    """The part `not-finite` of `answers`, arrays (N,) of the same images; nothing if all are finite.

    Raises `UserError` if none is: such a network has no accuracy.
    """
    missing = np.stack(list(answers)) < 0
    if missing.all():
        raise UserError(
            f"every answer is NaN or infinite, for all {missing.shape[1]} images: there is nothing to "
            "count; evaluate weights whose logits are finite"
        )
    images = Count.of(np.logical_or.reduce(missing))
    return {NOT_FINITE: images} if images.k else {}
