"""Evaluations on the first images: a prefix of the whole, and named so."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.data.info import CIFAR10, DIGITS
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS, evaluation
from benchmark.evaluation.first import limited
from benchmark.evaluation.protocol import Evaluation, Outcome
from benchmark.progress import silent
from benchmark.records.counts import Count
from benchmark.records.specs import spec_hash
from benchmark.records.store import Journal
from handmade import cell_at


@pytest.mark.parametrize("name", ["clean", "pgd10x3", "pgd10-official-code", "corruptions-15-gen-v2"])
def test_bits_are_a_prefix_of_the_whole(name, model, digits, tmp_path):
    """The first 20 of 50 images get the bits that they have among all."""
    data = replace(digits, test=digits.test.first(50))
    bits = {}
    for chosen in (name, limited(name, 20)):
        journal = Journal(tmp_path / chosen, "")
        outcome = evaluation(chosen).run(model, data, cell_at(), journal, silent)
        bits[chosen] = outcome.bits
        assert {len(array) for array in outcome.bits.values()} == {50 if chosen == name else 20}
    for part, array in bits[limited(name, 20)].items():
        assert np.array_equal(array, bits[name][part][:20])


def test_the_first_of_sorted_classes_are_no_sample(digits, monkeypatch, tmp_path):
    """Tiny-ImageNet-C is in the order of its classes: its first images are refused before work."""
    files = SimpleNamespace(folder=tmp_path / "Tiny-ImageNet-C")
    monkeypatch.setattr("benchmark.data.corruptions.published.official", lambda *_, **__: files)
    data = replace(digits, directory=tmp_path)
    with pytest.raises(UserError, match="in the order of its classes"):
        evaluation("corruptions-15-first-100").check(data)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_a_limit_is_part_of_label_and_spec(name):
    """A number of some images never passes for one of all: other label, other spec, other name."""
    whole, some = evaluation(name), evaluation(limited(name, 100))
    assert "first 100" in some.label
    assert limited(limited(name, 100), 20) == limited(limited(name, 20), 100) == limited(name, 20)
    assert some.label != whole.label
    assert some.note(CIFAR10)
    for info in (CIFAR10, DIGITS):
        if whole.spec(info) is None:
            assert some.spec(info) is None
        else:
            assert spec_hash(some.spec(info)) != spec_hash(whole.spec(info))
            assert some.spec(info)["whole"] == whole.spec(info)


def test_as_many_as_there_are_is_no_limit(digits):
    """Naming all images, or more, is refused instead of being another name for the whole."""
    evaluation("clean-first-499").check(digits)
    for images in (500, 501):
        with pytest.raises(UserError, match=f"has 500 test images; to evaluate the first {images}"):
            evaluation(f"clean-first-{images}").check(digits)


@pytest.mark.parametrize("name", ["clean-first-", "clean-first-0", "clean-first-x", "-first-3", "cle"])
def test_a_name_without_sense_is_refused(name):
    """A limit is a whole number from one on, of a known evaluation."""
    with pytest.raises(UserError, match=f"unknown evaluation '{name}'; .*known: clean, "):
        evaluation(name)


def test_the_official_code_attacks_once_with_longer_steps():
    """One run, step 2/225."""
    spec = evaluation("pgd10-official-code").spec(CIFAR10)
    assert spec["runs"] == 1
    assert abs(spec["attack"]["step_size"] - 2 / 225) < 1e-12
    assert spec["type"] == "pgd10-official-code"


@pytest.mark.parametrize("name", EVALUATIONS)
def test_it_answers_as_the_whole_does(name):
    """What is asked of an evaluation is the same of its first images, whatever is added to ask."""
    whole, some = evaluation(name), evaluation(limited(name, 100))
    asked = {each for each, value in vars(Evaluation).items() if isinstance(value, property)}
    assert {"kind", "role", "strength", "arrays", "parts"} <= asked
    for each in asked - {"label", "summary"}:
        assert getattr(some, each) == getattr(whole, each), each


def test_who_looks_at_more_is_refused(digits, monkeypatch, tmp_path):
    """An evaluation that takes no notice of the limit leaves no record under its name."""
    whole = evaluation("clean")
    monkeypatch.setattr(type(whole), "run", lambda self, model, data, *how: run(data))

    def run(data):
        right = np.ones(len(data.test), dtype=bool)
        return Outcome(Count.of(right), {}, {"clean": right})

    data, journal = replace(digits, test=digits.test.first(30)), Journal(tmp_path / "x", "")
    with pytest.raises(UserError, match="has answers to 30 images instead of the first 20; its `run`"):
        evaluation("clean-first-20").run(None, data, cell_at(), journal, silent)
