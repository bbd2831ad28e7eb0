"""Training on clean images, without an adversary: what adversarial training is compared with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.data.info import LinfAttack
from benchmark.engine.method import Method
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Standard(Method):
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

    def inner(
        self,
        model: "nn.Module",
        x: "Tensor",
        labels: "Tensor",
        attack: LinfAttack,
        generator: "torch.Generator",
    ) -> "Tensor":
        return x

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        from torch.nn.functional import cross_entropy

        return cross_entropy(model(x_adv), labels)
