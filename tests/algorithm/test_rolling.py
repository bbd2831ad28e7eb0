"""Module robust criticality with less work: the bits of `plain_criticality`, and what is left out."""

import math
import weakref
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import benchmark.algorithm.adversarial_examples as crafted
import benchmark.algorithm.criticality as measured
from benchmark.algorithm.adversarial_examples import AdversarialSet
from benchmark.algorithm.criticality import criticality, criticality_modules
from benchmark.algorithm.rolling import Rolling, same_in_any_batch
from benchmark.data.info import CIFAR10, DIGITS, TINY_IMAGENET
from benchmark.engine.recipes import CriticalitySettings, OfficialCriticality, ScaleFreeCriticality
from benchmark.engine.weights import weights_sha256
from benchmark.models import build
from benchmark.models.resnet import ResNet
from benchmark.models.segments import in_sequence, segments_of
from benchmark.models.wide_resnet import WideResNet
from benchmark.records.store import Journal
from killing import killing
from plain_criticality import plain_criticality

SEED = 11
ALGORITHM1 = CriticalitySettings(lr=0.2, steps=2, batch_size=20)
OFFICIAL = OfficialCriticality(lr=0.2, steps=2, batch_size=20)
SCALE_FREE = ScaleFreeCriticality(steps=3)
DEFINITIONS = ALGORITHM1, OFFICIAL, SCALE_FREE
BOTH = pytest.mark.parametrize("settings", DEFINITIONS[:2], ids=lambda s: s.type_name)
ALL = pytest.mark.parametrize("settings", DEFINITIONS, ids=lambda s: s.type_name)


def network_of(name, info=DIGITS):
    """A network with batch normalisation that is not the identity, in evaluation mode.

    `narrow` is a ResNet of three blocks, `wide` a WRN of four, whose first has a 1x1 convolution
    without stride.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        own = {"narrow": partial(ResNet, (2, 1), 8), "wide": partial(WideResNet, (2, 1, 1), 2)}
        model = own.get(name, partial(build, name))(info).to(memory_format=torch.channels_last)
        model(torch.rand(64, info.channels, info.side, info.side))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    return model.eval()


def images_of(info, count):
    """Random images as adversarial examples come, with random labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(count, info.channels, info.side, info.side, generator=generator)
    labels = torch.randint(0, info.classes, (count,), generator=generator)
    return AdversarialSet(x.contiguous(memory_format=torch.channels_last), labels)


@pytest.fixture
def measure(digits, tmp_path, monkeypatch):
    """Criticality of a model on given examples, in a journal of each call's own unless told."""
    calls = iter(range(100))

    def measure(model, examples, settings, journal=None, **more):
        monkeypatch.setattr(measured, "adversarial_set", lambda *given: examples)
        journal = journal or Journal(tmp_path / str(next(calls)), "x")
        return criticality(
            model, digits.test, DIGITS.threat, settings, seed=SEED, journal=journal, **more
        )

    return measure


@pytest.fixture(scope="module")
def small():
    """`narrow`, 36 digits (batches of 20 and 16), and the oracle's values by definition."""
    model, examples = network_of("narrow"), images_of(DIGITS, 36)
    expected = {
        settings: plain_criticality(model, examples.x_adv, examples.labels, settings, SEED)
        for settings in DEFINITIONS
    }
    return model, examples, expected


class TestSegments:
    """Networks cut into segments."""

    @pytest.mark.parametrize("name", ["resnet18-w4", "wide", "preact-resnet18-w4"])
    @pytest.mark.parametrize("info", [DIGITS, CIFAR10, TINY_IMAGENET], ids=lambda info: info.name)
    def test_segments_in_sequence_are_the_network(self, name, info):
        """The last bit of the logits is that of `forward`, and no segment changes its input."""
        model, x = network_of(name, info), images_of(info, 4).x_adv
        with torch.no_grad():
            assert torch.equal(in_sequence(model.segments())(x), model(x))
            for segment in model.segments():
                before = x.clone()
                out = segment.run(x)
                assert torch.equal(x, before)
                x = out

    @pytest.mark.parametrize(
        ("name", "count"),
        [("resnet18-w4", 10), ("resnet34-w4", 18), ("wrn-34-1", 17), ("preact-resnet18-w4", 10)],
    )
    def test_every_module_is_in_one_segment_in_order(self, name, count):
        """Stem, blocks and head hold all modules once, in the order that criticality takes them in."""
        model = network_of(name)
        segments = segments_of(model)
        assert len(segments) == count
        places = [[s.holds(m) for s in segments] for m in criticality_modules(model)]
        assert all(sum(place) == 1 for place in places)
        order = [place.index(True) for place in places]
        assert order == sorted(order)
        assert set(order) == set(range(count))

    def test_a_changed_network_is_one_segment(self):
        """A subclass with a `forward` of its own, hooks, a child called `segments`: all of it runs."""
        sharper, hooked = network_of("narrow"), network_of("narrow")
        sharper.__class__ = type("Sharper", (ResNet,), {"forward": lambda *to: 4 * ResNet.forward(*to)})
        hooked.register_forward_pre_hook(lambda _model, inputs: (inputs[0] / 2,))
        named = torch.nn.Sequential(torch.nn.Flatten())
        named.segments = torch.nn.Identity()
        for model in (sharper, hooked, named):
            (segment,) = segments_of(model)
            assert segment.run is model

    def test_another_network_is_one_segment(self):
        """A network that says nothing of segments is run as a whole."""
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        (segment,) = segments_of(model)
        assert segment.run is model
        assert segment.holds("1")
        assert not segment.holds("10")


class TestSameBits:
    """The measurement and the plain one: equal, not close."""

    @ALL
    @pytest.mark.parametrize(
        ("name", "info", "count", "batch_size", "chunk"),
        [
            ("narrow", DIGITS, 76, 38, 20),
            ("resnet18-w8", DIGITS, 41, 25, 256),
            ("resnet18-w16", DIGITS, 33, 17, 256),
            ("wide", DIGITS, 66, 25, 256),
            ("narrow", CIFAR10, 33, 17, 256),
        ],
    )
    def test_values_equal_the_plain_ones(
        self, measure, monkeypatch, settings, name, info, count, batch_size, chunk
    ):
        """Every value of every module, with batches and chunks that do not divide one another."""
        monkeypatch.setattr(crafted, "CHUNK", chunk)
        model, examples = network_of(name, info), images_of(info, count)
        batches = {} if settings is SCALE_FREE else {"steps": 1, "batch_size": batch_size}
        settings = replace(settings, **batches)
        assert same_in_any_batch(examples, batch_size)
        plain = plain_criticality(model, examples.x_adv, examples.labels, settings, SEED, chunk)
        assert measure(model, examples, settings) == plain
        assert len({entry.mrc for entry in plain}) == len(plain)

    @pytest.mark.parametrize("kind", [CriticalitySettings, OfficialCriticality])
    def test_many_epochs_and_active_constraints_equal_the_plain_ones(self, measure, small, kind):
        """Modules that stop early, or are projected, beside some that never reach the ball."""
        model, examples, _ = small
        settings = kind(lr=2.5, steps=3, batch_size=36)
        plain = plain_criticality(model, examples.x_adv, examples.labels, settings, SEED)
        assert measure(model, examples, settings) == plain
        assert {entry.constrained for entry in plain} == {True, False}

    @pytest.mark.parametrize("kind", [CriticalitySettings, OfficialCriticality])
    def test_diverging_modules_equal_the_plain_ones(self, measure, kind):
        """Modules that diverge beside some that stay put, behind a block that lets nothing through."""
        model, examples = network_of("narrow"), images_of(DIGITS, 32)
        torch.nn.init.zeros_(model.layer2[0].bn2.weight)
        settings = kind(lr=1e30, steps=2, batch_size=16)
        plain = plain_criticality(model, examples.x_adv, examples.labels, settings, SEED)
        assert measure(model, examples, settings) == plain
        assert sorted({entry.diverged for entry in plain}) == [False, True]

    @pytest.mark.parametrize(("count", "batch_size"), [(33, 16), (40, 25)])
    def test_few_examples_in_a_batch_are_seen_by_the_whole_network(self, measure, count, batch_size):
        """Last batches of 1 and 15 take another algorithm than full ones; values stay equal."""
        model, examples = network_of("wide"), images_of(DIGITS, count)
        settings = OfficialCriticality(lr=0.2, steps=1, batch_size=batch_size)
        assert not same_in_any_batch(examples, batch_size)
        plain = plain_criticality(model, examples.x_adv, examples.labels, settings, SEED)
        assert measure(model, examples, settings) == plain

    def test_a_network_without_segments_is_measured_too(self, measure):
        """One segment that starts at the images."""
        inner, examples = network_of("narrow"), images_of(DIGITS, 32)
        model = torch.nn.Sequential(inner).eval()
        for settings in DEFINITIONS:
            plain = plain_criticality(model, examples.x_adv, examples.labels, settings, SEED)
            assert measure(model, examples, settings) == plain


def bytes_by_cut(model, examples):
    """Bytes of the activations in front of each segment, 0 for the images."""
    sizes, x = [0], examples.x_adv
    with torch.no_grad():
        for segment in model.segments()[:-1]:
            x = segment.run(x)
            sizes.append(4 * x.numel())
    return sizes


class TestMemory:
    """What is kept on the way."""

    def test_every_cap_gives_the_same_logits_from_the_last_cut_that_fits(self, small):
        """At each cut's size and one byte less, for every module, what is left is the network."""
        model, examples, _ = small
        sizes, segments = bytes_by_cut(model, examples), model.segments()
        with torch.no_grad():
            logits = model(examples.x_adv)
            for cap in sorted({max(size - less, 0) for size in sizes for less in (0, 1)}):
                rolling = Rolling(model, examples, cap)
                for module in criticality_modules(model):
                    holding = [segment.holds(module) for segment in segments].index(True)
                    tail = rolling.to(module)
                    kept = tail.examples.x_adv
                    fitting = max(i for i in range(holding + 1) if sizes[i] <= cap)
                    assert kept.numel() * 4 == (sizes[fitting] or examples.x_adv.numel() * 4)
                    assert (fitting == 0) == (kept is examples.x_adv)
                    assert torch.equal(tail.network(kept), logits)
                    assert torch.equal(tail.examples.labels, examples.labels)

    @BOTH
    @pytest.mark.parametrize("cut", [0, 1, 4])
    def test_a_cap_changes_no_value(self, measure, small, settings, cut):
        """With room for a later cut only, values equal those of the plain measurement."""
        model, examples, expected = small
        cap = bytes_by_cut(model, examples)[cut]
        assert measure(model, examples, settings, memory=cap) == expected[settings]

    @BOTH
    @pytest.mark.parametrize("share", [None, 1.0, 0.5])
    def test_one_cut_is_kept(self, measure, small, monkeypatch, settings, share):
        """Never more bytes than the cap at once; two cuts only while one becomes the other."""
        model, examples, expected = small
        sizes = bytes_by_cut(model, examples)
        cap = None if share is None else int(share * max(sizes))
        alive, peaks = Counter(), []

        def counted(shape, stride, dtype, device):
            room = np.empty(math.prod(shape), np.float32)
            alive[id(room)] = room.nbytes
            weakref.finalize(room, alive.pop, id(room))
            peaks.append((len(alive), sum(alive.values())))
            return torch.from_numpy(room).as_strided(shape, stride)

        monkeypatch.setattr(torch, "empty_strided", counted)
        kept_now = []

        def shown(stage, done, total, note=""):
            kept_now.append(len(alive))

        entries = measure(model, examples, settings, memory=cap, progress=shown)
        assert entries == expected[settings]
        assert max(kept_now) == 1
        assert not alive
        if cap is None:
            assert max(peaks) == (
                2,
                max(a + b for a, b in zip(sizes, sizes[1:], strict=False) if a != b),
            )
            assert len(peaks) == len(set(sizes)) - 1
        else:
            assert max(size for _, size in peaks) <= cap

    def test_half_of_what_is_free_is_kept(self, small, monkeypatch):
        """Where no cap is given: with room for nothing the images stay, with twice as much the cut."""
        model, examples, _ = small
        last, sizes = criticality_modules(model)[-1], bytes_by_cut(model, examples)
        for free, kept in ((0, True), (2 * max(sizes), False)):
            monkeypatch.setattr("benchmark.algorithm.rolling.free_memory", lambda _, free=free: free)
            assert (Rolling(model, examples).to(last).examples.x_adv is examples.x_adv) == kept

    def test_the_widest_network_fits_into_24_gib(self):
        """WRN-34-10 with 10,000 CIFAR images: what is kept at a cut, with the next one where its shape
        is another, is less than 10 GiB."""
        examples = AdversarialSet(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64))
        with torch.random.fork_rng():
            sizes = [10_000 * size for size in bytes_by_cut(build("wrn-34-10", CIFAR10), examples)]
        at_once = [a + b for a, b in zip(sizes, sizes[1:], strict=False) if a != b]
        assert max(sizes) == 10_000 * 160 * 32 * 32 * 4
        assert max(*sizes, *at_once) < 10 * 2**30

    def test_the_images_are_left_alone(self, small):
        """Rolling on overwrites activations, never the images, and a way back starts from them."""
        model, examples, _ = small
        before = examples.x_adv.clone()
        rolling = Rolling(model, examples)
        first = rolling.to("layer1.1.conv1").examples.x_adv.clone()
        rolling.to("linear")
        assert torch.equal(examples.x_adv, before)
        assert torch.equal(rolling.to("layer1.1.conv1").examples.x_adv, first)

    def test_activations_are_those_of_evaluation_mode(self, small):
        """Also if the model is in training mode, which stays as it is."""
        model, examples, _ = small
        expected = Rolling(model, examples).to("linear").examples.x_adv
        buffers = weights_sha256(model.state_dict())
        model.train()
        try:
            assert torch.equal(Rolling(model, examples).to("linear").examples.x_adv, expected)
            assert all(module.training for module in model.modules())
        finally:
            model.eval()
        assert weights_sha256(model.state_dict()) == buffers


@pytest.fixture
def counted():
    """A function that counts the runs of every segment of a network by one module of each."""
    handles = []

    def count(model):
        runs = Counter()
        for segment in model.segments():
            part = segment.parts[-1]  # a block, or a layer of stem and head

            def ran(module, inputs, part=part):
                runs[part] += 1

            handles.append(model.get_submodule(part).register_forward_pre_hook(ran))
        return runs

    yield count
    for handle in handles:
        handle.remove()


class TestLessWork:
    """How often the segments run, by counting."""

    @pytest.mark.parametrize("missing", [slice(None), slice(3, None), slice(4, 6), slice(8, None)])
    @BOTH
    def test_segments_run_no_more_often_than_needed(
        self, measure, small, counted, monkeypatch, tmp_path, settings, missing
    ):
        """Once on the way, once for the start, and for every ascent if not in front of its module."""
        monkeypatch.setattr(crafted, "CHUNK", 18)
        model, examples, _ = small
        settings = type(settings)(lr=0.2, steps=2, batch_size=18)
        chunks, segments = 2, model.segments()
        names = criticality_modules(model)
        journal = Journal(tmp_path / "journal", "x")
        whole = measure(model, examples, settings, journal)
        for name in names[missing]:
            journal.drop(name)
        runs = counted(model)
        assert measure(model, examples, settings, journal) == whole
        at = {name: [s.holds(name) for s in segments].index(True) for name in names[missing]}
        epochs = {entry.module: entry.epochs for entry in whole}
        for index, segment in enumerate(segments):
            probe = index < len(segments) - 1
            rolled = chunks * (index < max(at.values()))
            start = chunks * (index >= min(at.values()))
            ascents = sum(
                # gradients of each epoch, the first known in Algorithm 1; a loss per epoch or one
                (epochs[name] - 1 + 1 if settings.type_name == "algorithm1" else 2 * epochs[name])
                for name in at
                if index >= at[name]
            )
            assert runs[segment.parts[-1]] == probe + rolled + start + chunks * ascents


class TestJournal:
    """Continuing with fewer modules to measure."""

    @ALL
    @pytest.mark.parametrize("missing", [[0], [8], [3, 4, 7], [1, 2, 6]])
    def test_any_missing_modules_are_measured_to_the_same_bits(
        self, measure, small, tmp_path, settings, missing
    ):
        """Whichever modules an interrupted measurement left, their values equal the plain ones."""
        model, examples, expected = small
        names = criticality_modules(model)
        journal = Journal(tmp_path / "journal", "x")
        assert measure(model, examples, settings, journal) == expected[settings]
        for index in missing:
            journal.drop(names[index])
        put = []
        noted = Journal(tmp_path / "journal", "x")
        object.__setattr__(noted, "put", lambda name, **kept: put.append(name))
        assert measure(model, examples, settings, noted) == expected[settings]
        assert put == [names[index] for index in missing]

    @BOTH
    def test_a_kill_at_any_point_leaves_the_model_as_it_was(self, measure, settings):
        """Weights, buffers, modes and flags are restored when the work stops in between."""
        model, examples = network_of("narrow"), images_of(DIGITS, 40)
        model.layer2.train()
        model.linear.bias.requires_grad_(False)
        flags = [module.training for module in model.modules()]
        before = weights_sha256(model.state_dict())
        stages = ["criticality"] + ["criticality: first gradients"] * (settings is ALGORITHM1)
        for stopped in stages:
            with pytest.raises(KeyboardInterrupt):
                measure(model, examples, settings, progress=killing(stage=stopped))
            assert weights_sha256(model.state_dict()) == before
            assert [module.training for module in model.modules()] == flags
            needed = {name for name, p in model.named_parameters() if not p.requires_grad}
            assert needed == {"linear.bias"}

    def test_the_shared_pass_is_a_stage_of_its_own(self, measure, small):
        """It counts examples, batch by batch, before the first module is reported."""
        model, examples, _ = small
        calls = []
        measure(model, examples, ALGORITHM1, progress=lambda *call: calls.append(call))
        shown = [("criticality: first gradients", done, 36) for done in (20, 36)]
        assert calls[:2] == shown
        assert {call[0] for call in calls[2:]} == {"criticality"}
