"""Adaptive attacks: of a base network, and of one that hides its gradient."""

import copy
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from benchmark.api import load_checkpoint
from benchmark.data import load
from benchmark.data.images import Dataset
from benchmark.engine import counting
from benchmark.engine.adaptive import Attacked, WorstCase
from benchmark.engine.counting import run_seed
from benchmark.errors import UserError
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.adaptive import AGAIN, PARTS, TO_BASE, masked
from benchmark.evaluation.margins import surer_where_right
from benchmark.models import build
from benchmark.posthoc.mean_sparse import MeanSparse
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.records.store import Journal

BASE = Cell("mini", "digits", "resnet10-w8", "pgd-at", "none", 0)


class Hidden(nn.Module):
    """Logits of a network, whose gradient by the pixels is zero."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).detach() + (0 * x).sum()


@pytest.mark.parametrize("name", ["pgd10x3-adaptive", "autoattack-adaptive"])
def test_notes_say_what_else_is_attacked(name, digits):
    """A column of theirs is not described as that of the plain attack."""
    known = evaluation(name)
    assert known.note(digits.info).startswith(f"{known.label} is ")
    assert "stand-in and from the base" in known.note(digits.info)
    assert "from the base network" in known.summary


@pytest.fixture(scope="module")
def network(digits):
    """A network that gets most digits right and few under attack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = build("resnet10-w8", digits.info)
        optimizer = torch.optim.SGD(made.parameters(), 0.1, 0.9)
        x, labels = digits.train.batch(0, 512)
        for _ in range(25):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(made(x), labels).backward()
            optimizer.step()
    return made.eval()


@pytest.fixture(scope="module")
def data(digits):
    """Forty test images."""
    some = digits.test.first(40)
    return Dataset(digits.info, some, some)


@pytest.fixture
def of(data, tmp_path):
    """A function that evaluates a model: the outcome."""

    def outcome(name, model):
        journal = Journal(tmp_path / f"{name}-{id(model)}", name)
        return evaluation(name).run(model, data, BASE, journal, silent)

    return outcome


def test_of_a_base_network(of, network):
    """The three parts are PGD's three runs, nothing is masked, the value is their worst per image."""
    plain, adaptive = of("pgd10x3", network), of("pgd10x3-adaptive", network)
    for run, part in enumerate(PARTS):
        assert (plain.bits[f"run{run}"] == adaptive.bits[part]).all()
    assert adaptive.value == plain.parts["per-image-worst"] == adaptive.parts["per-image-worst"]
    assert (adaptive.bits[TO_BASE] == adaptive.bits["stand-in"]).all()
    assert not masked(adaptive.bits).any()


def test_a_hidden_gradient_is_found(of, network):
    """Through itself nothing falls but what is near; stand-in and base find what they find of the
    network, and that is counted as masked."""
    bare = of("pgd10x3-adaptive", network)
    seen = of("pgd10x3-adaptive", Attacked(Hidden(network), network, network))
    alone = of("pgd10x3", Hidden(network))
    assert alone.value.k > bare.value.k + 10
    for part in ("stand-in", "transfer"):
        assert (seen.bits[part] == bare.bits[part]).all()
    assert (seen.bits["module"] == alone.bits["run0"]).all()
    assert seen.value.k <= min(seen.parts[part].k for part in PARTS)
    assert masked(seen.bits).mean() > 0.2
    assert evaluation("pgd10x3-adaptive").per_image(seen.bits).sum() == seen.value.k


def test_masked_points_by_hand():
    """What another part finds is held against what as many starts through the module find; right is
    what survives the first three."""
    rows = {  # module, stand-in, transfer, again, thrice
        (1, 1, 1, 1, 1): 0,
        (1, 0, 1, 1, 1): 1,
        (1, 1, 0, 1, 1): 1,
        (1, 0, 0, 0, 1): 0,
        (1, 1, 1, 1, 0): -1,
        (0, 0, 0, 0, 0): 0,
        (0, 1, 1, 1, 1): 0,
    }
    arrays = np.array(list(rows), dtype=bool).T
    bits = dict(zip((*PARTS, *AGAIN), arrays, strict=True))
    assert masked(bits).tolist() == list(rows.values())
    survives = evaluation("pgd10x3-adaptive").per_image(bits)
    assert survives.tolist() == [all(row[:3]) for row in rows]


def test_its_cost_is_that_of_its_attacks(of, network, data, monkeypatch):
    """Three on a base network, four where only the base is another, five with a stand-in, too."""
    attacks, crafted = [], counting.adversarial_batch
    monkeypatch.setattr(counting, "adversarial_batch", lambda *on: attacks.append(on) or crafted(*on))
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    models = network, Attacked(network, None, other), Attacked(Hidden(network), network, other)
    for model, many in zip(models, (3, 7, 12), strict=True):
        of("pgd10x3-adaptive", model)
        assert len(attacks) == many
    known, attack = evaluation("pgd10x3-adaptive"), data.info.threat
    assert known.answers(3) * known.passes(data.info) == len(attacks) * attack.passes


def test_margins(of, network, data):
    """Right answers are those of PGD's first run and of the clean images; half of all are sure, those
    whose probabilities lie furthest apart."""
    outcome, plain = of("margins", network), of("pgd10x3", network)
    assert (outcome.bits["attacked"] == plain.bits["run0"]).all()
    assert outcome.value.k == plain.bits["run0"].sum() == outcome.parts["attacked"].k
    x, labels = data.test.batch(0, 40)
    with torch.no_grad():
        p = np.sort(network(x).double().softmax(1).numpy(), 1)
        assert (outcome.bits["clean"] == (network(x).argmax(1) == labels).numpy()).all()
    order = np.argsort(p[:, -1] - p[:, -2])
    assert set(np.flatnonzero(outcome.bits["clean-sure"])) == set(order[20:])
    assert outcome.bits["attacked-sure"].sum() == 20


def test_margins_on_the_median_are_not_sure(of):
    """Where all margins are alike a network is sure of nothing, nor where it has no finite answer."""

    class Alike(nn.Module):
        def forward(self, x):
            bright = x.mean((1, 2, 3)) > 0.35
            logits = torch.eye(10)[0] + 0 * x.mean((1, 2, 3))[:, None]
            return logits.masked_fill(bright[:, None], torch.nan)

    outcome = of("margins", Alike())
    assert 0 < outcome.parts["not-finite"].k < 20
    assert not any(outcome.bits[name].any() for name in ("clean-sure", "attacked-sure"))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2))
def test_surer_where_right(pairs):
    """The mean is the difference of two shares, the spread that of two proportions."""
    is_right, sure = np.array(pairs).T
    assume(is_right.any() and not is_right.all())
    values = surer_where_right(is_right, sure)
    a, b = sure[is_right].mean(), sure[~is_right].mean()
    assert np.isclose(values.mean(), a - b)
    variance = a * (1 - a) / is_right.sum() + b * (1 - b) / (~is_right).sum()
    assert np.isclose(values.var() / len(pairs), variance)


@pytest.fixture
def choosing(data, tmp_path):
    """A function that gives the answers by which an attacked model is chosen, made of a base."""
    seeds = tuple(run_seed(BASE, run) for run in range(3))

    def answers(attacked, base):
        worst = WorstCase(base, data.test, data.info.threat, seeds)
        return worst.answers(attacked, Journal(tmp_path / "some", "x"), "a")

    return answers


def test_a_choice_attacks_what_is_left(network, of, choosing):
    """Its answers are those of all parts on all images, though what falls is attacked no more."""
    attacked = Attacked(Hidden(network), network, network)
    found, every = choosing(attacked, network), of("pgd10x3-adaptive", attacked)
    assert ((found > 0) == evaluation("pgd10x3-adaptive").per_image(every.bits)).all()
    assert (choosing(attacked, None) == found).all()  # nothing is left to be made


def test_a_choice_attacks_through_every_part(network, of, choosing):
    """Where the base network is another, the stand-in finds what neither it nor the module does."""
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    attacked = Attacked(Hidden(network), network, other)
    found, every = choosing(attacked, other) > 0, of("pgd10x3-adaptive", attacked)
    assert (found == evaluation("pgd10x3-adaptive").per_image(every.bits)).all()
    without = every.bits["module"] & every.bits["transfer"]
    assert found.sum() < without.sum()


def test_a_wrong_stand_in_is_refused(of, network):
    """On the first pass over the images, and with how many it moves."""
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(UserError, match="other logits than the module for 40 of 40 images"):
        of("pgd10x3-adaptive", Attacked(network, other, network))


def test_autoattack_goes_on_through_the_stand_in(of, network, monkeypatch):
    """All four attacks on the module, two on the stand-in, two from the base; each on what is left,
    from seeds of its own, and Square once."""
    seen = []

    def survivors(model, x, labels, alive, attack, parameters, eps, seed, source):
        assert model is attacked.model  # whose answers are settled where a record says so
        seen.append((attack, source, int(alive.sum()), seed))
        after = alive.copy()
        after[np.flatnonzero(alive)[:1]] = False
        return {"survivors": after, "lost": ~alive & False, "illegal": np.array(0)}

    monkeypatch.setattr("benchmark.evaluation.standard_attacks.attack_survivors", survivors)
    attacked = Attacked(Hidden(network), network, nn.Identity())
    outcome = of("autoattack-adaptive", attacked)
    names = ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert [attack for attack, *_ in seen] == [*names, *names[:2], *names[:2]]
    assert [attacked.sources.index(source) for _, source, *_ in seen] == [0] * 4 + [1] * 2 + [2] * 2
    assert [alive for _, _, alive, _ in seen] == list(range(seen[0][2], seen[0][2] - 8, -1))
    assert len({seed for *_, seed in seen}) == 8
    assert list(outcome.bits)[-1] == "transfer-apgd-t"
    assert (
        outcome.value.k
        == seen[0][2] - 8
        == evaluation("autoattack-adaptive").per_image(outcome.bits).sum()
    )
    plain = evaluation("autoattack").steps
    assert [step.source for step in plain] == [0] * 4 and [step.name for step in plain] == names


def test_a_card_knows_that_it_is_autoattack():
    """And more: nothing is missing where it ran on the whole test set."""
    from types import SimpleNamespace

    from benchmark.report import model_card

    entry = SimpleNamespace(eps="8/255")
    for name, expected in (
        ("autoattack-adaptive", False),
        ("autoattack", False),
        ("autoattack-adaptive-first-100", True),
        ("pgd10x3-adaptive", True),
    ):
        limits = model_card._limits(entry, BASE, [SimpleNamespace(evaluation=name)])
        assert any("Not evaluated by AutoAttack" in text for text in limits) == expected


def test_masked_points_are_warned_of(of, network):
    """Of the hidden gradient, with how many points; not of its base, nor of what chance explains."""
    for model, expected in ((Attacked(Hidden(network), network, network), True), (network, False)):
        outcome = of("pgd10x3-adaptive", model)
        said = sanity.warnings("pgd10x3-adaptive", outcome.bits, outcome.parts, 10, {})
        assert any("own gradient masks" in text for text in said) == expected
    few = {name: np.ones(1000, dtype=bool) for name in (*PARTS, *AGAIN, TO_BASE)}
    for count, expected in ((5, False), (20, True)):  # 0.5 points and less than nothing, 2 and 1.1
        few["stand-in"] = np.arange(1000) >= count
        said = sanity.warnings("pgd10x3-adaptive", few, {}, 10, {})
        assert any("own gradient masks" in text for text in said) == expected


@pytest.mark.slow
def test_a_known_masked_network_is_caught(tmp_path):
    """mean-sparse at 0.3 on the committed CIFAR-10 checkpoint is flagged, its base is not."""
    if (folder := os.environ.get("BENCHMARK_DATA")) is None:
        pytest.skip("BENCHMARK_DATA names no folder with CIFAR-10")
    cifar, method = load("cifar10", Path(folder)), MeanSparse()
    base = load_checkpoint("narrow-cifar10-resnet18-w16-pgd-at-seed0")
    base = base.to(memory_format=torch.channels_last)
    module = method.apply(copy.deepcopy(base), cifar.train.first(2048))
    stand_in = method.stand_in(method.at(module, {"threshold": 0.3}))
    for model, expected in ((Attacked(module, stand_in, base), True), (base, False)):
        journal = Journal(tmp_path / str(expected), "x")
        adaptive = evaluation("pgd10x3-adaptive")
        outcome = adaptive.run(model.eval(), replace(cifar, limit=300), BASE, journal, silent)
        said = sanity.warnings("pgd10x3-adaptive", outcome.bits, outcome.parts, 10, {})
        assert any("own gradient masks" in text for text in said) == expected
