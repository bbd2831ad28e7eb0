"""Architectures: the paper's module names, published sizes, and normalisation inside the network."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.algorithm.criticality import criticality_modules
from benchmark.data.info import CIFAR10, CIFAR100, DIGITS, TINY_IMAGENET
from benchmark.errors import UserError
from benchmark.models import FAMILIES, Arch, Family, arch, build
from benchmark.records.specs import spec_of

PAPER = (CIFAR10, CIFAR100, TINY_IMAGENET)


@pytest.fixture(scope="module")
def outline():
    """A network by name, of CIFAR-10 unless told, without memory for its weights."""

    def of(name, info=CIFAR10):
        with torch.device("meta"):
            return build(name, info)

    return of


def size(model):
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


class TestPaper:
    """What is known of the paper's networks."""

    @pytest.mark.parametrize("info", [CIFAR10, TINY_IMAGENET], ids=lambda info: info.name)
    @pytest.mark.parametrize(
        ("name", "count", "named"),
        [
            ("resnet18", 21, ["layer2.1.conv2", "layer3.0.shortcut.0", "layer4.1.conv1", "linear"]),
            ("resnet34", 37, ["layer2.3.conv2", "layer3.5.conv1", "layer4.0.shortcut.0", "linear"]),
            ("wrn-34-10", 35, ["block1.layer.0.convShortcut", "block1.layer.3.conv2", "fc"]),
        ],
    )
    def test_criticality_modules(self, outline, name, count, named, info):
        """One per bar of Figures 3, C.1 and C.2; the names of the paper's figures and text stand in
        order, from the input to the classifier."""
        modules = criticality_modules(outline(name, info))
        assert len(modules) == len(set(modules)) == count
        assert [module for module in modules if module in named] == named
        assert (modules[0], modules[-1]) == ("conv1", named[-1])

    @pytest.mark.parametrize(
        ("name", "channels", "published"),
        [("resnet18", 512, 11_173_962), ("resnet34", 512, 21_282_122), ("wrn-34-10", 640, 46_160_474)],
    )
    def test_number_of_parameters(self, outline, name, channels, published):
        """The sizes are the usual CIFAR-10 versions' but for the classifier, which has its own classes
        and four inputs per channel at 64 pixels."""
        trunk = published - (channels + 1) * 10
        for info in PAPER:
            inputs = channels * (4 if info.side == 64 else 1)
            assert size(outline(name, info)) == trunk + (inputs + 1) * info.classes

    @pytest.mark.parametrize(
        ("short", "whole", "count"), [("resnet10", "resnet18", 13), ("wrn-10-10", "wrn-34-10", 11)]
    )
    def test_shorter_networks_have_the_modules_of_the_first_blocks(self, outline, short, whole, count):
        """A network of one block a stage has a part of the paper's modules, in name and shape."""
        few, all_of_it = outline(short), outline(whole)
        modules = criticality_modules(few)
        assert len(modules) == count
        assert set(modules) < set(criticality_modules(all_of_it))
        for name in modules:
            assert few.get_submodule(name).weight.shape == all_of_it.get_submodule(name).weight.shape

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


class TestNames:
    """Architectures by name."""

    @pytest.mark.parametrize(
        ("name", "family", "width", "label"),
        [
            ("resnet18", "resnet", 64, "ResNet18"),
            ("resnet10-w16", "resnet", 16, "ResNet10 (width 16)"),
            ("wrn-34-10", "wide-resnet", 10, "WRN-34-10"),
            ("wrn-10-1", "wide-resnet", 1, "WRN-10-1"),
            ("preact-resnet18-w8", "preact-resnet", 8, "PreActResNet18 (width 8)"),
            ("vit-tiny", "vit", 192, "ViT-tiny"),
            ("vit-mini-w32", "vit", 32, "ViT-mini (width 32)"),
        ],
    )
    def test_width_is_read_from_the_name(self, name, family, width, label):
        """A ResNet's base channels and a WRN's factor are part of the name."""
        known = arch(name)
        assert (known.name, known.family, known.width, known.label) == (name, family, width, label)

    @pytest.mark.parametrize(
        ("name", "width"), [("resnet18-w8", 8), ("resnet18-w64", 64), ("resnet18", 64)]
    )
    def test_width_sets_all_channels(self, outline, name, width):
        """Stages have 1, 2, 4 and 8 times the width."""
        model = outline(name)
        channels = [model.get_submodule(f"layer{n}.1.conv2").out_channels for n in (1, 2, 3, 4)]
        assert channels == [width, 2 * width, 4 * width, 8 * width]

    @pytest.mark.parametrize(
        "name",
        [
            "resnet50", "resnet18-w", "resnet18-w-8", "wrn-34", "wrn-34-w2", "", "ResNet18", "wrn-34-0",
            "hf-hub:timm/resnet18",
        ],
    )  # fmt: skip
    def test_unknown_name_is_refused_in_one_line(self, name):
        known = r"resnet34\[-wWIDTH\], wrn-10-FACTOR, wrn-34-FACTOR, .*, timm:NAME, torchvision:NAME$"
        with pytest.raises(UserError, match=rf"'{name}'; .*known: .*{known}"):
            build(name, DIGITS)

    def test_a_new_architecture_is_one_line(self, monkeypatch):
        """Whatever takes blocks, width and facts of the dataset is known by its line in `FAMILIES`."""
        toy = Family("toy", "toys", "Toy", "A toy.", "torch.nn:Identity", (), 3, "-xSIZE")
        monkeypatch.setitem(FAMILIES, "toy", toy)
        assert arch("toy") == Arch("toy", "toys", (), 3)
        assert arch("toy-x12") == Arch("toy-x12", "toys", (), 12)
        assert arch("toy-x12").label == "Toy-x12"
        assert isinstance(build("toy", DIGITS), torch.nn.Identity)
        with pytest.raises(UserError, match=r", toy\[-xSIZE\]$"):
            build("toy-12", DIGITS)

    def test_specs_are_as_in_records(self):
        """Names and values that hashes of records on file were taken of."""
        assert spec_of(arch("wrn-34-10")) == {
            "type": "Arch", "version": 1, "name": "wrn-34-10", "family": "wide-resnet",
            "blocks": [5, 5, 5], "width": 10,
        }  # fmt: skip


def head_of(name, info, memory_format):
    """The last map of two random images, after its ReLU, and what the classifier is given."""
    model = build(name, info).eval().to(memory_format=memory_format)
    head, last = ("linear", "layer4") if name.startswith("resnet") else ("fc", "bn1")
    seen = {}
    model.get_submodule(last).register_forward_hook(
        lambda module, inputs, output: seen.update(maps=output.clone())
    )
    model.get_submodule(head).register_forward_pre_hook(
        lambda module, inputs: seen.update(features=inputs[0])
    )
    x = torch.rand(2, info.channels, info.side, info.side).contiguous(memory_format=memory_format)
    with torch.no_grad():
        model(x)
    return seen["maps"].clamp_min(0), seen["features"]


class TestForward:
    """Networks in use."""

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

    def test_residual_block_adds_its_shortcut(self, network):
        """With the second batch normalisation at zero a block of positive maps is the identity."""
        block = network.layer1[0]
        torch.nn.init.zeros_(block.bn2.weight)
        x = torch.rand(2, 8, 8, 8)
        with torch.no_grad():
            assert torch.equal(block(x.clone()), x)

    @pytest.mark.parametrize("name", ["resnet18-w8", "wrn-34-1"])
    @pytest.mark.parametrize("info", [DIGITS, CIFAR10], ids=lambda info: info.name)
    def test_head_averages_the_whole_map(self, name, info):
        """Up to 32 pixels the classifier sees one number per channel, to the last bit the mean."""
        maps, features = head_of(name, info, torch.channels_last)
        assert torch.equal(features, maps.mean((2, 3)))

    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
    @pytest.mark.parametrize(("name", "window"), [("resnet18-w8", 4), ("wrn-34-1", 8)])
    def test_head_averages_windows_of_larger_maps(self, name, window, memory_format):
        """At 64 pixels a 2x2 map is left, listed by channel, row and column as a view of NCHW is."""
        maps, features = head_of(name, TINY_IMAGENET, memory_format)
        assert maps.shape[2:] == (2 * window, 2 * window)
        expected = F.avg_pool2d(maps.contiguous(), window).view(len(maps), -1)
        assert features.shape == expected.shape == (2, 4 * maps.shape[1])
        torch.testing.assert_close(features, expected)
        corner = maps[1, 3, :window, window:].mean()
        torch.testing.assert_close(features[1, 4 * 3 + 1], corner)

    def test_a_wide_resnet_begins_as_the_authors(self):
        """Convolutions are normal with variance 2 / (k^2 outputs), the classifier's bias is 0."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build("wrn-10-2", CIFAR10)
        for name in criticality_modules(model)[:-1]:
            weight = model.get_submodule(name).weight.detach()
            expected = (2 / (weight[0, 0].numel() * len(weight))) ** 0.5
            spread = 5 / (2 * weight.numel()) ** 0.5
            assert float(weight.std()) == pytest.approx(expected, rel=spread), name
        assert not model.fc.bias.any()
