"""The file of evidence: what is read back, and what is refused or stale."""

import json
from dataclasses import replace

import pytest

from benchmark.errors import UserError
from benchmark.plans.plan import Plan
from benchmark.plans.states import stale_evidence
from benchmark.records.evidence import (
    FACTORS,
    Evidence,
    SeedEvidence,
    evidence,
    evidence_path,
    same_mrc,
)
from benchmark.report.theorems import text
from handmade import BY_HAND, cell_at, write_making
from handmade_evidence import seed_evidence


def by_hand(seed=0, **changes):
    """Evidence of one seed with numbers of one's own."""
    plan = Plan.of(cell_at("rift", seed), BY_HAND)
    found = seed_evidence(plan, ratio=0.1, rise=0.05, rescaled=dict.fromkeys(FACTORS, 0.1))
    return SeedEvidence(**(dict(found) | changes))


def evidence_of(*seeds, name="by-hand"):
    """A file's content."""
    return Evidence(scale=name, dataset="digits", arch="resnet18-w8", method="pgd-at", seeds=seeds)


def write(store, found, name="by-hand"):
    """Put it where it belongs."""
    path = evidence_path(store.results, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found if isinstance(found, str) else found.model_dump_json())


class TestFile:
    """Reading."""

    def test_what_was_written_is_read(self, store):
        """Every field comes back; without a file there is nothing."""
        assert evidence(store.results, "by-hand") is None
        write(store, found := evidence_of(by_hand(0), by_hand(1)))
        assert evidence(store.results, "by-hand") == found
        assert stale_evidence(found, store, BY_HAND) == {}

    @pytest.mark.parametrize(
        ("where", "value", "message"),
        [
            ((), {}, "scale: Field required"),
            (("seeds", 0, "spec", "factors"), [2], "spec_hash is not the hash of spec"),
            (("seeds", 0, "mrc"), 0.5, "the tuned module once, with its mrc"),
            (("seeds", 0, "seed"), 1, "not that of spec and seed"),
            (("seeds", 0, "moves", 0, "alpha"), 0.9, "alpha = 1, not 0.9"),
            (("seeds", 0, "moves", 1, "point"), "sphere", "moves are fine-tuned, interpolated"),
            (("seeds", 0, "rescaling", 0, "reason"), "because", "not both"),
            (("dataset",), "cifar10", "is not of cifar10"),
        ],
    )
    def test_a_broken_file_is_refused_by_name(self, store, where, value, message):
        """One line with the path and what is wrong."""
        content = json.loads(evidence_of(by_hand(0), by_hand(1)).model_dump_json())
        part = content
        for name in where[:-1]:
            part = part[name]
        if where:
            part[where[-1]] = value
        write(store, json.dumps(content if where else value))
        with pytest.raises(UserError, match=r"by-hand\.json' is not evidence of schema 1") as refused:
            evidence(store.results, "by-hand")
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_evidence_of_another_scale_is_refused(self, store):
        """The name of a file is that of its scale."""
        write(store, evidence_of(by_hand()), "other")
        with pytest.raises(UserError, match="evidence of the scale 'by-hand'"):
            evidence(store.results, "other")

    def test_a_bound_counts_both_kinds_of_examples(self):
        """A move within MRC on the old examples is not bounded if new ones rise further."""
        within = by_hand().moves[1]
        beyond = within.model_copy(update={"loss_rise_recrafted": 0.11})
        assert [by_hand().bounded(move) for move in (within, beyond)] == [True, False]
        assert [by_hand().inside(move) for move in by_hand().moves] == [False, True]

    def test_a_failed_ascent_bounds_nothing(self):
        """Below zero there is no maximum to hold a rise against; it is shown with its value."""
        failed = by_hand().rescaling[0].criticality.model_copy(update={"mrc": -0.1})
        module = by_hand().rescaling[0].model_copy(update={"criticality": failed, "rank": None})
        found = by_hand(mrc=-0.1, rescaling=(module,))
        assert [found.bounded(move) for move in found.moves] == [None, None]
        shown = text(evidence_of(found))
        assert "at most MRC: 0 of 0" in shown
        assert shown.count("-0.1000 (failed)") == len(found.moves) + 1


class TestStale:
    """Evidence of other models."""

    def test_other_settings(self, store):
        """A recipe that has changed since makes it stale, and so does a seed that is gone."""
        other = replace(BY_HAND, finetuning={"lr": 0.5}, seeds=(0,))
        reasons = stale_evidence(evidence_of(by_hand(0), by_hand(1)), store, other)
        assert "other settings" in reasons[0]
        assert "has no seed 1" in reasons[1]

    @pytest.mark.parametrize("finetune", ["none", "rift"])
    def test_other_weights(self, store, finetune):
        """Makings of the same settings and other weights make it stale."""
        write_making(store, cell_at(finetune))
        same = by_hand()
        assert stale_evidence(evidence_of(same), store, BY_HAND) == {}
        other = {"weights_sha256": "c" * 64}
        provenance = same.provenance.model_copy(update=other if finetune == "none" else {})
        tuned = "c" * 64 if finetune == "rift" else same.tuned_sha256
        found = evidence_of(by_hand(provenance=provenance, tuned_sha256=tuned))
        assert "other weights" in stale_evidence(found, store, BY_HAND)[0]


@pytest.mark.parametrize(
    ("value", "mrc", "same"),
    [
        *((0.1009, 0.1, True), (0.1011, 0.1, False), (-0.0995, -0.1, True), (-0.1, 0.1, False)),
        *((0.0, 0.0, True), (None, 0.1, False), (0.1, None, False), (None, None, False)),
    ],
)
def test_which_mrc_are_the_same(value, mrc, same):
    """A hundredth of the MRC may be rounding; what diverged is like nothing."""
    assert same_mrc(value, mrc) is same
