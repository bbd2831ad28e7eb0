"""Warnings of the numbers of attacks, on bits written by hand, and that records keep them."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from benchmark.data.info import DIGITS
from benchmark.engine import counting
from benchmark.engine.precision import Precision
from benchmark.engine.weights import Weights
from benchmark.evaluation import EVALUATIONS
from benchmark.evaluation.autoattack import Apgd, AutoAttack
from benchmark.evaluation.pgd import Pgd10x3
from benchmark.evaluation.protocol import Evaluation, Outcome
from benchmark.evaluation.record import Evaluating
from benchmark.evaluation.sanity import attack_of, comparable, survivors, warnings
from benchmark.models import arch
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.records.records import Count
from benchmark.records.specs import spec_of
from benchmark.records.store import Store

CELL = Cell("own", "digits", "resnet18-w4", "mine", "none", 0)
OTHER_WEIGHTS = "f" * 64


def bits(**rows):
    """Bits by name from texts such as `1101`."""
    return {name: np.array([mark == "1" for mark in row]) for name, row in rows.items()}


# PGD's runs leave 6, 5 and 6 of 8 images, and 3, 4 and 3 of the first 4.
PGD = bits(run0="11101110", run1="11110001", run2="11100111")
WEAK = bits(clean="11111111", first="11111110", last="11110110")  # leaves 6, and 4 of the first 4
STRONG = bits(clean="11111111", first="11111110", last="11100110")  # leaves 5, and 3 of the first 4


class TestAbovePgd:
    """A stronger attack that breaks fewer images than PGD."""

    def test_more_survivors_than_the_worst_run_of_pgd_are_told(self):
        """The warning names both counts, and is the same whichever of the two records is written."""
        (said,) = warnings("autoattack", WEAK, {}, 10, {"pgd10x3": PGD})
        assert said.startswith(
            "warning: 6 of the first 8 images survive autoattack and only 5 survive pgd10x3,"
        )
        assert warnings("pgd10x3", PGD, {}, 10, {"autoattack": WEAK}) == [said]

    def test_as_many_survivors_are_as_it_should_be(self):
        assert warnings("autoattack", STRONG, {}, 10, {"pgd10x3": PGD}) == []
        assert warnings("pgd10x3", PGD, {}, 10, {"autoattack": STRONG}) == []

    def test_the_first_images_are_compared_where_one_has_no_more(self):
        """On the first four, four survive the attack and three PGD's worst run there."""
        first = {name: row[:4] for name, row in WEAK.items()}
        (said,) = warnings("autoattack-first-4", first, {}, 10, {"pgd10x3": PGD})
        assert "4 of the first 4 images survive autoattack and only 3 survive pgd10x3" in said
        assert warnings("pgd10x3", PGD, {}, 10, {"autoattack-first-4": first}) == [said]
        short = {name: row[:4] for name, row in STRONG.items()}
        assert warnings("autoattack-first-4", short, {}, 10, {"pgd10x3": PGD}) == []

    def test_every_pair_is_told_once(self):
        """PGD is compared with both; records that say the same are not told twice."""
        one, two = warnings("pgd10x3", PGD, {}, 10, {"autoattack": WEAK, "apgd": WEAK})
        assert "survive autoattack and" in one
        assert "survive apgd and" in two
        others = {"pgd10x3": PGD, "pgd10x3-first-8": PGD}
        assert len(warnings("apgd", WEAK, {}, 10, others)) == 1

    def test_only_attacks_of_other_strength_are_compared(self):
        """Neither two of a kind nor what is no attack."""
        assert comparable("apgd-first-20", "pgd10x3")
        assert comparable("pgd10-official-code", "autoattack-first-3")
        assert comparable("apgd", "autoattack")
        for one, other in (
            ("pgd10x3", "pgd10-official-code"),
            ("pgd10x3", "clean"),
            ("corruptions-15", "autoattack"),
            ("pgd10x3", "making"),
        ):
            assert not comparable(one, other)
            assert not comparable(other, one)
            assert not any("first" in text for text in warnings(one, WEAK, {}, 10, {other: PGD}))

    def test_names(self):
        """A limit is no part of an attack's name, and no attack is guessed."""
        assert attack_of("autoattack-first-100").whole == attack_of("autoattack") == AutoAttack()
        assert attack_of("clean") is attack_of("pgd100x3") is attack_of("autoattack-2") is None

    def test_survivors(self):
        """Of PGD's runs the worst counts, of an attack series what survives all."""
        assert survivors(Pgd10x3(), PGD) == Count(k=5, n=8)
        assert survivors(Apgd(), PGD) == Count(k=3, n=8)
        assert survivors(Pgd10x3(), PGD, 4) == Count(k=3, n=4)


class TestBelowChance:
    """Less robust than an answer that never changes."""

    @pytest.mark.parametrize("name", ["pgd10x3", "apgd", "autoattack-first-8", "pgd10-official-code"])
    def test_below_one_in_classes(self, name):
        """One of eight is below chance with four classes and with seven, not with eight or ten."""
        one = bits(only="00100000")
        for classes in (4, 7):
            (said,) = warnings(name, one, {}, classes, {})
            assert said.startswith(
                f"warning: 1 of 8 images survive {name.partition('-first')[0]}, fewer than"
            )
            assert f"(1 of {classes})" in said
            assert "normal for a network without adversarial training" in said
        for classes in (8, 10):
            assert warnings(name, one, {}, classes, {}) == []

    def test_clean_accuracy_is_not_judged(self):
        assert warnings("clean", bits(clean="00000000"), {}, 10, {}) == []


class TestMasking:
    """Gradients that are exactly zero."""

    @pytest.mark.parametrize(("zero", "told"), [(0, False), (10, False), (11, True), (1000, True)])
    def test_more_than_one_in_a_hundred(self, zero, told):
        """Ten of a thousand are let pass, eleven are not."""
        parts = {"zero-gradients": Count(k=zero, n=1000)}
        said = warnings("apgd", STRONG, parts, 10, {})
        assert len(said) == told
        assert all(f"zero at {zero} of 1000 images (masking)" in text for text in said)


@dataclass(frozen=True)
class Written(Evaluation):
    """An evaluation whose outcome is given."""

    version: ClassVar[int] = 1
    label: ClassVar[str] = "by hand"
    summary: ClassVar[str] = "by hand"
    kind: ClassVar[str] = "attack"
    name: str

    @property
    def strength(self):
        return {"pgd10x3": 1, "autoattack": 3}[self.name]

    @property
    def nested(self):
        return self.name == "autoattack"

    def per_image(self, bits):
        return min(bits.values(), key=np.count_nonzero).astype(float)

    def spec(self, info):
        return spec_of(self)

    def run(self, model, data, base, journal, progress):
        rows = {"pgd10x3": PGD, "autoattack": WEAK}[self.name]
        last = list(rows.values())[-1]
        return Outcome(Count.of(last), {}, rows, remarks=("of its own", "of the model"))


class TestRecords:
    """Warnings are stored with the record that is written later."""

    @pytest.fixture
    def evaluating(self, store, digits, monkeypatch):
        """A function that gives what records are made of, with any weights."""
        for name in ("pgd10x3", "autoattack"):
            monkeypatch.setitem(EVALUATIONS, name, Written(name))

        def make(sha256="a" * 64, cell=CELL, info=DIGITS, **more):
            plan = CheckpointPlan(cell, info, arch(CELL.arch), sha256)
            return Evaluating(plan, None, Weights({}, sha256), digits, store, silent, **more)

        return make

    @pytest.mark.parametrize("order", [("pgd10x3", "autoattack"), ("autoattack", "pgd10x3")])
    def test_the_later_record_carries_the_warning(self, evaluating, store, order):
        """The first has nothing to be held against; remarks of two sources are told once."""
        writer = evaluating(remarks=("of the model",))
        first, second = (writer.record(name) for name in order)
        assert first.remarks == ["of the model", "of its own"]
        assert second.remarks[:2] == first.remarks
        assert "6 of the first 8 images survive autoattack" in second.remarks[2]
        assert store.record(CELL, order[1]) == second

    @pytest.mark.parametrize(
        "other", [{"sha256": OTHER_WEIGHTS}, {"info": replace(DIGITS, mean=(0.0,), std=(1.0,))}]
    )
    def test_records_of_other_weights_or_settings_are_not_compared(self, evaluating, other):
        """A record that another model left under the same key says nothing of this one."""
        evaluating(**other).record("pgd10x3")
        assert not any("warning" in text for text in evaluating().record("autoattack").remarks)

    @pytest.mark.parametrize("other", [(), ("pgd10x3", "autoattack"), ("autoattack", "pgd10x3")])
    def test_what_was_made_before_leaves_no_trace(self, evaluating, store, other):
        """Remarks are those of the cell's own records, whatever a twin has, in whatever order."""
        for name in other:
            evaluating().record(name)
        twin = evaluating(cell=Cell("own", "digits", "resnet18-w4", "mine", "rift", 0))
        remarks = [twin.record(name).remarks for name in ("pgd10x3", "autoattack")]
        assert remarks[0] == ["of its own", "of the model"]
        assert remarks[1][:2] == remarks[0] and "survive autoattack" in remarks[1][2]
        assert len(remarks[1]) == 3
        assert not [path for path in store.results.rglob("*.json") if "same_as" in path.read_text()]

    def test_a_twins_number_is_all_that_is_taken_over(self, evaluating, monkeypatch):
        """Not what its making says, nor where work of one's own was done that is thrown away."""
        made = SimpleNamespace(provenance=SimpleNamespace(begun=["of the twin"]))
        monkeypatch.setattr(Store, "making", lambda _, cell: made if cell == CELL else None)
        evaluating(remarks=("of the twin",)).record("pgd10x3")
        other = evaluating(cell=replace(CELL, finetune="rift"))
        journal = other.journal("pgd10x3", other.subject.evaluation_spec("pgd10x3"), "fp32")
        journal.put("devices", names=np.array(["another device"]))
        assert other.record("pgd10x3").remarks == ["of its own", "of the model"]

    def test_work_on_other_test_images_is_not_gone_on_with(self, evaluating, digits):
        """What was finished on images that have been replaced since is done again."""
        one = evaluating()
        other = replace(one, data=replace(digits, test=digits.test.first(9)))
        for each, images, empty in ((one, 0, True), (one, 500, False), (other, 9, True)):
            journal = each.journal("pgd10x3", one.subject.evaluation_spec("pgd10x3"), "fp32")
            assert journal.empty == empty
            journal.put("answers", run0=np.zeros(images))

    def test_plug_ins_of_ones_own_spec_are_named(self, evaluating, monkeypatch):
        """Where a twin was evaluated without them, or with another version of one, too."""
        evaluating().record("pgd10x3")
        plain, named = CheckpointPlan.evaluation_spec, {"plugins": {"mine": OTHER_WEIGHTS}}
        monkeypatch.setattr(
            CheckpointPlan, "evaluation_spec", lambda plan, name: plain(plan, name) | named
        )
        taken = evaluating(cell=replace(CELL, finetune="rift")).record("pgd10x3")
        assert taken.provenance.plugins == {"mine": OTHER_WEIGHTS}

    def test_what_another_plug_in_made_is_made_again(self, evaluating, monkeypatch):
        """Its network may have made another thing of these weights."""
        runs, run = [], Written.run
        monkeypatch.setattr(Written, "run", lambda *args: runs.append(1) or run(*args))
        plain, named = CheckpointPlan.evaluation_spec, {"plugins": {"mine": OTHER_WEIGHTS}}
        with monkeypatch.context() as before:
            before.setattr(
                CheckpointPlan, "evaluation_spec", lambda plan, name: plain(plan, name) | named
            )
            evaluating().record("pgd10x3")
        evaluating(cell=replace(CELL, finetune="rift")).record("pgd10x3")
        assert len(runs) == 2

    @pytest.mark.parametrize(
        ("change", "again"),
        [(("a" * 64, "fp32"), False), ((OTHER_WEIGHTS, "fp32"), True), (("a" * 64, "bf16"), True)],
    )
    def test_only_the_same_is_taken_over(self, evaluating, monkeypatch, change, again):
        """Other weights, and the same in another precision, are evaluated again."""
        runs, run = [], Written.run
        monkeypatch.setattr(Written, "run", lambda *args: runs.append(1) or run(*args))
        cells = (CELL, Cell("own", "digits", "resnet18-w4", "mine", "rift", 0))
        made = (("a" * 64, "fp32"), change)
        for cell, (weights, precision) in zip(cells, made, strict=True):
            monkeypatch.setattr("benchmark.engine.precision._used", Precision(precision))
            evaluating(weights, cell).record("pgd10x3")
        assert len(runs) == 1 + again

    @pytest.mark.parametrize("other", ["chunk", "evaluation", "data"])
    def test_what_was_made_otherwise_is_not_taken_over(self, evaluating, monkeypatch, digits, other):
        """In other batches, by another version of the evaluation, on other images: evaluated again."""
        runs, run = [], Written.run
        monkeypatch.setattr(Written, "run", lambda *args: runs.append(1) or run(*args))
        evaluating().record("pgd10x3")
        twin = evaluating(cell=replace(CELL, finetune="rift"))
        if other == "chunk":
            monkeypatch.setattr(counting, "BATCH", 7)
        elif other == "evaluation":
            monkeypatch.setattr(Written, "version", 2)
        else:
            twin = replace(twin, data=replace(digits, test=digits.test.first(20)))
        twin.record("pgd10x3")
        assert len(runs) == 2
