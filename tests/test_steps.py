"""What each step is given: images, attack, weights, seed, under every protocol; nothing is trained."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from benchmark.data.hold_out import HoldOut, splits
from benchmark.data.images import Dataset
from benchmark.engine.weights import Weights
from benchmark.models import build
from benchmark.plans.running import new_model
from benchmark.records.store import Journal
from benchmark.run import adversarial_training, fine_tune, measure_criticality, second_network
from tiny_runs import BASE, run_of

JUDGED = 50  # `select_images` of `mini.toml`
PROTOCOLS = pytest.mark.parametrize("name", ["rift", "rift-official-code", "rift-held-out"])
CPU = torch.device("cpu")


class Asked(Exception):
    """What a step called a function with."""


@dataclass
class Call:
    """Arguments of a call."""

    given: tuple[Any, ...]
    named: dict[str, Any]


@pytest.fixture
def asked(monkeypatch):
    """A function that takes a step until it calls the function of a name: the arguments."""

    def of(name, step, *given):
        def stop(*given, **named):
            raise Asked(Call(given, named))

        with monkeypatch.context() as patch:
            patch.setattr(name, stop)
            with pytest.raises(Asked) as got:
                step(*given)
        (call,) = got.value.args
        return call

    return of


@pytest.fixture
def some(digits):
    """200 training images, of which a tenth may be held out, and more test images than choose."""
    return Dataset(digits.info, digits.train.first(200), digits.test.first(60))


@pytest.fixture
def run(store, some):
    """A function that gives the run of a cell of the base model of a seed."""
    return lambda name, seed=0: run_of(replace(BASE, finetune=name, seed=seed), some, store)


def weights_of(run, seed=5):
    """Weights of the network of `run` that nobody trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Weights.of(build("resnet18-w8", run.plan.base.info).state_dict())


def images_of(some, name):
    """By the name of a fine-tuning, the images that train, those that choose, and those of its MRC."""
    cut = splits(some, HoldOut() if name == "rift-held-out" else None)
    measured = {"rift": cut.train, "rift-official-code": some.test, "rift-held-out": cut.selection}
    return cut.train, cut.selection.first(JUDGED), measured[name]


def same(one, other):
    """Whether two splits have the same images in the same order."""
    return one.sha256() == other.sha256()


@PROTOCOLS
@pytest.mark.parametrize("seed", [0, 1])
def test_adversarial_training(run, some, asked, monkeypatch, name, seed):
    """It sees the training images of the protocol, judges on the first that choose, begins and draws by
    seeds of the base cell, in the precision of the process, and keeps the mean of five epochs."""
    this = run(name, seed)
    base, (train, choose, _) = this.plan.cell.base, images_of(some, name)
    call = asked("benchmark.engine.workspace.fit", adversarial_training, this)
    model, images, info, method, recipe = call.given
    assert same(images, train) and (info, recipe) == (some.info, this.plan.base.recipe)
    assert method == this.plan.base.method
    assert call.named["seed"] == base.seed_for("train")
    assert (call.named["mixed"], call.named["mean_of"]) == (True, 5)
    monkeypatch.setattr("benchmark.engine.counting.pgd_count", lambda *given: given)
    monkeypatch.setattr("benchmark.engine.counting.clean_count", lambda *given: given)
    judged, looked_at, attack, starts = call.named["select"](model)
    assert judged is model and same(looked_at, choose)
    assert (attack, starts) == (some.info.threat, base.seed_for("select"))
    checked, looked_at = call.named["check"](model)
    assert checked is model and same(looked_at, choose)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(base.seed_for("initialisation"))
        expected = Weights.of(build("resnet18-w8", some.info).state_dict())
    assert Weights.of(model.state_dict()).sha256 == expected.sha256


@PROTOCOLS
@pytest.mark.parametrize("seed", [0, 1])
def test_criticality(run, some, asked, name, seed):
    """It is of the base weights on the images of the protocol, by its attack, from seeds of the base
    cell: all fine-tunings share it."""
    this, (_, _, measured) = run(name, seed), images_of(some, name)
    theta, threat = weights_of(this), some.info.threat
    call = asked("benchmark.run.criticality", measure_criticality, this, theta)
    model, images, attack, settings, _ = call.given
    assert same(images, measured) and settings == this.plan.criticality
    longer = 255 / 225 if name == "rift-official-code" else 1
    assert (attack.eps, attack.steps) == (threat.eps, threat.steps)
    assert attack.step_size == pytest.approx(threat.step_size * longer)
    assert call.named["seed"] == this.plan.cell.base.seed_for(settings.stage)
    assert Weights.of(model.state_dict()).sha256 == theta.sha256 and not model.training


@PROTOCOLS
@pytest.mark.parametrize("ending", ["", "-alpha-1"])
def test_fine_tuning(run, some, asked, name, ending):
    """It begins at the base weights, sees the training images of the protocol, judges by clean answers
    on those that choose, and draws by a seed that all endings share."""
    this, (train, choose, _) = run(name + ending), images_of(some, name)
    theta = weights_of(this)
    call = asked("benchmark.engine.workspace.fit", fine_tune, this, theta, ["linear"])
    model, images, info, _, recipe = call.given
    assert same(images, train) and (info, recipe) == (some.info, this.plan.recipe)
    assert Weights.of(model.state_dict()).sha256 == theta.sha256 and not model.training
    assert call.named["seed"] == replace(BASE, finetune=name).seed_for("finetune")
    assert call.named["trainable"] == {"linear.weight", "linear.bias"}
    x, labels = choose.batch(0, len(choose))
    with torch.no_grad():
        right = int((model(x).argmax(1) == labels).sum())
    found = call.named["select"](model)
    assert (found.k, found.n) == (right, len(choose))


def test_second_network(run, some, asked):
    """A mix holds a network of its own: the clean method's, of the same seed, from its own cell."""
    this = run("output-mix", 1)
    other = replace(BASE, method="standard", seed=1)
    call = asked("benchmark.engine.workspace.fit", second_network, this)
    model, images, _, method, _ = call.given
    assert same(images, some.train) and method.label == "standard"
    assert call.named["seed"] == other.seed_for("train")
    begun = Weights.of(new_model(this.plan.partner, CPU).state_dict()).sha256
    assert Weights.of(model.state_dict()).sha256 == begun
    assert begun != Weights.of(new_model(this.plan.base, CPU).state_dict()).sha256


def test_an_evaluation_draws_for_the_base(run, asked, tmp_path):
    """Starts and chunks are those of the base model, so that all that is made of it meets the same and
    can be compared image by image."""
    this = run("rift", 1)
    evaluating = this.evaluating(weights_of(this, 6), weights_of(this))
    journal = Journal(tmp_path / "x", "of this test")
    call = asked("benchmark.evaluation.pgd.Pgd10x3.run", evaluating.outcome, "pgd10x3", journal)
    _, model, data, base, there, _ = call.given
    assert model is evaluating.model and base == replace(BASE, seed=1) and there is journal
    assert same(data.test, this.data.test)


@pytest.mark.parametrize(("name", "stand_in", "base"), [("mean-sparse", True, True),
    ("flip-average", False, True), ("rift", False, True), ("none", False, False)])  # fmt: skip
def test_an_adaptive_attack(run, name, stand_in, base):
    """Evaluations of a cell see its module, the stand-in of its method and the network that it was made
    of; a base network is all three."""
    this = run(name)
    theta, tuned = (weights_of(this, seed) for seed in (5, 6))
    own = theta
    if this.plan.forward is not None:
        module = this.plan.forward.build(this.network(theta), None)
        own = Weights.of(module.state_dict(), this.plan.forward.spec({}))
    elif base:
        own = tuned
    seen = this.evaluating(own, theta).attacked
    assert (seen.stand_in is not seen.model, seen.base is not seen.model) == (stand_in, base)
    assert Weights.of(seen.base.state_dict()).sha256 == theta.sha256
    x, _ = this.data.test.batch(0, 20)
    with torch.no_grad():
        assert torch.equal(seen.stand_in(x), seen.model(x))
    assert not any(module.training for module in seen.modules())
