"""One step of adversarial training with PGD-10: crafting, loss, backward pass, optimiser."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch

from baselines import METHODS
from benchmark.engine.folded_copy import trained
from benchmark.engine.pgd import gaussian_start, uniform_start
from benchmark.engine.precision import Precision
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import training_step
from conftest import Lane
from plain_attack import plain_pgd_at_step, plain_trades_step
from race import Race
from subjects import INFO, Subject, enter, in_precision, label, size, subject

IMAGES = {16: 128, 64: 64}
PLAIN = {"pgd-at": plain_pgd_at_step, "trades": plain_trades_step}
ROWS = {
    "trades": "AT step, attack in evaluation mode (TRADES)",
    "pgd-at": "AT step, attack in training mode (PGD-AT)",
}
ASKED = {("trades", 16): 3.5, ("trades", 64): 4.0, ("pgd-at", 16): 3.0, ("pgd-at", 64): 3.0}
ATTACK = Recipe().training_attack(INFO.threat)
CPU = torch.device("cpu")


def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """As the recipes have it, at a rate that leaves the weights where they are."""
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)


def plain_steps(on: Subject, name: str) -> Callable[[], float]:
    """A step of the plain network at every call; returns the loss."""
    model = copy.deepcopy(on.plain)
    own, generator = optimizer(model), torch.Generator().manual_seed(0)

    def step() -> float:
        if name == "pgd-at":
            start = uniform_start(on.x, ATTACK.eps, generator)
        else:
            start = gaussian_start(on.x, 0.001, generator)
        return PLAIN[name](model, on.x, on.labels, ATTACK, start, own)

    return step


def our_steps(on: Subject, name: str, precision: Precision) -> Callable[[], float]:
    """A step of the suite's at every call; returns the loss."""
    model, x = copy.deepcopy(on.ours), on.x_ours
    own, generator = optimizer(model), torch.Generator().manual_seed(0)

    def step() -> float:
        nonlocal network
        network = network or trained(model, CPU).train()
        method = METHODS[name]
        return float(training_step(network, x, on.labels, 0, method, ATTACK, own, generator))

    network: torch.nn.Module | None = None
    return in_precision(precision, step)


@functools.cache
def training(name: str, width: int) -> Race:
    """Plain against the suite's."""
    on = subject(width, IMAGES[width])
    asked, rounds = {"eager": ASKED[name, width]}, 3 if width == 16 else 2
    race = Race(ROWS[name], size(width, IMAGES[width]), asked=asked, rounds=rounds)
    race.variant("plain", plain_steps(on, name))
    enter(race, functools.partial(our_steps, on, name))

    def agree() -> str:
        plain, ours = plain_steps(on, name), our_steps(on, name, Precision())
        gap = max(abs(ours() / plain() - 1) for _ in range(2))
        assert gap < 0.02
        return f"{label()}: losses of two steps differ by {gap:.0e} of their size"

    race.check(agree)
    return race


@pytest.mark.parametrize("variant", ["plain", "eager", "compiled"])
@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("name", PLAIN)
def test_training_step(name: str, width: int, variant: str, lane: Lane) -> None:
    """One step."""
    lane(training(name, width), variant)
