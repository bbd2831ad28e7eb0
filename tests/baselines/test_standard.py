"""Clean training: what it crafts, which score chooses its epoch, and epochs that are untrained."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from baselines import method
from baselines.pgd_at import PgdAt
from benchmark.data.images import Dataset
from benchmark.engine.counting import clean_count, pgd_count
from benchmark.engine.training import TrainingFailed
from benchmark.errors import UserError
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.records.records import Count, Training
from benchmark.report.tables.audit import audit, audit_cells
from benchmark.report.view import View
from benchmark.run import adversarial_training
from invoking import MINI


@dataclass(frozen=True)
class JudgedWrongly(type(method("standard"))):
    """Clean training, whose epoch is chosen by the robust accuracy that it does not have."""

    type_name: ClassVar[str] = "judged-wrongly"
    selects_by: ClassVar[str] = "robust"


@pytest.fixture
def run(store, digits):
    """A function that gives the run of a base model of `mini.toml` by a method on a few digits."""
    some = Dataset(digits.info, digits.train.first(384), digits.test.first(60))

    def of(how, **recipe):
        mini = scale(str(MINI))
        plan = Plan.of(Cell("mini", "digits", "resnet18-w8", "pgd-at", "none", 0), mini)
        chosen = replace(plan.base.recipe, select_last=3, **recipe)
        return Run(
            replace(plan, base=replace(plan.base, method=how, recipe=chosen)), some, store, silent
        )

    return of


def details(run) -> Training:
    """The log of the base model of `run`."""
    making = run.store.making(run.plan.base.cell)
    assert making is not None and isinstance(making.details, Training)
    return making.details


def test_the_images_as_they_are(network, digits):
    """Nothing is crafted, nothing drawn, and the loss is that of PGD-AT at the images."""
    x, labels = digits.train.batch(0, 8)
    how, generator = method("standard"), torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert how.inner(network, x, labels, digits.info.threat, generator) is x
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(how.outer(network, x, x, labels), PgdAt().outer(network, x, x, labels))


@pytest.mark.parametrize(("how", "by"), [("standard", clean_count), ("pgd-at", None)])
def test_the_methods_score_chooses_the_epoch(run, monkeypatch, how, by):
    """Clean training keeps the epoch of the best clean accuracy, PGD-AT that of the best robust one."""
    this = run(method(how), batch_size=64)
    asked = {"clean": [], "robust": []}

    def noted(name, count):
        return lambda *args: asked[name].append(count(*args)) or asked[name][-1]

    monkeypatch.setattr("benchmark.engine.counting.clean_count", noted("clean", clean_count))
    monkeypatch.setattr("benchmark.engine.counting.pgd_count", noted("robust", pgd_count))
    theta, log = adversarial_training(this), details(this)
    scores = asked["clean" if by else "robust"][:3]
    assert [epoch.selection for epoch in log.epochs] == scores
    assert log.best == max(scores, key=lambda count: count.k)
    assert log.best_epoch == 1 + [count.k for count in scores].index(log.best.k)
    if by:
        assert not asked["robust"]
        images = this.splits.selection.first(this.plan.base.recipe.select_images)
        assert clean_count(this.network(theta), images) == log.best


def judge_by(monkeypatch, **counts):
    """Let the counts of so many of 50 images, one after the other, be what judges epochs."""
    for name, right in counts.items():
        left = iter(right)
        judge = lambda *_, left=left: Count(k=next(left), n=50)  # noqa: E731
        monkeypatch.setattr(f"benchmark.engine.counting.{name}_count", judge)


def test_an_untrained_epoch_is_refused(run, monkeypatch):
    """Chosen by robust accuracy, clean training would keep its first epoch."""
    judge_by(monkeypatch, pgd=[3, 0, 0], clean=[45, 8])
    with pytest.raises(TrainingFailed, match=r"epoch 1 was .* untrained: Std 16.*, of the last"):
        adversarial_training(run(JudgedWrongly()))


@pytest.mark.parametrize(("last", "chosen"), [(45, 23), (18, 8), (0, 0), (8, 45)])
def test_a_trained_epoch_is_kept(run, monkeypatch, last, chosen):
    """Half of the last one's Std, or few images less, is what robust overfitting and chance make."""
    judge_by(monkeypatch, pgd=[3, 0, 0], clean=[last, chosen])
    this = run(JudgedWrongly())
    adversarial_training(this)
    assert details(this).best_epoch == 1


class TestWithoutBatchNorm:
    """Controls of batch normalisation on a network that has none."""

    @pytest.fixture
    def own(self):
        """The scale `mini` with a transformer."""
        return replace(scale(str(MINI)), archs=("vit-mini-w8",))

    @pytest.mark.parametrize("name", ["bn-only", "rift-bn-frozen", "bn-only-alpha-1"])
    def test_a_cell_that_cannot_be_is_refused(self, own, name):
        cell = Cell("mini", "digits", "vit-mini-w8", "pgd-at", name, 0)
        with pytest.raises(UserError, match=rf"{name} is about .*\(width 8\) has none: there is no"):
            Plan.of(cell, own)
        Plan.of(replace(cell, finetune="rift"), own)

    def test_the_audit_leaves_them_out_and_says_so(self, own, store):
        found = {cell.finetune for cell in audit_cells(own)}
        assert {"none", "rift", "random-layer", "all-layers"} < found
        assert not found & {"bn-only", "rift-bn-frozen"}
        notes = audit(View(store, own)).notes
        assert (
            "left out: bn-only, rift-bn-frozen; ViT-mini (width 8) has no statistics to move" in notes
        )
        mini = scale(str(MINI))
        assert {"bn-only", "rift-bn-frozen"} < {cell.finetune for cell in audit_cells(mini)}
