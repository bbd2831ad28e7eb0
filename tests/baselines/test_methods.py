"""Every AT method: recipe, spec, attack, passes in training mode, extreme logits, and whole runs."""

import copy
import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from baselines import METHODS, method
from baselines.awp import Awp
from baselines.pgd_at import PgdAt
from baselines.trades import Trades
from baselines.trades_awp import AttackedFirst
from benchmark.data import DATASETS
from benchmark.data.info import DIGITS, LinfAttack
from benchmark.engine.counting import clean_count
from benchmark.engine.pgd import gaussian_start, uniform_start
from benchmark.engine.training import fit
from benchmark.engine.weights import weights_sha256
from benchmark.errors import UserError
from benchmark.records import stopping
from benchmark.records.specs import spec_hash, spec_of
from killing import killing
from prepared import LABELS, assert_loss, measured, of_label, probabilities

EVERY = pytest.mark.parametrize("name", METHODS)
ADVERSARIAL = pytest.mark.parametrize("name", [name for name in METHODS if name != "standard"])
ATTACK = LinfAttack(eps=0.12, step_size=0.03, steps=4)


@pytest.fixture
def model(model):
    """A trained network in double precision, so that rounding decides the sign of no gradient."""
    return model.double()


@pytest.fixture(scope="module")
def batch(digits):
    """Images in double precision and labels."""
    x, labels = digits.train.batch(0, 24)
    return x.double(), labels


def seeded(seed=0):
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


class TestRegistry:
    """What is known about all methods."""

    def test_methods_of_the_paper(self):
        """The first five are the paper's; each is under the name that its spec has too."""
        assert list(METHODS) == ["pgd-at", "trades", "mart", "awp", "score", "trades-awp", "standard"]
        assert [spec_of(how)["type"] for how in METHODS.values()] == list(METHODS)
        assert all(method(name) is how for name, how in METHODS.items())

    def test_labels_are_unique(self):
        assert len({how.label for how in METHODS.values()}) == len(METHODS)

    def test_unknown_name(self):
        with pytest.raises(UserError, match="unknown AT method 'fgsm'; known: pgd-at, trades, mart"):
            method("fgsm")

    @EVERY
    def test_every_field_is_part_of_the_spec(self, name):
        """A change of any hyperparameter changes the hash, and each change differently."""
        how, hashes = METHODS[name], [spec_hash(spec_of(METHODS[name]))]
        fields = dataclasses.fields(how)
        for field in fields:
            value = getattr(how, field.name)
            other = Trades() if field.name == "method" else value + 1
            hashes.append(spec_hash(spec_of(dataclasses.replace(how, **{field.name: other}))))
        assert len(set(hashes)) == len(fields) + 1

    def test_hyperparameters_of_the_wrapped_method_are_part_of_the_spec(self):
        """AWP around TRADES of another beta is another method."""
        hashes = {spec_hash(spec_of(Awp(method=Trades(beta=beta)))) for beta in (1.0, 6.0)}
        assert len(hashes) == 2


SCHEDULES = {
    # RiFT, Section 5.1 and Appendix C.2; P2333/Bag-of-Tricks-for-AT, train_cifar.py
    "pgd-at": {0.1: 100, 0.01: 5, 0.001: 5},
    # yaodongyu/TRADES, train_trades_cifar10.py: below 75, of 76 epochs counted from 1
    "trades": {0.1: 74, 0.01: 2},
    # YisenWang/MART, train_resnet.py: below 75, 90 and 100, of 120 epochs counted from 1
    "mart": {0.01: 74, 0.001: 15, 0.0001: 10, 0.00001: 21},
    # csdongxian/AWP, AT_AWP/train_cifar10.py and train_cifar100.py
    "awp": {0.1: 100, 0.01: 50, 0.001: 50},
    # P2333/SCORE, without_DDPM/train_cifar.py with the arguments of its README
    "score": {0.05: 100, 0.005: 5, 0.0005: 5},
    # csdongxian/AWP, trades_AWP/train_trades_cifar.py: below 100 and 150, of 200 counted from 1
    "trades-awp": {0.1: 99, 0.01: 50, 0.001: 51},
    "standard": {0.1: 100, 0.01: 5, 0.001: 5},  # as pgd-at
}
"""Epochs at each learning rate, as the authors' scripts execute them."""
DECAYS = {"trades": 2e-4, "mart": 3.5e-3}
"""Weight decays other than 5e-4."""
FIELDS = {
    "pgd-at": {"clean_passes": 1},
    "trades": {"beta": 6.0, "start_std": 0.001},
    "mart": {"beta": 5.0, "start_std": 0.001},
    "awp": {"method": PgdAt(), "gamma": 0.01, "warmup": 0},
    "score": {"beta": 6.0, "smoothing": 0.3, "start_std": 0.001},
    "trades-awp": {"method": AttackedFirst(beta=6.0, start_std=0.001), "gamma": 0.005, "warmup": 9},
    "standard": {},
}
ALIKE = {"batch_size": 128, "momentum": 0.9, "schedule": "piecewise", "attack_steps": 10}
# 10 steps of 2/255 at 8/255; TRADES and MART: of 0.007 at 0.031
PATHS = dict.fromkeys(METHODS, 2.5) | {"trades": 2.2581, "mart": 2.2581}


class TestRecipes:
    """Published numbers, as read in the authors' repositories."""

    @EVERY
    @pytest.mark.parametrize("dataset", DATASETS)
    def test_epochs_by_learning_rate(self, name, dataset):
        """Every step of an epoch has the learning rate of the authors' epoch, none is left out."""
        recipe, steps = METHODS[name].recipe(dataset), 3
        rates = [recipe.lr_at(step, steps) for step in range(steps * recipe.epochs)]
        runs = [(rate, len([*run])) for rate, run in itertools.groupby(rates)]
        expected = [(rate, steps * epochs) for rate, epochs in SCHEDULES[name].items()]
        assert [length for _, length in runs] == [length for _, length in expected]
        assert [rate for rate, _ in runs] == pytest.approx([rate for rate, _ in expected])

    @EVERY
    @pytest.mark.parametrize("dataset", DATASETS)
    def test_recipe_is_the_published_one(self, name, dataset):
        """Decay and attack are the authors', every epoch may be selected."""
        recipe = METHODS[name].recipe(dataset)
        expected = ALIKE | {"weight_decay": DECAYS.get(name, 5e-4), "select_images": None}
        assert {key: getattr(recipe, key) for key in expected} == expected
        assert recipe.select_last == recipe.epochs
        assert recipe.attack_path == pytest.approx(PATHS[name], abs=5e-5)

    @EVERY
    def test_hyperparameters_are_the_published_ones(self, name):
        """The fields of the registered methods; no other."""
        how = METHODS[name]
        assert {f.name: getattr(how, f.name) for f in dataclasses.fields(how)} == FIELDS[name]


class TestPgdAtLoss:
    """PGD-AT; losses of the other methods have files of their own."""

    @pytest.mark.parametrize("how", [PgdAt(), Awp()], ids=["pgd-at", "awp"])
    def test_loss_and_gradients_equal_numpy(self, how):
        """Mean cross-entropy of the attacked logits; nothing of the clean ones."""
        assert_loss(
            how, lambda clean, attacked: -np.log(of_label(probabilities(attacked), LABELS)).mean()
        )

    def test_value_worked_out(self):
        """Probabilities 1/8 and 1/4 at the labels: (3 ln 2 + 2 ln 2) / 2 = 1.732868."""
        attacked = np.log([[1 / 8, 1 / 8, 3 / 4], [1 / 2, 1 / 4, 1 / 4]])
        loss, _, _ = measured(PgdAt(), np.zeros((2, 3)), attacked, [0, 1])
        assert loss == pytest.approx(1.732868, abs=1e-6)


class TestExtremes:
    """Logits of +-200, whose probabilities are 0 and 1 in single precision."""

    @EVERY
    def test_loss_and_gradients_are_finite(self, name):
        """Sure and right, sure and wrong, and two classes alike, in all pairs of clean and attacked."""
        rows = 200 * np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1], [-1, -1, -1]])
        pairs = np.array(list(itertools.product(rows, rows)))
        labels = np.zeros(len(pairs), dtype=int)
        for dtype in (torch.float32, torch.float64):
            found = measured(METHODS[name], pairs[:, 0], pairs[:, 1], labels, dtype)
            assert all(np.isfinite(part).all() for part in found)

    @EVERY
    def test_examples_are_numbers(self, name):
        """An attack on a network of such logits gives images in the ball."""
        weight = torch.zeros(3, 16)
        weight[0], weight[1] = 400, -400
        linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        linear.load_state_dict({"1.weight": weight, "1.bias": torch.zeros(3)})
        x = torch.rand((6, 1, 4, 4), generator=seeded())
        x_adv = METHODS[name].inner(linear, x, torch.arange(6) % 3, ATTACK, seeded())
        assert (x_adv - x).abs().max() <= ATTACK.eps + 1e-6


def own_cross_entropy(logits, clean, labels):
    """Of the attacked logits at the labels."""
    return -logits.log_softmax(1)[torch.arange(len(labels)), labels].sum()


def own_divergence(logits, clean, labels):
    """KL of the attacked probabilities from the clean ones, p log(p / q)."""
    p, q = clean.softmax(1), logits.softmax(1)
    return (p * torch.log(p / q)).sum()


def own_squared_error(logits, clean, labels):
    """Of the attacked to the clean probabilities."""
    return ((logits.softmax(1) - clean.softmax(1)) ** 2).sum()


@dataclasses.dataclass(frozen=True)
class Crafting:
    """How a method crafts: what it ascends, whether in training mode, whether from a Gaussian start."""

    objective: object
    training: bool
    gaussian: bool

    def __call__(self, model, x, labels, attack, seed):
        """The method's examples by a loop of this test's own; `model` is left alone."""
        proxy = copy.deepcopy(model).eval()
        with torch.no_grad():
            clean = proxy(x)
        proxy.train(self.training)
        if self.gaussian:
            start = gaussian_start(x, 0.001, seeded(seed))
        else:
            start = uniform_start(x, attack.eps, seeded(seed))
        x_adv = (x + start.clamp(-attack.eps, attack.eps)).clamp(0, 1)
        for _ in range(attack.steps):
            leaf = x_adv.clone().requires_grad_(True)
            self.objective(proxy(leaf), clean, labels).backward()
            x_adv = x_adv + attack.step_size * leaf.grad.sign()
            x_adv = torch.minimum(torch.maximum(x_adv, x - attack.eps), x + attack.eps).clamp(0, 1)
        return x_adv


CRAFTING = {
    "pgd-at": Crafting(own_cross_entropy, training=True, gaussian=False),
    "trades": Crafting(own_divergence, training=False, gaussian=True),
    "mart": Crafting(own_cross_entropy, training=False, gaussian=True),
    "awp": Crafting(own_cross_entropy, training=True, gaussian=False),
    "score": Crafting(own_squared_error, training=False, gaussian=True),
    "trades-awp": Crafting(own_divergence, training=False, gaussian=True),
}


class TestCrafting:
    """The training examples."""

    @ADVERSARIAL
    @pytest.mark.parametrize("training", [True, False], ids=["from-train", "from-eval"])
    def test_examples_equal_the_written_out_loop(self, model, batch, name, training):
        """Objective, start and mode are the method's own, whatever mode the network is in."""
        expected = CRAFTING[name](model, *batch, ATTACK, seed=3)
        x_adv = METHODS[name].inner(model.train(training), *batch, ATTACK, seeded(3))
        torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-12)

    def test_written_out_loops_tell_the_methods_apart(self, model, batch):
        """Another objective, mode or start moves many pixels, so that the comparison says something."""
        variants = [
            Crafting(*choice)(model, *batch, ATTACK, seed=3)
            for choice in itertools.product(
                (own_cross_entropy, own_divergence, own_squared_error), (True, False), (True, False)
            )
        ]
        for one, other in itertools.combinations(variants, 2):
            assert float(((one - other).abs() > 1e-3).double().mean()) > 0.02

    @EVERY
    def test_parameters_receive_no_gradient(self, network, digits, name):
        """Crafting leaves parameters, their gradients and the images alone."""
        x, labels = digits.train.batch(0, 8)
        before, kept = {n: p.clone() for n, p in network.named_parameters()}, x.clone()
        METHODS[name].inner(network, x, labels, ATTACK, seeded())
        for parameter_name, parameter in network.named_parameters():
            assert parameter.grad is None
            assert parameter.requires_grad
            assert torch.equal(parameter, before[parameter_name])
        assert torch.equal(x, kept)

    @ADVERSARIAL
    def test_distribution_of_the_start(self, name):
        """131072 draws: uniform up to eps on both sides, or Gaussian of deviation 0.001, by moments."""
        count, labels = 128 * 32 * 32, torch.zeros(128, dtype=torch.long)
        x = torch.full((128, 1, 32, 32), 0.5, dtype=torch.float64)
        linear = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3)).double()
        attack = LinfAttack(eps=0.1, step_size=0.1, steps=0)
        start = (METHODS[name].inner(linear, x, labels, attack, seeded()) - x).numpy()
        deviation, fourth = (0.001, 3) if CRAFTING[name].gaussian else (0.1 / np.sqrt(3), 9 / 5)
        assert start.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * count))
        assert abs(start.mean()) < 5 * deviation / np.sqrt(count)
        kurtosis = (start**4).mean() / (start**2).mean() ** 2
        assert kurtosis == pytest.approx(fourth, abs=5 * np.sqrt(24 / count))
        if not CRAFTING[name].gaussian:
            assert (start.min(), start.max()) == pytest.approx((-0.1, 0.1), rel=1e-3)


def flags(model):
    """The training flag of every module."""
    return [module.training for module in model.modules()]


class TestModes:
    """Training and evaluation mode, and what the running statistics see."""

    @EVERY
    def test_crafting_puts_the_mode_back(self, network, digits, name):
        """In training, in evaluation, and where modules differ."""
        x, labels = digits.train.batch(0, 4)
        attack = LinfAttack(eps=0.1, step_size=0.05, steps=1)
        for prepare in (network.train, network.eval, network.layer2.train):
            prepare()
            before = flags(network)
            METHODS[name].inner(network, x, labels, attack, seeded())
            assert flags(network) == before

    @EVERY
    @pytest.mark.parametrize("training", [True, False], ids=["from-train", "from-eval"])
    def test_statistics_while_crafting(self, network, digits, name, training):
        """PGD-AT and AWP move them once per step, the others leave every bit of them."""
        x, labels = digits.train.batch(0, 8)
        before = {n: b.clone() for n, b in network.named_buffers()}
        METHODS[name].inner(network.train(training), x, labels, ATTACK, seeded())
        moved = {n for n, b in network.named_buffers() if not torch.equal(b, before[n])}
        if name in ("pgd-at", "awp"):
            assert int(network.bn1.num_batches_tracked) == ATTACK.steps
            assert {n for n in before if n.endswith(("running_mean", "running_var"))} <= moved
        else:
            assert moved == set()

    @pytest.mark.parametrize(
        ("name", "share"),
        [
            # n passes an iteration; the pass that is k passes old weighs 0.1 * 0.9^k / (1 - 0.9^n)
            ("trades", 0.668),  # clean, adv, clean: 0.1 (1 + 0.81) / (1 - 0.729) = 0.181 / 0.271
            ("mart", 0.474),  # clean, adv: 0.1 * 0.9 / (1 - 0.81) = 0.09 / 0.19
            ("score", 0.526),  # adv, clean: 0.1 / 0.19
            ("trades-awp", 0.701),  # adv, clean, clean: 0.1 (1 + 0.9) / (1 - 0.729) = 0.19 / 0.271
            ("pgd-at", 0.139),  # 10 of the attack, adv, clean: 0.1 / (1 - 0.9^12) = 0.1 / 0.717570
            ("awp", 0.139),  # the same: the pass for the perturbation is taken back
        ],
    )
    def test_share_of_clean_batches_in_the_statistics(self, name, share):
        """In the steady state, after whole steps, as a BN layer measures it."""

        class Watched(nn.Module):
            """Linear, with a BN layer beside it that sees 1 for the clean batch and 0 for others."""

            def __init__(self):
                super().__init__()
                self.linear, self.seen = nn.Linear(16, 3), nn.BatchNorm1d(1, momentum=0.1)

            def forward(self, x):
                self.seen(torch.full((2, 1), float(torch.equal(x, clean))))
                return self.linear(x.flatten(1))

        how, generator = METHODS[name], seeded()
        clean, labels = torch.rand((6, 1, 4, 4), generator=generator), torch.arange(6) % 3
        attack = LinfAttack(eps=0.1, step_size=0.025, steps=10)
        model = Watched().train()
        for _ in range(50):
            x_adv = how.inner(model, clean, labels, attack, generator)
            with how.hold(model, clean, x_adv, labels, 0):
                how.outer(model, clean, x_adv, labels).backward()
            how.after_step(model, clean)
        assert float(model.seen.running_mean) == pytest.approx(share, abs=5e-4)


def small():
    """One convolution, BN and a linear layer for digits, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 10),
        ).eval()


@pytest.fixture(scope="module")
def train(digits):
    """A function that trains a new network by a method on 256 digits, in a folder."""

    def run(how, folder, **options):
        recipe = dataclasses.replace(
            how.recipe("digits"),
            epochs=2,
            batch_size=32,
            lr=0.1,
            milestones=(1,),
            attack_steps=2,
            select_last=1,
        )
        return fit(
            small(),
            digits.train.first(256),
            DIGITS,
            how,
            recipe,
            seed=1,
            select=lambda judged: clean_count(judged, digits.test.first(200)),
            checkpoint=folder / "training.safetensors",
            fingerprint="of this test",
            **options,
        )

    return run


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """A function that gives what it ends with when nothing happens."""
    return functools.cache(lambda how: train(how, tmp_path_factory.mktemp("whole")))


class TestTraining:
    """Whole runs on digits."""

    @pytest.fixture(params=METHODS)
    def how(self, request):
        """A method."""
        return METHODS[request.param]

    def test_learns(self, how, whole, digits):
        """Two epochs lower the loss on a fixed attacked batch and beat chance on test images."""
        fitted = whole(how)
        x, labels = digits.train.batch(0, 128)
        before, after = small(), small()
        after.load_state_dict(fitted.state)
        x_adv = CRAFTING["mart"](before, x, labels, ATTACK, seed=0)
        with torch.no_grad():
            losses = [float(how.outer(net, x, x_adv, labels)) for net in (before, after)]
        assert losses[1] < 0.96 * losses[0]
        assert fitted.best.k / fitted.best.n > 0.25

    def test_resumes(self, how, train, whole, tmp_path, monkeypatch):
        """Killed inside the second epoch, a run ends with the bits and the log of one that was not."""
        monkeypatch.setattr(stopping, "EVERY", 0.0)
        fitted = whole(how)
        with pytest.raises(KeyboardInterrupt):
            train(how, tmp_path, progress=killing(9, "loss"))
        resumed = train(how, tmp_path)
        assert resumed.resumed
        assert weights_sha256(resumed.state) == weights_sha256(fitted.state)
        assert resumed.epochs == fitted.epochs
