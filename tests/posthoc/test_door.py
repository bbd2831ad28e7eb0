"""Post-hoc methods on a network of one's own, and one that a user brings."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import benchmark
from benchmark.algorithm.selection import Untouched
from benchmark.algorithm.tunings import TUNINGS, Tuning
from benchmark.engine.forward import ForwardMethod
from benchmark.errors import UserError
from benchmark.jobs.given import Question
from benchmark.models.around import Around
from benchmark.models.segments import Place
from invoking import refused


class Own(nn.Module):
    """A small network with a place for operators."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.place = Place(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.place(self.stem(x)).relu().mean((2, 3)))


@pytest.fixture
def own():
    """`Own` with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Own().eval()


@pytest.fixture
def by(digits, own):
    """A function that applies a method to `own`."""
    train, judge = digits.train.first(64).batch(0, 64), digits.test.first(32).batch(0, 32)

    def made(method, **more):
        return benchmark.apply_method(own, method, train, judge, progress=False, **more)

    return made


def test_mean_sparse_on_ones_own(by, own, digits):
    """A module with the chosen threshold; the network stays as it was, and attacks can be adaptive."""
    before = {name: x.clone() for name, x in own.state_dict().items()}
    result = by("mean-sparse-mirrored")
    assert isinstance(own.place, Place) and isinstance(result.model, Own)
    assert all(torch.equal(own.state_dict()[name], x) for name, x in before.items())
    assert result.numbers == {"threshold": float(result.model.place.threshold)}
    seen = result.attacked
    assert seen.model is result.model and seen.stand_in.place.straight
    assert all(torch.equal(seen.base.state_dict()[name], x) for name, x in before.items())
    images = digits.test.first(16).batch(0, 16)
    table = benchmark.evaluate(result.attacked, images, ["clean", "pgd10x3-adaptive"], progress=False)
    assert table["answers"].to_dict() == {"clean": 16, "pgd10x3-adaptive": 16}


def test_a_mix_needs_a_second_network(by):
    """Given by `clean`, of any class; and by nothing else."""
    clean = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    result = by("output-mix", clean=clean)
    assert 0.5 <= result.numbers["weight"] <= 1
    refused(lambda: by("output-mix"), "output-mix mixes with a second network; say clean=")
    refused(lambda: by("flip-average", clean=clean), "flip-average holds one network; leave clean out")
    refused(lambda: by("bn-only"), r"bn-only trains weights .* rift\(..., protocol='bn-only'\)")


def test_two_classes_are_too_few_for_mixed_nuts(own, digits, monkeypatch):
    """It is told before any work, as by the commands."""
    own.head, images = nn.Linear(8, 2), (digits.test.batch(0, 32)[0], torch.arange(32) % 2)
    monkeypatch.setattr("benchmark.run.another_forward_pass", None)
    with pytest.raises(UserError, match="mixed-nuts needs 3 classes or more, and there are 2"):
        benchmark.apply_method(own, "mixed-nuts", images, images, clean=own, progress=False)


def test_a_device_without_double_precision(by, monkeypatch):
    """It is told before any work, as by the commands."""
    monkeypatch.setattr(Question, "place", torch.device("mps"))
    refused(lambda: by("mean-sparse"), "mean-sparse needs double precision, which mps has not")


def test_weights_that_cannot_be_trained(by, own):
    """Before a module is made of trained weights, what `rift` refuses is refused; a module alone trains
    nothing."""
    own.stem.weight.requires_grad_(False)
    assert by("flip-average").numbers == {}
    refused(lambda: by("continued-at+flip-average"), r"'stem[.]weight' is frozen and may be chosen")
    own.requires_grad_(True).aux = nn.Linear(2, 2)
    refused(lambda: by("rift+flip-average"), "logits do not depend on 'aux'")


class RoundedLogits(Around):
    """Logits rounded to multiples of `step`; `soft` hides that from gradients."""

    def __init__(self, network):
        super().__init__(network)
        self.register_buffer("step", torch.zeros(()))
        self.soft = False

    def forward(self, x):
        logits = self.network(x)
        if float(self.step) == 0:
            return logits
        rounded = (logits / self.step).round() * self.step
        return rounded.detach() + (logits - logits.detach()) if self.soft else rounded


@dataclass(frozen=True)
class RightOrWrong(ForwardMethod):
    """A user's method: a forward pass, a number, a stand-in."""

    version: ClassVar[int] = 1
    right: bool = True

    @property
    def grid(self):
        return tuple({"step": step} for step in (0.0, 0.001))

    def build(self, network, partner):
        return RoundedLogits(network)

    def stand_in(self, module):
        soft = RoundedLogits(module.network)
        soft.soft, soft.step = True, module.step if self.right else module.step + 1
        return soft.eval()


def test_a_method_that_a_user_brings(by, monkeypatch):
    """Found by its name, chosen by the rule; a stand-in that answers otherwise is refused."""
    for name, right in (("rounded", True), ("wrong", False)):
        tuning = Tuning(name, name, Untouched(), forward=RightOrWrong(right))
        monkeypatch.setitem(TUNINGS, name, tuning)
    result = by("rounded-curve")
    assert result.numbers["step"] in (0.0, 0.001)
    assert [point.robust is None for point in result.details.points] == [False, False]
    refused(lambda: by("wrong"), "stand-in of RoundedLogits has other logits than the module")
