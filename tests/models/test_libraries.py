"""Networks of timm and torchvision by name: keys, sizes, refusals, and nothing from the network."""

import copy
import socket

import numpy as np
import pytest
import torch

from benchmark.algorithm.criticality import criticality_modules
from benchmark.data.info import CIFAR10, CIFAR100, DIGITS
from benchmark.engine.folded_copy import MixedPrecision
from benchmark.engine.precision import Precision, has_compiler
from benchmark.errors import UserError
from benchmark.models import arch, build, check, key_name, libraries
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.records.cells import Cell
from benchmark.records.specs import spec_of
from invoking import MINI

timm = pytest.importorskip("timm")
models = pytest.importorskip("torchvision.models")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Whatever opens a connection fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def size(model):
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


class TestNames:
    """Full names and those of keys."""

    @pytest.mark.parametrize(
        ("full", "key"),
        [
            ("timm:vit_tiny_patch16_224", "timm-vit-tiny-patch16-224"),
            ("torchvision:resnet18", "torchvision-resnet18"),
        ],
    )
    def test_both_name_one_network(self, full, key):
        """The key's name is derived, the full one stands in the spec."""
        assert arch(full) == arch(key)
        assert key_name(full) == arch(full).name == key
        assert arch(key).label == spec_of(arch(key))["family"] == full
        assert Cell.parse(f"own/cifar10/{key}/own/none/seed0").arch == key

    @pytest.mark.parametrize("library", ["timm", "torchvision"])
    def test_every_name_of_the_library_has_a_key_of_its_own(self, library):
        """And the key leads back to it."""
        names = libraries._LIBRARIES[library].names()
        found = [arch(f"{library}:{name}") for name in names]
        assert len({each.name for each in found}) == len(names) > 50
        assert [arch(each.name).family for each in found] == [f"{library}:{name}" for name in names]

    def test_names_that_others_put_into_the_library_are_none(self, monkeypatch):
        """RobustBench adds networks to timm's list in capitals; no hint advises what is refused."""
        monkeypatch.setattr(pytest.importorskip("timm"), "list_models", lambda: ["vit_x", "vit_Theirs"])
        with pytest.raises(UserError, match=r"no network 'vit_theirs'; .*vit_x"):
            libraries.known("timm:vit_theirs")

    @pytest.mark.parametrize(
        "name",
        [
            "timm:hf-hub:timm/resnet18", "timm:resnet18.a1_in1k", "timm:ResNet18", "timm:", "timm:a__b",
        ],
    )  # fmt: skip
    def test_what_cannot_be_a_name(self, name):
        """Hubs, tags of weights, and names that could share a key with another."""
        with pytest.raises(UserError, match="digits and underscores; tags of weights and hubs"):
            arch(name)

    @pytest.mark.parametrize(
        ("name", "near"),
        [("timm:vit_tiny_patch16_223", "vit_tiny_patch16_224"), ("torchvision:resnet19", "resnet18")],
    )
    def test_nearest_names_are_offered(self, name, near):
        for refuse in (lambda: check(arch(name)), lambda: build(name, CIFAR10)):
            with pytest.raises(UserError, match=rf"has no network '\w+'; close to it: .*{near}"):
                refuse()

    def test_without_the_library(self, monkeypatch):
        """Names, labels and specs need no library; a network does."""
        monkeypatch.setattr(libraries, "find_spec", lambda name: None)
        assert arch("timm:resnet18").batch_norm
        with pytest.raises(UserError, match=r"timm is not installed; .*'rift-benchmark\[timm\]'"):
            build("timm:resnet18", CIFAR10)


class TestNetworks:
    """What is built."""

    @pytest.mark.parametrize("info", [CIFAR10, CIFAR100, DIGITS], ids=lambda info: info.name)
    @pytest.mark.parametrize("full", ["timm:resnet10t", "torchvision:shufflenet_v2_x0_5"])
    def test_own_size_classes_and_channels(self, full, info):
        model = build(full, info).eval()
        with torch.no_grad():
            logits = model(torch.rand(2, info.channels, info.side, info.side))
        assert logits.shape == (2, info.classes)

    def test_equals_the_librarys(self):
        """Parameters, names and logits of normalised pixels are the library's."""
        ours, theirs = build("torchvision:resnet18", CIFAR10).eval(), models.resnet18(num_classes=10)
        assert size(ours) == size(theirs) == size(models.resnet18()) - 990 * 513
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        assert criticality_modules(ours) == criticality_modules(theirs)
        theirs.load_state_dict(ours.state_dict())
        x = torch.rand(2, 3, 32, 32)
        mean, std = (torch.tensor(v)[:, None, None] for v in (CIFAR10.mean, CIFAR10.std))
        with torch.no_grad():
            np.testing.assert_allclose(ours(x), theirs.eval()((x - mean) / std), rtol=0, atol=1e-5)
            assert torch.equal(copy.deepcopy(ours)(x), ours(x))

    def test_transformer_of_the_datasets_size(self):
        """4 patches of 16 and a class token at 32x32; no running statistics."""
        model = build("timm:vit_tiny_patch16_224", CIFAR10)
        assert model.pos_embed.shape == (1, 5, 192)
        assert (
            size(model) == size(timm.create_model("vit_tiny_patch16_224", num_classes=10)) - 192 * 192
        )
        assert not arch("timm:vit_tiny_patch16_224").batch_norm
        assert arch("timm:resnet10t").batch_norm
        assert arch("timm:efficientnet_x_b3").batch_norm  # of which timm's lists know no more

    def test_images_that_do_not_fit(self):
        with pytest.raises(UserError, match=r"does not classify images of 1x8x8 \(.*Kernel size"):
            build("timm:vit_tiny_patch16_224", DIGITS)
        assert arch("torchvision:vit_h_14").batch_norm  # as far as anybody knows: 14 divides no side

    @pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
    @pytest.mark.slow
    def test_compiled_networks_normalise_too(self):
        """The hook runs inside what is compiled."""
        model = build("timm:resnet10t", DIGITS).eval()
        x = torch.rand(2, 1, 8, 8)
        with torch.no_grad():
            compiled = MixedPrecision(model, Precision("fp32", True))(x)
            torch.testing.assert_close(compiled, model(x), rtol=1e-4, atol=1e-5)


class TestScales:
    """Networks of a library among a scale's."""

    @pytest.fixture
    def own(self, tmp_path):
        """A function that gives the scale `mini` with other networks."""

        def of(archs, more=""):
            path = tmp_path / "own.toml"
            text = MINI.read_text().replace('["resnet18-w8"]', archs).replace('"mini"', '"mine"')
            path.write_text(text + more)
            return scale(str(path))

        return of

    def test_cells_have_keys_and_specs_full_names(self, own):
        found = own('["timm:resnet10t"]', '[networks."timm:resnet10t"]\nlr = 0.05\n')
        (cell, _) = found.cells(found.datasets, found.archs, ["none"])
        plan = Plan.of(cell, found)
        assert cell.key == "mine/digits/timm-resnet10t/pgd-at/none/seed0"
        assert plan.spec["arch"]["family"] == "timm:resnet10t"
        assert plan.base.recipe.lr == 0.05

    @pytest.mark.parametrize("archs", ['["timm:resnet10t", "timm-resnet10t"]', '["timm:x.y"]'])
    def test_two_names_of_one_key_and_bad_names_are_refused(self, own, archs):
        with pytest.raises(
            UserError, match=r"archs: (nothing may be named twice|'timm:x\.y': the name)"
        ):
            own(archs)
