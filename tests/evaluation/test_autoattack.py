"""AutoAttack against pyautoattack's own evaluation, and what it must not depend on or leave behind."""

import copy
import dataclasses
import itertools
import logging
import random
import sys
from contextlib import contextmanager

import numpy as np
import pyautoattack
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import nn

from benchmark.data.images import Dataset, Split
from benchmark.data.info import CIFAR10, DIGITS
from benchmark.errors import UserError
from benchmark.evaluation import autoattack, evaluation, standard_attacks
from benchmark.evaluation.autoattack import PARAMETERS, Apgd, AutoAttack, SurvivedAttacks
from benchmark.progress import silent
from benchmark.records.bits import pack_bits
from benchmark.records.cells import Cell
from benchmark.records.records import Count
from benchmark.records.store import Journal
from killing import killed_after

CELL = Cell("tiny", "digits", "resnet18-w8", "pgd-at", "none", 0)
EPS, IMAGES, CHUNK = DIGITS.threat.eps, 30, 16
STARTS = (0, 16)
NAMES = ("apgd-ce", "apgd-t", "fab-t", "square")
SHORT = {
    "apgd-ce": {"n_iter": 5},
    "apgd-t": {"n_iter": 5, "n_target_classes": 3},
    "fab-t": {"n_iter": 3, "n_target_classes": 3},
    "square": {"n_queries": 15},
}
"""Parameters of the tests that are not about them."""


@pytest.fixture(scope="module")
def data(digits):
    """Digits of which the first are judged."""
    return dataclasses.replace(digits, limit=IMAGES)


@pytest.fixture(scope="module")
def small(digits):
    """A very small network with batch normalisation that gets most digits right, some under attack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, norm = nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8)
        model = nn.Sequential(first, norm, nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, labels = pixels_of(digits.train)
        for rows in torch.randperm(len(x)).split(64):
            noisy = x[rows] + 0.3 * torch.randn(len(rows), 1, 8, 8)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(noisy), labels[rows]).backward()
            optimizer.step()
    return model


@pytest.fixture
def model(small):
    """A copy of the very small network in evaluation mode."""
    return copy.deepcopy(small).eval()


@pytest.fixture
def residual(network, learned):
    """A small ResNet that gets some images right and some wrong."""
    network.load_state_dict(learned)
    return network


@contextmanager
def shortened():
    """Few iterations, targets and queries inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        for attack, parameters in SHORT.items():
            patch.setitem(PARAMETERS, attack, PARAMETERS[attack] | parameters)
        yield


@pytest.fixture
def short():
    """Few iterations, targets and queries during the test."""
    with shortened():
        yield


@pytest.fixture(scope="module")
def undisturbed(small, data, tmp_path_factory):
    """The outcome of short attacks on the very small network, made in one go."""
    journal = Journal(tmp_path_factory.mktemp("undisturbed") / "journal", "of this test")
    with shortened():
        return AutoAttack(chunk=CHUNK).run(copy.deepcopy(small), data, CELL, journal, silent)


@pytest.fixture
def evaluate(model, data, tmp_path, short):
    """A function that runs short attacks in chunks, with a journal of its own or a named one."""
    fresh = itertools.count()

    def run(chosen=None, folder=None, base=CELL, progress=silent, judged=None, network=None):
        journal = Journal(tmp_path / (folder or f"fresh-{next(fresh)}"), "of this test")
        chosen = chosen or AutoAttack(chunk=CHUNK)
        return chosen.run(network or model, judged or data, base, journal, progress)

    return run


def same(one, other):
    """Whether two outcomes give the same bytes and counts."""
    return pack_bits(one.bits)[1] == pack_bits(other.bits)[1] and one.parts == other.parts


def pixels_of(split):
    """Images and labels as pyautoattack takes them."""
    return (split.images.permute(0, 3, 1, 2) / 255).contiguous(), split.labels


def upstream(model, split, seed, quick=True):
    """pyautoattack's own evaluation in one batch: its object, x_adv and the answers to them."""
    adversary = pyautoattack.AutoAttack(model, eps=EPS, seed=seed)
    if quick:
        like = {"norm": "Linf", "eps": EPS, "logger": adversary.logger}
        adversary.apgd = APGDAttack(model, n_iter=5, **like)
        adversary.apgd_targeted = APGDAttack_targeted(model, n_iter=5, n_target_classes=3, **like)
        like.pop("logger")
        adversary.fab = FABAttack_PT(model, n_iter=3, n_target_classes=3, **like)
        adversary.square = SquareAttack(model, n_queries=15, resc_schedule=False, **like)
    tracing = sys.gettrace()
    with torch.random.fork_rng(devices=[]):
        x_adv, answers = adversary.run_standard_evaluation(*pixels_of(split), batch_size=len(split))
    sys.settrace(tracing)  # its check for dynamic defences leaves none
    model.zero_grad(set_to_none=True)
    return x_adv, answers


class TestAgainstUpstream:
    """What pyautoattack itself would have said."""

    def test_attacks_have_the_parameters_of_the_standard_version(self, model):
        """Every attribute of every attack is that of pyautoattack's standard version."""
        standard = pyautoattack.AutoAttack(model, eps=EPS, seed=5)
        standard.apgd.loss, standard.fab.targeted = "ce", True  # set there on every batch
        attacks = (standard.apgd, standard.apgd_targeted, standard.fab, standard.square)
        theirs = dict(zip(NAMES, attacks, strict=True))
        assert standard.attacks_to_run == list(NAMES) == list(AutoAttack().attacks)
        for attack, parameters in AutoAttack().parameters(DIGITS).items():
            ours = standard_attacks.attacker(model, attack, parameters, EPS, 5)
            mine, expected = (
                {name: value for name, value in vars(each).items() if name not in ("logger", "device")}
                for each in (ours, theirs[attack])
            )
            assert mine == expected
            assert type(ours) is type(theirs[attack])

    def test_bits_are_those_of_the_standard_evaluation(self, evaluate, residual, data, monkeypatch):
        """In one batch and from one seed, the same images survive as in `run_standard_evaluation`."""
        seed = 2**63 - 1
        monkeypatch.setattr(autoattack, "attack_seed", lambda *_: seed)
        outcome = evaluate(AutoAttack(), network=residual)
        x_adv, answers = upstream(residual, data.judged, seed)
        expected = (answers == data.judged.labels).numpy()
        assert np.array_equal(outcome.bits["square"], expected)
        # What the network learns depends on the processor: later attacks need not break another image.
        assert 0 < outcome.value.k <= outcome.parts["apgd-ce"].k < outcome.parts["clean"].k < IMAGES
        with torch.no_grad():
            again = residual(x_adv).argmax(1) == data.judged.labels
        assert np.array_equal(again.numpy(), expected)

    @pytest.mark.slow
    def test_bits_are_those_of_the_standard_evaluation_in_full(
        self, residual, data, monkeypatch, tmp_path
    ):
        """The same with nothing shortened."""
        monkeypatch.setattr(autoattack, "attack_seed", lambda *_: 3)
        outcome = AutoAttack().run(residual, data, CELL, Journal(tmp_path / "full", "x"), silent)
        _, answers = upstream(residual, data.judged, 3, quick=False)
        assert np.array_equal(outcome.bits["square"], (answers == data.judged.labels).numpy())


class TestOutcome:
    """Bits, parts and value."""

    def test_survivors_only_become_fewer(self, undisturbed, model, data):
        """Bits after an attack are among those before it, the last are the value."""
        outcome = undisturbed
        assert list(outcome.bits) == ["clean", *NAMES]
        for before, after in itertools.pairwise(outcome.bits.values()):
            assert np.all(after <= before)
        with torch.no_grad():
            clean = model(pixels_of(data.judged)[0]).argmax(1) == data.judged.labels
        assert np.array_equal(outcome.bits["clean"], clean.numpy())
        for name, bits in outcome.bits.items():
            assert outcome.parts[name] == Count(k=int(bits.sum()), n=IMAGES)
        assert outcome.value == outcome.parts["square"]
        for name in ("zero-gradients", "zero-losses"):
            assert outcome.parts[name] == Count(k=0, n=IMAGES)
        shares = AutoAttack().per_image(outcome.bits)
        assert shares.mean() == outcome.value.fraction
        assert any(pyautoattack.__version__ in remark for remark in outcome.remarks)

    def test_apgd_has_the_bits_of_the_first_two_attacks(self, evaluate, undisturbed):
        """The cheaper evaluation stops after its attacks and shares seeds and bits."""
        whole, two = undisturbed, evaluate(Apgd(chunk=CHUNK))
        assert list(two.bits) == ["clean", "apgd-ce", "apgd-t"]
        assert all(np.array_equal(bits, whole.bits[name]) for name, bits in two.bits.items())
        assert two.value == whole.parts["apgd-t"]

    def test_each_attack_takes_the_survivors_of_its_chunk(self, evaluate, monkeypatch, data):
        """Attacks see the images that are left, from their own seed, and nothing of other chunks."""
        seen, honest = [], standard_attacks.adversarial_examples

        def watched(model, x, labels, attack, parameters, eps, seed):
            assert eps == EPS
            seen.append((attack, seed, x))
            return honest(model, x, labels, attack, parameters, eps, seed)

        monkeypatch.setattr(standard_attacks, "adversarial_examples", watched)
        outcome = evaluate()
        stages, x, calls = list(outcome.bits.values()), pixels_of(data.judged)[0], iter(seen)
        for start in STARTS:
            for attack, before in zip(NAMES, stages, strict=False):
                left = before[start : start + CHUNK]
                if left.any():
                    named, seed, batch = next(calls)
                    assert (named, seed) == (attack, CELL.seed_for("autoattack", attack, start))
                    assert torch.equal(batch, x[start : start + CHUNK][torch.from_numpy(left)])
        assert next(calls, None) is None

    def test_nothing_is_attacked_that_is_wrong_already(self, evaluate, model, data, monkeypatch):
        """A model that is always wrong survives nothing, and no attack is started."""
        monkeypatch.setattr(standard_attacks, "attacker", None)
        labels = (model(pixels_of(data.test)[0]).argmax(1) + 1) % 10
        wrong = dataclasses.replace(data, test=Split(data.test.images, labels))
        outcome = evaluate(judged=wrong)
        assert outcome.value == outcome.parts["clean"] == Count(k=0, n=IMAGES)

    def test_a_single_survivor_is_attacked_too(self, evaluate, data):
        outcome = evaluate(AutoAttack(chunk=1), judged=dataclasses.replace(data, limit=3))
        assert [len(bits) for bits in outcome.bits.values()] == [3] * 5
        assert outcome.parts["clean"].k > 0

    def test_progress_counts_chunks_and_attacks(self, evaluate):
        """Progress runs to chunks times attacks and names the attack and what is left."""
        calls = []
        outcome = evaluate(progress=lambda *call: calls.append(call))
        assert [call[:3] for call in calls] == [("autoattack", done, 8) for done in range(1, 9)]
        left = outcome.bits["fab-t"][:CHUNK].sum()
        assert calls[2][3] == f"fab-t, {left} of {CHUNK} survive"

    def test_silence(self, evaluate, model, capfd):
        """What the attacks log of zero gradients reaches neither the streams nor logging."""
        logging.getLogger().addHandler(handler := Collecting())
        try:
            evaluate(network=nn.Sequential(Steps(), model))
        finally:
            logging.getLogger().removeHandler(handler)
        assert handler.said == []
        assert capfd.readouterr() == ("", "")


class TestExamples:
    """Only checked examples break an image."""

    @pytest.fixture
    def legal_and_not(self, monkeypatch):
        """Examples as they are made, but those of odd images of a batch are moved by a function."""
        honest, made = standard_attacks.adversarial_examples, []

        def patch(move):
            def moved(model, x, labels, *rest):
                x_adv = honest(model, x, labels, *rest)
                made.append((labels, model(x_adv).argmax(1)))
                x_adv[1::2] = move(x_adv, x)[1::2]
                return x_adv

            monkeypatch.setattr(standard_attacks, "adversarial_examples", moved)
            return made

        return patch

    @pytest.mark.parametrize(
        "move",
        [
            lambda x_adv, x: x_adv + 2,
            lambda x_adv, x: x_adv - 2,
            lambda x_adv, x: (x + 1.01 * EPS * torch.where(x < 0.5, 1, -1)).clamp(0, 1),
            lambda x_adv, x: x_adv * float("nan"),
        ],
    )
    def test_illegal_ones_break_nothing(self, evaluate, legal_and_not, move):
        """Examples outside [0,1] or the ball, or that are no numbers, are counted and told alone."""
        made = legal_and_not(move)
        outcome = evaluate(SurvivedAttacks(("apgd-ce",)))
        ((labels, answers),) = made
        right = (labels == answers).numpy()
        assert not right[1::2].all()
        right[1::2] = True
        assert np.array_equal(outcome.bits["apgd-ce"][outcome.bits["clean"]], right)
        illegal = len(right) // 2
        assert f"warning: {illegal} examples of apgd-ce lay outside" in outcome.remarks[-1]

    def test_rounding_is_no_offence(self):
        """A ball's surface belongs to it, with room for rounding; corners of [0,1] do too."""
        x = torch.tensor([0.0, 0.3, 0.7, 1.0]).view(1, 1, 2, 2)
        surface = (x + EPS * torch.where(x < 0.5, 1, -1)).clamp(0, 1)
        assert standard_attacks.is_legal(surface, x, EPS).all()
        assert not standard_attacks.is_legal(surface, x, EPS - 1e-5).any()
        assert not standard_attacks.is_legal(x - 1e-5, x, EPS).any()

    def test_what_rounding_alone_breaks_is_attacked_again(self, evaluate, undisturbed, monkeypatch):
        """An image that the cheaper copy gets wrong before any step, where attacks leave it alone, is
        attacked on the model itself."""

        def turned(model, _device):
            return lambda x: model(x).roll(1, 1)

        monkeypatch.setattr(standard_attacks, "cheaper", turned)
        assert same(evaluate(), undisturbed)


class TestInterruption:
    """Killed evaluations, and what is left of them."""

    @pytest.mark.parametrize("finished", [1, 5, 8])
    def test_killed_while_writing(self, evaluate, undisturbed, monkeypatch, finished):
        """What was kept is not done again, and the bytes are those of one go."""
        honest, attacked = standard_attacks.attack_survivors, []
        with killed_after(finished):
            evaluate(folder="shared")
        monkeypatch.setattr(
            standard_attacks,
            "attack_survivors",
            lambda *args: attacked.append(args[4]) or honest(*args),
        )
        assert same(evaluate(folder="shared"), undisturbed)
        order = [stage for _ in STARTS for stage in ("clean", *NAMES)]
        assert attacked == [stage for stage in order[finished:] if stage != "clean"]

    def test_any_part_of_the_journal_is_enough(self, evaluate, tmp_path):
        """With single chunks and attacks lost, the bytes are the same."""
        expected = evaluate(folder="shared")
        journal = Journal(tmp_path / "shared", "of this test")
        for lost in ("fab-t-*", "*-000016-*", "judged-*"):
            journal.drop(lost)
            assert same(evaluate(folder="shared"), expected)

    def test_an_attack_that_fails_leaves_nothing_behind(
        self, evaluate, undisturbed, model, monkeypatch
    ):
        """After an error in the middle, state is as before and the evaluation can go on."""
        expected, honest, calls = undisturbed, SquareAttack.perturb, []

        def fails(attack, x, y):
            calls.append(len(x))
            if len(calls) == 2:
                torch.rand(3)
                raise RuntimeError("out of memory")
            return honest(attack, x, y)

        model.train()
        before = torch.random.get_rng_state()
        with monkeypatch.context() as failing:
            failing.setattr(SquareAttack, "perturb", fails)
            with pytest.raises(RuntimeError, match="out of memory"):
                evaluate(folder="shared")
        assert torch.equal(torch.random.get_rng_state(), before)
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert all(module.training for module in model.modules())
        assert same(evaluate(folder="shared"), expected)


class TestIndependence:
    """What the bits do not depend on, and what an evaluation does not change."""

    def test_random_states_are_untouched_and_unused(self, evaluate, undisturbed):
        """torch's, numpy's and Python's states stay, and another state gives the same bits."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            before = torch.random.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
            outcome = evaluate()
            after = torch.random.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        assert torch.equal(before[0], after[0])
        assert np.array_equal(before[1][1], after[1][1])
        assert before[2] == after[2]
        assert same(outcome, undisturbed)

    def test_the_model_is_as_it_was(self, evaluate, undisturbed, model):
        """Weights, buffers, gradients, flags and modes stay, and training mode changes no bit."""
        frozen = model[-1].bias.requires_grad_(False)
        model[-1].weight.grad = torch.ones_like(model[-1].weight)
        model.train()
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        assert same(evaluate(), undisturbed)
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert all(module.training for module in model.modules())
        for parameter in model.parameters():
            assert parameter.requires_grad == (parameter is not frozen)
            assert parameter is model[-1].weight or parameter.grad is None
        assert torch.equal(model[-1].weight.grad, torch.ones_like(model[-1].weight))


class TestClasses:
    """Datasets of few classes."""

    def test_targets_are_the_other_classes(self, evaluate, monkeypatch, undisturbed):
        """With five classes each targeted attack has four targets, and that is told."""
        assert not any("target classes" in remark for remark in undisturbed.remarks)
        for attack in ("apgd-t", "fab-t"):
            monkeypatch.setitem(PARAMETERS, attack, PARAMETERS[attack] | {"n_target_classes": 9})
        few = colours(5)
        AutoAttack().check(few)
        outcome = evaluate(network=linear(5, 3), judged=few)
        (remark,) = [text for text in outcome.remarks if "target classes" in text]
        assert remark == "4 target classes instead of 9: Digits has 5 classes"
        parameters = AutoAttack().spec(few.info)["parameters"]
        assert parameters["apgd-t"]["n_target_classes"] == parameters["fab-t"]["n_target_classes"] == 4

    def test_too_few_classes_are_refused(self, evaluate):
        """The targeted DLR loss needs four classes; attacks without it do with three."""
        with pytest.raises(UserError, match=r"needs 4 classes or more .* Digits has 3"):
            AutoAttack().check(colours(3))
        with pytest.raises(UserError, match=r"APGD-CE \+ APGD-T"):
            Apgd().check(colours(3))
        AutoAttack().check(colours(4))
        without = SurvivedAttacks(("apgd-ce", "fab-t", "square"))
        without.check(colours(3))
        assert evaluate(without, network=linear(3, 3), judged=colours(3)).value.n == 8


class TestNames:
    """What is called what."""

    def test_apgd_is_never_called_autoattack(self):
        """Name, label, summary, note and spec of the two attacks do not claim to be the four."""
        apgd = evaluation("apgd")
        assert apgd.label == "Adv (APGD-CE + APGD-T)"
        texts = [apgd.type_name, apgd.label, apgd.summary, apgd.note(DIGITS), str(apgd.spec(DIGITS))]
        assert not any("autoattack" in text.lower() for text in texts)

    def test_autoattack_is_all_four_attacks(self):
        assert evaluation("autoattack").label == "Adv (AutoAttack)"
        for attacks in (("apgd-ce", "apgd-t"), NAMES[::-1]):
            with pytest.raises(ValueError, match="AutoAttack is apgd-ce, apgd-t, fab-t, square"):
                AutoAttack(attacks)
        with pytest.raises(ValueError, match="not attacks of"):
            SurvivedAttacks(("pgd",))
        with pytest.raises(ValueError, match="not attacks of"):
            AutoAttack(chunk=0)

    def test_spec_names_what_the_number_depends_on(self):
        """Radius, order, chunk and parameters of every attack are in the spec, and no environment."""
        spec = evaluation("autoattack").spec(CIFAR10)
        assert (spec["eps"], spec["norm"], spec["chunk"]) == (8 / 255, "Linf", 250)
        assert spec["attacks"] == list(spec["parameters"]) == list(NAMES)
        assert spec["parameters"]["square"]["n_queries"] == 5000
        assert "eps 8/255" in evaluation("autoattack").note(CIFAR10)


class Steps(nn.Module):
    """Pixels rounded to quarters, which has no slope anywhere."""

    def forward(self, x):
        return torch.round(4 * x) / 4


class Collecting(logging.Handler):
    """Lists what is logged."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def linear(classes, channels):
    """A convolution over the whole image: logits are the mean colours of stripes."""
    layer = nn.Conv2d(channels, classes, (8, 8), bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for place in range(classes):
            layer.weight[place, place % channels, place % 8] = 1.0
    return nn.Sequential(layer, nn.Flatten(1)).to(memory_format=torch.channels_last).eval()


def colours(classes):
    """Eight images of three channels, on each of which the stripe of its label is bright."""
    images = torch.full((8, 8, 8, 3), 110, dtype=torch.uint8)
    labels = torch.arange(8) % classes
    for place, label in enumerate(labels):
        images[place, label % 8, :, label % 3] = 190 - 10 * place
    split = Split(images, labels)
    info = dataclasses.replace(DIGITS, classes=classes, channels=3)
    return Dataset(info, split, split)
