"""A user's checkpoint: every wrapping gives the same weights, nothing in it runs, misfits are named."""

import argparse
import hashlib
import os
import pickle
import re
import shlex
import sys
import tarfile
import zipfile
from collections import OrderedDict, namedtuple
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.checkpoints.load import load_checkpoint
from benchmark.checkpoints.networks import normalised
from benchmark.checkpoints.unwrap import ENTRIES, PREFIXES
from benchmark.data.info import CIFAR10, DIGITS, TINY_IMAGENET
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.models.resnet import ResNet

NAME = "resnet18-w4"
IMAGES = torch.linspace(0, 1, 2 * 64).view(2, 1, 8, 8)


def seeded(name, info, seed=0):
    """A network with trained-looking statistics, always the same; "short" has three blocks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNet((1, 1, 1), 4, info) if name == "short" else build(name, info)
        for buffer in model.state_dict().values():
            if buffer.dtype == torch.int64:
                buffer.fill_(391)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def small(seed):
    """A network with few entries, for tests that save many files."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = OrderedDict(conv1=nn.Conv2d(1, 4, 3), bn1=nn.BatchNorm2d(4), flat=nn.Flatten())
        return nn.Sequential(layers | {"linear": nn.Linear(4 * 6 * 6, 10)}).eval()


@pytest.fixture(scope="module")
def trained():
    """The network whose weights are saved; to be read only."""
    return seeded("short", DIGITS)


@pytest.fixture(scope="module")
def fresh():
    """A network of other weights, of which only names and shapes matter."""
    return seeded("short", DIGITS, seed=1)


@pytest.fixture(scope="module")
def state(trained):
    """The state dict of `trained`; to be read only."""
    return dict(trained.state_dict())


@pytest.fixture(scope="module")
def wide():
    """A narrow WRN, its state, and the entries of the stage that yaodongyu/TRADES has besides."""
    model = seeded("wrn-34-1", DIGITS)
    state = dict(model.state_dict())
    return model, state, {f"sub_{n}": t.clone() for n, t in state.items() if n.startswith("block1.")}


@pytest.fixture
def path(tmp_path):
    """Where a checkpoint goes; the suffix says nothing about its kind."""
    return tmp_path / "weights.pth.tar"


def save_zip(content, path):
    """The format of torch.save since 1.6."""
    torch.save(content, path)


def save_legacy(content, path):
    """The format of torch.save before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content, path):
    """A flat dict of tensors."""
    plain = {name: tensor.contiguous() for name, tensor in content.items()}
    safetensors.torch.save_file(plain, path, {"epoch": "3"})


KINDS = {"zip": save_zip, "legacy": save_legacy, "safetensors": save_safetensors}
TORCH_KINDS = {kind: KINDS[kind] for kind in ("zip", "legacy")}


def refusal(path, model, **options):
    """The one line with which loading is refused."""
    with pytest.raises(UserError) as refused:
        load_checkpoint(path, model, **options)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture
def loading(path, fresh):
    """A function: what loading gives of a file with that content."""

    def load(content, model=fresh, kind="zip", **options):
        KINDS[kind](content, path)
        return load_checkpoint(path, model, **options)

    return load


@pytest.fixture
def refused(path, fresh):
    """A function: the one line with which a file with that content is refused."""

    def refuse(content, model=fresh, kind="zip", **options):
        KINDS[kind](content, path)
        return refusal(path, model, **options)

    return refuse


def same(loaded, state):
    """Whether all of `state`, and nothing else, was loaded, to the last bit and in order."""
    return list(loaded.state) == list(state) and all(
        loaded.state[name].dtype == tensor.dtype and torch.equal(loaded.state[name], tensor)
        for name, tensor in state.items()
    )


class TestKinds:
    """The kind of a file is told by what is in it."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".tar", ""])
    def test_weights_come_back(self, state, tmp_path, kind, suffix, fresh):
        """Whatever the suffix, names, types and bits are those saved, and nothing had to be done."""
        path = tmp_path / f"weights{suffix}"
        KINDS[kind](state, path)
        loaded = load_checkpoint(path, fresh)
        assert same(loaded, state)
        assert (loaded.dropped, loaded.notes) == ((), ())
        assert loaded.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_the_model_needs_no_memory(self, state, loading):
        """A network on the meta device will do."""
        with torch.device("meta"):
            outline = ResNet((1, 1, 1), 4, DIGITS)
        assert same(loading(state, outline), state)

    def test_tensors_are_plain_and_their_own(self, fresh, trained, path):
        """Channels-last parameters cut from one buffer become contiguous tensors of their own size."""
        names = [n for n, t in trained.state_dict().items() if t.shape == (4, 4, 3, 3)]
        whole = torch.randn(len(names), 4, 3, 3, 4).permute(0, 1, 4, 2, 3)
        content = trained.state_dict() | dict(zip(names, whole, strict=True))
        content["conv1.weight"] = nn.Parameter(content["conv1.weight"])
        save_zip(content, path)
        loaded = load_checkpoint(path, fresh).state
        assert torch.equal(loaded[names[1]], whole[1])
        for tensor in loaded.values():
            assert tensor.is_contiguous() and not tensor.requires_grad
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert len({tensor.data_ptr() for tensor in loaded.values()}) == len(loaded)


class TestWrappers:
    """What stands around the weights."""

    @settings(max_examples=40)
    @given(
        entries=st.lists(st.sampled_from(ENTRIES), max_size=3),
        prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3),
        kind=st.sampled_from(list(TORCH_KINDS)),
        upper=st.booleans(),
    )
    def test_every_combination_gives_the_same_weights(
        self, tmp_path_factory, entries, prefixes, kind, upper
    ):
        """Dicts in dicts with an epoch and an optimiser beside, prefixes on prefixes: all is undone."""
        model, other = small(0), small(1)
        state = model.state_dict()
        content = OrderedDict(("".join(prefixes) + name, tensor) for name, tensor in state.items())
        optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
        for entry in reversed(entries):
            name = entry.upper() if upper else entry
            content = {"epoch": 3, "best": torch.tensor(0.5), name: content}
            content["optimizer"] = optimizer
        path = tmp_path_factory.mktemp("wrapped") / "weights.pt"
        TORCH_KINDS[kind](content, path)
        loaded = load_checkpoint(path, other)
        assert same(loaded, state)
        with torch.no_grad():
            assert not torch.equal(other(IMAGES), model(IMAGES))
            other.load_state_dict(loaded.state, strict=True)
            assert torch.equal(other(IMAGES), model(IMAGES))
        opened = [note for note in loaded.notes if note.startswith("opened entry")]
        assert len(opened) == len(entries)
        assert all("'epoch'" in note and "'optimizer'" in note for note in opened)
        removed = [note for note in loaded.notes if note.startswith("removed")]
        assert [note.split("'")[1] for note in removed] == prefixes
        assert len(loaded.notes) == len(entries) + len(prefixes)

    def test_averaged_weights_of_torch(self, trained, state, loading):
        """Their counter is left out."""
        loaded = loading(torch.optim.swa_utils.AveragedModel(trained).state_dict())
        assert same(loaded, state)
        assert loaded.dropped == ("n_averaged",)

    @pytest.mark.parametrize(
        ("mean", "std", "front"),
        [
            ("0.mean", "0.std", "1."),
            ("normalize.mu", "normalize.sigma", "model."),
            ("mu", "sigma", ""),
            ("module.normalizer.new_mean", "module.normalizer.new_std", "module.model."),
        ],
    )
    def test_normalisation_is_the_networks_or_refused(self, state, path, mean, std, front):
        """The network's own is left out and shown; any other is refused with the option that fits."""
        constants = {mean: torch.full((1, 1, 1, 1), 0.1307), std: torch.full((1, 1, 1, 1), 0.3081)}
        save_zip(constants | {front + name: tensor for name, tensor in state.items()}, path)
        short = partial(ResNet, (1, 1, 1), 4)
        for refused in (DIGITS, normalised(DIGITS, "0.1307/0.3")):
            assert "`--normalization 0.1307/0.3081` fits" in refusal(path, short(refused))
        loaded = load_checkpoint(path, short(normalised(DIGITS, "0.1307/0.3081")))
        assert same(loaded, state)
        assert loaded.dropped == (mean, std)
        for name, value in ((mean, "0.1307"), (std, "0.3081")):
            (note,) = [note for note in loaded.notes if repr(name) in note]
            assert note.count(value) == 2

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    @pytest.mark.parametrize("white", [1, 255])
    @pytest.mark.parametrize("names", [("mean", "std"), ("std",)])
    def test_the_option_that_fits_is_taken(self, state, path, dtype, white, names, refused):
        """Pasted as it stands it gives the file's constants, whatever their type, also of 0 to 255."""
        stored = {"mean": torch.tensor([0.1307]), "std": torch.tensor([0.3081])}
        layer = {f"0.{name}": (white * stored[name]).to(dtype) for name in names}
        message = refused(
            layer | {f"1.{name}": tensor for name, tensor in state.items()},
            ResNet((1, 1, 1), 4, DIGITS),
        )
        (option,) = re.findall(r"`--normalization (\S+)` fits", message)
        info = normalised(DIGITS, option)
        assert same(load_checkpoint(path, ResNet((1, 1, 1), 4, info)), state)
        if names == ("mean", "std"):
            eps = torch.finfo(dtype).eps
            assert (*info.mean, *info.std) == pytest.approx((0.1307, 0.3081), rel=max(eps, 1e-6))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_rounding_makes_no_other_normalisation(self, state, dtype, loading):
        """The dataset's own constants in any precision are the network's, also as parameters."""
        layer = {
            name: torch.tensor(values, dtype=dtype, requires_grad=True)
            for name, values in (("mu", DIGITS.mean), ("sigma", DIGITS.std))
        }
        assert same(loading(layer | state), state)

    def test_channels(self, loading, refused):
        """Constants are compared and shown channel by channel, and one for all channels with each."""
        model = seeded(NAME, CIFAR10)
        constants = {"0.mean": torch.tensor(CIFAR10.mean), "0.std": torch.tensor(CIFAR10.std)}
        weights = {f"1.{n}": t for n, t in model.state_dict().items()}
        assert loading(constants | weights, model).notes[0].count("0.4914, 0.4822, 0.4465") == 2
        for mean, fits in (
            ((0.4914, 0.4822, 0.4466), "0.4914,0.4822,0.4466/0.2471,0.2435,0.2616"),
            ((0.4914,), "0.4914/0.2471,0.2435,0.2616"),
        ):
            constants["0.mean"] = torch.tensor(mean)
            assert f"`--normalization {fits}` fits" in refused(constants | weights, model)

    def test_first_layer_is_no_normalisation(self, state, refused):
        content = {f"1.{name}": tensor for name, tensor in state.items()}
        assert "does not fit" in refused(content | {"0.weight": torch.ones(1, 1, 3, 3)})

    def test_entries_that_are_no_tensors_are_noted(self, state, loading):
        loaded = loading(state | {"epoch": 3, "arch": "resnet18"})
        assert same(loaded, state)
        assert loaded.notes == ("left out what is no tensor: 'epoch', 'arch'",)


class TestEntries:
    """Files with several state dicts."""

    @pytest.fixture
    def several(self, state, path):
        """A file with weights, averaged ones and a teacher's."""
        averaged = {name: tensor / 2 if tensor.is_floating_point() else tensor
                    for name, tensor in state.items()}  # fmt: skip
        save_zip({"model": state, "ema": averaged, "teacher": {"w": torch.ones(1)}, "epoch": 1}, path)
        return path

    def test_ambiguity_is_refused(self, fresh, several):
        message = refusal(several, fresh)
        assert "'model', 'ema'" in message and "--entry" in message

    def test_entry_is_chosen(self, fresh, state, several):
        averaged = load_checkpoint(several, fresh, entry="ema").state
        assert torch.equal(averaged["conv1.weight"], state["conv1.weight"] / 2)

    def test_entry_below_another_is_found(self, state, loading):
        """Outer dicts of known names are opened on the way."""
        content = {"checkpoint": {"model": {"w": torch.ones(1)}, "swa": state}}
        assert same(loading(content, entry="swa"), state)

    @pytest.mark.parametrize("several", [True, False])
    def test_unknown_entry_is_refused(self, state, several, refused):
        message = refused({"net": state, "ema": state} if several else state, entry="swa")
        assert "no entry 'swa'" in message
        assert ("'net'" in message) == several

    def test_unusual_name_is_chosen_by_hand(self, fresh, state, path, refused):
        """A state dict under a name of its own is not guessed but can be chosen."""
        assert "'student'" in refused({"student": state, "epoch": 1})
        assert same(load_checkpoint(path, fresh, entry="student"), state)


class TestDrop:
    """Entries to leave out."""

    def test_unused_stage_is_left_out_on_request(self, wide, loading, refused):
        """Without the option the line says what would leave it out; with it all of it is named."""
        model, state, unused = wide
        content = {"state_dict": {f"module.{n}": t for n, t in (state | unused).items()}}
        message = refused(content, model)
        assert "`--drop sub_block1.` would leave this out, because the network never uses it" in message
        assert "'sub_block1.layer.0.bn1.weight' (16,) is in the file only" in message
        loaded = loading(content, model, drop=["sub_block1."])
        assert same(loaded, state)
        assert loaded.dropped == tuple(unused)
        assert any("'sub_block1.'" in note for note in loaded.notes)

    def test_advice_is_not_given_where_it_would_not_help(self, wide, refused):
        """With a weight missing besides, leaving the stage out is not enough."""
        model, state, unused = wide
        message = refused({n: t for n, t in (state | unused).items() if n != "fc.bias"}, model)
        assert "--drop" not in message
        assert "'fc.bias' (10,) is in the network only" in message

    def test_prefix_behind_dropped_entries_is_removed(self, state, loading):
        """What did not share the prefix is gone, so the rest is unwrapped further."""
        wrapped = {f"model.{name}": tensor for name, tensor in state.items()}
        loaded = loading(
            wrapped | {"attacker.eps": torch.ones(5), "loss.weight": torch.ones(5)},
            drop=["attacker.", "loss."],
        )
        assert same(loaded, state)
        assert loaded.dropped == ("attacker.eps", "loss.weight")

    def test_option_that_does_nothing_is_refused(self, state, refused):
        assert "begins with 'sub_blok1.'" in refused(state, drop=["sub_blok1."])

    def test_needed_weights_are_not_dropped(self, state, loading):
        with pytest.raises(UserError, match="which the network needs"):
            loading(state, drop=["layer1."])


class TestConversion:
    """Numbers of other types."""

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_precision_becomes_the_networks(self, state, dtype, loading):
        """Each value is the float32 nearest to the stored one, and the note counts the entries."""
        stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
        loaded = loading(stored)
        assert same(loaded, {n: t.to(state[n].dtype) for n, t in stored.items()})
        floats = sum(tensor.is_floating_point() for tensor in state.values())
        short = str(dtype).removeprefix("torch.")
        assert loaded.notes == (f"converted {floats} entries from {short} to float32",)

    def test_doubles_of_a_single_network_are_exact(self, state, loading):
        """Weights that were float32 once come back to the last bit."""
        loaded = loading({n: t.double() for n, t in state.items()})
        assert same(loaded, state)
        assert len(loaded.notes) == 2  # the counters as well, which averaging makes floats

    def test_missing_counters_are_zero(self, state, loading):
        """Files older than torch 0.4.1 have none."""
        old = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
        count = len(state) - len(old)
        loaded = loading(old, kind="legacy")
        (note,) = loaded.notes
        assert note == f"set {count} num_batches_tracked to zero, absent as before torch 0.4.1"
        zero = [tensor for name, tensor in loaded.state.items() if name not in old]
        assert not any(tensor.any() for tensor in zero) and len(zero) == count

    @pytest.mark.parametrize("dtype", [torch.int8, torch.complex64], ids=str)
    def test_weights_of_no_floating_type_are_refused(self, state, dtype, refused):
        message = refused(state | {"linear.weight": state["linear.weight"].to(dtype)})
        assert "'linear.weight'" in message
        assert str(dtype).removeprefix("torch.") in message and "float32" in message

    @pytest.mark.parametrize(
        "odd", [torch.Tensor.to_sparse, lambda t: t.to("meta")], ids=["sparse", "meta"]
    )
    def test_tensors_that_are_not_dense_are_refused(self, state, odd, refused):
        assert "'linear.weight'" in refused(state | {"linear.weight": odd(state["linear.weight"])})

    @pytest.mark.parametrize("value", [float("nan"), -float("inf")])
    def test_weights_that_are_not_finite_are_refused(self, state, value, refused):
        bad = dict(state)
        for name in ("layer3.0.bn1.running_var", "linear.bias"):
            bad[name] = state[name].clone()
            bad[name].view(-1)[-1] = value
        message = refused(bad)
        assert "'layer3.0.bn1.running_var'" in message and "NaN or infinite" in message
        assert "linear.bias" not in message

    def test_doubles_too_large_are_refused(self, state, refused):
        assert "NaN or infinite" in refused(
            state | {"linear.bias": torch.full((10,), 1e300, dtype=torch.float64)}
        )


class TestMisfits:
    """State dicts of other networks."""

    def saved(self, path, name, info):
        save_zip({"net": {f"module.{n}": t for n, t in seeded(name, info).state_dict().items()}}, path)

    @pytest.mark.parametrize(
        ("name", "layer", "inputs"), [(NAME, "linear", 32), ("wrn-34-1", "fc", 64)]
    )
    def test_number_of_classes_is_named(self, path, name, layer, inputs):
        """Weights for another dataset's classes are told from another network."""
        self.saved(path, name, replace(CIFAR10, classes=100))
        message = refusal(path, seeded(name, CIFAR10))
        assert "the file has 100 classes, the network 10" in message
        shapes = f"is (100, {inputs}) in the file and (10, {inputs}) in the network"
        assert f"'{layer}.weight' {shapes}" in message

    @pytest.mark.parametrize("classes", [10, 200])
    def test_inputs_of_the_head_are_named(self, path, classes):
        """A network for 32 pixels has a fourth of the inputs of one for 64, and may differ in both."""
        self.saved(path, NAME, CIFAR10)
        message = refusal(path, seeded(NAME, replace(TINY_IMAGENET, classes=classes)))
        assert "classifier takes 32 inputs, the network's 128" in message
        assert ("10 classes, the network 200" in message) == (classes == 200)

    def test_only_the_first_differences_are_listed(self, state, refused):
        """Two names of each side stand for all, the network's before the file's."""
        renamed = {f"stem.{n}" if n.startswith("layer3") else n: t for n, t in state.items()}
        message = refused(renamed)
        for front in ("", "stem."):
            assert message.count(f"'{front}layer3.0.conv1.weight' (") == 1
        count = sum(name.startswith("layer3") for name in state)
        assert f"and {2 * count - 4} more" in message

    @pytest.mark.parametrize("shape", [(4, 3, 3, 3), (), (10**9, 1, 3, 3)])
    def test_other_shape_is_named(self, state, shape, refused):
        """One tensor of another shape is enough, and one that repeats itself costs no memory."""
        message = refused(state | {"conv1.weight": torch.zeros(()).expand(shape)})
        assert f"'conv1.weight' is {shape} in the file and (4, 1, 3, 3) in the network" in message

    def test_names_of_several_lines_stay_in_one(self, refused):
        message = refused({"a\n\x1b[31mb": torch.ones(1), "x.y": torch.ones(1)})
        assert message.isprintable()

    def test_what_hinders_the_names_is_told(self, state, loading, refused):
        """One name without the front of the others: the flag that is named makes the file fit."""
        wrapped = {f"model.{name}": tensor for name, tensor in state.items()}
        message = refused(wrapped | {"n_classes": torch.tensor(10)})
        assert (
            "all but 'n_classes' begin with 'model.'; `--drop n_classes` would make it fit" in message
        )
        assert same(loading(wrapped | {"n_classes": torch.tensor(10)}, drop=["n_classes"]), state)

    def test_a_front_of_any_name_is_removed(self, state, loading):
        assert same(loading({f"my.encoder.{name}": tensor for name, tensor in state.items()}), state)

    def test_same_shapes_under_other_names(self, state, refused):
        """One pair of names shows how the rest may go."""
        message = refused({f"part{place}": tensor for place, tensor in enumerate(state.values())
                           if tensor.ndim})  # fmt: skip
        assert "the same shapes are there in the same order: 'part0' may be 'conv1.weight'" in message

    def test_names_of_torchvision_are_taken(self, loading, refused):
        """downsample and fc stand for shortcut and linear, where all else agrees; it is noted."""
        model = seeded(NAME, CIFAR10)
        state = model.state_dict()
        renamed = {
            name.replace("shortcut", "downsample").replace("linear", "fc"): tensor
            for name, tensor in state.items()
        }
        loaded = loading(renamed, model)
        assert same(loaded, state)
        assert any("downsample to shortcut" in note for note in loaded.notes)
        assert "does not fit" in refused(renamed | {"fc.bias": torch.ones(3)}, model)

    def test_a_file_beyond_memory_is_not_read(self, state, path, fresh, monkeypatch):
        """The size is looked at first: that of the file, and what is packed in it."""
        save_zip(state, path)
        memory = namedtuple("Memory", "available")
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(path.stat().st_size - 1))
        assert "of memory are free" in refusal(path, fresh)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("net/data.pkl", bytes(10**6))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(10**5))
        assert "of memory are free" in refusal(path, fresh)


class Malicious:
    """An object whose unpickling calls a function."""

    def __init__(self, function, argument):
        self.call = (function, (argument,))

    def __reduce__(self):
        return self.call


def converted(message, model):
    """What is loaded of the file that the command in `message` writes; run in this process."""
    _, _, code, *arguments = shlex.split(message[message.index("python -c ") :])
    before = torch.serialization.get_safe_globals()
    argv, sys.argv = sys.argv, ["-c", *arguments]
    try:
        exec(code, {})
    finally:
        sys.argv = argv
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    return load_checkpoint(Path(arguments[1]), model)


class TestCode:
    """Pickles that hold more than numbers."""

    @pytest.fixture(params=["zip", "legacy", "pickle2", "pickle4"])
    def save(self, request):
        """A way to save anything."""
        if request.param in TORCH_KINDS:
            return TORCH_KINDS[request.param]
        protocol = int(request.param[-1])
        return lambda content, path: path.write_bytes(pickle.dumps(content, protocol))

    def test_code_is_not_run(self, fresh, path, save, recwarn):
        """A pickle that would make a folder makes none, beside weights or alone; plain pickle does.
        torch says nothing beside the refusal."""
        witness = path.with_name("witness")
        direct = Malicious(os.mkdir, str(witness))
        for content in (direct, {"epoch": direct, "state_dict": {}}):
            save(content, path)
            message = refusal(path, fresh)
            assert "holds Python code or objects" in message
            assert "torch.save(model.state_dict(), ...)" in message
            assert not witness.exists()
            pickle.loads(pickle.dumps(content))
            assert witness.exists()
            witness.rmdir()
        assert not recwarn.list

    @pytest.mark.parametrize("value", ["1", "Yes", "TRUE"])
    def test_the_environment_does_not_loosen_this(self, fresh, path, monkeypatch, value):
        """With torch's switch back to full unpickling on, no file is opened."""
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", value)
        monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("the file was opened"))
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch read the file"))
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set" in refusal(path, fresh)

    @pytest.mark.parametrize("value", ["", "0", "False"])
    def test_a_switch_that_is_off_is_none(self, state, monkeypatch, value, loading):
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", value)
        assert same(loading(state), state)

    @pytest.mark.parametrize("kind", TORCH_KINDS)
    def test_objects_are_named_and_done_without(self, state, kind, refused, fresh):
        """The line names the object, and its command writes the same weights to a file without."""
        args = argparse.Namespace(lr=np.float32(0.1), more=[Fraction(1, 2)])
        message = refused({"state_dict": state, "args": args, "epoch": 3}, kind=kind)
        assert "objects (fractions.Fraction" in message
        assert same(converted(message, fresh), state)

    def test_a_pickled_network_is_done_without_its_code(self, state, trained, fresh, refused):
        """The module itself, not its state dict: the classes need not exist where the command runs.

        Not in the format before torch 1.6, where `weights_only` takes no containers at all.
        """
        assert same(converted(refused(trained), fresh), state)
        assert same(converted(refused({"model": trained, "epoch": 1}), fresh), state)
        assert "python -c" not in refused(trained, kind="legacy")

    @pytest.mark.parametrize("kind", TORCH_KINDS)
    @pytest.mark.parametrize(
        "beside",
        [
            argparse.Namespace(lr=0.1, folder=Path("runs"), best=np.float64(0.5), more=[{1: "x"}]),
            np.int64(3),
            np.array("text"),
        ],
        ids=lambda beside: type(beside).__name__,
    )
    def test_harmless_objects_beside_are_left_out(self, state, kind, beside, loading, monkeypatch):
        """Arguments, paths and numbers of numpy are neither made nor called on the way."""
        monkeypatch.setattr(argparse.Namespace, "__init__", lambda *_, **__: pytest.fail("was made"))
        before = torch.serialization.get_safe_globals()
        for content in ({"state_dict": state, "args": beside}, state | {"args": beside}):
            loaded = loading(content, kind=kind)
            assert same(loaded, state)
            assert "'args'" in loaded.notes[0]
        assert set(torch.serialization.get_safe_globals()) == set(before)

    def test_torchscript_is_refused(self, fresh, path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("data.pkl", "constants.pkl", "version"):
                archive.writestr(f"net/{name}", b"")
        assert "objects (TorchScript), which are not run" in refusal(path, fresh)


class TestDamage:
    """Files that are no checkpoints, or not whole."""

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "is empty"),
            (b"epoch,loss\n1,0.5\n", "is not a checkpoint"),
            (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
            (b"\x80", "is damaged"),
            (b"PK\x03\x04", "is damaged"),
            ((10**9).to_bytes(8, "little") + b"{", "is damaged"),
            ((2).to_bytes(8, "little") + b"{}", "holds no state dict"),
        ],
    )
    def test_other_content_is_refused(self, fresh, path, content, reason):
        path.write_bytes(content)
        assert reason in refusal(path, fresh)

    def test_archives_of_other_kinds_are_refused(self, fresh, state, path):
        """A zip or tar archive is not a checkpoint because of its suffix."""
        np.savez(path.with_suffix(".npz"), x=np.ones(3))
        assert "a zip archive, but none of torch.save" in refusal(path.with_suffix(".npz"), fresh)
        inner = path.with_name("inner.pt")
        save_zip(state, inner)
        with tarfile.open(path, "w") as archive:
            archive.add(inner, "inner.pt")
        assert "is a tar archive; unpack it" in refusal(path, fresh)

    @pytest.mark.parametrize("content", [[1, 2], torch.ones(3), None], ids=repr)
    def test_other_objects_are_refused(self, content, refused):
        assert f"holds a {type(content).__name__}, not a state dict" in refused(content)

    @pytest.mark.parametrize(
        "content", [{"epoch": 3}, {"state_dict": {}}, {"optimizer": {"state": {0: {}}}}], ids=repr
    )
    def test_dicts_without_tensors_are_refused(self, content, refused):
        assert "holds no state dict" in refused(content)

    def test_numbers_for_names_are_refused(self, refused):
        assert "key of type int" in refused({0: torch.ones(1), 1: torch.ones(1)})

    def test_truncated_file_is_refused(self, fresh, state, path):
        """A download that was cut off is reported as not whole."""
        save_zip(state, path)
        path.write_bytes(path.read_bytes()[:-64])
        assert "is damaged or not whole" in refusal(path, fresh)

    @settings(max_examples=20)
    @given(bit=st.integers(0, 8 * 4 * 36 - 1))
    def test_a_flipped_bit_of_a_weight_is_refused(self, tmp_path_factory, state, bit):
        """The checksums of a zip archive are those of its contents, though the weight is finite."""
        path = tmp_path_factory.mktemp("bit") / "weights.pth"
        save_zip(state, path)
        content, weight = bytearray(path.read_bytes()), state["conv1.weight"].numpy().tobytes()
        content[content.index(weight) + bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert "has another checksum (CRC-32)" in refusal(path, seeded("short", DIGITS))

    def test_missing_file_and_folder_are_refused(self, fresh, tmp_path):
        assert "there is no file" in refusal(tmp_path / "none.pt", fresh)
        assert "is a folder; name the checkpoint in it" in refusal(tmp_path, fresh)
        assert "is not a regular file" in refusal(Path("/dev/null"), fresh)

    def test_unreadable_file_is_refused(self, state, loading, monkeypatch):
        error = PermissionError(13, "Permission denied")
        monkeypatch.setattr(psutil, "virtual_memory", lambda: (_ for _ in ()).throw(error))
        with pytest.raises(UserError, match="Permission denied"):
            loading(state)
