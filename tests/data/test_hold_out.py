"""The hold-out: a share of every class, and nothing that chooses sees a test image."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.data.hold_out import HoldOut, held_out_places, splits
from benchmark.data.images import Dataset, Split
from benchmark.evaluation.record import Evaluating
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.run import run_cell
from handmade import store_in
from invoking import MINI


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.sampled_from([0.1, 0.2, 0.5]))
def test_the_same_share_of_every_class(labels, share):
    """Of each class the rounded share of its images is held out."""
    labels = np.array(labels)
    inside = held_out_places(labels, share, "digits")
    for label in np.unique(labels):
        assert inside[labels == label].sum() == round(share * (labels == label).sum())


def test_a_dataset_has_one_hold_out():
    """The draw depends on the dataset's name and not on what else is drawn."""
    labels = np.repeat(np.arange(10), 30)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what must not matter
    first = held_out_places(labels, 0.1, "digits")
    assert np.array_equal(held_out_places(labels, 0.1, "digits"), first)
    assert not np.array_equal(held_out_places(labels, 0.1, "cifar10"), first)


def test_both_parts_make_the_training_split(digits):
    """Nothing is lost, nothing is twice, and images keep their labels and their order."""
    parts = splits(digits, HoldOut())
    assert len(parts.train) + len(parts.selection) == len(digits.train)
    inside = torch.from_numpy(held_out_places(digits.train.labels.numpy(), 0.1, "digits"))
    assert torch.equal(parts.selection.images, digits.train.images[inside])
    assert torch.equal(parts.selection.labels, digits.train.labels[inside])
    assert torch.equal(parts.train.images, digits.train.images[~inside])


def test_without_a_hold_out_test_images_judge(digits):
    """The paper's reading: everything is trained on, and the test split chooses."""
    parts = splits(digits, None)
    assert parts.train is digits.train
    assert parts.selection is digits.test


class Watched(Split):
    """A split that counts how often its images or labels are read."""

    reads = 0

    def __getattribute__(self, name):
        if name in ("images", "labels"):
            Watched.reads += 1
        return object.__getattribute__(self, name)


@pytest.fixture(scope="module")
def made(digits, tmp_path_factory):
    """A function that makes a cell of a fine-tuning: its store, and reads of test images before each
    evaluation."""
    test = Watched(digits.test.images[:40], digits.test.labels[:40])
    some = Dataset(digits.info, Split(digits.train.images[:256], digits.train.labels[:256]), test)
    record = Evaluating.record

    @cache
    def made(finetune):
        store, seen, Watched.reads = store_in(tmp_path_factory.mktemp("made")), [], 0
        plan = Plan.of(Cell("mini", "digits", "resnet18-w8", "pgd-at", finetune, 0), scale(str(MINI)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Evaluating, "record", lambda *of: seen.append(Watched.reads) or record(*of))
            run_cell(Run(plan, some, store, silent), ("clean", "pgd10x3"))
        return store, seen

    return made


@pytest.mark.parametrize("finetune", ["rift-held-out", "top-2-held-out-alpha-1"])
def test_no_test_image_is_read_before_the_evaluation(made, finetune):
    """AT, criticality, fine-tuning, interpolation never touch the test split; the evaluation does."""
    first, second = made(finetune)[1]
    assert first == 0
    assert second > 0


def test_the_paper_reads_test_images_before(made):
    """The watch can see it: under the paper's own protocol test images choose."""
    assert made("rift")[1][0] > 0


def test_records_say_on_what_was_chosen(made):
    """The spec of a record names the data that chose, and the making is of the smaller split."""
    store, _ = made("rift-held-out")
    cell = Cell("mini", "digits", "resnet18-w8", "pgd-at", "rift-held-out", 0)
    record, making, base = store.record(cell, "clean"), store.making(cell), store.making(cell.base)
    assert record.spec["model"]["selects_on"] == "hold-out"
    assert record.spec["model"]["tuning"]["criticality"]["settings"]["split"] == "hold-out"
    assert making.provenance.data_sha256 == base.provenance.data_sha256
    assert making.details.reference.n == base.details.best.n < 30
