"""MeanSparse: the operator, its statistics, and what they do to a network."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmark.data.images import Split
from benchmark.data.info import CIFAR10, DIGITS
from benchmark.engine.adaptive import Attacked
from benchmark.engine.folded_copy import cheaper
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.models.segments import Place
from benchmark.posthoc.bands import MeanBand
from benchmark.posthoc.mean_sparse import MeanSparse

NETWORKS = {"resnet10-w8": 9, "wrn-10-1": 10, "preact-resnet18-w8": 17, "vit-mini-w16": 4}
"""Places of each: every activation and, in a Wide ResNet, every residual sum."""


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network of each family for digits, whose running statistics are not those of a new one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = build(request.param, DIGITS)
        made.train()(torch.rand(64, 1, 8, 8))
    return made.eval()


@pytest.fixture(scope="module")
def images():
    """Noise as images."""
    draw = torch.Generator().manual_seed(1)
    return Split(torch.rand(150, 8, 8, 1, generator=draw), torch.arange(150) % 10)


def bands(module):
    """Its operators by name."""
    return {name: m for name, m in module.named_modules() if isinstance(m, MeanBand)}


def test_a_threshold_of_0_changes_nothing(network, images, request):
    """Logits are the base's bit by bit, and so is what an attack sees; every place has an operator."""
    x, _ = images.batch(0, 50)
    module = MeanSparse().apply(copy.deepcopy(network), images)
    name = request.node.callspec.params["network"]
    assert len(bands(module)) == NETWORKS[name] and not any(type(m) is Place for m in module.modules())
    with torch.no_grad():
        assert torch.equal(module(x), network(x))
        assert torch.equal(cheaper(module, x.device)(x), cheaper(network, x.device)(x))


def test_a_large_threshold_leaves_a_constant(network, images, request):
    """In a network whose every path runs through a place, all images have the same logits."""
    if "vit" in request.node.callspec.params["network"]:
        pytest.skip("attention has no place")
    module = MeanSparse().apply(network, images)
    for band in bands(module).values():
        band.threshold.fill_(1e6)  # which `at` would refuse
    with torch.no_grad():
        logits = module(images.batch(0, 50)[0])
    assert torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-6)


def test_statistics_are_numpys(network, images):
    """Mean, standard deviation and reach of all values at a place, over all images at once."""
    seen = {}
    for name, place in network.named_modules():
        if isinstance(place, Place):
            place.register_forward_hook(
                lambda place, _, out, name=name: seen.__setitem__(
                    name, out.detach().movedim(place.axis, -1).flatten(0, -2).clone().numpy()
                )
            )
    with torch.no_grad():
        network(images.batch(0, len(images))[0])
    plain = copy.deepcopy(network)
    for name, band in bands(MeanSparse().apply(plain, images)).items():
        values = seen[name].astype(np.float64)
        mean = values.mean(0)
        assert np.allclose(band.mean, mean, rtol=1e-5, atol=1e-6)
        assert np.allclose(band.std, values.std(0, ddof=1), rtol=1e-4, atol=1e-6)
        assert np.allclose(band.widest, np.abs(values - mean).max(0), rtol=1e-4, atol=1e-6)


def test_the_released_statistics_depend_on_the_batch():
    """Means of batches' means and unbiased variances (batch 512) are the pooled ones of one batch."""

    class Net(nn.Sequential):
        """A network of one place."""

    x = torch.rand(700, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    x[512:] += 1  # the second batch is another
    net = Net(nn.Conv2d(3, 3, 1), Place(3))
    net[0].weight.data = torch.eye(3)[:, :, None, None]
    net[0].bias.data.zero_()
    split = Split(x, torch.zeros(700, dtype=torch.int64))
    (one,) = bands(MeanSparse().apply(net, split)).values()
    batches = [part.permute(0, 3, 1, 2) for part in (x[:512], x[512:])]
    mean = sum(part.mean((0, 2, 3)) for part in batches) / 2
    variance = sum(part.var((0, 2, 3)) for part in batches) / 2
    counts = [part[:, 0].numel() for part in batches]
    pooled = sum(n * part.mean((0, 2, 3)) for n, part in zip(counts, batches, strict=True)) / sum(
        counts
    )
    assert torch.allclose(one.mean, pooled, atol=1e-5)
    assert (one.mean - mean).abs().min() > 0.1 and (one.std - variance.sqrt()).abs().min() > 0.05
    first = split.first(512)
    (alone,) = bands(MeanSparse().apply(Net(net[0], Place(3)), first)).values()
    assert torch.allclose(alone.mean, batches[0].mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(alone.std, batches[0].std((0, 2, 3)), atol=1e-5)


@given(st.floats(0, 3), st.integers(0, 2**31), st.booleans())
def test_the_operator_is_a_comparison(threshold, seed, straight):
    """Bit by bit what `where` makes of |x - m| < t s, at values on the edge too; NaN stays NaN."""
    draw = torch.Generator().manual_seed(seed)
    band = MeanBand(Place(4))
    band.straight = straight
    band.mean.normal_(generator=draw)
    band.std.uniform_(generator=draw)
    band.threshold.fill_(threshold)
    m, width = band.mean[:, None, None], (band.threshold * band.std)[:, None, None]
    x = torch.randn(3, 4, 2, 2, generator=draw)
    x[0] = m + width
    x[1, :, 0] = m[:, 0]
    plain = torch.where((x - m).abs() < width, m, x)
    for laid in (x, x.contiguous(memory_format=torch.channels_last), x[:, :, :, :1]):
        leaf = laid.clone().requires_grad_(True)
        for each in (laid, leaf):
            assert torch.equal(band(each), plain[..., : each.shape[3]])
        (slope,) = torch.autograd.grad(band(leaf).sum(), leaf)
        assert torch.equal(slope, (straight | ((leaf - m).abs() >= width)).to(x.dtype))
    assert bool(band(torch.full_like(x, torch.nan)).isnan().all())


def test_the_stand_in_has_the_answers_and_lets_gradients_pass(network, images):
    """Logits bit by bit; a gradient where the module's is zero; on a linear network the base's."""
    method, x = MeanSparse(), images.batch(0, 20)[0]
    module = method.at(method.apply(copy.deepcopy(network), images), {"threshold": 0.3})
    stand_in = method.stand_in(module)
    with torch.no_grad():
        assert torch.equal(module(x), stand_in(x))
        assert not torch.equal(module(x), network(x))
    Attacked(module, stand_in, network).check(x)
    linear = nn.Sequential(nn.Conv2d(1, 3, 3), Place(3), nn.Flatten(), nn.Linear(108, 10)).eval()
    whole = method.at(method.apply(copy.deepcopy(linear), images), {"threshold": 0.3})
    one = x[:1]
    jacobians = [
        torch.autograd.functional.jacobian(net, one) for net in (linear, whole, method.stand_in(whole))
    ]
    assert torch.equal(jacobians[0], jacobians[2]) and not torch.equal(jacobians[0], jacobians[1])


def test_what_silences_a_channel_is_refused(images):
    """A threshold beyond every value of a channel, and a negative one; a network without places."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MeanSparse().apply(build("resnet10-w8", DIGITS).eval(), images)
    with pytest.raises(
        UserError, match=r"threshold 50 silences channel \d at 'before' for all images; up"
    ):
        MeanSparse().at(module, {"threshold": 50})
    with pytest.raises(UserError, match="a number from 0 on"):
        MeanSparse().at(module, {"threshold": -0.1})
    with pytest.raises(UserError, match="no place in a Linear; put"):
        MeanSparse().build(nn.Linear(2, 2), None)
    assert all(float(band.threshold) == 0 for band in bands(module).values())


def test_statistics_do_not_depend_on_batches(network, images, monkeypatch):
    """Blocks of another size give the same numbers but for a last bit."""
    other = copy.deepcopy(network)
    one = bands(MeanSparse().apply(network, images))
    monkeypatch.setattr("benchmark.posthoc.bands.BLOCK", 37)
    for name, band in bands(MeanSparse().apply(other, images)).items():
        assert torch.allclose(band.mean, one[name].mean, rtol=1e-5, atol=1e-7)


def test_places_are_in_the_networks_of_cifar():
    """A place before every activation: 17 in a ResNet18, 4 in a ViT of 4 blocks; none has tensors."""
    for name, count in (("resnet18-w8", 17), ("wrn-34-1", 46)):
        with torch.device("meta"):
            found = build(name, CIFAR10)
        places = [name for name, m in found.named_modules() if isinstance(m, Place)]
        assert len(places) == count
        assert not any(key.startswith(f"{place}.") for place in places for key in found.state_dict())
