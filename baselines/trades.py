"""TRADES (Zhang et al., ICML 2019): clean cross-entropy plus a divergence to the attacked output."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.data.info import LinfAttack
from benchmark.engine.method import Method
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Trades(Method):
    """mean CE(f(x), y) + beta * mean_i KL(p(x_i) || p(x'_i)), x' the maximiser of that KL.

    As yaodongyu/TRADES, trades.py: the clean probabilities are the target of the KL and are not
    detached; the KL is summed over classes and averaged over the batch; x' starts from
    x + 0.001 N(0, 1) and is crafted in evaluation mode. The paper writes a general loss L(f(x), f(x'))
    with f(x') in the place of the label; the code's KL, with f(x) there, is taken. Training-mode passes
    are clean, attacked, clean, in this order: the authors compute the clean probabilities of the KL by
    a second pass, which has the gradient of the first but moves the BN statistics again; here the
    second pass is made for the statistics alone, without gradient.

    Recipe, train_trades_cifar10.py: 76 epochs from 0.1, divided by 10 at epoch 75 counted from 1,
    which leaves 74 epochs before it; weight decay 2e-4, 10 steps of 0.007 in a ball of 0.031, hence a
    path of 2.258 eps; beta 6. Taken from RiFT instead: eps (8/255, Section 5.1), normalisation and
    padding of the dataset (Immortalise/RiFT, main.py; TRADES has zero padding and none of the former).
    The authors name no other numbers for CIFAR-100. One difference: the start is clipped to [0,1],
    theirs only after the first step.
    """

    type_name: ClassVar[str] = "trades"
    version: ClassVar[int] = 3  # 2: crafts on a folded copy; 3: epochs counted from 1
    label: ClassVar[str] = "TRADES"
    paper: ClassVar[tuple[str, str] | None] = ("Zhang et al., 2019", "https://arxiv.org/abs/1901.08573")
    beta: float = 6.0
    start_std: float = 0.001

    def recipe(self, dataset: str) -> Recipe:
        return Recipe(
            epochs=76,
            milestones=(74,),
            weight_decay=2e-4,
            attack_path=10 * 0.007 / 0.031,
            select_last=76,
        )

    def inner(
        self,
        model: "nn.Module",
        x: "Tensor",
        labels: "Tensor",
        attack: LinfAttack,
        generator: "torch.Generator",
    ) -> "Tensor":
        from benchmark.engine.pgd import evaluated, gaussian_start, linf_pgd

        target = evaluated(model, x).log_softmax(1)
        start = gaussian_start(x, self.start_std, generator)
        return linf_pgd(
            model, x, labels, attack, start, objective=lambda logits, _: summed_kl(target, logits)
        )

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        import torch

        logits, logits_adv = model(x), model(x_adv)
        with torch.no_grad():
            model(x)
        return trades_loss(logits, logits_adv, labels, self.beta)


def trades_loss(logits: "Tensor", logits_adv: "Tensor", labels: "Tensor", beta: float) -> "Tensor":
    """The loss of `Trades` from clean and attacked logits (B, K); scalar."""
    from torch.nn.functional import cross_entropy

    divergence = summed_kl(logits.log_softmax(1), logits_adv) / len(logits)
    return cross_entropy(logits, labels) + beta * divergence


def summed_kl(target: "Tensor", logits: "Tensor") -> "Tensor":
    """Sum over the batch of KL(exp(target) || softmax(logits)); `target` log probabilities (B, K)."""
    from torch.nn.functional import kl_div

    return kl_div(logits.log_softmax(1), target, reduction="sum", log_target=True)
