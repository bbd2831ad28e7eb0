"""Networks in which one layer is multiplied and the next one takes it back."""

import pytest
import torch
from torch import nn

from benchmark.algorithm.criticality import criticality_modules
from benchmark.algorithm.rescale import NotRescalable, rescaled_network
from benchmark.data.info import DIGITS
from benchmark.engine.weights import weights_sha256
from benchmark.models import build


@pytest.fixture
def x(digits):
    """Images in [0,1]."""
    return digits.train.first(40).batch(0, 40)[0]


def logits(model, x):
    """Answers of a network to images."""
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_powers_of_two_keep_every_bit(model, x, factor):
    """Every convolution of a ResNet, shortcuts too, can be rescaled without changing a logit."""
    convolutions = criticality_modules(model)[:-1]
    assert any("shortcut" in module for module in convolutions)
    for module in convolutions:
        twin = rescaled_network(model, module, factor, x[:8])
        before, after = (network.get_submodule(module).weight for network in (model, twin))
        assert torch.equal(after, factor * before)
        assert torch.equal(logits(twin, x), logits(model, x))


def test_the_network_itself_is_left_alone(model, x):
    """Weights, statistics, eps and modes stay; the copy alone changes."""
    model.layer2.train()
    before = weights_sha256(model.state_dict())
    modes = [module.training for module in model.modules()]
    twin = rescaled_network(model, "conv1", 2.0, x)
    assert weights_sha256(model.state_dict()) == before != weights_sha256(twin.state_dict())
    assert [module.training for module in model.modules()] == modes
    assert (model.bn1.eps, twin.bn1.eps) == (1e-5, 4e-5)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in twin.modules())


def test_what_nothing_takes_back_is_refused(model, x):
    """A classifier, and the convolutions of a pre-activation block that end in a sum, cannot be."""
    with pytest.raises(NotRescalable, match="behind linear"):
        rescaled_network(model, "linear", 2.0, x)
    wide = build("wrn-34-1", DIGITS).eval()
    for module in ("conv1", "block1.layer.0.conv2", "block2.layer.0.convShortcut", "fc"):
        with pytest.raises(NotRescalable, match=f"behind {module}"):
            rescaled_network(wide, module, 2.0, x[:2])
    twin = rescaled_network(wide, "block1.layer.3.conv1", 2.0, x[:2])
    assert torch.equal(logits(twin, x[:2]), logits(wide, x[:2]))


def test_an_output_that_goes_elsewhere_too_is_refused(x):
    """The batch normalisation takes the factor back, but what by-passes it does not."""

    class ByPass(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(x.shape[1], 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            out = self.conv(x)
            return (self.norm(out) + out).mean((2, 3))

    with pytest.raises(NotRescalable, match="not only the batch normalisation behind conv"):
        rescaled_network(ByPass().eval(), "conv", 2.0, x)
