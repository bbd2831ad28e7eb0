"""AWP: the perturbation against numpy and the authors' proxy, and a step at perturbed weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from baselines.awp import Awp
from baselines.pgd_at import PgdAt
from baselines.trades import Trades
from benchmark.data.info import DIGITS
from benchmark.engine.pgd import uniform_start
from benchmark.engine.weights import clone_state
from tiny_runs import changed


@pytest.fixture
def model(model):
    """A trained network in double precision and training mode."""
    return model.double().train()


@pytest.fixture(scope="module")
def batch(digits):
    """Images, noisy images and labels."""
    x, labels = digits.train.batch(0, 24)
    noise = uniform_start(x, DIGITS.threat.eps, torch.Generator().manual_seed(0))
    return x.double(), (x + noise).clamp(0, 1).double(), labels


def cross_entropy(model, x, x_adv, labels):
    """Mean of -log softmax at the label, at the attacked images."""
    return -model(x_adv).log_softmax(1)[torch.arange(len(labels)), labels].mean()


def trades(model, x, x_adv, labels):
    """Mean cross-entropy at the clean images and six times the mean KL of the attacked ones to them."""
    log_p, log_q = model(x).log_softmax(1), model(x_adv).log_softmax(1)
    clean = -log_p[torch.arange(len(labels)), labels].mean()
    return clean + 6 * (log_p.exp() * (log_p - log_q)).sum(1).mean()


WRAPPED = pytest.mark.parametrize(
    ("wrapped", "loss"), [(PgdAt(), cross_entropy), (Trades(), trades)], ids=["pgd-at", "trades"]
)


def arrays(parameters):
    """Parameters by name as numpy arrays of their own."""
    return {name: value.detach().numpy().copy() for name, value in parameters}


def layers(model):
    """Names of the weights of convolutions and linear layers, from the modules themselves."""
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def gradients(model, loss, batch, weights=None):
    """Gradients of all parameters in training mode, taken on a copy that has `weights`."""
    proxy = copy.deepcopy(model).train()
    with torch.no_grad():
        for name, parameter in proxy.named_parameters():
            if weights is not None:
                parameter.copy_(torch.from_numpy(weights[name]))
    names, parameters = zip(*proxy.named_parameters(), strict=True)
    found = torch.autograd.grad(loss(proxy, *batch), parameters)
    return {name: gradient.numpy() for name, gradient in zip(names, found, strict=True)}


def ascent(model, loss, batch, gamma):
    """gamma ||w|| / (||g|| + 1e-20) g of every layer's weight, in numpy."""
    weights, g = arrays(model.named_parameters()), gradients(model, loss, batch)
    return {
        name: gamma
        * np.sqrt((weights[name] ** 2).sum())
        / (np.sqrt((g[name] ** 2).sum()) + 1e-20)
        * g[name]
        for name in layers(model)
    }


def perturbed(model, loss, batch, gamma):
    """All parameters, those of the layers moved by `ascent`."""
    weights = arrays(model.named_parameters())
    step = ascent(model, loss, batch, gamma)
    return {name: value + step.get(name, 0) for name, value in weights.items()}


def assert_equal(model, expected, atol=1e-12):
    """The parameters of `model` are `expected`."""
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            parameter.detach().numpy(), expected[name], rtol=0, atol=atol, err_msg=name
        )


class TestPerturbation:
    """What is added to the weights."""

    @WRAPPED
    @pytest.mark.parametrize("gamma", [0.01, 0.005])
    def test_equals_numpy(self, model, batch, wrapped, loss, gamma):
        """Inside the block the weights are w + gamma ||w|| / ||g|| g, g of the wrapped loss."""
        expected = perturbed(model, loss, batch, gamma)
        with Awp(method=wrapped, gamma=gamma).hold(model, *batch, epoch=0):
            assert_equal(model, expected)

    def test_equals_the_proxy_of_the_authors(self, model, batch):
        """A copy takes one SGD step of rate 0.01 on the negated loss; its direction is rescaled.

        The difference of two weights loses digits: weights of about 1 and steps of about 1e-4 leave
        some 12 of 16, hence a tolerance of 1e-11 where perturbations are of about 1e-3.
        """
        proxy = copy.deepcopy(model).train()
        optimizer = torch.optim.SGD(proxy.parameters(), lr=0.01)
        (-nn.functional.cross_entropy(proxy(batch[1]), batch[2])).backward()
        optimizer.step()
        expected = arrays(model.named_parameters())
        for name, stepped in arrays(proxy.named_parameters()).items():
            if expected[name].ndim > 1 and "weight" in name:
                weight = expected[name]
                moved = stepped - weight
                moved *= np.linalg.norm(weight) / (np.linalg.norm(moved) + 1e-20)
                expected[name] = weight + 0.01 * moved
        with Awp().hold(model, *batch, epoch=0):
            assert_equal(model, expected, atol=1e-11)

    def test_layers_without_a_gradient_stay(self):
        """Behind dead units ||g|| = 0 and v = 0, not NaN; the layer beside them moves."""

        class HalfDead(nn.Module):
            def __init__(self):
                super().__init__()
                self.alive, self.dead, self.behind = (nn.Linear(4, n) for n in (3, 4, 3))
                nn.init.constant_(self.dead.bias, -1000)

            def forward(self, x):
                return self.alive(x) + self.behind(self.dead(x).relu())

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, x = HalfDead(), torch.rand(5, 4)
        before = clone_state(model.state_dict())
        with Awp(gamma=0.1).hold(model, x, x, torch.arange(5) % 3, epoch=0):
            assert changed(before, model.state_dict()) == {"alive.weight"}
            assert all(torch.isfinite(value).all() for value in model.state_dict().values())


class TestNetwork:
    """What the extra pass leaves behind."""

    @WRAPPED
    def test_extra_pass_leaves_no_trace(self, model, batch, wrapped, loss):
        """On entry statistics, their counters, gradients and flags are what they were."""
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 7.0)
        before = clone_state(model.state_dict())
        with Awp(method=wrapped).hold(model, *batch, epoch=0):
            buffers = {name for name, _ in model.named_buffers()}
            assert not changed(before, model.state_dict()) & buffers
            assert all(module.training for module in model.modules())
            for parameter in model.parameters():
                assert (parameter.grad == 7).all()
                assert parameter.requires_grad

    def test_statistics_see_one_pass_at_the_perturbed_weights(self, model, batch):
        """Loss and step inside move the statistics as one attacked pass of a network at w + v does."""
        awp = Awp()
        oracle = copy.deepcopy(model)
        moved = perturbed(model, cross_entropy, batch, awp.gamma)
        with torch.no_grad():
            for name, parameter in oracle.named_parameters():
                parameter.copy_(torch.from_numpy(moved[name]))
            oracle(batch[1])
        with awp.hold(model, *batch, epoch=0):
            awp.outer(model, *batch).backward()
        expected = dict(oracle.named_buffers())
        for name, value in model.named_buffers():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)


class TestStep:
    """An optimiser step inside the block."""

    LR, MOMENTUM, DECAY = 0.05, 0.9, 5e-3

    @WRAPPED
    def test_two_steps_equal_numpy(self, model, batch, wrapped, loss):
        """w' = (w + v) - lr * buffer - v, buffer' = 0.9 buffer + grad(w + v) + decay * (w + v).

        Of BN and biases v = 0. Two steps, so that the momentum of the first one counts.
        """
        awp = Awp(method=wrapped, gamma=0.02)
        optimizer = torch.optim.SGD(
            model.parameters(), lr=self.LR, momentum=self.MOMENTUM, weight_decay=self.DECAY
        )
        velocity: dict[str, np.ndarray] = {}
        for _ in range(2):
            step = ascent(model, loss, batch, 0.02)
            at = perturbed(model, loss, batch, 0.02)
            g, expected = gradients(model, loss, batch, at), {}
            for name, weight in at.items():
                push = g[name] + self.DECAY * weight
                velocity[name] = self.MOMENTUM * velocity.get(name, 0) + push
                expected[name] = weight - self.LR * velocity[name] - step.get(name, 0)
            with awp.hold(model, *batch, epoch=0):
                optimizer.zero_grad()
                awp.outer(model, *batch).backward()
                optimizer.step()
            assert_equal(model, expected, atol=1e-11)

    def test_weights_come_back(self, model, batch):
        """w + v - v is w up to rounding, without a step and after an error, which goes on."""
        before = arrays(model.named_parameters())
        with Awp(gamma=0.5).hold(model, *batch, epoch=0):
            pass
        assert_equal(model, before, atol=1e-14)
        with pytest.raises(KeyboardInterrupt), Awp(gamma=0.5).hold(model, *batch, epoch=0):
            raise KeyboardInterrupt
        assert_equal(model, before, atol=1e-14)


class TestWarmup:
    """Epochs before the first perturbation."""

    @pytest.mark.parametrize(("warmup", "epoch"), [(1, 0), (3, 0), (3, 2)])
    def test_nothing_happens_before(self, model, batch, warmup, epoch):
        """No pass, and no bit of the network changes."""
        before, passes = clone_state(model.state_dict()), []
        model.register_forward_hook(lambda *call: passes.append(call))
        with Awp(warmup=warmup).hold(model, *batch, epoch=epoch):
            assert changed(before, model.state_dict()) == set()
        assert changed(before, model.state_dict()) == set()
        assert passes == []

    @pytest.mark.parametrize(("warmup", "epoch"), [(0, 0), (1, 1), (3, 3), (3, 100)])
    def test_everything_moves_after(self, model, batch, warmup, epoch):
        """The first epoch after the warm-up perturbs all layers."""
        before = clone_state(model.state_dict())
        with Awp(warmup=warmup).hold(model, *batch, epoch=epoch):
            assert changed(before, model.state_dict()) == layers(model)


def test_layers_that_are_unused_or_frozen_are_left_alone():
    """A weight that takes no part in the loss, or is not trained, is not perturbed, as with a proxy."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.Linear(3, 3))
    model.spare = torch.nn.Linear(2, 2)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    model[1].weight.requires_grad_(False)
    x, labels = torch.rand(5, 1, 2, 2), torch.arange(5) % 3
    step = Awp().perturbation(model, x, x, labels)
    assert set(step) == {"2.weight", "spare.weight"}
    assert not step["spare.weight"].any()
    assert torch.allclose(step["2.weight"].norm(), 0.01 * model[2].weight.norm())
