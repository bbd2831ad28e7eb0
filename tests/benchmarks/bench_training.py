"""One step of adversarial training with PGD-10: crafting, loss, backward pass, optimiser."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from baselines import METHODS
from benchmark.engine.folded_copy import trained
from benchmark.engine.pgd import gaussian_start, uniform_start
from benchmark.engine.precision import Precision
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import training_step
from conftest import Lane
from plain_attack import plain_pgd_at_step, plain_trades_step
from race import Race
from subjects import INFO, Subject, enter, in_precision, in_their_order, label, size, subject

IMAGES = {16: 128, 64: 64}
CURVE = {16: 64, 64: 16}  # images of the short training
SHORT, RATE, SEEDS = 20, 0.005, range(3)  # its steps, rate and seeds
TINY = 1e-3  # a rate that leaves the weights where they are
PLAIN = {"pgd-at": plain_pgd_at_step, "trades": plain_trades_step}
ROWS = {
    "trades": "AT step, attack in evaluation mode (TRADES)",
    "pgd-at": "AT step, attack in training mode (PGD-AT)",
}
ASKED = {("trades", 16): 3.5, ("trades", 64): 4.0, ("pgd-at", 16): 3.0, ("pgd-at", 64): 3.0}
ATTACK = Recipe().training_attack(INFO.threat)
CPU = torch.device("cpu")


ALL = slice(None)
Step = Callable[..., float]
"""One step on the images with the indices given, on all of them without; its loss."""


def optimizer(model: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """As the recipes have it."""
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)


def plain_steps(on: Subject, name: str, rate: float = TINY, seed: int = 0) -> Step:
    """A step of the plain network at every call."""
    model = copy.deepcopy(on.plain)
    own, generator = optimizer(model, rate), torch.Generator().manual_seed(seed)

    def step(of: Tensor | slice = ALL) -> float:
        x = on.x[of]
        if name == "pgd-at":
            start = uniform_start(x, ATTACK.eps, generator)
        else:
            start = gaussian_start(x, 0.001, generator)
        return PLAIN[name](model, x, on.labels[of], ATTACK, start, own)

    return step


def our_steps(on: Subject, name: str, precision: Precision, rate: float = TINY, seed: int = 0) -> Step:
    """A step of the suite's at every call."""
    model, images = copy.deepcopy(on.ours), on.x_ours
    own, generator = optimizer(model, rate), torch.Generator().manual_seed(seed)

    def step(of: Tensor | slice = ALL) -> float:
        nonlocal network
        network = network or trained(model, CPU).train()
        x, labels = in_their_order(images[of]), on.labels[of]
        return float(training_step(network, x, labels, 0, METHODS[name], ATTACK, own, generator))

    network: torch.nn.Module | None = None
    return in_precision(precision, step)


def loss_curve(step: Step, images: int, seed: int) -> Tensor:
    """The losses of a short training on batches of half of the images, in an order of `seed`."""
    generator, losses = torch.Generator().manual_seed(seed), []
    for _ in range(SHORT // 2):
        order = torch.randperm(images, generator=generator)
        losses += [step(part) for part in order.chunk(2)]
    return torch.tensor(losses)


def loss_curves_agree(name: str, width: int) -> str:
    """Assert that the loss of short trainings is that of plain ones within the spread of their seeds.

    In TRADES the two sides are no nearer to each other than two seeds: its attack begins where the
    KL divergence is next to nothing, so that bf16 turns its first step into another direction.
    """
    images = CURVE[width]
    on = subject(width, images)
    plain, ours = (
        torch.stack([loss_curve(steps(seed), images, seed) for seed in SEEDS]).mean(1)
        for steps in (
            lambda seed: plain_steps(on, name, RATE, seed),
            lambda seed: our_steps(on, name, Precision(), RATE, seed),
        )
    )
    gap, spread = (ours.mean() - plain.mean()).abs(), plain.max() - plain.min()
    assert gap <= spread
    return (
        f"{label()}: mean loss of {len(SEEDS)} trainings of {SHORT} steps {ours.mean():.2f}, "
        f"plain {plain.mean():.2f}, its seeds {plain.min():.2f} to {plain.max():.2f}"
    )


@functools.cache
def training(name: str, width: int) -> Race:
    """Plain against the suite's."""
    on = subject(width, IMAGES[width])
    asked, rounds = {"eager": ASKED[name, width]}, 3 if width == 16 else 2
    race = Race(ROWS[name], size(width, IMAGES[width]), asked=asked, rounds=rounds)
    race.variant("plain", plain_steps(on, name))
    enter(race, functools.partial(our_steps, on, name))
    race.check(functools.partial(loss_curves_agree, name, width))
    return race


@pytest.mark.parametrize("variant", ["plain", "eager", "compiled"])
@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("name", PLAIN)
def test_training_step(name: str, width: int, variant: str, lane: Lane) -> None:
    """One step."""
    lane(training(name, width), variant)
