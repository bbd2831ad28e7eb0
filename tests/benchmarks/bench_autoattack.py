"""The four attacks of AutoAttack on images that survive, with few of their iterations.

The radius is so small that no image breaks: every attack then does all its work. pyautoattack runs its
own loop on the network as it is, in fp32 and contiguous memory.
"""

import copy
import functools
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack as Upstream

from benchmark.engine.precision import Precision
from benchmark.evaluation.autoattack import PARAMETERS
from benchmark.evaluation.standard_attacks import attack_survivors
from conftest import Lane
from race import Race
from subjects import enter, in_precision, label, size, subject

IMAGES = {16: 16, 64: 4}
EPS = 0.1 / 255
SHARE = {"n_iter": 25, "n_queries": 50}  # what the numbers of iterations are divided by
OBJECTS = {"apgd-ce": "apgd", "apgd-t": "apgd_targeted", "fab-t": "fab", "square": "square"}
SHORT = {
    attack: {
        name: value // SHARE.get(name, 1) if name in SHARE else value for name, value in own.items()
    }
    for attack, own in PARAMETERS.items()
}


@functools.cache
def attacks(width: int) -> Race:
    """Upstream's run against the suite's."""
    on = subject(width, IMAGES[width])

    def upstream() -> np.ndarray:
        runner = Upstream(on.plain, eps=EPS, norm="Linf", seed=0)
        for attack, name in OBJECTS.items():
            for parameter in SHARE.keys() & SHORT[attack].keys():
                setattr(getattr(runner, name), parameter, SHORT[attack][parameter])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x_adv, _ = runner.run_standard_evaluation(on.x, on.labels, batch_size=len(on.x))
        with torch.no_grad():
            return (on.plain(x_adv).argmax(1) == on.labels).numpy()

    def ours(chosen: Precision) -> Callable[[], np.ndarray]:
        model = copy.deepcopy(on.ours)

        def run() -> np.ndarray:
            survivors = np.ones(len(on.x), dtype=bool)
            for attack, parameters in SHORT.items():
                survivors = attack_survivors(
                    model, on.x, on.labels, survivors, attack, parameters, EPS, 0
                )["survivors"]
            return survivors

        return in_precision(chosen, run)

    def agree() -> str:
        differ = int((upstream() != ours(Precision())()).sum())
        assert differ <= 1
        return f"{label()}: {differ} of {len(on.x)} robust bits differ"

    race = Race("AutoAttack", size(width, IMAGES[width]), asked={"eager": 3}, rounds=3)
    race.variant("plain", upstream)
    enter(race, ours)
    race.check(agree)
    return race


@pytest.mark.parametrize("variant", ["plain", "eager", "compiled"])
@pytest.mark.parametrize("width", [16, 64])
def test_autoattack(width: int, variant: str, lane: Lane) -> None:
    """All four attacks."""
    lane(attacks(width), variant)
