"""What cells cost: against operations that can be counted by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from baselines import METHODS
from benchmark.data.info import CIFAR10, TINY_IMAGENET, LinfAttack
from benchmark.engine.flops import counted, of_image, passes
from benchmark.plans import cost as costing
from benchmark.plans.cost import (
    costs,
    costs_left,
    rates,
    repays_compiling,
    stages,
    stages_left,
    training,
)
from benchmark.plans.named import SCALES, scale
from benchmark.plans.plan import BasePlan, Plan
from benchmark.records.cells import Cell
from benchmark.records.records import Count, CurvePoint
from benchmark.records.store import WEIGHTS
from benchmark.report.tables import REPORTS
from handmade import BY_HAND, cell_at, write_making, write_record
from invoking import MINI, TINY

PAPER = SCALES["paper"]
CLEAN_ONLY = replace(PAPER, evaluations=("clean",))
BASE = Cell("paper", "cifar10", "resnet18", "pgd-at", "none", 0)


def test_a_layer():
    """A multiplication and an addition count two; backward to the weights is as much as forward."""
    layer, x = nn.Linear(7, 5), torch.rand(3, 7)
    assert counted(lambda: layer(x)) == 2 * 3 * 7 * 5
    assert counted(lambda: layer(x).sum().backward()) == 2 * 2 * 3 * 7 * 5
    small = nn.Conv2d(3, 4, 3, padding=1)
    assert counted(lambda: small(torch.rand(2, 3, 8, 8))) == 2 * 2 * 4 * 64 * 27


def test_networks_of_the_paper():
    """ResNet18 takes 0.56 billion multiplications, as published; four times that on 64x64."""
    way, weights, tails = of_image("resnet18", CIFAR10)
    assert way / 2 == pytest.approx(0.556e9, rel=0.01)
    assert weights == 11_173_962
    assert 21 / 3 < tails < 21 * 2 / 3
    assert of_image("resnet18", TINY_IMAGENET)[0] == pytest.approx(4 * way, rel=0.01)


@pytest.mark.parametrize(("name", "more"), [("pgd-at", 0), ("trades", 4), ("mart", 2), ("awp", 3)])
def test_a_step_of_each_method(name, more):
    """PGD goes forward and back in each step; then one forward, two back, and a method's own."""
    attack = LinfAttack(8 / 255, 2 / 255, steps=5)
    assert passes(METHODS[name], attack, CIFAR10) == pytest.approx(2 * 5 + 3 + more, abs=1.1)


def test_a_warmup_is_not_what_a_training_costs():
    """TRADES-AWP is plain TRADES for 9 of 200 epochs, and makes AWP's passes in the others."""
    how, plan = METHODS["trades-awp"], BasePlan.of(replace(BASE, method="trades-awp"), CLEAN_ONLY)
    assert training(plan) > 1.1 * training(replace(plan, method=how.method))


def test_autoattack_by_its_parameters():
    """Half of 100 steps forward and back, twice nine targets' (of digits too), and 5,000 queries."""
    cell, known = Cell("quick", "digits", "resnet10-w16", "pgd-at", "none", 0), SCALES["quick"]
    found = stages(Plan.of(cell, known), ("autoattack-first-10",))["autoattack-first-10"]
    assert found == pytest.approx(10 * (200 + 2 * 9 * 200 + 5000) / 2, rel=1e-3)


def test_what_is_there_is_not_left(store, tmp_path):
    """Records and weights that exist cost nothing more, and a checkpoint is not trained."""
    cell, names = cell_at(), ("clean", "pgd10x3")
    plan = Plan.of(cell, BY_HAND)
    assert stages_left(store, plan, names, tmp_path) == stages(plan, names)
    write_record(store, cell, "clean", 900)
    store.work(cell).mkdir(parents=True)
    (store.work(cell) / WEIGHTS).touch()
    left = stages_left(store, plan, names, tmp_path)
    assert {name for name, passes in left.items() if passes} == {"pgd10x3"}
    begun, lean = replace(BASE, scale=SCALES["lean"].key_names[0]), SCALES["lean"]
    left = stages_left(store, Plan.of(begun, lean), names, tmp_path)
    assert [name for name, passes in left.items() if passes] == [*names]


def test_what_several_need_is_left_once(store, tmp_path):
    """To the first: the base model, a mix's second network, a tuning with its criticality. What an
    earlier command made, a dataset has no data for or a part before evaluates is left to none."""
    names = ("output-mix", "mixed-nuts", "rift", "rift-alpha-1", "rift+mean-sparse")
    cells, clean = [cell_at(name) for name in names], replace(BY_HAND, evaluations=("clean",))
    more = replace(clean, evaluations=("clean", "pgd10x3", "corruptions-15"))

    def left(*parts):
        found = costs_left(store, tmp_path, *parts).values()
        return [[name for name, passes in stages.items() if passes] for stages in found]

    second, tuned = ["second network, adversarial training"], ["criticality", "fine-tuning"]
    each = [[*second, "adversarial training"], [], [*tuned, "interpolation"], [], []]
    assert left((cells, clean)) == [[*own, "clean"] for own in each]
    assert left((cells[:1], clean), (cells[:1], more)) == [[*each[0], "clean"], ["pgd10x3"]]
    for cell in (cell_at(), cell_at(method="standard"), cell_at("rift")):
        store.work(cell).mkdir(parents=True)
        (store.work(cell) / WEIGHTS).touch()
        write_making(store, cell)
    assert left((cells[:2] + cells[4:], clean)) == [["clean"]] * 3


def test_a_curve_on_record_is_not_counted_again(store, tmp_path):
    """Weights that are lost are trained again; the choice of alpha* is read."""
    cell, point = cell_at("last-layer"), CurvePoint(alpha=0.5, clean=Count(k=400, n=500), robust=None)
    plan = Plan.of(cell, BY_HAND)
    assert stages_left(store, plan, (), tmp_path)["interpolation"]
    write_making(store, cell, curve=[point])
    left = stages_left(store, plan, (), tmp_path)
    assert left["fine-tuning"] and not left["interpolation"]


def test_what_is_shared_costs_once():
    """A fine-tuning with alpha* and with alpha = 1 is trained once, criticality measured once."""
    alone, both, more = (
        costs(([replace(BASE, finetune=name) for name in names], CLEAN_ONLY))[0]
        for names in (("rift",), ("rift", "rift-alpha-1"), ("rift", "top-2"))
    )
    way, weights, _ = of_image("resnet18", CIFAR10)
    one = way * 10_000
    assert both.operations - alone.operations == pytest.approx(one)
    assert (alone.cells, both.cells) == (1, 2)
    assert more.operations - alone.operations > 100 * one
    assert (alone.size, both.size) == (2 * 8 * weights, 3 * 8 * weights)  # the base model's, too
    rift = [replace(BASE, finetune="rift")]
    more = replace(CLEAN_ONLY, evaluations=(*CLEAN_ONLY.evaluations, "pgd10x3"))
    (apart,), (whole,) = costs((rift, CLEAN_ONLY), (rift, more)), costs((rift, more))
    assert apart == whole and whole.operations > alone.operations


def test_a_curve_attacks_every_alpha():
    """A rule two at least; both see all clean, alpha = 1 none; no more images than there are, or than
    are held out, a tenth of the training images."""
    few = replace(PAPER, finetuning={"select_images": 10**6})
    rule, curve, fixed, all_images = (
        stages(Plan.of(replace(BASE, finetune=name), known), ())
        for name, known in (
            ("rift", PAPER),
            ("rift-curve", PAPER),
            ("rift-alpha-1", PAPER),
            ("rift", few),
        )
    )
    images, attack = 10_000, 21
    tails = of_image("resnet18", CIFAR10).tails
    assert rule["criticality"] == 50_000 * (attack + 3 + tails)  # examples, gradients, 21 losses
    assert rule["fine-tuning"] == pytest.approx(10 * (50_000 * 3 + images), rel=0.03)
    official = stages(Plan.of(replace(BASE, finetune="rift-official-code"), PAPER), ())
    assert official["criticality"] == 10_000 * (attack + 3 + 10 * 3 * tails)
    held = stages(Plan.of(replace(BASE, finetune="rift-held-out"), PAPER), ())
    assert held["criticality"] == 5_000 * (attack + 3 + tails)
    assert held["interpolation"] == (21 + 2 * attack) * 5_000
    assert held["fine-tuning"] == pytest.approx(0.9 * rule["fine-tuning"], rel=0.03)
    assert curve["interpolation"] == 21 * (1 + attack) * images
    assert rule["interpolation"] == (21 + 2 * attack) * images
    assert "interpolation" not in fixed and all_images == rule


def test_the_whole_paper():
    """Every cell is counted, Tiny-ImageNet's WRN is the largest, and epochs count in proportion."""
    cells = REPORTS["table1"].cells(PAPER, REPORTS["table1"].defaults)
    found = costs((cells, PAPER))
    assert sum(cost.cells for cost in found) == len(cells)
    largest = max(found, key=lambda cost: cost.operations)
    assert (largest.dataset, largest.arch) == ("tiny-imagenet", "wrn-34-10")
    half = replace(PAPER, training={"epochs": 55})
    assert training(Plan.of(BASE, half).base) * 2 == pytest.approx(training(Plan.of(BASE, PAPER).base))


def test_what_a_module_costs():
    """Two networks run for each answer of a mix, whose second one is trained once for both.

    A module that trains nothing has no fine-tuning, and one on RiFT's weights has RiFT's.
    """
    scale = replace(PAPER, evaluations=("clean",))

    def cost(*names: str) -> float:
        (found,) = costs(([replace(BASE, finetune=name) for name in names], scale))
        return found.operations / of_image(BASE.arch, Plan.of(BASE, scale).base.info)[0]

    base, clean = cost("none"), 10_000
    assert cost("mean-sparse") == pytest.approx(base + clean)
    assert cost("flip-average") == pytest.approx(base + 2 * clean)
    second = training(BasePlan.of(replace(BASE, method="standard"), scale))
    assert cost("output-mix") == pytest.approx(base + second + 2 * clean)
    assert cost("output-mix", "mixed-nuts") == pytest.approx(base + second + 4 * clean)
    assert cost("rift+mean-sparse") == pytest.approx(cost("rift"))
    assert cost("rift", "rift+mean-sparse") == pytest.approx(cost("rift") + clean)


def test_hours_go_by_what_is_on_record(store):
    """A training on record says how fast its device is; without one nobody is."""
    assert rates(store, BY_HAND, [cell_at()]) == {}
    write_making(store, cell_at())
    making = store.making(cell_at())
    plan = Plan.of(cell_at(), BY_HAND)
    operations = of_image(cell_at().arch, plan.base.info)[0] * training(plan.base)
    assert rates(store, BY_HAND, [cell_at("rift")]) == {
        making.provenance.device: operations / making.provenance.seconds
    }
    assert rates(store, replace(BY_HAND, training={"epochs": 900}), [cell_at()]) == {}, "stale"
    in_no_time = making.provenance.model_copy(update={"seconds": 0.0})
    making = making.model_copy(update={"provenance": in_no_time})
    store.record_path(cell_at(), "making").write_text(making.model_dump_json())
    assert rates(store, BY_HAND, [cell_at()]) == {}


def test_the_first_images_cost_their_share():
    """Each of their answers costs what one of the whole does, an attacked one 21 passes."""

    def cost(name: str) -> float:
        return stages(Plan.of(BASE, PAPER), (name,))[name]

    for name in ("clean", "pgd10x3", "corruptions-15-gen-v2"):
        assert 20 * cost(f"{name}-first-500") == pytest.approx(cost(name))
    assert cost("pgd10x3") == 3 * 21 * cost("clean")


@pytest.mark.parametrize(
    ("named", "model", "device", "compiled"),
    [
        (str(TINY), "digits/resnet18-w8", "cpu", False),
        (str(MINI), "digits/resnet18-w8", "cpu", False),
        ("demo", "digits/resnet10-w8", "cpu", False),
        ("quick", "digits/wrn-10-2", "cpu", False),
        ("narrow", "cifar10/resnet18-w16", "cpu", False),  # most of an hour
        ("small", "cifar10/resnet18-w16", "cpu", False),
        ("narrow", "tiny-imagenet/resnet18-w16", "cpu", True),
        ("narrow", "cifar10/resnet18", "cpu", True),
        ("narrow", "cifar10/resnet18", "cuda:1", False),  # minutes
        ("paper", "cifar10/resnet18", "cpu", True),
        ("paper", "cifar10/resnet18", "cuda", True),
    ],
)
def test_what_is_compiled(
    named: str, model: str, device: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what takes an hour or so from nothing; by the plan of the base model alone."""
    monkeypatch.setattr(costing, "has_compiler", lambda: True)
    chosen, base = scale(named), Cell.parse(f"{scale(named).name}/{model}/pgd-at/none/seed0")
    assert repays_compiling(base, chosen, device) is compiled
    more = replace(chosen, evaluations=chosen.for_audit)
    assert repays_compiling(base, more, device) is compiled, "what is asked for first decides"
    monkeypatch.setattr(costing, "has_compiler", lambda: False)
    assert not repays_compiling(base, chosen, device)
