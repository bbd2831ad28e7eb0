"""Training on clean images, without an adversary: what adversarial training is compared with."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from benchmark.engine.method import CleanMethod
from benchmark.engine.recipes import Recipe


@dataclass(frozen=True)
class Standard(CleanMethod):
    """min over weights of the mean cross-entropy at x, with the recipe of PGD-AT.

    Its networks have next to no robust accuracy, so that clean accuracy chooses the epoch. As a base
    model it answers what fine-tuning one layer does without adversarial training.
    """

    type_name: ClassVar[str] = "standard"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "standard"
    selects_by: ClassVar[Literal["robust", "clean"]] = "clean"

    def recipe(self, dataset: str) -> Recipe:
        return Recipe()
