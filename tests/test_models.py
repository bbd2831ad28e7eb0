"""Architectures: the paper's module names, published sizes, and normalisation inside the network."""

import re

import numpy as np
import pytest
import torch

from benchmark.data import CIFAR10, DIGITS
from benchmark.errors import UserError
from benchmark.models import arch, build
from benchmark.rift.criticality import criticality_modules

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def outline():
    """A network of CIFAR-10 by name, without memory for its weights."""

    def of(name):
        with torch.device("meta"):
            return build(name, CIFAR10)

    return of


def size(model):
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


class TestPaper:
    """What is known of the paper's networks."""

    @pytest.mark.parametrize(("name", "count"), [("resnet18", 21), ("resnet34", 37), ("wrn-34-10", 35)])
    def test_number_of_criticality_modules(self, outline, name, count):
        """Figures 3, C.1 and C.2 have one bar per convolution or linear module."""
        modules = criticality_modules(outline(name))
        assert len(modules) == len(set(modules)) == count

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [("resnet18", 11_173_962), ("resnet34", 21_282_122), ("wrn-34-10", 46_160_474)],
    )
    def test_number_of_parameters(self, outline, name, parameters):
        """The sizes are those of the usual CIFAR versions with ten classes."""
        assert size(outline(name)) == parameters

    @pytest.mark.parametrize(
        ("name", "modules"),
        [
            ("resnet18", ["conv1", "layer2.1.conv2", "layer3.0.shortcut.0", "layer4.1.conv1"]),
            ("resnet34", ["conv1", "layer2.3.conv2", "layer3.5.conv1", "layer4.0.shortcut.0"]),
            (
                "wrn-34-10",
                ["conv1", "block1.layer.0.convShortcut", "block1.layer.3.conv2"],
            ),
        ],
    )
    def test_module_names(self, outline, name, modules):
        """The names that the paper's figures and text use exist."""
        assert set(modules) <= set(criticality_modules(outline(name)))

    @pytest.mark.parametrize(
        ("name", "classifier"), [("resnet18", "linear"), ("resnet34", "linear"), ("wrn-34-10", "fc")]
    )
    def test_modules_run_from_input_to_classifier(self, outline, name, classifier):
        """The first module is the stem and the last the classifier."""
        modules = criticality_modules(outline(name))
        assert modules[0] == "conv1"
        assert modules[-1] == classifier

    def test_resnet_has_no_shortcut_where_sizes_agree(self, outline):
        """Only the first blocks of the stages 2 to 4 project their shortcut."""
        shortcuts = [name for name in criticality_modules(outline("resnet18")) if "shortcut" in name]
        assert shortcuts == [f"layer{stage}.0.shortcut.0" for stage in (2, 3, 4)]

    @pytest.mark.parametrize(
        ("name", "strides"), [("resnet18", [1, 2, 2, 2]), ("wrn-34-10", [1, 2, 2])]
    )
    def test_later_stages_halve_the_map(self, outline, name, strides):
        """The first convolution of each stage but the first has stride 2."""
        first = re.compile(r"(layer\d\.0|block\d\.layer\.0)\.conv1")
        model = outline(name)
        found = [
            model.get_submodule(module).stride[0]
            for module in criticality_modules(model)
            if first.fullmatch(module)
        ]
        assert found == strides

    def test_convolutions_have_no_bias(self, outline):
        """Only the classifier has one."""
        for name in ("resnet18", "wrn-34-10"):
            model = outline(name)
            modules = criticality_modules(model)
            biased = [module for module in modules if model.get_submodule(module).bias is not None]
            assert biased == modules[-1:]


class TestNames:
    """Architectures by name."""

    @pytest.mark.parametrize(
        ("name", "family", "width", "label"),
        [
            ("resnet18", "resnet", 64, "ResNet18"),
            ("resnet34-w16", "resnet", 16, "ResNet34 (width 16)"),
            ("wrn-34-10", "wide-resnet", 10, "WRN-34-10"),
            ("wrn-34-1", "wide-resnet", 1, "WRN-34-1"),
        ],
    )
    def test_width_is_read_from_the_name(self, name, family, width, label):
        """A ResNet's base channels and a WRN's factor are part of the name."""
        known = arch(name)
        assert (known.name, known.family, known.width, known.label) == (name, family, width, label)

    @pytest.mark.parametrize("name", ["resnet18", "resnet18-w64"])
    def test_default_width_is_64(self, outline, name):
        """A plain ResNet is the one of width 64."""
        assert outline(name).conv1.out_channels == 64

    @pytest.mark.parametrize("width", [8, 16])
    def test_width_sets_all_channels(self, outline, width):
        """Stages have 1, 2, 4 and 8 times the width."""
        model = outline(f"resnet18-w{width}")
        channels = [model.get_submodule(f"layer{n}.1.conv2").out_channels for n in (1, 2, 3, 4)]
        assert channels == [width, 2 * width, 4 * width, 8 * width]

    @pytest.mark.parametrize(
        "name",
        [
            "resnet50", "resnet18-16", "resnet18-w", "resnet18-w-8", "wrn-34", "wrn-28-10", "wrn-34-w2",
            "vgg16", "", "ResNet18", " resnet18",
        ],
    )  # fmt: skip
    def test_unknown_name_is_refused_in_one_line(self, name):
        """An unknown architecture is a user's error that lists the known ones."""
        with pytest.raises(UserError) as refused:
            build(name, DIGITS)
        message = str(refused.value)
        assert f"'{name}'" in message
        assert "resnet34[-wWIDTH]" in message
        assert "wrn-34-FACTOR" in message
        assert "\n" not in message

    @pytest.mark.parametrize("name", ["resnet18-w0", "wrn-34-0"])
    def test_width_zero_is_refused(self, name):
        """A network without channels is a user's error, too."""
        with pytest.raises(UserError):
            arch(name)


class TestForward:
    """Networks in use."""

    @pytest.mark.parametrize("name", ["resnet18-w8", "resnet34-w8", "wrn-34-1"])
    @pytest.mark.parametrize("info", [DIGITS, CIFAR10], ids=lambda info: info.name)
    def test_images_give_one_logit_per_class(self, name, info):
        """Narrow variants take the images of every dataset."""
        model = build(name, info).eval()
        with torch.no_grad():
            logits = model(torch.rand(2, info.channels, info.side, info.side))
        assert logits.shape == (2, info.classes)
        assert torch.isfinite(logits).all()

    @pytest.mark.parametrize("name", ["resnet18-w8", "wrn-34-1"])
    @pytest.mark.parametrize("info", [DIGITS, CIFAR10], ids=lambda info: info.name)
    def test_pixels_are_normalised_inside(self, name, info):
        """The first convolution sees (x - mean) / std of the dataset."""
        model = build(name, info).eval()
        seen = []
        model.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        x = torch.rand(2, info.channels, info.side, info.side)
        with torch.no_grad():
            model(x)
        mean, std = (np.array(values)[None, :, None, None] for values in (info.mean, info.std))
        np.testing.assert_allclose(seen[0].numpy(), (x.numpy() - mean) / std, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("name", ["resnet18-w8", "wrn-34-1"])
    def test_constants_are_not_weights(self, name):
        """Mean and std are neither in the state dict nor parameters."""
        model = build(name, CIFAR10)
        names = [*model.state_dict(), *dict(model.named_parameters())]
        assert not [name for name in names if "normalize" in name]
        assert {"normalize.mean", "normalize.std"} <= set(dict(model.named_buffers()))

    def test_residual_block_adds_its_shortcut(self, network):
        """With the second batch normalisation at zero a block of positive maps is the identity."""
        block = network.layer1[0]
        torch.nn.init.zeros_(block.bn2.weight)
        x = torch.rand(2, 8, 8, 8)
        with torch.no_grad():
            assert torch.equal(block(x.clone()), x)

    @pytest.mark.parametrize("name", ["resnet18-w8", "wrn-34-1"])
    def test_head_averages_the_whole_map(self, name):
        """The classifier sees one number per channel: the mean over all positions."""
        model = build(name, CIFAR10).eval()
        head, last = ("linear", "layer4") if name.startswith("resnet") else ("fc", "bn1")
        seen = {}
        model.get_submodule(last).register_forward_hook(
            lambda module, inputs, output: seen.update(maps=output.clone())
        )
        model.get_submodule(head).register_forward_pre_hook(
            lambda module, inputs: seen.update(mean=inputs[0])
        )
        with torch.no_grad():
            model(torch.rand(2, 3, 32, 32))
        maps = seen["maps"].clamp_min(0)
        torch.testing.assert_close(seen["mean"], maps.mean((2, 3)))

    def test_initialisation_follows_the_seed(self):
        """The same torch seed gives the same weights, another seed others."""
        states = []
        for seed in (0, 0, 1):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                states.append(build("wrn-34-1", DIGITS).state_dict())
        one, same, other = (state["block2.layer.0.conv1.weight"] for state in states)
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
