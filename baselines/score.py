"""SCORE (Pang et al., ICML 2022): squared errors between probabilities in place of divergences."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.data.info import LinfAttack
from benchmark.engine.method import Method
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Score(Method):
    """mean_i relu(D(p(x_i), y_i) + beta * D(p(x'_i), p(x_i)) - bound), D(a, b) = sum_k (a_k - b_k)^2.

    SCORE within TRADES, as the RiFT paper uses it (Appendix C.2), without generated data: P2333/SCORE,
    without_DDPM/train_cifar.py. `bound` is the D between a label and its version smoothed by
    `smoothing`: s^2 + s^2 / (K - 1) for K classes (0.1000 for 10, 0.0909 for 100 at s = 0.3).
    x' maximises D to the detached clean probabilities from x + 0.001 N(0, 1) in evaluation mode; in
    the loss nothing is detached. Training-mode passes: attacked, then clean.

    Recipe, README and arguments of that script: 110 epochs from 0.05, divided by 10 at 100 and 105,
    weight decay 5e-4, beta 6, 10 steps of 2/255, the same for CIFAR-100. The script came after a
    question of RiFT's first author, whose own version did not clip; which of the two made Table 2 is
    not known, the published one is taken. Theirs is a PreActResNet18 with zero padding, here RiFT's
    ResNet18 and the padding of the dataset (Immortalise/RiFT, main.py).
    """

    type_name: ClassVar[str] = "score"
    version: ClassVar[int] = 2  # 2: crafts on a folded copy
    label: ClassVar[str] = "SCORE"
    paper: ClassVar[tuple[str, str] | None] = ("Pang et al., 2022", "https://arxiv.org/abs/2202.10103")
    beta: float = 6.0
    smoothing: float = 0.3
    start_std: float = 0.001

    def recipe(self, dataset: str) -> Recipe:
        return Recipe(lr=0.05)

    def inner(
        self,
        model: "nn.Module",
        x: "Tensor",
        labels: "Tensor",
        attack: LinfAttack,
        generator: "torch.Generator",
    ) -> "Tensor":
        from benchmark.engine.pgd import evaluated, gaussian_start, linf_pgd

        target = evaluated(model, x).softmax(1)
        start = gaussian_start(x, self.start_std, generator)
        return linf_pgd(
            model,
            x,
            labels,
            attack,
            start,
            objective=lambda logits, _: squared_error(logits.softmax(1), target).sum(),
        )

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        from torch.nn.functional import one_hot

        p_adv, p = model(x_adv).softmax(1), model(x).softmax(1)
        classes = p.shape[1]
        fit = squared_error(p, one_hot(labels, classes).to(p.dtype))
        robust = squared_error(p_adv, p)
        return (fit + self.beta * robust - self.bound(classes)).relu().mean()

    def bound(self, classes: int) -> float:
        """The squared error that label smoothing by `smoothing` over `classes` classes makes."""
        return self.smoothing**2 + self.smoothing**2 / (classes - 1)


def squared_error(a: "Tensor", b: "Tensor") -> "Tensor":
    """Squared distance of the rows of two (B, K) tensors; (B,)."""
    return (a - b).square().sum(1)
