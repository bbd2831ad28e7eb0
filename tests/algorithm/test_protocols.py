"""Names of fine-tunings, what each selects, and that a name decides which data choose."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.algorithm.criticality import criticality_modules
from benchmark.algorithm.official_code import README_MODULES, criticality_split, readme_module
from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.selection import Candidates, LeastCritical, MostCritical, RandomModule
from benchmark.algorithm.tunings import ALPHA_1, CURVE, MIRRORED, TUNINGS, finetune, finetunings
from benchmark.data import dataset_info
from benchmark.data.info import DIGITS
from benchmark.engine.recipes import CriticalitySettings, OfficialCriticality, ScaleFreeCriticality
from benchmark.errors import UserError
from benchmark.models import without_values
from benchmark.plans.plan import Plan
from benchmark.records.cells import HELD_OUT
from benchmark.records.specs import spec_hash
from handmade import BY_HAND, cell_at, measured

FINETUNES = finetunings(TUNINGS.values(), PROTOCOLS.values())

MODULES = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.shortcut.0", "linear")


def by_module(**values):
    """Criticality by module; None for an ascent that diverged."""
    return [measured(module, value) for module, value in values.items()]


def candidates(criticality=None, seed=0, arch="resnet18", dataset="digits"):
    """Five modules to select from."""
    return Candidates(MODULES, criticality, dataset, arch, seed)


MRC = dict(zip(MODULES, (0.3, 0.1, 0.2, 0.1, 0.5), strict=True))


def select(name, criticality=None, **where):
    """What the fine-tuning called `name` trains."""
    return finetune(name).selector.select(candidates(criticality, **where))


class TestSelection:
    """Which modules are trained."""

    def test_by_criticality(self):
        """The least critical first, the module nearer the input on a tie; the most critical alone."""
        mrc = by_module(**MRC)
        assert select("rift", mrc) == ["layer1.0.conv1"]
        assert select("top-3", mrc) == ["layer1.0.conv1", "layer2.0.shortcut.0", "layer1.0.conv2"]
        assert select("robust-critical", mrc) == ["linear"]

    @given(st.permutations(MODULES), st.lists(st.sampled_from([None, -1e-9, -2.0]), max_size=4))
    def test_without_a_valid_mrc_there_is_no_rank(self, order, lost):
        """Modules whose ascent diverged or failed are neither least nor most critical."""
        valid = {module: float(rank) for rank, module in enumerate(order[len(lost) :])}
        mrc = by_module(**dict(zip(order, lost, strict=False)), **valid)
        given = candidates(mrc)
        assert LeastCritical(len(valid)).select(given) == list(valid)
        assert MostCritical().select(given) == list(valid)[-1:]
        why = r"one \(the ascent of the others .*; choose by name" if lost else "one; choose fewer"
        with pytest.raises(
            UserError, match=f"^resnet18: {len(valid) + 1} to be .* only {len(valid)} of 5 .* {why}"
        ):
            LeastCritical(len(valid) + 1).select(given)

    def test_the_released_order_has_all_modules(self):
        """A negative MRC is as low as it is, and losses that are no numbers are lower than any."""
        values = dict(zip(MODULES, (0.3, None, -0.2, 0.0, None), strict=True))
        given = dataclasses.replace(candidates(by_module(**values)), released_order=True)
        assert given.ranked == [MODULES[place] for place in (1, 4, 2, 3, 0)]
        assert LeastCritical(2).select(given) == [MODULES[1], MODULES[4]]
        assert MostCritical().select(given) == ["conv1"]

    def test_only_the_released_protocol_has_that_order(self):
        """The paper's text defines a maximum, which is not negative."""
        released = [name for name, protocol in PROTOCOLS.items() if protocol.released_order]
        assert released == ["rift-official-code"]

    def test_without_criticality(self):
        """The last layer, everything, nothing."""
        assert select("last-layer") == ["linear"]
        assert select("all-layers") == list(MODULES)
        assert select("bn-only") == []

    def test_a_selection_by_criticality_needs_it(self):
        """What was not measured cannot be ranked."""
        with pytest.raises(ValueError, match="needs the criticality"):
            select("rift")

    def test_a_random_layer_is_drawn_evenly(self):
        """Each of five modules turns up in about a fifth of 1,000 seeds, always the same by seed."""
        drawn = [RandomModule().select(candidates(seed=seed)) for seed in range(1000)]
        assert drawn == [RandomModule().select(candidates(seed=seed)) for seed in range(1000)]
        counts = [drawn.count([module]) for module in MODULES]
        assert sum(counts) == 1000
        assert min(counts) > 150

    def test_a_named_module(self):
        """In lower case, with dashes; an unknown one is refused with those there are."""
        names = ("block1.layer.0.convShortcut", "patch_embed.proj")
        named = Candidates(names, None, "digits", "mine", 0)
        for name, key in zip(names, ("block1.layer.0.convshortcut", "patch-embed.proj"), strict=True):
            assert finetune(f"module-{key}-alpha-1").selector.select(named) == [name]
        with pytest.raises(UserError, match=r"resnet18 has no module 'layer9'; it has conv1, layer1"):
            select("module-layer9")


class TestReadme:
    """The released code's own choice of a layer."""

    @pytest.mark.parametrize(("place", "module"), README_MODULES.items())
    def test_a_known_network_of_any_width(self, place, module):
        """Width does not matter, the family does, which has that module."""
        dataset, network = place
        narrow = {"wrn-34": "wrn-34-1"}.get(network, f"{network}-w16")
        for name in (narrow, {"wrn-34": "wrn-34-10"}.get(network, network)):
            assert readme_module(dataset, name) == module
        assert module in criticality_modules(without_values(narrow, dataset_info(dataset)))

    @pytest.mark.parametrize(("dataset", "arch"), [("digits", "resnet18"), ("cifar10", "resnet180")])
    def test_what_it_does_not_know(self, dataset, arch):
        """No layer is made up; the least critical one is taken then."""
        assert readme_module(dataset, arch) is None
        mrc = by_module(**MRC)
        assert select("rift-official-code", mrc, arch=arch, dataset=dataset) == ["layer1.0.conv1"]

    def test_its_module_is_taken_over_the_least_critical(self):
        """On CIFAR-10 the README decides, whatever was measured, for RiFT and for its control."""
        mrc = by_module(**MRC)
        for name in ("rift-official-code", "rift-bn-frozen-official-code"):
            assert select(name, mrc, dataset="cifar10") == ["layer2.1.conv2"]

    def test_its_split(self):
        """Test images of CIFAR, training images of Tiny-ImageNet."""
        assert [criticality_split(d) for d in ("cifar10", "tiny-imagenet")] == ["test", "train"]


class TestNames:
    """TUNING[PROTOCOL][ENDING]."""

    def test_every_name_means_itself(self):
        """A name gives a fine-tuning of that name, and its weights are those of a known tuning."""
        for name in FINETUNES:
            assert finetune(name).name == name
            assert finetune(name).tuning in FINETUNES, name

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_each_tuning_under_each_protocol(self, protocol):
        """Every tuning comes under every protocol, at alpha* or its fixed alpha, and at 1; with its
        whole curve where there is one. What makes a module has a curve, a mirror and no alpha."""
        suffix = PROTOCOLS[protocol].suffix
        for tuning in TUNINGS.values():
            if tuning.forward is not None:
                made = {end: finetune(tuning.name + suffix + end) for end in ("", CURVE, MIRRORED)}
                assert {end: (f.whole_curve, f.mirrored) for end, f in made.items()} == {
                    "": (False, False),
                    CURVE: (True, False),
                    MIRRORED: (False, True),
                }
                with pytest.raises(UserError, match="without alpha; leave out"):
                    finetune(tuning.name + suffix + ALPHA_1)
                continue
            own, fixed = (finetune(tuning.name + suffix + end) for end in ("", ALPHA_1))
            assert own.protocol is PROTOCOLS[protocol]
            assert fixed.interpolation is None
            assert fixed.alpha == 1
            assert not own.whole_curve
            assert own.tuning == fixed.tuning
            assert (own.interpolation is None) == (tuning.alpha is not None)
            if tuning.alpha is None:
                curve = finetune(tuning.name + suffix + CURVE)
                assert curve.whole_curve
                assert curve.tuning == own.tuning

    @pytest.mark.parametrize(
        "name",
        [
            *("rfit", "module-", "rift-alpha-2", "-held-out", "module--curve"),
            *("rift-alpha-1-curve", "rift-curve-alpha-1", "mean-sparse-mirrored-curve"),
            *("rift-scale-free-held-out", "rift-held-out-official-code"),
        ],
    )
    def test_an_unknown_name_is_refused(self, name):
        """What has no meaning is refused with the grammar of names."""
        with pytest.raises(
            UserError, match=r"unknown fine-tuning '.*'; .*known: none .*module-NAME, each"
        ):
            finetune(name)

    def test_only_the_held_out_protocol_has_a_base_model_of_its_own(self):
        """Who chooses on a hold-out starts from a network that was not trained on it."""
        for name in FINETUNES:
            base = cell_at(name).base
            assert base.finetune == ("none-held-out" if HELD_OUT in name else "none")
            assert base.is_base
            assert base.base == base
            assert (finetune(name).selects_on == "hold-out") == (HELD_OUT in name)


class TestPlans:
    """What a name changes in the plan."""

    def test_no_two_fine_tunings_have_one_spec(self):
        """Each name is another spec: no record can pass for one of another fine-tuning."""
        hashes = [spec_hash(Plan.of(cell_at(name), BY_HAND).spec) for name in FINETUNES]
        assert len(set(hashes)) == len(FINETUNES)

    def test_weights_are_shared_by_endings_only(self):
        """alpha*, alpha = 1 and the curve have one tuning spec, and what names it as its own has it;
        nothing else shares it."""
        specs = {}
        for name in FINETUNES:
            plan = Plan.of(cell_at(name), BY_HAND)
            specs.setdefault(spec_hash(plan.tuning_spec), set()).add(finetune(name).tuning)
        own = [tuning for tuning in TUNINGS.values() if tuning.weights_of is None]
        assert len(specs) == len(own) * len(PROTOCOLS)
        assert all(len(names) == 1 for names in specs.values())

    @pytest.mark.parametrize(
        ("name", "settings", "stage", "factor"),
        [
            ("rift", CriticalitySettings(), "", 1),
            ("rift-held-out", CriticalitySettings(split="hold-out"), "", 1),
            ("rift-official-code", OfficialCriticality(split="test"), "-official", 255 / 225),
            ("rift-scale-free", ScaleFreeCriticality(steps=10, rate=0.5), "-scale-free-10", 1),
            ("rift-one-step", ScaleFreeCriticality(steps=1, rate=1), "-scale-free-1", 1),
        ],
    )
    def test_criticality_of_a_protocol(self, name, settings, stage, factor):
        """Each protocol has its definition of MRC, its split and its attack, and the specs say so."""
        plan = Plan.of(cell_at(name), BY_HAND)
        assert (plan.criticality, plan.criticality.stage) == (settings, f"criticality{stage}")
        assert np.isclose(plan.attack.step_size, DIGITS.threat.step_size * factor)
        assert plan.criticality_spec["settings"]["type"] == settings.type_name
        assert plan.criticality_spec["attack"]["step_size"] == plan.attack.step_size
        assert plan.finetune.interpolation.intervals == (10 if factor > 1 else 20)

    @pytest.mark.parametrize(
        ("name", "split", "refused"),
        [
            ("rift-held-out", "test", True),
            ("rift-held-out", "train", True),
            ("rift", "hold-out", True),
            ("rift", "test", False),
            ("rift-official-code", "train", False),
        ],
    )
    def test_a_scale_cannot_undo_a_hold_out(self, name, split, refused):
        """The split of the criticality is a field, but not one that breaks what a protocol promises."""
        scale = dataclasses.replace(BY_HAND, criticality={"split": split})
        if not refused:
            assert Plan.of(cell_at(name), scale).criticality.split == split
            return
        with pytest.raises(UserError, match=f"{name} cannot measure it on the split '{split}'"):
            Plan.of(cell_at(name), scale)

    def test_one_step_is_one_step(self):
        """Whatever steps a scale gives the ascents of all other protocols."""
        scale = dataclasses.replace(BY_HAND, criticality={"steps": 3})
        steps = [Plan.of(cell_at(name), scale).criticality.steps for name in PROTOCOLS]
        assert steps == [3 if name != "rift-one-step" else 1 for name in PROTOCOLS]

    def test_what_was_there_before_keeps_its_spec(self):
        """Fields that came later are not in the spec of what they do not change."""
        spec = Plan.of(cell_at("rift"), BY_HAND).spec
        assert set(spec) == {"type", "version", "key", "tuning", "interpolation", "selects_on"}
        assert "bn" not in spec["tuning"]
        assert "hold_out" not in spec["tuning"]["base"]
        frozen = Plan.of(cell_at("rift-bn-frozen-held-out"), BY_HAND).spec
        assert frozen["tuning"]["bn"] == "frozen"
        assert frozen["tuning"]["base"]["hold_out"] == {"type": "HoldOut", "version": 1, "share": 0.1}
