"""How the numbers of a module are chosen: on which images, by which networks, from which starts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import benchmark.posthoc.bands as bands
from benchmark.data.hold_out import HoldOut, splits
from benchmark.data.images import Dataset
from benchmark.data.info import DIGITS
from benchmark.engine import counting
from benchmark.engine.adaptive import WorstCase
from benchmark.engine.forward import ChoiceTask
from benchmark.engine.precision import used
from benchmark.engine.weights import Weights
from benchmark.models import build
from benchmark.posthoc import applying
from benchmark.posthoc.applying import applied, choose_numbers
from benchmark.posthoc.margins import logits_by_image
from benchmark.posthoc.mixtures import MixingNonlinearly
from benchmark.progress import silent
from benchmark.records.cells import Cell
from tiny_runs import run_of

BASE = Cell("mini", "digits", "resnet10-w8", "pgd-at", "none", 0)


@pytest.fixture
def some(digits):
    """200 training images, of which a tenth may be held out, and more test images than choose."""
    return Dataset(digits.info, digits.train.first(200), digits.test.first(60))


@pytest.fixture
def run(store, some):
    """A function that gives the run of a module."""
    return lambda name: run_of(replace(BASE, finetune=name), some, store)


def weights(seed):
    """Weights that nobody trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Weights.of(build("resnet10-w8", DIGITS).state_dict())


def hashes(*networks):
    """What identifies the weights of each."""
    return [Weights.of(network.state_dict()).sha256 for network in networks]


@pytest.fixture
def seen(monkeypatch):
    """What the search for numbers asks: the `WorstCase`, and every answer that it gives, all right."""
    made, asked = [], []

    class Noted(WorstCase):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

        def answers(self, attacked, journal, name):
            asked.append((name, attacked, used().name))
            return np.ones(len(self.images), np.int8)

    monkeypatch.setattr(applying, "WorstCase", Noted)
    return made, asked


@pytest.mark.parametrize("name", ["mean-sparse", "mean-sparse-official-code", "mean-sparse-held-out"])
def test_the_rule_is_about_the_base(run, some, seen, monkeypatch, in_bf16, name):
    """Statistics are of the images that train; points are held against the base network as it is, on
    the images that choose, by the protocol's attack from the base's starts, in fp32."""
    this, theta, tuned, measured = run(name), weights(1), weights(2), []
    fill = bands.fill
    monkeypatch.setattr(bands, "fill", lambda *given: measured.append(given[1]) or fill(*given))
    in_bf16()
    applied(this, theta, tuned, None)
    cut = splits(some, HoldOut() if name.endswith("held-out") else None)
    assert [images.sha256() for images in measured] == [cut.train.sha256()]
    made, asked = seen
    (worst,) = made
    assert worst.images.sha256() == cut.selection.first(50).sha256()
    assert worst.seeds == tuple(this.plan.base.cell.seed_for("pgd10x3", start) for start in range(3))
    step = DIGITS.threat.step_size * (255 / 225 if name.endswith("code") else 1)
    assert worst.attack == replace(DIGITS.threat, step_size=step)
    (first, base, _), *points = asked
    assert first == "base" and hashes(worst.base) == [theta.sha256]
    assert all(source is worst.base for source in base.sources)
    assert points
    for _, module, _ in points:
        assert module.base is worst.base and module.stand_in is not module.model
        ours = {n: x for n, x in module.model.state_dict().items() if n in tuned.state}
        assert Weights.of(ours).sha256 == tuned.sha256
    assert {numbers for *_, numbers in asked} == {"fp32"}


def test_the_mirror_is_about_the_base_too(run, seen, monkeypatch):
    """Clean answers of the base network are what a point may not fall below."""
    asked = []

    def counted(model, images):
        asked.append(hashes(model))
        return counting.Count(k=0, n=len(images))

    monkeypatch.setattr(applying, "clean_count", counted)
    theta, tuned = weights(1), weights(2)
    applied(run("mean-sparse-mirrored"), theta, tuned, None)
    assert asked == [[theta.sha256]]


def test_a_method_with_a_rule_of_its_own(run, some, monkeypatch):
    """It is told the network that the module is made of, and the images, attack and starts of the
    protocol."""
    told = []
    monkeypatch.setattr(MixingNonlinearly, "choose", lambda *given: told.append(given[2]) or given[2])
    this, tuned = run("mixed-nuts"), weights(2)
    choose_numbers(this, None, weights(1), tuned)
    (task,) = told
    assert hashes(task.network) == [tuned.sha256] and not task.network.training
    assert task.judged.sha256() == some.test.first(50).sha256()
    assert (task.attack, task.seed) == (DIGITS.threat, BASE.seed_for("pgd10x3", 0))


def test_margins_are_of_clean_and_attacked_images(model, digits, monkeypatch, plain_pgd):
    """Of every image, batch by batch, in evaluation mode: the logits as it is, and under one PGD run
    from the starts of the seed."""
    monkeypatch.setattr(counting, "BATCH", 16)
    images = digits.test.first(40)
    x_adv = plain_pgd(model, images, DIGITS.threat, 7)
    with torch.no_grad():
        expected = [model(x).double() for x in (images.batch(0, 40)[0], x_adv)]
    model.train()
    task = ChoiceTask(model, images, DIGITS.threat, 7, silent)
    for found, plain in zip(logits_by_image(task), expected, strict=True):
        assert found.dtype == torch.float64 and found.shape == plain.shape
        apart = (found - plain).abs().amax(1) > 1e-3
        assert apart.double().mean() < 0.1  # rounding may turn the sign of a gradient
    assert ((expected[0] - expected[1]).abs().amax(1) > 0.1).double().mean() > 0.9
