"""A stop that was asked for: made where a chunk begins, and no failure of a cell."""

from pathlib import Path

import pytest
import torch

from benchmark.algorithm.adversarial_examples import AdversarialSet, robust_loss
from benchmark.algorithm.ascent import add_gradients
from benchmark.data.info import DIGITS
from benchmark.engine.counting import clean_count, pgd_count, vanishing
from benchmark.evaluation.autoattack import AutoAttack
from benchmark.evaluation.standard_attacks import adversarial_examples
from benchmark.jobs.tasks import Options, Task
from benchmark.jobs.worker import Worker
from benchmark.plans.named import scale
from benchmark.records import stopping
from benchmark.records.cells import Cell
from benchmark.records.stopping import StopRequested
from invoking import MINI


@pytest.fixture
def asked(monkeypatch):
    """A function that asks for a stop, which ends with the test."""
    monkeypatch.setattr(stopping, "_asked", False)
    return stopping.ask


def test_it_is_due_when_asked_for_and_once_a_minute(asked, monkeypatch):
    """Whatever the time since work was saved last; else a minute."""
    monkeypatch.setattr(stopping.time, "monotonic", lambda: 100.0)
    assert [stopping.due(since) for since in (100.0, 40.5, 40.0)] == [False, False, True]
    stopping.stop_if_asked()
    asked()
    assert stopping.asked() and stopping.due(100.0)


def _autoattack(attack):
    def attacked(model, split):
        x, labels = split.batch(0, 4)
        parameters = AutoAttack().parameters(DIGITS)[attack]
        return adversarial_examples(model, x.contiguous(), labels, attack, parameters, 0.1, 0)

    return attacked


def _gradients(model, split):
    weight = model.linear.weight
    add_gradients([torch.zeros_like(weight)], model, [weight], AdversarialSet(*split.batch(0, 4)))


@pytest.mark.parametrize(
    "work",
    [
        clean_count,
        lambda model, split: pgd_count(model, split, DIGITS.threat, 0),
        lambda model, split: vanishing(model, *split.batch(0, 4)),
        lambda model, split: robust_loss(model, AdversarialSet(*split.batch(0, 4))),
        _gradients,
        *map(_autoattack, AutoAttack().attacks),
    ],
)
def test_work_ends_within_a_chunk(asked, model, digits, work):
    """Counting, attacking and ascending; mode, weights and `requires_grad` are as before."""
    before = {name: x.clone() for name, x in model.state_dict().items()}
    asked()
    with pytest.raises(StopRequested):
        work(model, digits.test.first(8))
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_a_worker_does_not_take_it_for_a_failure(store):
    """It ends the worker, and the lock of the base model is free."""

    def stops(run):
        raise StopRequested

    cell = Cell("mini", "digits", "resnet18-w8", "pgd-at", "none", 0)
    worker = Worker(scale(str(MINI)), Options(store, Path(), "cpu", 1, make=stops), lambda *_: None)
    with pytest.raises(StopRequested):
        worker.do(Task(cell, (cell,)), block=False)
    with store.lock(cell, timeout=0):
        pass
