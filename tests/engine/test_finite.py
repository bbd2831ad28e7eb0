"""Answers that are not finite, and gradients and losses that are exactly zero: counted and told."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmark.algorithm.adversarial_examples import Tally
from benchmark.algorithm.finetune import CleanTraining
from benchmark.data.info import DIGITS
from benchmark.engine.counting import clean_count, judged, pgd_count, vanishing
from benchmark.engine.precision import Precision, use
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import TrainingFailed, fit
from benchmark.engine.weights import Weights
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS, evaluation, standard_attacks
from benchmark.evaluation.autoattack import PARAMETERS
from benchmark.evaluation.record import Evaluating
from benchmark.models import arch
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.records.records import Count
from benchmark.records.store import Journal

pytestmark = pytest.mark.usefixtures("short")

CELL = Cell("own", "digits", "resnet18-w4", "mine", "none", 0)
IMAGES = 24
GENERATED = next(name for name in EVALUATIONS if name.startswith("corruptions-15-gen-"))
NAMES = ("clean", "pgd10x3", "pgd10-official-code", "apgd", "autoattack", GENERATED)
SHORT = {
    "apgd-ce": {"n_iter": 5},
    "apgd-t": {"n_iter": 5},
    "fab-t": {"n_iter": 3},
    "square": {"n_queries": 15},
}


@pytest.fixture
def short(monkeypatch):
    """Short attacks of AutoAttack, in fp32."""
    use(Precision("fp32"))
    for attack, parameters in SHORT.items():
        monkeypatch.setitem(PARAMETERS, attack, PARAMETERS[attack] | parameters)


@pytest.fixture(scope="module")
def data(digits):
    """Digits of which the first are judged."""
    return dataclasses.replace(digits, limit=IMAGES)


@pytest.fixture(scope="module")
def trained(digits):
    """A tiny network that gets most digits right: one hidden layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = digits.train.images.permute(0, 3, 1, 2) / 255
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(x), digits.train.labels).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture
def model(trained):
    """A copy of the tiny network."""
    return copy.deepcopy(trained)


def scaled(model, factor):
    """`model` with its last layer multiplied, which leaves every answer as it is."""
    with torch.no_grad():
        model[-1].weight.mul_(factor)
        model[-1].bias.mul_(factor)
    return model


def overflowing(model):
    """`model` with finite weights so large that logits are inf - inf, and so NaN."""
    return scaled(scaled(model[:2], 1e30) and model, 1e30)


class Blind(nn.Module):
    """A network without a finite answer to the images that are brighter than `above`."""

    def __init__(self, network, above):
        super().__init__()
        self.network, self.above = network, above

    def forward(self, x):
        dark = x.mean((1, 2, 3)) <= self.above
        return self.network(x).where(dark[:, None], torch.nan)


@pytest.fixture
def evaluate(data, tmp_path):
    """A function that evaluates a network."""

    def run(name, network):
        journal = Journal(tmp_path / f"{name}-{id(network)}", "of this test")
        return evaluation(name).run(network, data, CELL, journal, silent)

    return run


@pytest.fixture
def record(data, store):
    """A function that evaluates a network and writes the record."""

    def run(name, network, sha256="a" * 64):
        plan = CheckpointPlan(CELL, DIGITS, arch(CELL.arch), sha256)
        return Evaluating(plan, network, Weights({}, sha256), data, store, silent).record(name)

    return run


class TestAnswers:
    """What counts as right."""

    def test_all_logits_of_an_image_must_be_finite(self):
        """Right, wrong, and lost by NaN or infinity at the label or elsewhere, also in class 0."""
        nan, inf = float("nan"), float("inf")
        logits = [[2, 1, 0], [0, 1, 0], [2, 1, nan], [nan] * 3, [inf, 1, 0], [2, 1, -inf], [1, inf, 0]]
        labels = torch.zeros(len(logits), dtype=torch.int64)
        assert judged(torch.tensor(logits), labels).tolist() == [1, 0, -1, -1, -1, -1, -1]
        assert Count.of(judged(torch.tensor(logits), labels).numpy()) == Count(k=1, n=7, not_finite=5)

    def test_module_criticality_counts_alike(self):
        """A right answer with an infinite logit is none where the choice of modules counts."""
        tally = Tally()
        logits = torch.tensor([[2.0, 1.0], [2.0, -float("inf")]])
        tally.add(logits, torch.zeros(2, dtype=torch.int64))
        assert tally.means()[1] == 0.5

    def test_counts_that_choose_say_how_many_were_lost(self, model, data):
        """Clean and robust counts of a network that is blind to half of the images."""
        split = data.judged
        above = float(np.median(split.images.numpy().mean((1, 2, 3)))) / 255
        seen = (split.images.float().mean((1, 2, 3)) / 255 <= above).numpy()
        right = (model(split.batch(0, IMAGES)[0]).argmax(1) == split.labels).numpy()
        blind = Blind(model, above)
        expected = Count(k=int((right & seen).sum()), n=IMAGES, not_finite=int((~seen).sum()))
        assert clean_count(blind, split) == expected
        assert pgd_count(blind, split, DIGITS.threat, 0).not_finite > 0


class TestEpochs:
    """Which epoch's weights are taken."""

    @pytest.fixture
    def train(self, model, digits, tmp_path):
        """A function that trains the tiny network for two judged epochs with the counts given."""

        def run(*counts):
            left = list(counts)
            return fit(
                copy.deepcopy(model),
                digits.train.first(16),
                DIGITS,
                CleanTraining(),
                Recipe(epochs=2, batch_size=8, lr=0.01, select_last=2),
                seed=0,
                select=lambda _: left.pop(0),
                checkpoint=tmp_path / "training.safetensors",
                fingerprint="of this test",
            )

        return run

    def test_a_finite_epoch_is_taken(self, train):
        """An epoch without a finite answer loses against any other, and the log has its count."""
        fitted = train(Count(k=0, n=9, not_finite=9), Count(k=1, n=9))
        assert fitted.best_epoch == 2
        assert fitted.epochs[0].selection == Count(k=0, n=9, not_finite=9)

    def test_without_one_the_training_fails(self, train):
        """No weights are returned, nor when the finished state is read back."""
        lost = Count(k=0, n=9, not_finite=9)
        for counts in ((lost, lost), ()):
            with pytest.raises(TrainingFailed, match="every answer of the epochs that were judged"):
                train(*counts)


class TestEvaluations:
    """Networks without finite answers."""

    @pytest.mark.parametrize("name", [*NAMES, "pgd10x3-first-9"])
    def test_a_network_that_gives_nothing_else_is_refused(self, model, record, store, name):
        """Finite weights whose logits are all NaN make no record, where class 0 would get a tenth."""
        network = overflowing(model)
        assert all(parameter.isfinite().all() for parameter in network.parameters())
        with pytest.raises(UserError, match="every answer is NaN or infinite, for all"):
            record(name, network)
        assert list(store.keys_on_disk()) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_single_images_are_wrong_and_told(self, model, data, record, store, name):
        """Bits, part and warning of a network that is blind to some images."""
        x, _ = data.judged.batch(0, IMAGES)
        means = x.mean((1, 2, 3)).sort().values
        lost = (x.mean((1, 2, 3)) > means[-5]).numpy()
        said = record(name, Blind(model, float(means[-5])))
        told = said.parts["not-finite"]
        assert lost.sum() == 4 <= told.k <= told.n == IMAGES
        for bits in store.bits(said).values():
            assert name.startswith("corruptions") or not bits[lost].any()
        (warning,) = (each for each in said.warnings if "finite" in each)
        assert f"at {told.k} of {IMAGES} images" in warning
        if name == "clean":
            assert told.k == 4

    @pytest.mark.parametrize("name", NAMES)
    def test_nothing_is_said_of_a_network_of_finite_answers(self, model, evaluate, name):
        """There is no such part where every logit is finite."""
        assert "not-finite" not in evaluate(name, model).parts

    def test_examples_without_a_finite_answer_break_their_image(self, model, evaluate, monkeypatch):
        """An attack that only finds NaN has broken what it was given; the clean answers stay."""
        bright = lambda model, x, *rest: (x + 1e-3).clamp(0, 1)  # noqa: E731
        monkeypatch.setattr(standard_attacks, "adversarial_examples", bright)

        class Watchful(nn.Module):
            def forward(self, x):
                clean = (x * 255 - (x * 255).round()).abs().amax((1, 2, 3)) < 1e-3
                return model(x).where(clean[:, None], torch.nan)

        outcome = evaluate("apgd", Watchful())
        assert outcome.parts["clean"].k > 0
        assert outcome.value.k == 0
        assert outcome.parts["not-finite"].k == outcome.parts["clean"].k


class TestVanishing:
    """Gradients and losses that are exactly zero in fp32."""

    @pytest.mark.parametrize("factor", [1, 1e3, 1e4, 1e6])
    def test_counts_are_those_of_single_images(self, model, data, factor):
        """Images one by one, by backward through the mean of one."""
        x, labels = data.judged.batch(0, IMAGES)
        network, gradients, losses = scaled(model, factor), 0, 0
        for image, label in zip(x, labels, strict=True):
            leaf = image[None].clone().requires_grad_(True)
            loss = cross_entropy(network(leaf), label[None])
            loss.backward()
            gradients += not leaf.grad.any()
            losses += loss.item() == 0
        network.requires_grad_(True)
        counts = {name: int(count) for name, count in vanishing(network, x, labels).items()}
        assert counts == {"zero-gradients": gradients, "zero-losses": losses}

    def test_a_gradient_is_zero_in_every_pixel_or_it_is_not(self, data):
        """A network that looks at a part of the image only has one."""
        x, labels = data.judged.batch(0, IMAGES)
        blind = nn.Sequential(nn.ConstantPad2d(-3, 0), nn.Flatten(), nn.Linear(4, 10))
        assert int(vanishing(blind, x, labels)["zero-gradients"]) == 0

    @pytest.mark.parametrize("factor", [1e3, 1e6])
    def test_a_scaled_last_layer_is_told(self, model, data, record, factor):
        """No answer changes, the attack goes blind, and the record says so."""
        x, _ = data.judged.batch(0, IMAGES)
        answers = model(x).argmax(1)
        honest = record("pgd10x3", model)
        assert honest.parts["zero-gradients"] == honest.parts["zero-losses"] == Count(k=0, n=IMAGES)
        assert not any("masking" in warning for warning in honest.warnings)
        network = scaled(model, factor)
        assert torch.equal(network(x).argmax(1), answers)
        said = record("pgd10x3-first-20", network, "b" * 64)
        told = [warning for warning in said.warnings if "masking" in warning]
        for name, what in (("zero-gradients", "gradient of the loss"), ("zero-losses", "loss is")):
            count = said.parts[name]
            assert count.n == 20
            assert count.k > 5
            assert any(what in each and f"at {count.k} of 20 images" in each for each in told)

    @pytest.mark.parametrize("factor", [1, 1e4])
    def test_every_attack_counts_the_same(self, model, evaluate, factor):
        """PGD and AutoAttack's attacks write the same two parts."""
        network = scaled(model, factor)
        counts = [
            [evaluate(name, network).parts[part] for part in ("zero-gradients", "zero-losses")]
            for name in ("pgd10x3", "pgd10-official-code", "apgd")
        ]
        assert counts[0] == counts[1] == counts[2]
