"""Module robust criticality as the released code defines it, against plain loops."""

import math

import pytest
import torch

import benchmark.algorithm.adversarial_examples as crafted
import benchmark.algorithm.criticality as measured
import benchmark.algorithm.official_ascent as ascending
from benchmark.algorithm.criticality import criticality
from benchmark.data.info import DIGITS
from benchmark.engine.recipes import CriticalitySettings, OfficialCriticality
from benchmark.records.specs import spec_of
from benchmark.records.store import Journal
from plain_criticality import plain_criticality

IMAGES, SEED = 40, 11
SETTINGS = OfficialCriticality(steps=2, batch_size=16)


@pytest.fixture
def split(digits):
    """Two batches and a half of test images."""
    return digits.test.first(IMAGES)


@pytest.fixture
def measure(model, split, tmp_path):
    """Criticality of all modules of `model` by settings, in a journal of each call's own."""
    calls = iter(range(100))

    def measure(settings=SETTINGS, seed=SEED):
        journal = Journal(tmp_path / str(next(calls)), "x")
        return criticality(model, split, DIGITS.threat, settings, journal, seed=seed)

    return measure


def lines(entries):
    """What is kept of a measurement, as text."""
    return [entry.model_dump_json() for entry in entries]


class TestOracle:
    """The measurement and the released code's algorithm."""

    @pytest.mark.parametrize(("lr", "chunk", "some_stay_inside"), [(1.0, 256, False), (0.01, 12, True)])
    def test_all_modules_agree(
        self, model, split, measure, plain_pgd, monkeypatch, lr, chunk, some_stay_inside
    ):
        """MRC, accuracy drop and norm are those of the epoch with the largest loss, for all modules."""
        monkeypatch.setattr(crafted, "CHUNK", chunk)
        settings = OfficialCriticality(lr=lr, steps=4, batch_size=16)
        x_adv = plain_pgd(model, split, DIGITS.threat, SEED)
        plain = plain_criticality(model, x_adv, split.labels, settings, SEED)
        entries = measure(settings)
        for entry, expected in zip(entries, plain, strict=True):
            assert entry.mrc == pytest.approx(expected.mrc, rel=1e-3, abs=1e-5)
            assert entry.accuracy_drop == pytest.approx(expected.accuracy_drop)
            assert entry.norm_ratio == pytest.approx(expected.norm_ratio, rel=1e-3)
            told = entry.module, entry.epochs, entry.constrained
            assert told == (expected.module, settings.steps, expected.constrained)
        assert any(entry.constrained for entry in entries)
        assert any(not entry.constrained for entry in entries) == some_stay_inside

    def test_more_epochs_never_lower_it(self, measure):
        """The maximum is over all epochs, and the first ones do not depend on how many follow."""
        values = [
            [entry.mrc for entry in measure(OfficialCriticality(steps=steps, batch_size=16))]
            for steps in (1, 2, 3)
        ]
        for fewer, more in zip(values[:-1], values[1:], strict=True):
            assert all(one <= other for one, other in zip(fewer, more, strict=True))
        # Some modules are at their peak after two epochs, others are not.
        assert {one == other for one, other in zip(*values[1:], strict=True)} == {True, False}

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


class TestConstraint:
    """The ball around the weights, which is never left and never stops the ascent."""

    @pytest.mark.parametrize("kind", [CriticalitySettings, OfficialCriticality])
    def test_a_weight_of_zeros_has_no_room_either(self, model, measure, kind):
        """The ball of a zero weight is a point: MRC 0, without a division by zero."""
        with torch.no_grad():
            model.layer2[0].conv2.weight.zero_()
        entries = {entry.module: entry for entry in measure(kind(steps=2, batch_size=16))}
        zero = entries["layer2.0.conv2"]
        assert (zero.mrc, zero.accuracy_drop, zero.norm_ratio) == (0.0, 0.0, 0.0)
        assert zero.constrained
        assert entries["linear"].mrc > 0


class TestDivergence:
    """What becomes no number has no MRC, and stops nothing else."""

    def test_one_lost_epoch_voids_the_others(self, measure, monkeypatch):
        """A last loss that is no number is not hidden by the maximum of the earlier ones."""
        honest, calls = ascending.robust_loss, []

        def broken(*given):
            calls.append(given)
            return (math.nan, 0.5) if len(calls) == 2 * SETTINGS.steps else honest(*given)

        monkeypatch.setattr(ascending, "robust_loss", broken)
        entries = measure()
        assert [entry.diverged for entry in entries] == [False, True] + [False] * 8


class TestOrder:
    """The shuffled batches."""

    def test_only_the_seed_decides(self, measure):
        """The global generator neither matters nor moves; another seed gives other values."""
        first = measure()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(123)
            state = torch.get_rng_state()
            assert lines(measure()) == lines(first)
            assert torch.equal(torch.get_rng_state(), state)

    def test_order_is_that_of_seed_module_and_epoch(self, measure, monkeypatch):
        """Every epoch of a module takes each example once, in an order of its own."""
        honest, taken = crafted.AdversarialSet.take, []

        def noted(examples, rows):
            if isinstance(rows, torch.Tensor):
                taken.append(rows.tolist())
            return honest(examples, rows)

        monkeypatch.setattr(crafted.AdversarialSet, "take", noted)
        entries = measure()
        batches = math.ceil(IMAGES / SETTINGS.batch_size)
        assert len(taken) == len(entries) * SETTINGS.steps * batches
        assert [len(rows) for rows in taken[:batches]] == [16, 16, 8]
        orders = [
            [row for rows in taken[at : at + batches] for row in rows]
            for at in range(0, len(taken), batches)
        ]
        assert all(sorted(order) == list(range(IMAGES)) for order in orders)
        assert len({tuple(order) for order in orders}) == len(orders)

    def test_another_seed_gives_another_order(self, model, split, tmp_path, measure, monkeypatch):
        """On the same examples the values depend on the seed of the order."""
        x_adv = crafted.adversarial_set(model, split, DIGITS.threat, SEED, Journal(tmp_path / "x", "x"))
        monkeypatch.setattr(measured, "adversarial_set", lambda *given: x_adv)
        assert lines(measure()) != lines(measure(seed=SEED + 1))
