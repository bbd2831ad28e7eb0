"""MeanSparse: the operator, its statistics, and what they do to a network."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmark.data.images import Split
from benchmark.data.info import DIGITS
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


def test_statistics_are_numpys(network, images):
    """Mean, standard deviation and reach of all values at a place, whatever the blocks of 64 images."""
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
