"""Interfaces: a `Method` supplies pieces to the training loop, an `OwnTuning` replaces it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from benchmark.data.info import DatasetInfo, LinfAttack
from benchmark.engine.recipes import Recipe
from benchmark.progress import Progress
from benchmark.records.records import Count

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from benchmark.data.images import Split


class Method(Protocol):
    """A frozen dataclass whose fields are hyperparameters. Images are (B, C, H, W) in [0,1].

    `version` is raised when numbers may change; `label` is what a table shows, `paper` who published
    the method and where. `selects_by` says which accuracy on the selection images chooses the epoch:
    that under PGD-10, as in the paper, or the clean one, for networks that are not robust.
    """

    version: ClassVar[int]
    label: ClassVar[str]
    paper: ClassVar[tuple[str, str] | None] = None
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


class CleanMethod(Method, Protocol):
    """Cross-entropy at the images as they are; nothing is crafted."""

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


@dataclass(frozen=True)
class TuningTask:
    """What an `OwnTuning` is told beside model, images and recipe.

    `info` has the augmentation and the threat model, `seed` is where every random draw begins, and
    `score(model)` counts right answers on the images that choose epochs and alpha*.
    """

    info: DatasetInfo
    seed: int
    score: "Callable[[nn.Module], Count]"
    progress: Progress


class OwnTuning(ABC):
    """A fine-tuning with a loop, an optimiser or an average of its own.

    A frozen dataclass whose fields are hyperparameters and stand in the spec; `version` is raised when
    numbers may change.
    """

    version: ClassVar[int]

    @abstractmethod
    def tune(
        self, model: "nn.Module", images: "Split", recipe: Recipe, task: TuningTask
    ) -> "Mapping[str, Tensor]":
        """Return the state dict of `model` after fine-tuning on `images`.

        `model` has the weights of the base and is in evaluation mode; only the parameters that were
        selected ask for gradients, and no other may differ at the end. Statistics of batch
        normalisation may.
        """
