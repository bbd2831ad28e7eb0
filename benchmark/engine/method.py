"""What an adversarial-training method is to the training loop."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from benchmark.data.info import LinfAttack
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Method(Protocol):
    """A frozen dataclass whose fields are hyperparameters. Images are (B, C, H, W) in [0,1].

    `version` is raised when numbers may change; `label` is what a table shows. `selects_by` says which
    accuracy on the selection images chooses the epoch: that under PGD-10, as in the paper, or the clean
    one, for networks that are not robust.
    """

    version: ClassVar[int]
    label: ClassVar[str]
    selects_by: ClassVar[Literal["robust", "clean"]] = "robust"

    def recipe(self, dataset: str) -> Recipe:
        """The published recipe for `dataset`, before a scale shortens it."""

    def inner(
        self,
        model: "nn.Module",
        x: "Tensor",
        labels: "Tensor",
        attack: LinfAttack,
        generator: "torch.Generator",
    ) -> "Tensor":
        """Craft the training examples for `x`; owns its BN mode and restores the model's."""

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        """The scalar loss that is minimised."""

    def hold(
        self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor", epoch: int
    ) -> AbstractContextManager[None]:
        """Context around loss, backward and optimiser step; `epoch` counts from 0."""
        return nullcontext()

    def after_step(self, model: "nn.Module", x: "Tensor") -> None:
        """Runs after each optimiser step, in training mode."""
        return
