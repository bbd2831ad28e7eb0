"""Answers that bf16 settles: never another one than fp32's, or none at all."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmark.data.corruptions.generator import CORRUPTIONS_15, corrupt
from benchmark.data.images import pixels
from benchmark.data.info import DIGITS
from benchmark.engine import counting, folded_copy, settled
from benchmark.engine.counting import clean_answers
from benchmark.engine.folded_copy import foldable
from benchmark.engine.precision import BF16, Precision, use
from benchmark.engine.settled import NotSettled, Scorer, decided, moved, scoring
from benchmark.engine.weights import Weights
from benchmark.evaluation.record import Evaluating
from benchmark.models import arch
from benchmark.models.around import Around
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.posthoc.bands import put_in
from benchmark.progress import silent
from benchmark.records.cells import Cell

LOGITS = arrays.arrays("float32", (6, 4), elements=st.floats(-50, 50, width=32))


@given(LOGITS, LOGITS)
def test_a_margin_beyond_the_largest_move_decides(exact, change):
    """Where the bound is no less than what was moved, decided answers are those of the exact logits."""
    exact, rough = torch.from_numpy(exact).double(), torch.from_numpy(exact + change / 10).double()
    sure = decided(rough, moved(rough, exact))
    assert torch.equal(rough[sure].argmax(1), exact[sure].argmax(1))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_decides_nothing(odd):
    """Neither as the largest logit nor as any other."""
    assert decided(torch.tensor([[9.0, 0.0, 1.0]]), 1).all()
    for place in range(3):
        logits = torch.tensor([[9.0, 0.0, 1.0]])
        logits[0, place] = odd
        assert not decided(logits, 1).any()


@pytest.fixture
def few(digits):
    """Digits with the first test images."""
    return dataclasses.replace(digits, test=digits.test.first(120))


def test_answers_are_those_of_fp32(model, few, in_bf16):
    """All of them, though most are computed in bf16 alone."""
    exact = clean_answers(model, few.test)
    in_bf16()
    found = Scorer(model, few).where_it_repays(settled.REPAYS)
    assert found.bound > 0
    asked = []
    model.register_forward_pre_hook(lambda _module, args: asked.append(len(args[0])))
    with scoring(found):
        assert torch.equal(clean_answers(model, few.test), exact)
    assert 0 < sum(asked) < len(few.test) / 2
    asked.clear()
    assert torch.equal(clean_answers(model, few.test), exact) and sum(asked) == len(few.test)


def test_what_is_not_settled_is_asked(model, few, monkeypatch):
    """Where rough logits decide nothing, every answer is the network's own."""
    exact = clean_answers(model, few.test)
    monkeypatch.setattr(Scorer, "rough", property(lambda self: lambda x: torch.zeros(len(x), 10)))
    monkeypatch.setattr(Scorer, "bound", 1.0)
    with scoring(Scorer(model, few)):
        assert torch.equal(clean_answers(model, few.test), exact)


def test_the_bound_is_four_times_the_largest_move(model, few, monkeypatch):
    """Of all images that are shown: here the smallest logit moves by so many hundredths as there are
    images in a batch."""
    shown = [few.test.batch(0, 5)[0], few.test.batch(5, 8)[0]]

    def rough(x):
        exact = model(x)
        least = torch.nn.functional.one_hot(exact.argmin(1), exact.shape[1])
        return exact - len(x) / 100 * least

    monkeypatch.setattr(settled, "like", lambda data, network: iter(shown))
    monkeypatch.setattr(Scorer, "rough", property(lambda self: rough))
    assert Scorer(model, few).bound == pytest.approx(4 * 0.05, rel=1e-3)


def test_what_the_bound_is_measured_on(model, few, plain_pgd):
    """The first test images as they are, under PGD, and a part of them under each of the paper's 15
    corruptions at the highest severity."""
    clean, attacked, *corrupted = settled.like(few, model)
    assert torch.equal(clean, few.test.batch(0, 120)[0])
    expected = plain_pgd(model, few.test, DIGITS.threat, 0)
    assert ((attacked - expected).abs() > 1e-6).float().mean() < 0.01  # rounding may turn a sign
    parts = np.array_split(np.arange(120), 15)
    for name, part, found in zip(CORRUPTIONS_15, parts, corrupted, strict=True):
        made = corrupt(few.test.images.numpy()[part], name, 5, seed=0, ids=part)
        assert torch.equal(found, pixels(torch.from_numpy(made)))


def test_where_nothing_is_rounded(model, few, in_bf16):
    """In fp32, for few answers, for a network that is not this suite's, and for a post-hoc module."""
    assert Scorer(model, few).where_it_repays(settled.REPAYS) is None
    in_bf16()
    assert Scorer(model, few).where_it_repays(settled.REPAYS - 1) is None
    assert Scorer(torch.nn.Flatten(), few).where_it_repays(settled.REPAYS) is None
    assert Scorer(model, few).where_it_repays(settled.REPAYS) is not None
    assert (
        foldable(around := Around(model))
        and Scorer(around, few).where_it_repays(settled.REPAYS) is None
    )
    sparse = put_in(copy.deepcopy(model))
    assert foldable(sparse) and Scorer(sparse, few).where_it_repays(settled.REPAYS) is None


def test_the_shape_of_an_evaluation_is_compiled(model, few, monkeypatch):
    """Though the margin was measured before, on batches of other shapes."""
    compiled = []

    def shapes_of(function, _):
        def run(x):
            compiled.append(len(x))
            return function(x)

        return run

    monkeypatch.setattr(folded_copy, "_compile", shapes_of)
    use(Precision(BF16, compiled=True))
    monkeypatch.setattr(counting, "BATCH", 100)
    found = Scorer(model, few).where_it_repays(settled.REPAYS)
    assert found.bound > 0 and compiled == []
    with scoring(found):
        clean_answers(model, few.test)
    assert compiled == [100]


def interrupted(outcome):
    """`outcome`, but a kill where nothing is settled."""

    def run(self, name, journal):
        if "margins" in journal.fingerprint:
            return outcome(self, name, journal)
        raise KeyboardInterrupt

    return run


def test_an_answer_that_turns_sends_all_to_fp32(model, few, in_bf16, store, monkeypatch):
    """The record has the bits and the precision of one whose answers are all in fp32."""
    monkeypatch.setattr(settled, "REPAYS", 1)
    weights = Weights.of(model.state_dict())
    cell = Cell("own", "digits", "resnet18-w8", "mine", "none", 0)
    plan = CheckpointPlan(cell, few.info, arch("resnet18-w8"), weights.sha256)

    def record(name):
        records = dataclasses.replace(store, results=store.results / name)
        return Evaluating(plan, model, weights, few, records, silent).record("clean")

    exact = record("fp32")
    in_bf16()
    settles = record("settled")
    assert settles.bits_sha256 == exact.bits_sha256
    assert settles.provenance.precision.startswith("bf16, scored in bf16 above margins of ")
    rough = Scorer(model, few).rough
    monkeypatch.setattr(Scorer, "rough", property(lambda self: lambda x: 1e3 * rough(x).roll(1, 1)))
    monkeypatch.setattr(Scorer, "bound", 1.0)
    with pytest.raises(NotSettled), scoring(Scorer(model, few)):
        clean_answers(model, few.test)
    with monkeypatch.context() as killed:
        killed.setattr(Evaluating, "outcome", interrupted(Evaluating.outcome))
        with pytest.raises(KeyboardInterrupt):
            record("turned")
    monkeypatch.setattr(Scorer, "where_it_repays", None)  # who goes on tries no more
    turned = record("turned")
    assert turned.bits_sha256 == exact.bits_sha256
    assert turned.provenance.precision == "bf16, scored in fp32"


def test_a_module_of_ones_own_is_not_rounded(model, few, in_bf16, store, monkeypatch):
    """Whatever class it is of: a network of this suite may have got a hard part."""
    monkeypatch.setattr(settled, "REPAYS", 1)
    in_bf16()
    cell = Cell("own", "digits", "resnet18-w8", "mine", "none", 0)
    made = []
    for module in (None, {"forward": {"type": "own", "version": 1}, "numbers": {}}):
        weights = Weights.of(model.state_dict(), module)
        plan = CheckpointPlan(cell, few.info, arch("resnet18-w8"), weights.sha256)
        records = dataclasses.replace(store, results=store.results / weights.sha256)
        record = Evaluating(plan, model, weights, few, records, silent).record("clean")
        made.append(record.provenance.precision)
    assert made[0].startswith("bf16, scored in bf16 above margins of ")
    assert made[1] == "bf16, scored in fp32"
