"""Step 2 of RiFT: train the chosen modules on clean data (paper, Equation 8).

The loop is `benchmark.engine.training.fit`, with clean images in place of adversarial ones. Batch
normalisation is in training mode, so that every running statistic of the network moves to clean
batches although its parameters are frozen; the paper does not say, the released code does so
(Immortalise/RiFT, main.py). With `bn="frozen"` it is in evaluation mode and the statistics stay.
Of a chosen module all parameters are trained, as there: the classifier's bias too. torch is imported
where it is needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.algorithm.selection import Selector
from benchmark.engine.method import CleanMethod
from benchmark.engine.recipes import FINETUNE_RECIPE, Recipe
from benchmark.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class CleanTraining(CleanMethod):
    """Cross-entropy on clean images. `bn` is the mode of batch normalisation."""

    version: ClassVar[int] = 1
    label: ClassVar[str] = "clean"
    bn: Literal["training", "frozen"] = "training"

    def recipe(self, dataset: str) -> Recipe:
        return FINETUNE_RECIPE

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        with nullcontext() if self.bn == "training" else batch_norm_frozen(model):
            return super().outer(model, x, x_adv, labels)


@contextmanager
def batch_norm_frozen(model: "nn.Module") -> Iterator[None]:
    """Batch normalisation in evaluation mode inside the block: statistics are used, not updated."""
    from torch.nn.modules.batchnorm import _BatchNorm

    moved = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    for module in moved:
        module.eval()
    try:
        yield
    finally:
        for module in moved:
            module.train()


def trainable_parameters(
    model: "nn.Module", selector: Selector, chosen: Sequence[str]
) -> set[str] | None:
    """Names of the parameters in `chosen`, modules, blocks or parameters; None for a selector that
    trains everything. Raises `UserError` for a name that has none."""
    if selector.everything:
        return None
    first = {id(parameter): name for name, parameter in model.named_parameters()}  # of tied ones
    every = {n: first[id(p)] for n, p in model.named_parameters(remove_duplicate=False)}
    own = {
        each: {known for n, known in every.items() if n == each or n.startswith(f"{each}.")}
        for each in chosen
    }
    if empty := [each for each, names in own.items() if not names]:
        raise UserError(
            f"'{empty[0]}' was chosen to be trained, but is neither a parameter of the model nor a "
            "module with any"
        )
    return {name for names in own.values() for name in names}
