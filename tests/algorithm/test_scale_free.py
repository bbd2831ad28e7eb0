"""MRC by steps that are shares of a layer's norm: what it is made for. Its bits: test_rolling.py."""

from dataclasses import replace

import pytest
import torch

import benchmark.algorithm.scale_free as ascending
from benchmark.algorithm.adversarial_examples import adversarial_set, robust_loss
from benchmark.algorithm.criticality import criticality_modules, module_criticality
from benchmark.algorithm.rescale import rescaled_network
from benchmark.algorithm.rolling import Tail
from benchmark.data.info import DIGITS
from benchmark.engine.recipes import ScaleFreeCriticality
from benchmark.engine.weights import weights_sha256
from benchmark.records.store import Journal

SETTINGS, SEED = ScaleFreeCriticality(steps=3), 11
MODULES = ("conv1", "layer2.0.conv1", "layer3.0.shortcut.0")


@pytest.fixture
def examples(model, digits, tmp_path):
    """Adversarial examples of `model`."""
    journal = Journal(tmp_path / "examples", "of this test")
    return adversarial_set(model, digits.train.first(96), DIGITS.threat, SEED, journal)


def measure(model, module, examples, settings=SETTINGS):
    """MRC of one module."""
    reference = robust_loss(model, examples)
    return module_criticality(model, module, Tail(model, examples), settings, reference, SEED)


@pytest.mark.parametrize(("rate", "reached"), [(1.0, True), (0.99, False)])
def test_a_step_to_the_border_reaches_it(model, examples, rate, reached):
    """Whether rounding leaves it a little inside the ball or outside says nothing of the constraint."""
    settings = ScaleFreeCriticality(rate=rate, steps=1)
    found = [measure(model, each, examples, settings) for each in criticality_modules(model)]
    assert {entry.constrained for entry in found} == {reached}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("factor", [0.1, 3.7, 32.0])
def test_no_rescaling_changes_it(model, examples, module, factor):
    """A factor that batch normalisation takes back leaves MRC, which Algorithm 1 does not."""
    twin = rescaled_network(model, module, factor, examples.x_adv[:32])
    before, after = (measure(each, module, examples) for each in (model, twin))
    assert after.mrc == pytest.approx(before.mrc, rel=1e-5)
    assert after.norm_ratio == pytest.approx(before.norm_ratio, rel=1e-5)


def test_never_negative_and_monotone_in_steps(model, examples):
    """The start is on the path, and a longer path has the shorter one's points."""
    for rate in (0.5, 30.0):  # 30 steps to the border and beyond: no point need be higher
        values = [
            measure(model, "conv1", examples, replace(SETTINGS, rate=rate, steps=steps)).mrc
            for steps in range(1, 6)
        ]
        assert min(values) >= 0
        assert values == sorted(values)


def test_a_weight_without_gradient_has_arrived(model, examples):
    """No direction, no step: MRC is 0 and the module is told to have taken none."""
    with torch.no_grad():
        model.linear.weight.zero_()
    entry = measure(model, "conv1", examples)
    assert (entry.mrc, entry.epochs, entry.constrained) == (0, 0, False)


def test_without_room_there_is_no_step(model, examples):
    """In a ball of radius 0 MRC is 0, and no step was taken."""
    entry = measure(model, "conv1", examples, replace(SETTINGS, radius=0.0))
    assert (entry.mrc, entry.norm_ratio, entry.epochs, entry.constrained) == (0, 0, 0, False)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_loss_that_is_no_number_has_no_mrc(model, examples, monkeypatch, loss, steps):
    """The start of the path does not hide it: MRC 0 would make the module the least critical one."""
    honest, reference = ascending.gradients_and_loss, robust_loss(model, examples)
    monkeypatch.setattr(
        ascending, "gradients_and_loss", lambda *given: (honest(*given)[0], (loss, 0.5))
    )
    monkeypatch.setattr(ascending, "robust_loss", lambda *given: (loss, 0.5))
    tail, settings = Tail(model, examples), replace(SETTINGS, steps=steps)
    entry = module_criticality(model, "conv1", tail, settings, reference, SEED)
    assert (entry.diverged, entry.epochs) == (True, 1)


def test_a_gradient_that_is_no_number_is_no_step(model, examples):
    """The ascent ends before it, and the weight is what it was."""
    before = weights_sha256(model.state_dict())
    reference, tail = robust_loss(model, examples), Tail(model, examples)
    lost = torch.full_like(model.conv1.weight, torch.nan)
    entry = module_criticality(model, "conv1", tail, SETTINGS, reference, SEED, lost)
    assert (entry.diverged, entry.epochs) == (True, 0)
    assert weights_sha256(model.state_dict()) == before
