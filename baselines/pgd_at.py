"""PGD adversarial training (Madry et al., 2018; Equation 1 of the RiFT paper)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.data.info import LinfAttack
from benchmark.engine.method import Method
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class PgdAt(Method):
    """min over weights of the mean cross-entropy at x_adv = PGD-10(x), uniform random start.

    BN is in training mode while crafting (RiFT, Appendix C.2), so every attack pass updates the
    running statistics. `clean_passes` forward passes on the clean batch follow each optimiser step,
    also in training mode: the AT codes that the paper builds on make such a pass to log clean
    accuracy, and it is the last thing their BN statistics see (locuslab/robust_overfitting,
    train_cifar.py, one pass after the step; P2333/Bag-of-Tricks-for-AT adds one before it). Leaving
    it out would change the stored statistics, and with them both accuracies. RiFT's own AT code was
    not released; one pass after the step is taken here. The same codes make an eleventh attack pass
    to pick among restarts, of which there is one, so that clean batches weigh 13.4 % there and 13.9 %
    here in the running statistics. Recipe: 110 epochs as the paper states.
    """

    type_name: ClassVar[str] = "pgd-at"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "AT"
    paper: ClassVar[tuple[str, str] | None] = ("Madry et al., 2018", "https://arxiv.org/abs/1706.06083")
    clean_passes: int = 1

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
        from benchmark.engine.pgd import linf_pgd, uniform_start

        start = uniform_start(x, attack.eps, generator)
        return linf_pgd(model, x, labels, attack, start, bn_training=True)

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        from torch.nn.functional import cross_entropy

        return cross_entropy(model(x_adv), labels)

    def after_step(self, model: "nn.Module", x: "Tensor") -> None:
        import torch

        with torch.no_grad():
            for _ in range(self.clean_passes):
                model(x)
