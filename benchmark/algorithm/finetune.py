"""Step 2 of RiFT: train the chosen modules on clean data (paper, Equation 8).

The loop is `benchmark.engine.training.fit`, with clean images in place of adversarial ones. Batch
normalisation is in training mode, so that every running statistic of the network moves to clean
batches although its parameters are frozen; the paper does not say, the released code does so
(Immortalise/RiFT, main.py). With `bn="frozen"` it is in evaluation mode and the statistics stay.
Of a chosen module all parameters are trained, as there: the classifier's bias too.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.algorithm.selection import Selector
from benchmark.data.info import LinfAttack
from benchmark.engine.method import Method
from benchmark.engine.recipes import FINETUNE_RECIPE, Recipe


@dataclass(frozen=True)
class CleanTraining(Method):
    """Cross-entropy on clean images; crafts nothing. `bn` is the mode of batch normalisation."""

    version: ClassVar[int] = 1
    label: ClassVar[str] = "clean"
    bn: Literal["training", "frozen"] = "training"

    def recipe(self, dataset: str) -> Recipe:
        return FINETUNE_RECIPE

    def inner(
        self,
        model: nn.Module,
        x: Tensor,
        labels: Tensor,
        attack: LinfAttack,
        generator: torch.Generator,
    ) -> Tensor:
        return x

    def outer(self, model: nn.Module, x: Tensor, x_adv: Tensor, labels: Tensor) -> Tensor:
        with nullcontext() if self.bn == "training" else batch_norm_frozen(model):
            return F.cross_entropy(model(x_adv), labels)


@contextmanager
def batch_norm_frozen(model: nn.Module) -> Iterator[None]:
    """Batch normalisation in evaluation mode inside the block: statistics are used, not updated."""
    moved = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    for module in moved:
        module.eval()
    try:
        yield
    finally:
        for module in moved:
            module.train()


def trainable_parameters(
    model: nn.Module, selector: Selector, modules: Sequence[str]
) -> set[str] | None:
    """Names of the parameters of `modules`; None for a selector that trains everything."""
    if selector.everything:
        return None
    return {
        f"{module}.{name}"
        for module in modules
        for name, _ in model.get_submodule(module).named_parameters()
    }
