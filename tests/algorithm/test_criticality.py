"""Module robust criticality: what each definition of it holds to. Its bits: test_rolling.py."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

import benchmark.algorithm.adversarial_examples as crafted
import benchmark.algorithm.algorithm1 as ascending
import benchmark.algorithm.criticality as measured
import benchmark.algorithm.official_ascent as official
from benchmark.algorithm.adversarial_examples import adversarial_set, robust_loss
from benchmark.algorithm.ascent import MovingWeight
from benchmark.algorithm.criticality import criticality, criticality_modules, module_criticality
from benchmark.algorithm.rolling import Tail
from benchmark.data.info import DIGITS
from benchmark.engine.recipes import CriticalitySettings, OfficialCriticality, ScaleFreeCriticality
from benchmark.engine.training import TrainingFailed
from benchmark.engine.weights import weights_sha256
from benchmark.records import stopping
from benchmark.records.records import ModuleCriticality, flagged, not_valid
from benchmark.records.specs import spec_of
from benchmark.records.stopping import StopRequested
from benchmark.records.store import Journal
from handmade import measured as measured_by_hand
from killing import killing
from plain_criticality import plain_criticality

IMAGES, SEED = 96, 11
SETTINGS = CriticalitySettings(radius=0.1, lr=1.0, steps=2, batch_size=64)
KINDS = CriticalitySettings, OfficialCriticality
BOTH = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def split(digits):
    """A batch and a half of training images."""
    return digits.train.first(IMAGES)


@pytest.fixture
def journal(tmp_path):
    """An empty journal."""
    return Journal(tmp_path / "criticality", "of this test")


@pytest.fixture
def examples(model, split, journal):
    """Adversarial examples of `model`."""
    return adversarial_set(model, split, DIGITS.threat, SEED, journal)


def measure(model, split, journal, settings=SETTINGS, **more):
    """Criticality of all modules of `model`."""
    return criticality(model, split, DIGITS.threat, settings, seed=SEED, journal=journal, **more)


def measure_one(model, module, examples, settings=SETTINGS):
    """Criticality of one module of `model`."""
    reference = robust_loss(model, examples)
    return module_criticality(model, module, Tail(model, examples), settings, reference, SEED)


def lines(entries):
    """What is kept of a measurement, as text."""
    return [entry.model_dump_json() for entry in entries]


class TestOracle:
    """The measurement and the algorithms of the paper and of the released code."""

    @pytest.mark.parametrize(
        ("settings", "some_stay_inside"),
        [
            (CriticalitySettings(lr=1.0, steps=3, batch_size=64), False),
            (CriticalitySettings(lr=0.03, steps=3, batch_size=64), True),
            (OfficialCriticality(lr=1.0, steps=4, batch_size=40), False),
            (OfficialCriticality(lr=0.03, steps=4, batch_size=40), True),
        ],
    )
    def test_all_modules_agree(self, model, split, journal, plain_pgd, settings, some_stay_inside):
        """MRC, reached norm and epochs of all modules equal those of the plain algorithm."""
        x_adv = plain_pgd(model, split, DIGITS.threat, SEED)
        entries = measure(model, split, journal, settings)
        plain = plain_criticality(model, x_adv, split.labels, settings, SEED)
        for entry, expected in zip(entries, plain, strict=True):
            assert entry.mrc == pytest.approx(expected.mrc, rel=1e-3, abs=1e-5)
            assert entry.accuracy_drop == pytest.approx(expected.accuracy_drop)
            assert entry.norm_ratio == pytest.approx(expected.norm_ratio, rel=1e-3)
            told = entry.module, entry.epochs, entry.constrained
            assert told == (expected.module, expected.epochs, expected.constrained)
        assert any(entry.constrained for entry in entries)
        assert any(not entry.constrained for entry in entries) == some_stay_inside

    def test_robust_loss_is_the_mean_over_all_examples(self, model, examples):
        loss, accuracy = robust_loss(model, examples)
        with torch.no_grad():
            logits = model(examples.x_adv)
        assert loss == pytest.approx(float(cross_entropy(logits, examples.labels)), abs=1e-6)
        assert accuracy == float((logits.argmax(1) == examples.labels).double().mean())

    def test_defaults_are_the_released_codes(self):
        """What stands in main.py, as it goes into a spec."""
        assert spec_of(OfficialCriticality()) == {
            "type": "official",
            "version": 1,
            "radius": 0.1,
            "lr": 1.0,
            "steps": 10,
            "batch_size": 512,
            "split": "test",
            "images": None,
        }

    def test_only_the_seed_decides(self, model, split, tmp_path):
        """The global generator neither matters nor moves where batches are shuffled."""
        settings = OfficialCriticality(steps=1, batch_size=64)
        first = measure(model, split, Journal(tmp_path / "first", "x"), settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(123)
            state = torch.get_rng_state()
            again = measure(model, split, Journal(tmp_path / "again", "x"), settings)
            assert torch.equal(torch.get_rng_state(), state)
        assert lines(again) == lines(first)

    def test_settings_choose_the_first_images(self, model, split, tmp_path):
        """`images` cuts the split before anything else happens."""
        settings = CriticalitySettings(lr=1.0, steps=1, batch_size=64, images=40)
        cut = measure(model, split, Journal(tmp_path / "cut", "x"), settings)
        whole = CriticalitySettings(lr=1.0, steps=1, batch_size=64)
        first = measure(model, split.first(40), Journal(tmp_path / "first", "x"), whole)
        assert lines(cut) == lines(first)


class TestConstraint:
    """The ball around the weights."""

    @BOTH
    def test_radius_zero_means_no_criticality(self, model, split, journal, kind):
        """Without room MRC is exactly 0; in Algorithm 1 also where the gradient is 0."""
        if kind is CriticalitySettings:
            torch.nn.init.zeros_(model.layer3[0].bn2.weight)
        settings = kind(radius=0.0, lr=1.0, steps=2, batch_size=64)
        for entry in measure(model, split, journal, settings):
            assert (entry.mrc, entry.accuracy_drop, entry.norm_ratio) == (0.0, 0.0, 0.0)
            assert entry.constrained

    @BOTH
    def test_a_weight_of_zeros_has_no_room_either(self, model, split, journal, kind):
        """The ball of a zero weight is a point: MRC 0, without a division by zero."""
        torch.nn.init.zeros_(model.layer2[0].conv2.weight)
        entries = measure(model, split, journal, kind(steps=2, batch_size=64))
        found = {entry.module: entry for entry in entries}
        zero = found["layer2.0.conv2"]
        assert (zero.mrc, zero.accuracy_drop, zero.norm_ratio) == (0.0, 0.0, 0.0)
        assert zero.constrained
        assert found["linear"].mrc > 0

    @pytest.mark.parametrize("radius", [0.01, 0.5])
    def test_the_ball_is_reached_by_large_steps_only(self, model, examples, radius):
        """A large rate ends on the sphere after one epoch; a tiny one makes all epochs inside."""
        large, tiny = (
            measure_one(
                model,
                "layer2.0.conv2",
                examples,
                CriticalitySettings(radius=radius, lr=lr, steps=4, batch_size=64),
            )
            for lr in (1e3, 1e-4)
        )
        assert (large.constrained, large.epochs) == (True, 1)
        assert large.norm_ratio == pytest.approx(radius, rel=1e-6)
        assert (tiny.constrained, tiny.epochs) == (False, 4)
        assert 0 < tiny.norm_ratio < radius
        assert min(large.mrc, tiny.mrc) > 0


class TestModel:
    """What a measurement leaves behind."""

    def test_only_one_weight_is_free(self, model, examples, monkeypatch):
        """During the ascent of a module its weight alone needs a gradient (line 6)."""
        honest, free = ascending.add_gradients, set()

        def noted(*given):
            free.add(tuple(n for n, p in model.named_parameters() if p.requires_grad))
            return honest(*given)

        monkeypatch.setattr(ascending, "add_gradients", noted)
        measure_one(model, "linear", examples)
        assert free == {("linear.weight",)}

    def test_a_frozen_weight_is_measured_and_stays_frozen(self, model, examples):
        expected = measure_one(model, "layer2.0.conv2", examples)
        model.requires_grad_(False)
        assert measure_one(model, "layer2.0.conv2", examples) == expected
        assert not any(parameter.requires_grad for parameter in model.parameters())


class TestDivergence:
    """What becomes no number is never least critical."""

    @pytest.mark.parametrize("lr", [float("nan"), float("inf"), 1e30])
    def test_diverged_modules_have_no_values(self, model, examples, lr):
        """A weight that is no number or whose norm overflows gives None, and is put back."""
        before = weights_sha256(model.state_dict())
        settings = CriticalitySettings(lr=lr, steps=2, batch_size=64)
        entry = measure_one(model, "layer2.0.conv2", examples, settings)
        assert (entry.mrc, entry.accuracy_drop, entry.norm_ratio) == (None, None, None)
        assert (entry.epochs, entry.diverged) == (1, True)
        assert weights_sha256(model.state_dict()) == before
        assert all(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize("loss", [float("nan"), float("inf")])
    def test_a_loss_that_is_no_number_has_no_value(self, model, examples, monkeypatch, loss):
        """A finite weight does not help if the loss at the end is not finite."""
        monkeypatch.setattr(ascending, "robust_loss", lambda *given: (loss, 0.5))
        entry = measure_one(model, "linear", examples)
        assert (entry.diverged, entry.constrained) == (True, True)

    def test_one_lost_epoch_voids_the_others(self, model, split, journal, monkeypatch):
        """A last loss that is no number is not hidden by the maximum of the earlier ones."""
        honest, calls = official.robust_loss, []

        def broken(*given):
            calls.append(given)
            return (math.nan, 0.5) if len(calls) == 4 else honest(*given)

        monkeypatch.setattr(official, "robust_loss", broken)
        entries = measure(model, split, journal, OfficialCriticality(steps=2, batch_size=64))
        assert [entry.diverged for entry in entries] == [False, True] + [False] * 8

    def test_a_base_model_that_is_no_number_raises(self, model, split, journal):
        """A broken model has no criticality, and its examples are no measurement."""
        with torch.no_grad():
            model.conv1.weight[0] = float("nan")
        with pytest.raises(TrainingFailed, match="the robust loss of the base model is nan"):
            measure(model, split, journal)
        assert journal.get("conv1") is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A function that gives what a measurement of the model ends with when nothing happens."""
    known = {}

    def measured_once(model, split, settings):
        if settings not in known:
            folder = tmp_path_factory.mktemp("whole")
            known[settings] = lines(measure(model, split, Journal(folder / "x", "x"), settings))
        return known[settings]

    return measured_once


class TestJournal:
    """Continuing after an interruption."""

    @pytest.mark.parametrize("stop", [1, 2, 3, 5])
    @pytest.mark.parametrize("kind", [*KINDS, ScaleFreeCriticality])
    def test_resumed_inside_an_ascent(self, model, split, whole, tmp_path, monkeypatch, kind, stop):
        """Behind any epoch that was kept: none is made twice, and the bytes are the same."""
        monkeypatch.setattr(stopping, "EVERY", 0.0)
        settings, folder, calls = kind(steps=4, radius=0.5), tmp_path / "interrupted", []
        keep = MovingWeight.keep
        expected = whole(model, split, settings)

        def stops(moving, ascent):
            keep(moving, ascent)
            calls.append((moving.module, ascent.epochs))
            if len(calls) == stop:
                raise StopRequested

        monkeypatch.setattr(MovingWeight, "keep", stops)
        with pytest.raises(StopRequested):
            measure(model, split, Journal(folder, "x"), settings)
        assert lines(measure(model, split, Journal(folder, "x"), settings)) == expected
        assert len(set(calls)) == len(calls)
        assert not list(folder.glob("ascent-*"))

    def test_finished_measurement_is_read_back(self, model, split, journal, monkeypatch):
        """A second call measures nothing and needs no adversarial examples."""
        first = measure(model, split, journal)
        assert not list(journal.folder.glob("x_adv-*"))
        monkeypatch.setattr(measured, "module_criticality", None)
        monkeypatch.setattr(measured, "adversarial_set", None)
        assert lines(measure(model, split, journal)) == lines(first)

    def test_interrupted_examples_are_continued(self, model, split, tmp_path, monkeypatch):
        """Adversarial examples are kept chunk by chunk and do not depend on the chunk size."""
        expected = adversarial_set(model, split, DIGITS.threat, SEED, Journal(tmp_path / "whole", "x"))
        monkeypatch.setattr(crafted, "CHUNK", 40)
        folder = tmp_path / "parts"
        with pytest.raises(KeyboardInterrupt):
            adversarial_set(model, split, DIGITS.threat, SEED, Journal(folder, "x"), killing(80))
        honest, made = crafted.adversarial_batch, []

        def noted(model, split, start, stop, *rest):
            made.append((start, stop))
            return honest(model, split, start, stop, *rest)

        monkeypatch.setattr(crafted, "adversarial_batch", noted)
        resumed = adversarial_set(model, split, DIGITS.threat, SEED, Journal(folder, "x"))
        assert made == [(80, 96)]
        assert torch.equal(resumed.x_adv, expected.x_adv)
        assert torch.equal(resumed.labels, split.labels)

    def test_progress_reaches_its_total(self, model, split, journal):
        calls = []
        measure(model, split, journal, progress=lambda *call: calls.append(call))
        names = criticality_modules(model)
        shown = [call for call in calls if call[0] == "criticality"]
        assert shown == [("criticality", i + 1, 10, name) for i, name in enumerate(names)]


class TestEntry:
    """What is kept of a module."""

    def test_entries_of_earlier_records_are_read(self):
        """An entry as it stands in the first committed record."""
        text = (
            '{"module": "conv1", "mrc": 0.21773757934570304, "accuracy_drop": 0.04999999999999999,'
            '"norm_ratio": 0.10000001186629909, "epochs": 2, "constrained": true}'
        )
        read = ModuleCriticality.model_validate_json(text)
        assert (read.mrc, read.diverged, read.remark) == (0.21773757934570304, False, None)

    def test_diverged_entries_survive_the_file(self):
        diverged = measured_by_hand("conv1", None)
        assert '"mrc":null' in diverged.model_dump_json()
        assert ModuleCriticality.model_validate_json(diverged.model_dump_json()) == diverged

    @pytest.mark.parametrize(
        "wrong",
        [{"mrc": None}, {"accuracy_drop": None}, {"mrc": float("nan")}, {"norm_ratio": float("inf")}],
    )
    def test_half_an_entry_is_refused(self, wrong):
        """The values are all finite or all missing."""
        with pytest.raises(ValidationError):
            ModuleCriticality.model_validate(measured_by_hand("conv1", 0.5).model_dump() | wrong)

    def test_inactive_constraints_are_flagged(self):
        """Modules that never left the ball, in order; not those whose MRC is not valid."""
        entries = [
            measured_by_hand("conv1", 0.5, constrained=False),
            measured_by_hand("layer1.0.conv1", 0.5),
            measured_by_hand("layer1.0.conv2", None, constrained=False),
            measured_by_hand("layer2.0.conv1", -1e-9, constrained=False),
            measured_by_hand("linear", 0.0, constrained=False),
        ]
        assert flagged(entries) == ["conv1", "linear"]
        assert not_valid(entries) == ["layer1.0.conv2", "layer2.0.conv1"]
        assert [each.failed for each in entries] == [False, False, False, True, False]
        assert [each.remark and each.remark.split(":")[0] for each in entries] == [
            "the constraint was never active",
            None,
            "the ascent diverged",
            "the ascent failed",
            "the constraint was never active",
        ]
