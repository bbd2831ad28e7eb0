"""TRADES-AWP (Wu et al., NeurIPS 2020): AWP around TRADES, as in the authors' CIFAR-10 checkpoint."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from baselines.awp import Awp
from baselines.trades import Trades, trades_loss
from benchmark.engine.method import Method
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class AttackedFirst(Trades):
    """TRADES with training-mode passes in the order attacked, clean, clean.

    The loss is that of TRADES; only the running statistics of batch normalisation tell the orders
    apart (csdongxian/AWP, trades_AWP/train_trades_cifar.py).
    """

    type_name: ClassVar[str] = "trades-attacked-first"
    version: ClassVar[int] = 1

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        import torch

        logits_adv = model(x_adv)
        with torch.no_grad():
            model(x)
        return trades_loss(model(x), logits_adv, labels, self.beta)


@dataclass(frozen=True)
class TradesAwp(Awp):
    """AWP with gamma 0.005 after 9 epochs of plain TRADES (csdongxian/AWP, trades_AWP/utils_awp.py and
    train_trades_cifar.py).

    Weight decay and learning rates are those of AT-AWP, the attack that of TRADES with 10 steps of
    2/255. AWP starts at epoch 10, and the learning rate is divided at 100 and 150, which this script,
    unlike that of AT-AWP, counts from 1. No table of the RiFT paper has this method: its AWP is around
    PGD-AT. It is here under its own name because RobustBench's `Wu2020Adversarial` for CIFAR-10 is this
    one.
    """

    type_name: ClassVar[str] = "trades-awp"
    version: ClassVar[int] = 2  # 2: epochs counted from 1
    label: ClassVar[str] = "TRADES-AWP"
    method: Method = field(default_factory=AttackedFirst)
    gamma: float = 0.005
    warmup: int = 9

    def recipe(self, dataset: str) -> Recipe:
        return Recipe(epochs=200, milestones=(99, 149), select_last=200)
