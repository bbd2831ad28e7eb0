"""A post-hoc method of one's own that changes the forward pass, attacked adaptively.

Logits are rounded. That changes few answers and leaves no gradient, so that PGD finds little; a
stand-in with the same logits, through which gradients pass, gives the attack its sight back:

    python examples/own_forward.py [FOLDER]

FOLDER is where `own_model.py` left its network; without one it is trained here. The file is a plug-in,
too: `python -m benchmark posthoc --plugin examples/own_forward.py --protocol rift,rounded`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark import add, apply_method, evaluate, load_checkpoint, load_plugin
from benchmark.algorithm.selection import Untouched
from benchmark.algorithm.tunings import Tuning
from benchmark.engine.forward import ForwardMethod, Numbers
from benchmark.models.around import Around


class Rounded(Around):
    """Logits of `network` in multiples of `step`; `soft` lets their gradient pass."""

    step: Tensor

    def __init__(self, network: nn.Module, soft: bool = False) -> None:
        super().__init__(network)
        self.soft = soft
        self.register_buffer("step", torch.ones(()))  # a number: chosen, filed, part of the identity

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of x (B, C, H, W) in [0,1]."""
        logits = self.network(x)
        rounded = (logits / self.step).round() * self.step
        return rounded.detach() + (logits - logits.detach()) if self.soft else rounded


@dataclass(frozen=True)
class Rounding(ForwardMethod):
    """The coarsest of `steps` that keeps clean accuracy, by the protocol's rule."""

    type_name: ClassVar[str] = "rounded"
    version: ClassVar[int] = 1  # raise it when numbers may change
    steps: tuple[float, ...] = (0.5, 0.25, 0.125)

    @property
    def grid(self) -> Sequence[Numbers]:
        """What the rule chooses among, by the adaptive robust accuracy."""
        return [{"step": step} for step in self.steps]

    def build(self, network: nn.Module, partner: nn.Module | None) -> nn.Module:
        """The module, whose state dict is filed with the fields above."""
        return Rounded(network)

    def stand_in(self, module: nn.Module) -> nn.Module:
        """The same logits bit by bit, which the first pass checks, and a gradient."""
        soft = Rounded(module.network, soft=True)
        soft.step = module.step
        return soft.eval()


def main(folder: str | None = None) -> None:
    """Round the logits of a robust network, and attack it by its own gradient and adaptively."""
    from own_model import ATTACK, small_resnet18, three_splits, trained_adversarially

    load_plugin(__file__)
    train, judge, test = three_splits()
    if folder:
        model = load_checkpoint(Path(folder) / "digits-at.safetensors", small_resnet18())
    else:
        torch.manual_seed(0)
        model = trained_adversarially(small_resnet18(), train)
    result = apply_method(model, "rounded", train, judge, attack=ATTACK, progress=False)
    print(f"rounded to multiples of {result.numbers['step']:g}")
    names, some = ["clean", "pgd10x3", "pgd10x3-adaptive"], tuple(part[:100] for part in test)
    for name, network in (("as trained", model), ("rounded", result.attacked)):
        scores = evaluate(network, some, names, attack=ATTACK, progress=False)
        clean, alone, adaptive = 100 * scores["accuracy"]
        print(f"{name}: {clean:.2f} % clean, {alone:.2f} % under PGD-10, {adaptive:.2f} % adaptively")


if __name__ == "__main__":
    main(*sys.argv[1:])
else:  # imported by --plugin or load_plugin
    add.tuning(Tuning("rounded", "rounded logits", Untouched(), forward=Rounding()))
