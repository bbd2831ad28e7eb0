"""An adversarial-training method of one's own: FGSM-RS (Wong et al., ICLR 2020).

A method supplies pieces (benchmark/engine/method.py), here how examples are crafted and the loss; the
suite's one training loop does the rest: schedule, choice of the epoch, continuing what was killed.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark import LinfAttack, evaluate
from benchmark.data import load
from benchmark.engine.counting import pgd_count
from benchmark.engine.method import Method
from benchmark.engine.pgd import linf_pgd, uniform_start
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import fit
from benchmark.models import build


@dataclass(frozen=True)
class FgsmRs(Method):
    """One signed step of `step` * eps from a random start in the ball, projected back onto it."""

    version: ClassVar[int] = 1
    label: ClassVar[str] = "FGSM-RS"
    step: float = 1.25

    def recipe(self, dataset: str) -> Recipe:
        """One cycle, as in the paper's fast training; the length is of this example."""
        return Recipe(epochs=6, lr=0.2, schedule="one-cycle", select_last=2)

    def inner(
        self,
        model: nn.Module,
        x: Tensor,
        labels: Tensor,
        attack: LinfAttack,
        generator: torch.Generator,
    ) -> Tensor:
        """The examples of one step of training."""
        once = LinfAttack(attack.eps, self.step * attack.eps, steps=1)
        start = uniform_start(x, attack.eps, generator)
        return linf_pgd(model, x, labels, once, start, bn_training=True)

    def outer(self, model: nn.Module, x: Tensor, x_adv: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy at the adversarial images."""
        return cross_entropy(model(x_adv), labels)


def main() -> None:
    """Train a narrow ResNet10 on digits and report its accuracy, clean and under PGD-10."""
    digits, method = load("digits", Path()), FgsmRs()
    torch.manual_seed(0)
    model = build("resnet10-w16", digits.info)
    judged = digits.train.first(128)
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            model,
            digits.train,
            digits.info,
            method,
            method.recipe("digits"),
            seed=0,
            select=lambda trained: pgd_count(trained, judged, digits.info.threat, seed=0),
            checkpoint=Path(folder) / "training.safetensors",
            fingerprint="own-at-method",
        )
    print(f"{method.label}: epoch {fitted.best_epoch} of {len(fitted.epochs)} was kept")
    scores = evaluate(model, "digits", ["clean", "pgd10x3"], progress=False)
    clean, robust = 100 * scores["accuracy"]
    print(f"{clean:.2f} % of 500 test images, {robust:.2f} % under PGD-10")


if __name__ == "__main__":
    main()
