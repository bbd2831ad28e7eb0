"""Post-hoc methods beside RiFT's: what moves, by what it is trained, and where it ends."""

import dataclasses
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import benchmark
from baselines import METHODS
from benchmark.algorithm.criticality import criticality_modules
from benchmark.algorithm.finetune import trainable_parameters
from benchmark.algorithm.selection import (
    BatchNormAffine,
    Candidates,
    LastLayer,
    LeastCritical,
    Selector,
)
from benchmark.algorithm.tunings import TUNINGS, Tuning
from benchmark.engine.method import OwnTuning
from benchmark.engine.own_tuning import tuned_by
from benchmark.engine.recipes import FINETUNE_RECIPE
from benchmark.engine.training import TrainingFailed, training_step
from benchmark.engine.weights import interpolate
from benchmark.errors import UserError
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.records.cells import Cell
from benchmark.records.plugins import LOADED, ORIGINS
from benchmark.records.records import Count
from handmade import BY_HAND, cell_at
from tiny_runs import changed

SIMPLER = ("bn-affine", "wise-ft", "critical-adversarial")
PAGE = Path(__file__).parents[2] / "docs" / "own-posthoc.md"
FEW = {"epochs": 1, "milestones": (), "select_last": 1, "lr": 0.01}


def test_bn_affine_moves_scales_and_shifts(tuned):
    """Weights and biases of all batch norms move, no other parameter does; the record names them."""
    before, after, parameters, details = tuned("bn-affine-alpha-1")
    norms = {name.removesuffix(".running_mean") for name in before if name.endswith(".running_mean")}
    assert set(details.modules) == norms
    assert details.criticality is None
    wanted = {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")}
    assert changed(before, after) & parameters == wanted


def test_wise_ft_is_the_mean_of_both_ends(tuned, monkeypatch):
    """Every weight and statistic is (a + b) / 2 of the base and of `all-layers-alpha-1`, exactly; the
    fine-tuning is not made twice, and nothing is searched."""
    before, end, _, _ = tuned("all-layers-alpha-1")
    monkeypatch.setattr("benchmark.engine.workspace.fit", None)
    _, found, _, details = tuned("wise-ft")
    assert (details.alpha, details.curve, details.reference) == (0.5, [], None)
    for name in before:
        if before[name].is_floating_point():
            assert torch.equal(found[name], (before[name] + end[name]) / 2)
    assert changed(before, found)


@pytest.mark.parametrize("method", ["awp", "trades-awp", "trades"])
def test_more_of_the_same_is_past_the_warm_up(method):
    """AWP perturbs from the first epoch on; nothing else of a method changes."""
    cell = Cell("paper", "cifar10", "resnet18", method, "continued-at", 0)
    plan = Plan.of(cell, scale("paper"))
    assert getattr(plan.tuner, "warmup", 0) == 0
    assert plan.tuner == plan.base.method or method == "trades-awp"


@pytest.mark.parametrize(
    ("method", "where"), [("mart", "paper"), ("trades", "paper"), ("pgd-at", "small")]
)
def test_more_of_the_same_has_the_same_examples_and_decay(method, where):
    """Epochs and rates are those of a fine-tuning, whatever is made of the weights afterwards."""
    arch = "resnet18" if where == "paper" else "resnet18-w16"
    cell = Cell(where, "cifar10", arch, method, "continued-at", 0)
    plan, usual = (Plan.of(replace(cell, finetune=f), scale(where)) for f in ("continued-at", "rift"))
    parts = "attack_steps", "attack_path", "weight_decay"
    same = {part: getattr(plan.base.recipe, part) for part in parts}
    assert plan.recipe == replace(usual.recipe, **same) != usual.recipe
    module = Plan.of(replace(cell, finetune="continued-at+flip-average"), scale(where))
    assert module.before.tuning_spec == plan.tuning_spec


def test_critical_adversarial_moves_the_most_critical_module(tuned, run):
    """That module's parameters move alone, for as many epochs as any fine-tuning."""
    before, after, parameters, details = tuned("critical-adversarial-alpha-1")
    (chosen,) = details.modules
    assert chosen == max(details.criticality, key=lambda entry: entry.mrc).module
    moved = changed(before, after) & parameters
    assert moved and {name.rpartition(".")[0] for name in moved} == {chosen}
    assert len(details.epochs) == run("rift").plan.recipe.epochs


def test_critical_adversarial_trains_on_examples_in_the_ball(digits, network):
    """PGD-AT's own examples, within eps and in [0,1], are what the loss is of."""
    plan = Plan.of(cell_at("critical-adversarial"), BY_HAND)
    assert plan.tuner == METHODS["pgd-at"]
    attack = plan.recipe.training_attack(digits.info.threat)
    x, labels = digits.train.batch(0, 16)
    seen = []
    handle = network.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    optimizer = torch.optim.SGD(network.linear.parameters(), lr=0.01)
    draws = torch.Generator().manual_seed(0)
    training_step(network, x, labels, 0, plan.tuner, attack, optimizer, draws)
    handle.remove()
    crafted = seen[-2]  # after the attack's passes, before the clean one that PGD-AT ends with
    assert len(seen) == attack.steps + 2 and torch.equal(seen[-1], x)
    assert 0 < float((crafted - x).abs().max()) <= attack.eps + 1e-6
    assert float(crafted.min()) >= 0 and float(crafted.max()) <= 1


@pytest.fixture
def network(digits):
    """A ResNet of width 8 with the same weights each time."""
    from benchmark.models import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build("resnet18-w8", digits.info)


class TestSpecs:
    """What a record depends on."""

    def test_new_keys_only_where_something_is_new(self):
        """Clean training and alpha = 1 are not told; another method and another alpha are."""
        methods = {"critical-adversarial", "continued-at", "last-layer-temperature"}
        for name in (name for name, tuning in TUNINGS.items() if tuning.forward is None):
            spec = Plan.of(cell_at(name), BY_HAND).spec
            assert ("alpha" in spec) == (name == "wise-ft")
            assert ("method" in spec["tuning"]) == (name in methods)
            assert ("start" in spec["tuning"]) == (name == "epoch-average")
            assert ("bn" in spec["tuning"]) == (name == "rift-bn-frozen")
        method = Plan.of(cell_at("critical-adversarial"), BY_HAND).tuning_spec["method"]
        assert method == {"type": "pgd-at", "version": 1, "clean_passes": 1}

    def test_an_own_tuning_stands_in_the_spec(self, monkeypatch):
        """By its type, version and fields."""
        monkeypatch.setitem(TUNINGS, "own", Tuning("own", "own", LastLayer(), method=Averaged(0.1)))
        spec = Plan.of(cell_at("own-held-out-alpha-1"), BY_HAND).tuning_spec
        assert spec["method"] == {"type": "Averaged", "version": 1, "lr": 0.1}
        assert spec["tuning"] == "own-held-out"

    def test_an_unknown_at_method_is_refused(self, monkeypatch):
        """With those there are."""
        monkeypatch.setitem(TUNINGS, "own", Tuning("own", "own", LastLayer(), method="pgd-ta"))
        with pytest.raises(UserError, match="pgd-ta"):
            _ = Plan.of(cell_at("own"), BY_HAND).spec


class TestSelection:
    """Modules, blocks and parameters are named alike."""

    def test_a_block_stands_for_all_in_it(self, network):
        """A block, a module and a parameter together."""
        names = ["layer1.0", "linear.bias"]
        expected = {n for n, _ in network.named_parameters() if n.startswith("layer1.0.")}
        chosen = trainable_parameters(network, LeastCritical(), names)
        assert chosen == expected | {"linear.bias"}

    @pytest.mark.parametrize("name", ["layer1.0.conv", "", "linear.bia"])
    def test_a_name_of_nothing_is_refused(self, network, name):
        """The beginning of a name is no name."""
        with pytest.raises(UserError, match=f"^'{name}' was chosen to be trained, but"):
            trainable_parameters(network, LeastCritical(), ["linear", name])

    def test_a_network_without_batch_norm(self):
        """There is nothing to train, which is said."""
        plain = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, affine=False))
        given = Candidates(criticality_modules(plain), None, "own", "plain", 0, network=plain)
        with pytest.raises(UserError, match=r"^plain has no batch normalisation with a weight"):
            BatchNormAffine().select(given)


# --- own loops --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Averaged(OwnTuning):
    """The mean of the start and one step of gradient descent on all images."""

    version: ClassVar[int] = 1
    lr: float = 0.1

    def tune(self, model, images, recipe, task):
        chosen = {name: p for name, p in model.named_parameters() if p.requires_grad}
        x, labels = images.batch(0, len(images))
        gradients = torch.autograd.grad(cross_entropy(model(x), labels), list(chosen.values()))
        with torch.no_grad():
            for parameter, gradient in zip(chosen.values(), gradients, strict=True):
                parameter -= self.lr / 2 * gradient
        return model.state_dict()


def test_an_own_loop_goes_all_the_way(tuned, monkeypatch):
    """Selected, tuned by its own loop, on record without epochs, and read back by the other ending."""
    monkeypatch.setitem(TUNINGS, "own", Tuning("own", "own", LastLayer(), method=Averaged()))
    before, after, parameters, details = tuned("own-alpha-1")
    assert changed(before, after) & parameters == {"linear.weight", "linear.bias"}
    assert (details.epochs, details.best_epoch, details.best.n) == ([], 0, 50)
    monkeypatch.setattr(Averaged, "tune", None)
    _, found, _, again = tuned("own")
    assert again.best == details.best
    ends = interpolate(before, after, again.alpha)
    assert not changed(found, ends)


class TestOwnLoopsAreHeld:
    """To what they selected and to the network."""

    def tuned(self, network, digits, tune, score=lambda model: Count(k=1, n=2)):
        """`network` tuned by the function `tune`, its classifier selected."""

        class Own(Averaged):
            def tune(self, model, images, recipe, task):
                return tune(model)

        return tuned_by(
            Own(),
            network,
            digits.train.first(8),
            digits.info,
            FINETUNE_RECIPE,
            seed=0,
            select=score,
            trainable={"linear.weight", "linear.bias"},
        )

    def test_what_was_not_selected_stays(self, network, digits):
        """Moving another parameter is refused; statistics may move."""

        def tune(model, name):
            with torch.no_grad():
                model.state_dict()[name].add_(1)
            return model.state_dict()

        with pytest.raises(UserError, match=r"Own moved 'conv1.weight', which its selector does not"):
            self.tuned(network, digits, lambda model: tune(model, "conv1.weight"))
        fitted = self.tuned(network, digits, lambda model: tune(model, "bn1.running_mean"))
        assert torch.equal(network.state_dict()["bn1.running_mean"], fitted.state["bn1.running_mean"])
        assert all(p.requires_grad for p in network.parameters()) and not network.training

    def test_what_is_returned_is_what_counts(self, network, digits):
        """A state made aside is what the network has afterwards, and is judged in evaluation mode even
        if the loop leaves another."""
        modes, judged = [], []

        def tune(model):
            modes.append(model.training)
            model.train()
            moved = {"linear.bias": model.linear.bias.detach() + 1}
            return model.state_dict() | moved

        def score(model):
            modes.append(model.training)
            judged.append(model.linear.bias.detach().clone())
            return Count(k=1, n=2)

        expected = network.linear.bias.detach() + 1
        fitted = self.tuned(network.train(), digits, tune, score)
        assert modes == [False, False]
        for found in (*judged, network.linear.bias, fitted.state["linear.bias"]):
            assert torch.equal(found, expected)

    def test_draws_follow_the_seed(self, network, digits):
        """What a loop draws from torch's own generator does not depend on it, and leaves it alone."""
        drawn, left = [], []

        def tune(model):
            drawn.append(torch.rand(3))
            return model.state_dict()

        for seed in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.tuned(network, digits, tune)
                left.append(torch.initial_seed())
        assert torch.equal(*drawn) and left == [1, 2]

    def test_the_state_is_as_the_network_has_it(self, network, digits):
        """A loop may average in double precision, or on another device."""

        def tune(model):
            return {name: x.double() for name, x in model.state_dict().items()}

        fitted, after = self.tuned(network, digits, tune), network.state_dict()
        assert [*fitted.state] == [*after]
        for name, tensor in fitted.state.items():
            assert tensor.dtype == after[name].dtype and torch.equal(tensor, after[name])

    def test_another_state_is_refused(self, network, digits):
        """A state with a name too few."""

        def tune(model):
            return {name: x for name, x in model.state_dict().items() if name != "linear.bias"}

        with pytest.raises(UserError, match=r"return model.state_dict\(\)"):
            self.tuned(network, digits, tune)

    def test_no_finite_answer(self, network, digits):
        """A network that answers nothing is no result."""
        lost = Count(k=0, n=2, not_finite=2)
        with pytest.raises(TrainingFailed, match="NaN or infinite"):
            self.tuned(network, digits, lambda model: model.state_dict(), lambda model: lost)


# --- the Python door --------------------------------------------------------------------------------


class Plain(nn.Module):
    """A small network of nobody's names."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.norm(self.stem(x)).relu().mean((2, 3)))


@pytest.fixture
def rift_by(digits):
    """A function that applies a post-hoc method to `Plain`: the network before, the result."""

    def of(protocol):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            plain = Plain().eval()
        images = digits.train.first(64).batch(0, 64)
        others = digits.test.first(32).batch(0, 32)
        quietly = {"progress": False, "recipe": FEW, "mrc": {"images": 32, "steps": 1}}
        return plain, benchmark.rift(plain, images, others, protocol=protocol, **quietly)

    return of


@pytest.mark.parametrize("name", SIMPLER)
def test_on_a_network_of_ones_own(rift_by, name):
    """Each of them works on any network, by its name."""
    before, found = rift_by(f"{name}-alpha-1")
    moved = changed(before.state_dict(), found.model.state_dict())
    parameters = {name for name, _ in before.named_parameters()}
    expected = {
        "bn-affine": {"norm.weight", "norm.bias"},
        "wise-ft": parameters,
        "critical-adversarial": {n for n in parameters if n.rpartition(".")[0] in found.modules},
    }
    # A bias in front of batch norm has no gradient but rounding's.
    assert moved & parameters | {"stem.bias"} == expected[name] | {"stem.bias"}
    assert found.alpha == 1


def test_the_page_on_own_methods(rift_by, tmp_path):
    """The code of docs/own-posthoc.md is a plug-in, and all its methods do what they say."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "mine.py").write_text("\n".join(code))
    known = dict(TUNINGS)
    with patch.dict(TUNINGS), patch.dict(LOADED), patch.dict(ORIGINS):
        benchmark.load_plugin(tmp_path / "mine.py")
        own = [name for name in TUNINGS if name not in known]
        assert own == ["biases", "averaged-last-layer"]
        for name in own:
            before, found = rift_by(f"{name}-alpha-1")
            moved = changed(before.state_dict(), found.model.state_dict())
            parameters = {n for n, _ in before.named_parameters()} & moved
            assert parameters
            wanted = {"biases": lambda n: n.endswith("bias"), own[1]: lambda n: n.startswith("head.")}
            assert all(wanted[name](n) for n in parameters)


@dataclasses.dataclass(frozen=True)
class LargestNorm(Selector):
    """The parameter of the largest norm."""

    version = 1

    def select(self, given):
        norms = {name: x.detach().norm() for name, x in given.network.named_parameters()}
        return [max(norms, key=lambda name: float(norms[name]))]


def test_a_choice_by_values_is_believed(monkeypatch, store):
    """Where a making is checked there are none: it says nothing of such a choice, and goes on."""
    from benchmark.submission.making import check_making
    from handmade import write_making

    monkeypatch.setitem(TUNINGS, "own", Tuning("own", "own", LargestNorm()))
    making = write_making(store, cell_at("own"), modules=("conv1.weight",))
    found = dict(check_making(making, Plan.of(cell_at("own"), BY_HAND)))
    assert "details.curve" in found and "details.modules" not in found
