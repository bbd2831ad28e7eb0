"""Averages and mixes of whole networks, and the choice of MixedNUTS' numbers."""

import copy
import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmark.data.images import Split
from benchmark.data.info import DIGITS
from benchmark.engine.adaptive import Attacked
from benchmark.engine.counting import clean_answers
from benchmark.engine.folded_copy import AttackCopy, cheaper
from benchmark.engine.weights import Weights
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.plans.running import Run
from benchmark.posthoc.averages import FlipAverage
from benchmark.posthoc.margins import best_numbers
from benchmark.posthoc.mixtures import MixingNonlinearly, OutputMixing
from benchmark.posthoc.modules import MixedNuts, OutputMix, nonlinear
from benchmark.records.counts import Count


def networks(*names):
    """A network of each name for digits, of other weights each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [build(name, DIGITS).eval() for name in names]


@pytest.fixture(scope="module")
def images():
    """Noise as images."""
    draw = torch.Generator().manual_seed(1)
    return Split(torch.rand(60, 8, 8, 1, generator=draw), torch.arange(60) % 10)


def logits(seed, images=1, classes=10):
    """Some logits of two networks, large and small, in double precision."""
    draw = torch.Generator().manual_seed(seed)
    spread = 10 ** (2 * torch.rand(2, images, 1, generator=draw, dtype=torch.float64) - 1)
    return torch.randn(2, images, classes, generator=draw, dtype=torch.float64) * spread


def mix(a, kind=OutputMix, **numbers):
    """The mix of no networks at weight `a`."""
    made = kind(nn.Identity(), nn.Identity())
    for name, value in {"weight": a, **numbers}.items():
        made.get_buffer(name).fill_(value)
    return made


def test_numbers_lie_where_the_networks_do(monkeypatch):
    """On another device than the processor too, or `evaluate` refuses a module that is on both."""
    monkeypatch.setattr(OutputMixing, "measure", lambda *_: None)
    there, method = torch.device("meta"), OutputMixing()
    robust, clean = (each.to(there) for each in networks("resnet10-w8", "resnet10-w8"))
    made = method.apply(robust, Split(*torch.zeros(2, 1, device=there)), clean)
    plan, bare = SimpleNamespace(forward=method), {"bare": lambda: robust, "bare_second": lambda: clean}
    run = SimpleNamespace(plan=plan, device=there, **bare)
    again = Run.network(run, Weights(made.state_dict(), "", {}))
    for module in (made, again):
        assert {tensor.device for tensor in module.state_dict().values()} == {there}


# --- output-mix -------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.floats(0.5, 1))
def test_a_mix_is_its_formula(seed, a):
    """log((1 - a) softmax(g) + a softmax(h)), finite where probabilities are next to nothing."""
    h, g = logits(seed)
    plain = ((1 - a) * g.softmax(1) + a * h.softmax(1)).log()
    assert torch.allclose(mix(a).mix(h, g), plain, rtol=1e-9, atol=1e-9)
    assert bool(mix(a).mix(1e4 * h, 1e4 * g).isfinite().all())


def test_at_weight_1_the_answers_are_the_robust_networks(images):
    """And so is every answer of the copy that an attack runs against; it folds both networks."""
    h, g = networks("resnet10-w8", "resnet10-w8")
    method = OutputMixing()
    module = method.at(method.apply(copy.deepcopy(h), images, g), {"weight": 1.0})
    assert torch.equal(clean_answers(module, images), clean_answers(h, images))
    x, _ = images.batch(0, 30)
    attacked = cheaper(module, x.device)
    assert isinstance(attacked, AttackCopy) and len(attacked.folded) == 2 * len(
        AttackCopy(h, torch.float32).folded
    )
    with torch.no_grad():
        assert torch.equal(attacked(x).argmax(1), h(x).argmax(1))


@pytest.mark.parametrize("method", [OutputMixing(), MixingNonlinearly()])
def test_a_choice_runs_each_network_once(images, method):
    """However many numbers are counted, and the counts are those of the whole module."""
    h, g = networks("resnet10-w8", "resnet10-w8")
    with torch.no_grad():
        g.linear.weight.mul_(100)
        images = Split(images.images, g(images.batch(0, len(images))[0]).argmax(1))
    module, ran = method.apply(h, images, g), []
    for network in (module.network, module.partner):
        network.register_forward_pre_hook(lambda network, x: ran.append(len(x[0])))
    grid = OutputMixing().grid
    count = method.counter(module, images)
    counts = [count(numbers) for numbers in grid]
    assert sum(ran) == 2 * len(images)
    plain = [Count.of(clean_answers(method.at(module, numbers), images).numpy()) for numbers in grid]
    assert counts == plain and len({each.k for each in counts}) > 1


def test_numbers_survive_bf16():
    """A weight of 0.99875 is not 1 in the copy that gives gradients in bf16."""
    h, g = networks("resnet10-w8", "resnet10-w8")
    module = OutputMix(h, g)
    module.weight.fill_(0.99875)
    copied = AttackCopy(module, torch.bfloat16)
    assert float(copied.network.weight) == 0.99875
    assert copied.network.network.linear.weight.dtype == torch.bfloat16
    module.weight.fill_(0.75)
    copied.follow(module)
    assert float(copied.network.weight) == 0.75


@pytest.mark.parametrize(
    ("method", "takes", "gives", "said"),
    [
        (OutputMixing(), 64, 7, "clean network has 7 classes and the robust one 10"),
        (MixingNonlinearly(), 3072, 10, "cannot take the images of the robust one, 1x8x8: .*mat1"),
    ],
)
def test_networks_that_do_not_fit(images, method, takes, gives, said):
    """A clean network of 7 classes, and one for 3x32x32, make no mix."""
    (h,) = networks("resnet10-w8")
    with pytest.raises(UserError, match=said):
        method.apply(h, images, nn.Sequential(nn.Flatten(), nn.Linear(takes, gives)))


# --- mixed-nuts -------------------------------------------------------------------------------------


def by_hand(z, s, c, p):
    """The map of MixedNUTS on a list of logits, written out."""
    largest = sorted(z, reverse=True)[:250]
    mean = math.fsum(largest) / len(largest)
    variance = math.fsum((v - mean) ** 2 for v in largest) / (len(largest) - 1)
    normal = [(v - mean) / math.sqrt(variance + 1e-8) + c for v in z]
    gelu = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in normal]
    return [s * math.copysign(abs(v) ** p, v) for v in gelu]


@pytest.mark.parametrize("classes", [4, 10, 300])
def test_the_map_is_the_written_out_one(classes):
    """Normalised over the 250 largest classes, bent, raised, scaled; in double precision."""
    (z, _) = logits(classes, 5, classes)
    for s, c, p in ((5.0, -1.1, 4.0), (0.612, -2.14, 3.57), (0.05, 0.0, 1.0)):
        plain = [by_hand(row.tolist(), s, c, p) for row in z]
        assert np.allclose(nonlinear(z, s, c, p), plain, rtol=1e-9, atol=1e-12)


def test_the_hard_maximum_and_its_stand_in(images):
    """The module is (1 - a) one-hot(g) + a softmax(map(h)); the stand-in has its logits bit by bit and
    a gradient by g, which the module has not."""
    h, g = networks("resnet10-w8", "resnet10-w8")
    method = MixingNonlinearly()
    numbers = {"weight": 0.7, "scale": 2.0, "shift": -0.5, "power": 2.0}
    module = method.at(method.apply(h, images, g), numbers)
    stand_in, x = method.stand_in(module), images.batch(0, 20)[0]
    with torch.no_grad():
        mapped = nonlinear(h(x).double(), 2.0, -0.5, 2.0).softmax(1)
        hard = torch.eye(10, dtype=torch.float64)[g(x).argmax(1)]
        assert torch.allclose(module(x), (0.3 * hard + 0.7 * mapped).log(), atol=1e-9)
        assert torch.equal(module(x), stand_in(x))
    Attacked(module, stand_in, h).check(x)
    for made, found in ((module, False), (stand_in, True)):
        (slope,) = torch.autograd.grad(made(x).sum(), g.linear.bias, allow_unused=True)
        assert (slope is not None) == found
    soft = mix(0.7, MixedNuts, scale=2.0, shift=-0.5, power=2.0)
    soft.soft = True
    one, other = (z.clone().requires_grad_(True) for z in logits(3))
    slopes = torch.autograd.grad(soft.mix(one, other)[0, 2], (one, other))
    p = 0.9 * one.softmax(1) + 0.1 * nonlinear(one, 2.0, -0.5, 2.0).softmax(1)
    plain = (0.3 * other.softmax(1) + 0.7 * p).log()[0, 2]
    for mine, right in zip(slopes, torch.autograd.grad(plain, (one, other)), strict=True):
        assert torch.allclose(mine, right, atol=1e-12)


def test_the_grid_is_searched_whole():
    """The numbers are those of a search by hand over every point, ties by the smallest a."""
    draw = torch.Generator().manual_seed(5)
    labels = torch.randint(0, 10, (80,), generator=draw)
    clean = torch.randn(80, 10, generator=draw, dtype=torch.float64)
    clean[range(50), labels[:50]] += 3
    attacked = clean + torch.randn(80, 10, generator=draw, dtype=torch.float64) / 2
    axes = {"scale": [0.3, 2.0], "shift": [-1.0, 0.0], "power": [1.0, 2.5]}
    found = {}
    for s, c, p in product(*axes.values()):
        margins = {"kept": [], "lost": []}
        for z, label, row in [
            *((z, label, "lost") for z, label in zip(clean, labels, strict=True)),
            *((z, label, "kept") for z, label in zip(attacked, labels, strict=True)),
        ]:
            right = int(z.argmax()) == int(label)
            if right == (row == "kept"):
                mapped = np.array(by_hand(z.tolist(), s, c, p))
                odds = np.exp(mapped - mapped.max())
                *_, second, first = np.sort(odds / odds.sum())
                margins[row].append(first - second)
        q = np.percentile(margins["kept"], 100 - 90)
        share = np.mean([m >= q for m in margins["lost"]])
        found[share, 1 / (1 + q)] = {"scale": s, "shift": c, "power": p}
    (share, a), numbers = min(found.items())
    chosen = best_numbers(clean, attacked, labels, axes, 90)
    assert chosen.numbers == {"weight": pytest.approx(a), **numbers}
    assert "chosen at the edge of the grid: scale, shift, power" in chosen.remarks
    changed = sum(
        int(np.argmax(by_hand(z.tolist(), *numbers.values()))) != int(z.argmax()) for z in clean
    )
    assert f"the answer to {changed} clean and" in chosen.remarks[0]


def test_nothing_right_under_attack():
    """There is no margin to keep then, and one line says so."""
    z = torch.eye(10, dtype=torch.float64)
    axes = {"scale": [1.0], "shift": [0.0], "power": [1.0]}
    with pytest.raises(UserError, match="no image is right under attack"):
        best_numbers(z, z, (torch.arange(10) + 1) % 10, axes, 98.5)


def test_the_published_grid_and_a_step_more():
    """8 values from 0.05 to 5 by a factor, from -1.1 to 0, from 1 to 4, and one more at each end."""
    axes = MixingNonlinearly().axes(10)
    assert all(len(values) == 10 for values in axes.values())
    assert np.allclose(axes["scale"][1:-1], np.logspace(np.log10(0.05), np.log10(5), 8))
    assert np.allclose(axes["shift"][1:-1], np.linspace(-1.1, 0, 8))
    assert np.allclose(axes["power"][1:-1], np.linspace(1, 4, 8))
    assert axes["scale"][-1] / axes["scale"][-2] == pytest.approx(axes["scale"][1] / axes["scale"][0])
    assert np.allclose(np.diff(axes["power"]), 3 / 7)


# --- averages ---------------------------------------------------------------------------------------


def test_flip_average(images):
    """The mean of both logits; of a mirrored image the same."""
    (h,) = networks("resnet10-w8")
    module, x = FlipAverage().apply(h, images), images.batch(0, 20)[0]
    with torch.no_grad():
        assert torch.allclose(module(x), (h(x) + h(x.flip(3))) / 2)
        assert torch.equal(module(x), module(x.flip(3))) and not torch.equal(module(x), h(x))
