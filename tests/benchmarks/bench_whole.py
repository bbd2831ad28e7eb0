"""A whole RiFT: criticality, fine-tuning, the search for alpha*, Std, OOD and Adv of both models.

The base's weights are given: the committed ones at width 16, those after a few clean steps at width 64.
The images are CIFAR-10's, whose folder `BENCHMARK_DATA` names. There are fewer than the 1,000 of the
narrow scale, so that a race ends in about five minutes of two cores; `BENCHMARK_WHOLE=0.1` takes a
tenth of them, for a trial. Corrupted copies are made beforehand for all sides.
"""

import atexit
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench_interpolation import over_the_grid
from bench_scoring import cifar
from benchmark.data.corruptions.files import write_files
from benchmark.data.images import Dataset, Split
from benchmark.engine import settled
from benchmark.engine.counting import batch_starts, run_seed
from benchmark.engine.pgd import example_starts
from benchmark.engine.precision import BF16, FP32, Precision
from benchmark.engine.weights import Weights, interpolate
from benchmark.evaluation import evaluation
from benchmark.evaluation.corruptions import corruption_seed, generated_copy, generated_folder
from benchmark.models import build
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run, candidates
from benchmark.plans.scales import Scale
from benchmark.progress import silent
from benchmark.records.cells import Cell, derive_seed
from benchmark.records.records import Count, Finetuning
from benchmark.records.store import Store
from benchmark.run import rift
from committed import committed_network
from conftest import Lane
from plain_attack import plain_pgd, plain_right
from plain_criticality import plain_criticality
from race import Race
from report import PLAIN
from subjects import INFO, in_precision, label, size

ARCHS = {16: "resnet18-w16", 64: "resnet18"}
IMAGES = {16: 170, 64: 24}
"""Test images, each of which costs the plain side some 900 passes: 0.7 and 6.5 ms on two cores."""
PER_IMAGE, NARROW = 10, 1000
"""Images fine-tuned on for each test image, a fifth of what there is; test images of the scale."""
STEPS, BATCH = 20, 64
"""Of the few clean steps at width 64."""
NAMES = "clean", "corruptions-15-gen-v2", "pgd10x3"

Flags = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Outcome:
    """The module, alpha*, and which answers of both models are right."""

    module: str
    alpha: float
    flags: Flags

    def differing(self, other: "Outcome") -> str:
        """How many flags differ."""
        count = sum(int((self.flags[name] != other.flags[name]).sum()) for name in self.flags)
        return f"{count} of {sum(map(len, self.flags.values())):,} flags differ"


@dataclass(frozen=True)
class Whole:
    """The cells of a RiFT on `data` and the network to begin with."""

    scale: Scale
    data: Dataset
    network: nn.Module

    @property
    def cell(self) -> Cell:
        return self.scale.cells(["cifar10"], self.scale.archs, ["rift"])[0]


def whole(width: int) -> Whole:
    """The work at a width."""
    images = max(7, round(IMAGES[width] * float(os.environ.get("BENCHMARK_WHOLE", "1"))))
    data = cifar()
    train, test = data.train.first(PER_IMAGE * images), data.test.first(images)
    folder = Path(mkdtemp(prefix="bench-whole-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    own = Dataset(data.info, train, test, folder)
    copies = generated_folder(folder, data.info)
    how = {"seed": corruption_seed(data.info), "threads": torch.get_num_threads()}
    write_files(test.images.numpy(), copies, data.info.name, **how)
    scale = Scale(
        name="whole",
        summary="a benchmark",
        datasets=("cifar10",),
        archs=(ARCHS[width],),
        seeds=(0,),
        methods=("pgd-at",),
        finetuning={"epochs": 3, "milestones": (2,), "select_last": 3, "select_images": images},
        # The paper sums the gradients of 98 batches; as many images at a hundred times the rate.
        criticality={"images": images, "lr": 100.0},
        evaluations=NAMES,
    )
    return Whole(scale, own, committed_network() if width == 16 else briefly_trained(train))


def briefly_trained(split: Split) -> nn.Module:
    """ResNet18 of width 64 after a few clean steps."""
    torch.manual_seed(0)
    network = build(ARCHS[64], INFO).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        x, labels = next(iter(split.epoch(BATCH, INFO.augmentation, generator)))
        optimizer.zero_grad()
        cross_entropy(network(x), labels).backward()
        optimizer.step()
    return network.eval()


def ours(on: Whole) -> Outcome:
    """As a command makes the two cells, records included."""
    theta_at = Weights.of(on.network.state_dict())
    with TemporaryDirectory() as folder, answers_settled_as_in_full(on):
        store, flags = Store(Path(folder) / "results", Path(folder) / "artifacts"), {}
        base, tuned = (
            Run(Plan.of(cell, on.scale), on.data, store, silent) for cell in (on.cell.base, on.cell)
        )
        theta = rift(tuned, theta_at)
        for run, weights in ((base, theta_at), (tuned, theta)):
            evaluating = run.evaluating(weights, theta_at)
            for name in NAMES:
                bits = store.bits(evaluating.record(name))
                flags |= {f"{run.plan.cell.finetune} {part}": each for part, each in bits.items()}
        making = store.making(on.cell)
    assert making is not None and isinstance(making.details, Finetuning)
    return Outcome(making.details.modules[0], making.details.alpha, flags)


@contextmanager
def answers_settled_as_in_full(on: Whole) -> Iterator[None]:
    """What `engine.settled` asks of a number of answers, divided as the images are."""
    share = len(on.data.test) / NARROW
    smaller = {name: round(getattr(settled, name) * share) for name in ("REPAYS", "MEASURED")}
    with mock.patch.multiple(settled, **smaller):
        yield


def plain(on: Whole) -> Outcome:
    """As one would write it down."""
    plan = Plan.of(on.cell, on.scale)
    run = Run(plan, on.data, Store(Path(), Path()), silent)
    base, model = on.cell.base, build(on.scale.archs[0], INFO).eval()
    start = {name: tensor.clone() for name, tensor in on.network.state_dict().items()}
    model.load_state_dict(start)

    images = run.images(plan.criticality.split).first(plan.criticality.images)
    seed = base.seed_for(plan.criticality.stage)
    x_adv = torch.cat([x for x, _ in attacked(model, images, plan, seed)])
    mrc = plain_criticality(model, x_adv, images.labels, plan.criticality, seed)
    module = plan.finetuning.selector.select(candidates(plan, model, mrc))[0]

    end = plainly_tuned(model, run, module)
    judged = run.selection_images()

    def robust(alpha: float) -> Count:
        model.load_state_dict(interpolate(start, end, alpha))
        return Count.of(right(model, attacked(model, judged, plan, run_seed(base, 0))))

    def clean(alpha: float) -> Count:
        model.load_state_dict(interpolate(start, end, alpha))
        return Count.of(right(model, batches(judged)))

    alpha = over_the_grid(plan.finetuning.interpolation.grid, clean, robust, robust(0.0))

    flags = {}
    for name, weights in (("none", start), ("rift", interpolate(start, end, alpha))):
        model.load_state_dict(weights)
        found = plainly_evaluated(model, on.data, plan, base)
        flags |= {f"{name} {part}": each for part, each in found.items()}
    return Outcome(module, alpha, flags)


def plainly_tuned(model: nn.Module, run: Run, module: str) -> dict[str, Tensor]:
    """Weights of the epoch of the best clean accuracy; the batches are those of the suite."""
    recipe, split, judged = run.plan.recipe, run.splits.train, run.selection_images()
    model.requires_grad_(False)
    moving = list(model.get_submodule(module).requires_grad_(True).parameters())
    how = {"lr": recipe.lr, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    optimizer = torch.optim.SGD(moving, **how)
    seed, steps = run.tuning_cell.seed_for("finetune"), split.steps(recipe.batch_size)
    best, most = {}, -1
    for epoch in range(recipe.epochs):
        generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
        model.train()
        optimizer.param_groups[0]["lr"] = recipe.lr_at(epoch * steps, steps)
        for x, labels in split.epoch(recipe.batch_size, run.plan.base.info.augmentation, generator):
            optimizer.zero_grad()
            cross_entropy(model(x.contiguous()), labels).backward()
            optimizer.step()
        if (k := int(right(model.eval(), batches(judged)).sum())) > most:
            most, best = k, {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return best


def plainly_evaluated(model: nn.Module, data: Dataset, plan: Plan, base: Cell) -> Flags:
    """Right answers of Std, OOD and Adv, by the parts that records have them under."""
    clean, ood, adv = map(evaluation, NAMES)
    found = {clean.arrays[0]: right(model, batches(data.test))}
    for part in ood.arrays:
        name, _, severity = part.rpartition("-")
        found[part] = right(model, batches(generated_copy(data, "procedural", name, int(severity))))
    for run, part in enumerate(adv.arrays):
        found[part] = right(model, attacked(model, data.test, plan, run_seed(base, run)))
    return found


Batches = Iterator[tuple[Tensor, Tensor]]


def batches(split: Split) -> Batches:
    """Contiguous images and labels, as many at once as the suite takes."""
    starts = batch_starts(split)
    for start in starts:
        x, labels = split.batch(start, start + starts.step)
        yield x.contiguous(), labels


def attacked(model: nn.Module, split: Split, plan: Plan, seed: int) -> Batches:
    """PGD examples and labels, from the suite's starts."""
    at = 0
    for x, labels in batches(split):
        start = example_starts(seed, at, at + len(x), tuple(x.shape[1:]), plan.attack.eps)
        yield plain_pgd(model, x, labels, plan.attack, start), labels
        at += len(x)


def right(model: nn.Module, given: Batches) -> NDArray[np.bool_]:
    """Which images the model in evaluation mode gets right."""
    return torch.cat([plain_right(model, x, labels) for x, labels in given]).numpy()


@functools.cache
def racing(width: int) -> Race:
    """Plain against the suite, in fp32 and in bf16."""
    on, found = whole(width), {}

    def keep(name: str, work: Callable[[], Outcome]) -> Callable[[], None]:
        return lambda: found.update({name: work()})

    def warm() -> None:
        right(on.network, batches(on.data.test))

    def agree() -> str:
        first = found[PLAIN]
        assert (first.module, first.alpha) == (found[FP32].module, found[FP32].alpha)
        said = f"fp32: same module, same alpha* ({first.alpha:g}), {first.differing(found[FP32])}"
        if BF16 in found:
            other = found[BF16]
            same = (first.module, first.alpha) == (other.module, other.alpha)
            said += f"; bf16: {'the same' if same else 'another choice'}, {first.differing(other)}"
        return said

    images = len(on.data.test)
    sizes = f"{size(width, images)}, fine-tuning on {len(on.data.train):,}"
    race = Race("whole RiFT", sizes, asked={FP32: 2, BF16: 5}, rounds=1)
    race.variant(PLAIN, keep(PLAIN, lambda: plain(on)), warm_up=warm)
    for name in (FP32, BF16):
        if name == FP32 or label() != FP32:
            # `auto` is what a command takes; it leaves criticality in fp32.
            chosen = Precision(FP32) if name == FP32 else Precision()
            race.variant(name, in_precision(chosen, keep(name, lambda: ours(on))), warm_up=warm)
        else:
            race.leave_out(name, "no bf16 units here")
    race.check(agree, last=True)
    return race


@pytest.mark.parametrize("variant", [PLAIN, FP32, BF16])
@pytest.mark.parametrize("width", [16, 64])
def test_whole_rift(width: int, variant: str, lane: Lane) -> None:
    """All steps."""
    lane(racing(width), variant)
