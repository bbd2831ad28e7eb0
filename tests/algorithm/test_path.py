"""Accuracies on the way from the base to the fine-tuned weights, against the networks written out."""

from dataclasses import replace

import pytest
import torch

from benchmark.data.images import Dataset
from benchmark.data.info import DIGITS
from benchmark.engine.recipes import released_step
from benchmark.engine.weights import Weights
from benchmark.plans.running import Run
from benchmark.records.cells import Cell
from tiny_runs import run_of

BASE = Cell("mini", "digits", "resnet10-w8", "pgd-at", "none", 0)
GRID = (0.0, 0.25, 1.0)


@pytest.fixture
def ends(model):
    """Weights that get most digits right, and others that get few."""
    start = Weights.of(model.state_dict())
    moved = {name: value.clone() for name, value in start.state.items()}
    generator = torch.Generator().manual_seed(1)
    for name, value in moved.items():
        if name.endswith("weight"):
            value.add_(value.std() * torch.randn(value.shape, generator=generator))
    return start, Weights.of(moved)


@pytest.fixture
def path(store, digits, ends, make_network, monkeypatch):
    """A function that gives the path of a fine-tuning between both ends, on 50 of 60 images."""
    some = Dataset(digits.info, digits.train.first(64), digits.test.first(60))
    monkeypatch.setattr(Run, "bare", lambda _: make_network())
    return lambda name: run_of(replace(BASE, finetune=name), some, store).path(*ends, GRID)


@pytest.mark.parametrize(
    ("name", "attack"),
    [("last-layer", DIGITS.threat), ("last-layer-official-code", released_step(DIGITS.threat))],
)
@pytest.mark.parametrize("order", [GRID, GRID[::-1]])
def test_counts_are_those_of_the_network_at_alpha(
    path, ends, digits, make_network, plain_pgd, name, attack, order
):
    """Clean, and under one attack of the protocol from the starts of the base model's first run, on the
    images that choose; in whatever order the points are asked for."""
    way, judged, seed = path(name), digits.test.first(50), BASE.seed_for("pgd10x3", 0)
    assert (way.attack, way.seed) == (attack, seed)
    cleans = {alpha: way.clean(alpha) for alpha in GRID}
    robusts = {alpha: way.robust(alpha) for alpha in order}
    start, end = (each.state for each in ends)
    for alpha in GRID:
        network = make_network()
        at = {n: (1 - alpha) * x + alpha * end[n] if x.is_floating_point() else x
              for n, x in start.items()}  # fmt: skip
        network.load_state_dict(at)
        shown = judged.batch(0, 50)[0], plain_pgd(network, judged, attack, seed)
        with torch.no_grad():
            right = [int((network(x).argmax(1) == judged.labels).sum()) for x in shown]
        assert (cleans[alpha].k, cleans[alpha].n, robusts[alpha].n) == (right[0], 50, 50)
        assert abs(robusts[alpha].k - right[1]) <= 1  # rounding may turn the sign of a gradient
    assert cleans[0.0].k > cleans[1.0].k + 10
