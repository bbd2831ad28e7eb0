"""Fine-tunings of a few images, which several test files make."""

from dataclasses import replace
from functools import partial

import pytest

from benchmark.data.images import Dataset
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.run import adversarial_training, rift
from benchmark.submission.making import check_making
from handmade import copied_to, store_in
from invoking import MINI


@pytest.fixture(scope="session")
def run_in(digits):
    """A function that gives the run of a fine-tuning on a few images in a store."""
    some = Dataset(digits.info, digits.train.first(128), digits.test.first(50))

    def of(store, finetune, **changes):
        cell = Cell("mini", "digits", "resnet18-w8", "pgd-at", finetune, 0)
        return Run(Plan.of(cell, replace(scale(str(MINI)), **changes)), some, store, silent)

    return of


@pytest.fixture(scope="session")
def trained(run_in, tmp_path_factory):
    """A store with the base model of those runs; to be copied."""
    store = store_in(tmp_path_factory.mktemp("trained"))
    adversarial_training(run_in(store, "rift"))
    return store


@pytest.fixture
def run(store, trained, run_in):
    """A function that gives the run of a fine-tuning in a test's own store."""
    return partial(run_in, copied_to(store, trained))


@pytest.fixture
def tuned(run):
    """A function that makes a fine-tuning: base state, its state, names of parameters, its making."""

    def of(name):
        this = run(name)
        base = adversarial_training(this)
        after = rift(this, base)
        parameters = {name for name, _ in this.network(base).named_parameters()}
        making = this.store.making(this.plan.cell)
        assert list(check_making(making, this.plan)) == []
        return base.state, after.state, parameters, making.details

    return of
