"""A model as an adaptive attack sees it: through itself, through a stand-in, and from the base network.

Every model meets the same number of random starts: without a stand-in the model itself is attacked a
second time, and a base network, which gets no transferred examples, a third time.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.counting import RIGHT, adversarial_batch, answers, journaled_batches
from benchmark.engine.pgd import training_mode
from benchmark.errors import UserError
from benchmark.records.store import Arrays, Journal

SOURCES = 3
"""What an adaptive attack crafts examples on: the module, its stand-in, the network it started from."""


class Attacked(nn.Module):
    """`model`, the stand-in that gives its gradients (None: itself), and the network it was made from
    (None: itself). Logits are the model's."""

    def __init__(self, model: nn.Module, stand_in: nn.Module | None, base: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.stand_in = model if stand_in is None else stand_in
        self.base = model if base is None else base

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of x (B, C, H, W) in [0,1]."""
        logits: Tensor = self.model(x)
        return logits

    @property
    def sources(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        """What examples are crafted on, in the order of random starts."""
        return self.model, self.stand_in, self.base

    @classmethod
    def of(cls, model: nn.Module) -> "Attacked":
        """`model` as it is, or as a network that nothing else is known of."""
        return model if isinstance(model, cls) else cls(model, None, None)

    @torch.no_grad()
    def check(self, x: Tensor) -> None:
        """Raise `UserError` unless the stand-in answers x (B, C, H, W) by the model's very logits."""
        if self.stand_in is self.model:
            return
        with training_mode(self, False):
            pair = self.model(x), self.stand_in(x)
        if not torch.equal(*pair):
            moved = int((pair[0] != pair[1]).any(1).sum())
            raise UserError(
                f"the stand-in of {type(self.model).__name__} has other logits than the module for "
                f"{moved} of {len(x)} images; only its gradient may differ"
            )


class WorstCase:
    """The adaptive answers of one model after another to `images`, for the choice between them.

    `base` is what all of them started from; its examples are crafted once. An image that falls to them
    is not attacked again. `seeds` are of the starts, in the order of `Attacked.sources`.
    """

    def __init__(
        self, base: nn.Module, images: Split, attack: LinfAttack, seeds: tuple[int, ...]
    ) -> None:
        self.base, self.images, self.attack, self.seeds = base, images, attack, seeds
        self._transferred: dict[int, Tensor] = {}

    def answers(self, attacked: Attacked, journal: Journal, name: str) -> NDArray[np.int8]:
        """The answer to every image under the first part that it falls to; int8 (N,).

        Finished batches are read from `journal`.
        """

        def attack(start: int, stop: int) -> Arrays:
            return {"answers": self._batch(attacked, start, stop).numpy()}

        return journaled_batches(self.images, journal, f"answers-{name}", attack)["answers"]

    def _batch(self, attacked: Attacked, start: int, stop: int) -> Tensor:
        x, labels = self.images.batch(start, stop)
        attacked.check(x)
        worst = answers(attacked.model, self._from_base(start, stop), labels).cpu()
        for source, seed in zip(attacked.sources[:2], self.seeds[:2], strict=True):
            alive = worst == RIGHT
            if not bool(alive.any()):
                break
            x_adv, _ = adversarial_batch(
                source, self.images, start, stop, self.attack, seed, only=alive
            )
            worst[alive] = answers(attacked.model, x_adv, labels[alive.to(labels.device)]).cpu()
        return worst

    def _from_base(self, start: int, stop: int) -> Tensor:
        if start not in self._transferred:
            self._transferred[start], _ = adversarial_batch(
                self.base, self.images, start, stop, self.attack, self.seeds[2]
            )
        return self._transferred[start]
