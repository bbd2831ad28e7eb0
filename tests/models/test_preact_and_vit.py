"""The pre-activation ResNet and the vision transformer: sizes, names, and what they compute."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.algorithm.criticality import criticality, criticality_modules
from benchmark.algorithm.selection import Candidates
from benchmark.data.info import CIFAR10, DIGITS, TINY_IMAGENET
from benchmark.engine.recipes import CriticalitySettings, ScaleFreeCriticality
from benchmark.models import FAMILIES, arch, build
from benchmark.records.store import Journal

EVERY_INFO = pytest.mark.parametrize(
    "info", [DIGITS, CIFAR10, TINY_IMAGENET], ids=lambda info: info.name
)


def size(name, info):
    """Number of parameters."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name, info).parameters())


def with_statistics(model):
    """`model` in evaluation mode, whose normalisations do something."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


class TestPreActResNet:
    """He et al. (2016b), as the CIFAR codes of adversarial training write it."""

    @pytest.mark.parametrize("width", [8, 64])
    @EVERY_INFO
    def test_size_in_closed_form(self, info, width):
        """9 c w of the stem; per stage 9 (a b + 3 b^2) of convolutions, a b of a shortcut, norms of
        their inputs; a norm and a classifier of 8 w channels."""
        total, channels = 9 * info.channels * width, width
        for wide in (width, 2 * width, 4 * width, 8 * width):
            total += 9 * (channels * wide + 3 * wide**2) + 2 * (channels + 3 * wide)
            total += channels * wide if wide != channels else 0
            channels = wide
        inputs = channels * (4 if info.side == 64 else 1)
        total += 2 * channels + (inputs + 1) * info.classes
        assert size(f"preact-resnet18-w{width}", info) == total

    def test_names_are_those_of_the_codes(self):
        """Module names as in locuslab/robust_overfitting; a shortcut is a convolution alone."""
        model = build("preact-resnet18-w8", CIFAR10)
        found = criticality_modules(model)
        assert (len(found), found[0], found[-1]) == (21, "conv1", "linear")
        assert [name for name in found if "shortcut" in name] == [
            f"layer{stage}.0.shortcut.0" for stage in (2, 3, 4)
        ]
        assert {"bn.weight", "layer1.0.bn1.running_mean"} <= set(model.state_dict())
        assert "layer2.0.shortcut.1.weight" not in model.state_dict()

    def test_forward_equals_the_one_written_out(self):
        """Normalise, convolve, add: block by block from the state dict alone."""
        model = with_statistics(build("preact-resnet18-w8", DIGITS))
        state = model.state_dict()

        def active(x, name):
            parts = (
                state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            )
            return F.relu(F.batch_norm(x, *parts))

        x = torch.rand(3, 1, 8, 8)
        out = F.conv2d((x - DIGITS.mean[0]) / DIGITS.std[0], state["conv1.weight"], padding=1)
        for stage in (1, 2, 3, 4):
            for place in (0, 1):
                block, stride = f"layer{stage}.{place}", 2 if stage > 1 and place == 0 else 1
                inner = active(out, f"{block}.bn1")
                way = state.get(f"{block}.shortcut.0.weight")
                beside = out if way is None else F.conv2d(inner, way, stride=stride)
                inner = F.conv2d(inner, state[f"{block}.conv1.weight"], stride=stride, padding=1)
                inner = active(inner, f"{block}.bn2")
                out = F.conv2d(inner, state[f"{block}.conv2.weight"], padding=1) + beside
        means = active(out, "bn").mean((2, 3))
        with torch.no_grad():
            logits = model(x)
        expected = F.linear(means, state["linear.weight"], state["linear.bias"])
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


class TestVisionTransformer:
    """A small ViT; timm's is the oracle."""

    @pytest.mark.parametrize(
        ("name", "depth", "width", "heads"), [("vit-tiny", 12, 192, 3), ("vit-mini-w48", 4, 48, 1)]
    )
    @EVERY_INFO
    def test_equals_timms(self, info, name, depth, width, heads):
        """Names, shapes and logits are those of timm's VisionTransformer with the same weights."""
        timm = pytest.importorskip("timm.models.vision_transformer")
        model = with_statistics(build(name, info))
        other = timm.VisionTransformer(
            img_size=info.side,
            patch_size={8: 2, 32: 4, 64: 8}[info.side],
            in_chans=info.channels,
            num_classes=info.classes,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
        ).eval()
        other.load_state_dict(model.state_dict())
        x = torch.rand(3, info.channels, info.side, info.side)
        mean, std = (torch.tensor(values)[:, None, None] for values in (info.mean, info.std))
        with torch.no_grad():
            torch.testing.assert_close(model(x), other((x - mean) / std), rtol=1e-4, atol=1e-5)

    def test_modules_are_attention_and_mlp(self):
        """Four linear modules a block, between the patches and the classifier."""
        found = criticality_modules(build("vit-mini-w16", DIGITS))
        inside = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        blocks = [f"blocks.{place}.{name}" for place in range(4) for name in inside]
        assert found == ["patch_embed.proj", *blocks, "head"]

    @pytest.mark.parametrize("width", [8, 200, 192])
    def test_any_width(self, width):
        """The width is shared by so many heads as divide it."""
        model = build(f"vit-mini-w{width}", DIGITS).eval()
        with torch.no_grad():
            assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)

    @pytest.mark.parametrize(
        "asked",
        [CriticalitySettings(lr=0.01, steps=2, images=64), ScaleFreeCriticality(steps=2, images=64)],
        ids=lambda asked: asked.type_name,
    )
    def test_criticality_is_finite_and_ranks_every_module(self, asked, digits, tmp_path):
        """MRC over attention and MLP modules of a network of width 8; steps are short, so that it
        rises."""
        torch.manual_seed(0)
        model = build("vit-mini-w8", DIGITS).eval()
        found = criticality(
            model, digits.train, DIGITS.threat, asked, Journal(tmp_path / "steps", "one"), seed=1
        )
        assert all(each.mrc is not None and each.mrc > -1e-6 for each in found)
        ranked = Candidates([], found, "digits", "vit-mini-w8", 0).ranked
        assert sorted(ranked) == sorted(criticality_modules(model))


def test_which_networks_have_running_statistics():
    """What a family says is what its network has."""
    for start in ("resnet10-w8", "wrn-10-1", "preact-resnet18-w8", "vit-mini", "vit-tiny"):
        with torch.device("meta"):
            model = build(start, DIGITS)
        there = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        assert arch(start).batch_norm == there
    assert {"preact-resnet18", "vit-mini", "vit-tiny", "timm:", "torchvision:"} < set(FAMILIES)
