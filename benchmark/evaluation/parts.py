"""The answers of one module to the examples of every part of an adaptive attack."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.adaptive import Attacked
from benchmark.engine.counting import adversarial_batch, answers
from benchmark.evaluation.adaptive import AGAIN, PARTS, TO_BASE


def answers_by_part(
    attacked: Attacked, images: Split, start: int, stop: int, attack: LinfAttack, seeds: Sequence[int]
) -> dict[str, NDArray[np.int8]]:
    """Answers to images `start` to `stop` by part, `seeds` being of the parts' starts; int8 (B,) each.

    What is the same attack twice, as on a base network, is made once.
    """
    x, _ = images.batch(start, stop)
    attacked.check(x)
    runs = [*zip(PARTS, attacked.sources, seeds, strict=True)]
    runs += [*zip(AGAIN, (attacked.model,) * 2, seeds[1:], strict=True)]
    known: dict[tuple[nn.Module, int], NDArray[np.int8]] = {}
    found = {}
    for name, source, seed in runs:
        if (source, seed) not in known:
            x_adv, labels = adversarial_batch(source, images, start, stop, attack, seed)
            known[source, seed] = answers(attacked.model, x_adv, labels).cpu().numpy()
            if name == PARTS[1]:
                found[TO_BASE] = answers(attacked.base, x_adv, labels).cpu().numpy()
        found[name] = known[source, seed]
    return found
