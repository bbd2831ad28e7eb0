"""The paper's claims decided by hand-made records, whose directions can be read off."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.algorithm.protocols import Interpolation
from benchmark.plans.named import SCALES
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.records.evidence import Evidence, SeedEvidence, evidence_path
from benchmark.records.records import Count, CurvePoint, ModuleCriticality
from benchmark.records.store import Store
from benchmark.report.check.case import every
from benchmark.report.check.claims import CLAIMS, claim_findings
from benchmark.report.check.claims_of_finetuning import c9_summary
from benchmark.report.check.claims_of_rivals import POINT
from benchmark.report.check.published import published
from benchmark.report.check.text import Check, text
from benchmark.report.check.verdicts import KEEPS, LOSES, LOWERED, NOT_HURT, RAISED, Finding, Verdict
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import Interval
from benchmark.report.tables import REPORTS
from benchmark.report.view import View
from handmade import (
    BY_HAND,
    CHANGES,
    PROVENANCE,
    cell_at,
    measured,
    record_and_bits,
    write_making,
    write_record,
)
from handmade_evidence import seed_evidence

HOLDS, FAILS, UNCLEAR, MISSING = Verdict.HOLDS, Verdict.FAILS, Verdict.UNCLEAR, Verdict.MISSING
ROLES = ("Std", "OOD", "Adv")
ONE = replace(BY_HAND, archs=("resnet18-w8",), methods=("pgd-at",))
PLACE = "digits/resnet18-w8/pgd-at"


def found_in(store: Store, scale: Scale = BY_HAND) -> dict[str, Finding]:
    """Findings by id."""
    return {
        each.id: each for each in claim_findings(View(store, scale, "x.toml", REPORTS), published())
    }


def lines(findings: dict[str, Finding], claim: str) -> dict[str, Verdict]:
    """Verdicts of the lines of a claim by what follows its id."""
    return {each.id.partition("/")[2]: each.verdict for each in cases(findings, claim)}


def cases(findings: dict[str, Finding], claim: str) -> list[Finding]:
    """The lines of a claim."""
    return [each for each in findings.values() if each.claim == claim != each.id]


@pytest.fixture(scope="module")
def by_hand(written_by_hand):
    """All findings on the records of `handmade.BY_HAND`."""
    return found_in(written_by_hand)


# --- bounds -------------------------------------------------------------------------------------------

ENDS = st.integers(-30, 30).map(lambda points: points / 10_000)
SATISFIED = {
    RAISED: lambda x: x > 0,
    LOWERED: lambda x: x < 0,
    NOT_HURT: lambda x: x >= 0,
    KEEPS: lambda x: x >= -Interpolation.tolerance,
    LOSES: lambda x: x < -Interpolation.tolerance,
}


class TestBounds:
    """One change against one bound."""

    @given(st.sampled_from(list(SATISFIED)), ENDS, ENDS)
    def test_only_a_whole_interval_decides(self, bound, one, two):
        """Both ends on the right side hold, both on the wrong side fail, and else it is unclear."""
        low, high = sorted((one, two))
        verdict, _ = bound.decide(Estimate((low, high), Interval(low, high)))
        right = {SATISFIED[bound](low), SATISFIED[bound](high)}
        assert verdict is {(True,): HOLDS, (False,): FAILS}.get(tuple(right), UNCLEAR)

    @pytest.mark.parametrize("bound", SATISFIED)
    @pytest.mark.parametrize("ends", [(0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1)])
    def test_one_seed_decides_nothing(self, bound, ends):
        """An interval over images says nothing of training again, on whichever side it lies."""
        verdict, why = bound.decide(Estimate((sum(ends) / 2,), Interval(*ends), "images"))
        assert verdict is UNCLEAR
        assert why.startswith("one seed")
        assert bound.decide(Estimate((0.1,)))[0] is UNCLEAR

    def test_a_tenth_of_a_point_is_kept_in_counts(self):
        """Ten images of 10,000 are kept however the fractions round, and eleven are not."""
        for base in range(4000, 6000, 7):
            lost = (base - 10) / 10_000 - base / 10_000
            assert KEEPS.decide(Estimate((lost, lost), Interval(lost, lost)))[0] is HOLDS
            more = (base - 11) / 10_000 - base / 10_000
            assert KEEPS.decide(Estimate((more, more), Interval(more, more)))[0] is FAILS

    @pytest.mark.parametrize(
        ("ends", "verdict"),
        [((-0.01, 0.1), HOLDS), ((-0.0101, 0.1), UNCLEAR), ((-0.02, -0.0101), FAILS)],
    )
    def test_a_mix_may_cost_a_point(self, ends, verdict):
        """Of adaptive robust accuracy, and no more."""
        assert POINT.decide(Estimate(ends, Interval(*ends)))[0] is verdict


class TestSummaries:
    """What lines come to."""

    @given(st.lists(st.sampled_from([HOLDS, FAILS, UNCLEAR, MISSING]), min_size=1, max_size=5))
    def test_every_case(self, verdicts):
        """One counterexample refutes, and only all cases together hold."""
        verdict, why = every([_line(each) for each in verdicts], published())
        if FAILS in verdicts:
            assert verdict is FAILS
        elif len(set(verdicts)) == 1:
            assert verdict is verdicts[0]
        else:
            assert verdict is UNCLEAR
        assert f"of {len(verdicts)} case" in why

    @pytest.mark.parametrize(
        ("alphas", "verdict"),
        [
            ((0.6, 0.7, 0.9) * 3, HOLDS),
            ((0.6, 0.7, 0.95), UNCLEAR),
            ((0.75,), UNCLEAR),
            ((0.0, 0.1, 0.95) * 3, FAILS),
        ],
    )
    def test_generally_is_a_majority(self, alphas, verdict):
        """alpha* generally lies in a range if that of more than half of the models surely does; seeds
        are no further models, and a missing one leaves it open."""
        found = [replace(_line(UNCLEAR), ours=Estimate((alpha, alpha))) for alpha in alphas]
        assert c9_summary(found, published())[0] is verdict
        fewer, why = c9_summary([*found, _line(MISSING)], published())
        assert fewer is UNCLEAR and "in the range (by most seeds), 1 missing; " in why
        warned = [replace(each, why="0.7; WARNING, at chance") for each in found]
        assert c9_summary(warned, published())[0] is UNCLEAR

    def test_a_mean_in_the_range_is_no_seed_in_it(self):
        """Seeds on both sides of the range are not in it, whatever their mean is."""
        found = [replace(_line(FAILS), ours=Estimate((0.0, 1.0, 1.0, 1.0, 0.5)))] * 9
        verdict, why = c9_summary(found, published())
        assert verdict is FAILS and why.startswith("0 of 9 models in the range")
        half = [replace(_line(FAILS), ours=Estimate((0.7, 0.0)))] * 9
        assert c9_summary(half, published())[1].startswith("0 of 9 models in the range")


def _line(verdict: Verdict) -> Finding:
    return Finding(verdict.name, verdict, "here", "Std", "why", claim="C1")


# --- on records -------------------------------------------------------------------------------------


def test_every_published_claim_is_decided():
    """The claims of the published numbers are those that there are functions for."""
    assert [claim.id for claim in published().claims] == list(CLAIMS)


def test_table_1(by_hand):
    """Three of three up is not a rise while the interval over seeds contains 0 (+0.4, +0.6, +0.2)."""
    change = by_hand[f"C1/{PLACE}/Std-rift"].ours
    assert change.values == pytest.approx((0.004, 0.006, 0.002))
    # -1 point of OOD and the same Adv in every seed: a tie gives no spread.
    assert lines(by_hand, "C1") == {
        f"digits/{arch}/pgd-at/{role}-rift": UNCLEAR for arch in BY_HAND.archs for role in ROLES
    }
    assert by_hand["C1"].verdict is UNCLEAR
    why = by_hand[f"C1/{PLACE}/OOD-rift"].why
    assert why.startswith("all seeds agree exactly: no interval")
    assert why.endswith("OOD is corruptions-15-gen-v2")  # corrupted images of our own stand for it


FINE = 100_000  # images, so that seeds can differ by next to nothing


def write_near_ties(store: Store, remarks: Sequence[str] = ()) -> None:
    """The changes of `handmade` in `ONE`, a little different by seed; the base model's Adv carries
    `remarks`."""
    base = {"clean": 90_000, "corruptions-15-gen-v2": 70_000, "pgd10x3": 50_000}
    changes = {"none": (0, 0, 0), "rift": (4, -10, 0), **CHANGES}
    for place, (finetune, points_) in enumerate(changes.items()):
        for seed in ONE.seeds:
            cell = cell_at(finetune, seed)
            for (name, k), change in zip(base.items(), points_, strict=True):
                right = k + 100 * change + place * seed
                record, bits = record_and_bits(Plan.of(cell, ONE), name, right, FINE)
                if finetune == "none" and name == "pgd10x3":
                    record = record.model_copy(update={"remarks": list(remarks)})
                store.write_record(record, bits)


def test_tables_of_seeds_that_differ(store):
    """Table 1: +0.4 points hold, -1 point fails, and an unchanged Adv is kept. Tables 3 and 4 as
    fine-tuned: RiFT itself loses 0.6 points here, the top 3 nothing."""
    write_near_ties(store, remarks=["attacks of some version"])
    findings = found_in(store, ONE)
    assert list(lines(findings, "C1").values()) == [HOLDS, FAILS, HOLDS]
    assert findings["C1"].verdict is FAILS
    assert "2 hold, 1 fail" in findings["C1"].why
    tunings = ("rift", "all-layers", "last-layer", "robust-critical")
    assert lines(findings, "C4") == {
        f"{PLACE}/{role}-{tuning}-alpha-1": FAILS if (role, tuning) == ("Adv", "rift") else HOLDS
        for role in ("Adv", "Std")
        for tuning in tunings
    }
    assert list(lines(findings, "C5").values()) == [HOLDS, FAILS]  # Std 0.5 < 2.0; Adv -3 > -5
    assert list(lines(findings, "C6").values()) == [HOLDS, FAILS, HOLDS]


def test_what_warns_of_a_model_leaves_its_claims_open(store):
    """A base model whose training failed neither holds nor fails, in whichever column, and the line
    says why."""
    write_near_ties(store, remarks=["warning: 2 of 1000 images survive, the training failed"])
    findings = found_in(store, ONE)
    for claim in ("C1", "C4", "C5", "C6", "C11"):
        assert set(lines(findings, claim).values()) <= {UNCLEAR, MISSING}
        assert findings[claim].verdict is UNCLEAR
    why = findings[f"C1/{PLACE}/Std-rift"].why
    assert "WARNING, none, seed 0: 2 of 1000 images survive, the training failed (and 2 more)" in why


def test_alphas_and_growth(by_hand):
    """0.5, 0.6 and 0.7 are neither all in the range nor all outside. The claim about the growth of the
    gain is open: it is about three datasets, none of them digits."""
    assert lines(by_hand, "C9")[f"{PLACE}/alpha*"] is UNCLEAR
    assert by_hand["C9"].why.startswith("2 of 2 models in the range")
    assert (by_hand["C10"].verdict, lines(by_hand, "C10")) == (UNCLEAR, {})


def test_another_learning_rate_says_nothing_of_alpha(store):
    """The range of alpha* is published for one learning rate of fine-tuning."""
    fast = replace(ONE, finetuning={"lr": 0.01})
    for seed in fast.seeds:
        write_making(store, cell_at("rift", seed), 0.7, scale=fast)
    findings = found_in(store, fast)
    assert lines(findings, "C9") == {f"{PLACE}/alpha*": UNCLEAR}
    assert "learning rate 0.001, here it is 0.01" in findings[f"C9/{PLACE}/alpha*"].why
    assert findings["C9"].verdict is UNCLEAR


def test_one_seed_leaves_directions_open(written_by_hand):
    """With one of the seeds no line about accuracies holds or fails."""
    findings = found_in(written_by_hand, replace(BY_HAND, seeds=(0,)))
    for claim in ("C1", "C2", "C4", "C5", "C6", "C11"):
        assert findings[claim].verdict is UNCLEAR
        assert set(lines(findings, claim).values()) == {UNCLEAR}


def test_claims_about_methods_are_told_apart(store):
    """A scale whose first method is not PGD-AT is a case of the other methods' claim."""
    findings = found_in(store, replace(ONE, methods=("trades", "pgd-at")))
    assert lines(findings, "C1") == {}
    assert set(lines(findings, "C2")) == {f"digits/resnet18-w8/trades/{r}-rift" for r in ROLES}


def test_growth_of_the_gain(store):
    """The gain of the last network minus that of the first, at the seeds that both have, by dataset;
    open where a record of it carries a warning."""
    scale = replace(ONE, archs=("resnet18-w8", "resnet34-w8"), datasets=("cifar10", "cifar100"))
    for dataset in scale.datasets:
        for times, (arch, gain) in enumerate((("resnet18-w8", 10), ("resnet34-w8", 30)), start=1):
            for seed in scale.seeds:
                for finetune, k in (("none", 800), ("rift", 800 + gain + times * seed)):
                    cell = cell_at(finetune, seed, arch, scale, dataset)
                    write_record(store, cell, "clean", k, scale=scale)
    findings = found_in(store, scale)
    where = "resnet18-w8-to-resnet34-w8/growth-of-the-gain"
    assert lines(findings, "C10") == {f"cifar10/{where}": FAILS, f"cifar100/{where}": HOLDS}
    growth = findings[f"C10/cifar100/{where}"].ours
    mixed = replace(scale, networks={"resnet34-w8": {"seeds": (1,)}})
    of_one = found_in(store, mixed)[f"C10/cifar10/{where}"].ours
    assert growth.values == pytest.approx((0.02, 0.021, 0.022))
    assert of_one.values == pytest.approx((0.021,))
    assert all(source.endswith("seed1") for source in of_one.sources)
    path = store.record_path(cell, "clean")
    path.write_text(path.read_text().replace('"remarks": []', '"remarks": ["warning: not finite"]'))
    line = found_in(store, scale)[f"C10/cifar100/{where}"]
    assert (line.verdict, line.why.endswith("seed 2: not finite")) == (UNCLEAR, True)


def test_the_first_images_stand_in_and_are_named(store):
    """A direction can be decided on the audit's images where the whole test set is not on record."""
    scale = replace(ONE, audit=("clean", "autoattack-first-100"))
    for seed in scale.seeds:
        for finetune, k in (("none", 40), ("rift", 50 + seed)):
            write_record(store, cell_at(finetune, seed), "autoattack-first-100", k, 100, scale)
    findings = found_in(store, scale)
    (line,) = cases(findings, "C12")
    assert (line.verdict, line.why.endswith("AutoAttack is autoattack-first-100")) == (HOLDS, True)


def test_growth_on_the_first_images_is_named_so(store):
    """As any other direction that fewer images show."""
    archs, name = ("resnet18-w8", "resnet34-w8"), "clean-first-100"
    scale = replace(ONE, archs=archs, datasets=("cifar10",), evaluations=(name,))
    for arch, finetune, seed in product(archs, ("none", "rift"), scale.seeds):
        write_record(store, cell_at(finetune, seed, arch, scale, "cifar10"), name, 80, 100, scale)
    (line,) = cases(found_in(store, scale), "C10")
    assert line.why.endswith("; Std is clean-first-100")


def test_each_column_that_a_scale_lacks_is_named(store):
    """What no command makes is listed by its reason."""
    scale = replace(ONE, evaluations=("clean",), audit=("clean",))
    for seed in scale.seeds:
        for finetune in ("none", "rift"):
            write_record(store, cell_at(finetune, seed), "clean", 800 + seed, scale=scale)
    said = text(Check("by-hand", "title", tuple(found_in(store, scale).values()), published()))
    for role in ("OOD", "Adv"):
        assert f"  missing  1 of 3: scale 'by-hand' does not evaluate {role}\n" in said


OPEN = {"demo": ("C10",), "quick": ("C10",), "lean": ("C2", "C10", "C16")}
"""Claims on networks or methods that a scale does not have."""


@pytest.mark.parametrize("name", list(SCALES))
def test_without_records_all_is_missing(store, name):
    """No claim is decided; lines name a command that there is, or the column that there is not."""
    findings = claim_findings(View(store, SCALES[name], name, REPORTS), published())
    for each in findings:
        assert each.verdict is (UNCLEAR if each.claim in OPEN.get(name, ()) else MISSING), each.id
        if not each.is_summary and "does not evaluate" not in each.why:
            words = each.make.split()
            assert words[:3] == ["python", "-m", "benchmark"]
            if each.claim == "C17":  # of no table
                assert words[3] == "run" and words[5] == "--evaluations"
                continue
            assert words[3] in (*REPORTS, "figure1", "figure-c5", "evidence")
            assert words[4:] == ["--scale", name, "--results", str(store.results)]


@pytest.mark.parametrize(
    ("sure", "verdict"), [((450, 50), HOLDS), ((260, 240), UNCLEAR), ((50, 450), FAILS)]
)
def test_margins(store: Store, sure: tuple[int, int], verdict: Verdict) -> None:
    """So many of 500 right and of 500 wrong answers are sure: one network decides by its images; where
    nothing is wrong there is nothing to compare."""
    right = np.arange(1000) < 500
    is_sure = np.concatenate([np.arange(500) < count for count in sure])
    bits = {
        "clean": np.ones(1000, bool),
        "clean-sure": is_sure,
        "attacked": right,
        "attacked-sure": is_sure,
    }
    for seed in ONE.seeds:
        write_record(store, cell_at("none", seed), "margins", 500, scale=ONE, bits=bits)
    clean, attacked, *_ = cases(found_in(store, ONE), "C17")
    assert (clean.verdict, clean.why) == (UNCLEAR, "all answers are right")
    assert attacked.verdict is verdict and attacked.ours is not None
    assert attacked.ours.mean == pytest.approx((sure[0] - sure[1]) / 500)
    half = 1.96 * np.sqrt(2 * (sure[0] / 500) * (1 - sure[0] / 500) / 500)  # of two proportions
    assert attacked.ours.interval is not None
    assert attacked.ours.mean - attacked.ours.interval.low == pytest.approx(half, rel=0.1)


def test_what_rivals_keep_and_raise(store):
    """MeanSparse may lose a tenth of a point of Std, which a mix has to raise; one seed says so of its
    images alone."""
    scale = replace(ONE, posthoc=("clean",))
    for finetune, right in (("none", 500), ("mean-sparse", 450), ("output-mix", 450)):
        write_record(store, cell_at(finetune), "clean", 50_000 + right, FINE, scale)
    findings = found_in(store, scale)
    for claim, name, said in (
        ("C15", "mean-sparse", "at least -0.1 points over its images"),
        ("C16", "output-mix", "not above 0 over its images"),
    ):
        line = findings[f"{claim}/{PLACE}/Std-{name}"]
        assert (line.verdict, line.why.partition(";")[0]) == (UNCLEAR, f"one seed: {said}")


def test_what_a_base_model_lacks_beside_its_rivals_is_made_by_posthoc(store):
    """Tables of the paper show the base model, too, under evaluations of their own."""
    for name in ("clean", "pgd10x3", "pgd10x3-adaptive"):
        write_record(store, cell_at("mean-sparse"), name, 500, scale=ONE)
    line = found_in(store, ONE)[f"C15/{PLACE}/pgd10x3-adaptive-mean-sparse"]
    assert (line.verdict, line.why) == (MISSING, "no pgd10x3-adaptive of none")
    assert line.make.startswith("python -m benchmark posthoc --scale x.toml")


# --- curves and criticality ---------------------------------------------------------------------------


def points(robust: Sequence[int], clean: Sequence[int], seed: int) -> list[CurvePoint]:
    """A curve of so many of 1,000 images with equally spaced alphas, a little different by seed."""
    last = len(robust) - 1
    moved = [seed if i else 0 for i in range(len(robust))]
    return [
        CurvePoint(
            alpha=i / last,
            clean=Count(k=100 * c + moved[i], n=FINE),
            robust=Count(k=100 * r + moved[i], n=FINE),
        )
        for i, (c, r) in enumerate(zip(clean, robust, strict=True))
    ]


@pytest.mark.parametrize(
    ("robust", "verdict"),
    [((500, 504, 502, 480, 460), HOLDS), ((500, 499, 496, 600, 600), FAILS), ((500,) * 5, UNCLEAR)],
)
def test_what_the_first_half_of_the_way_does(store, robust, verdict):
    """Adv at first is the mean of the first half of the curve, whatever comes later."""
    for seed in ONE.seeds:
        curve = points(robust, (800, 801, 802, 803, 804), seed)
        write_making(store, cell_at("rift-curve", seed), scale=ONE, curve=curve)
    findings = found_in(store, ONE)
    assert lines(findings, "C3") == {f"{PLACE}/Adv-at-first": verdict, f"{PLACE}/Std-at-first": HOLDS}
    rise = findings[f"C3/{PLACE}/Adv-at-first"].ours
    assert rise.mean == pytest.approx(((robust[1] + robust[2]) / 2 - 500) / 1000 + 1 / FINE)


def of_criticality(store: Store, claim: str, *seeds: list[ModuleCriticality]) -> Finding:
    """The line of a claim about the criticality of `ONE`; one list of modules is that of every seed."""
    for seed in ONE.seeds:
        modules = seeds[seed % len(seeds)]
        write_making(store, cell_at("rift", seed), scale=ONE, criticality=modules)
    (line,) = cases(found_in(store, ONE), claim)
    return line


@pytest.mark.parametrize(
    ("first", "other", "verdict"),
    [
        ((0.1, 0.03), (1.0, 0.3), HOLDS),
        ((0.1, 0.53 - 0.5), (1.0, 0.3), HOLDS),  # 3 points but for rounding
        ((0.1, 0.031), (1.0, 0.3), FAILS),  # too large a drop
        ((0.11, 0.03), (1.0, 0.3), FAILS),  # too large beside the other
        ((0.1, 0.0, False), (1.0, 0.3), UNCLEAR),  # a lower estimate
        ((9.0, 0.0), (None,), FAILS),  # one that diverged is not the largest
        ((-0.1, 0.0), (1.0, 0.3), FAILS),  # one that failed is not small
        ((None,), (-0.1, 0.0), UNCLEAR),  # nothing to decide by
    ],
)
def test_modules_that_hardly_matter(store, first, other, verdict):
    """A small drop and a small MRC within the constraint, at the edges."""
    modules = [measured("a", *first), measured("b", *other)]
    assert of_criticality(store, "C7", modules).verdict is verdict


def test_any_attack_on_the_base_model_may_warn(store):
    """Also one that neither the tables nor the audit name, as on the first images."""
    modules = [measured("a", 0.1, 0.0), measured("b", 1.0, 0.3)]
    assert of_criticality(store, "C7", modules).verdict is HOLDS
    record, packed = record_and_bits(Plan.of(cell_at(), ONE), "pgd10x3-first-100", 5, 100)
    store.write_record(record.model_copy(update={"remarks": ["warning: it failed"]}), packed)
    (line,) = cases(found_in(store, ONE), "C7")
    assert (line.verdict, line.why.endswith("WARNING, none, seed 0: it failed")) == (UNCLEAR, True)


def test_modules_that_hardly_matter_in_one_seed_only(store):
    """Where one network of three has such a module the line is open."""
    seeds = [[measured("a", 0.1, 0.03 + seed / 100), measured("b", 1.0, 0.3)] for seed in ONE.seeds]
    assert of_criticality(store, "C7", *seeds).verdict is UNCLEAR


@pytest.mark.parametrize(
    ("drops", "verdict"), [((0.1, 0.2, 0.3), FAILS), ((0.1, 0.1, 0.1), FAILS), ((0.1, 0.3, 0.2), HOLDS)]
)
def test_rankings(store, drops, verdict):
    """One pair in opposite order refutes that the drop follows MRC; a tie does not."""
    modules = [measured(*each) for each in zip("abc", (1, 2, 3), drops, strict=True)]
    assert of_criticality(store, "C8", modules).verdict is verdict


def test_what_diverged_or_failed_is_in_no_ranking(store):
    """Such modules make no pair in opposite order, and the line names them."""
    valid = [measured("a", 1.0, 0.1), measured("b", 2.0, 0.2)]
    lost = measured("c", -1.0, 0.3), measured("d", None)
    line = of_criticality(store, "C8", [*valid, *lost])
    assert line.verdict is FAILS
    assert line.why.startswith("0, 0, 0 of 1 pairs of modules")
    assert line.why.endswith("ended lower than it began in some seed: c, d")


# --- theorems -----------------------------------------------------------------------------------------


def evidence_of(
    seed: int,
    ratio: float = 0.05,
    rise: float = 0.05,
    rescaled: Sequence[float | None] = (0.1, 0.1),
    mrc: float = 0.1,
) -> SeedEvidence:
    """Evidence of a seed of `ONE`, rescaled by 2 and by 4."""
    plan = Plan.of(cell_at("rift", seed), ONE)
    return seed_evidence(plan, ratio, rise, dict(zip((2, 4), rescaled, strict=True)), mrc)


def theorems(store: Store, *seeds: SeedEvidence) -> dict[str, list[Finding]]:
    """Lines by seed on re-scaling (C13) and on the bound (C14) for evidence of `ONE`."""
    found = Evidence(scale=ONE.name, dataset="digits", arch="resnet18-w8", method="pgd-at", seeds=seeds)
    path = evidence_path(store.results, ONE.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.model_dump_json())
    findings = found_in(store, ONE)
    assert "Algorithm 1's estimate is judged, not the theorem" in findings["C13"].what
    return {claim: cases(findings, claim) for claim in ("C13", "C14")}


@pytest.mark.parametrize(
    ("claim", "changes", "verdict", "why"),
    [
        ("C13", {"rescaled": (0.1009, 0.0991)}, HOLDS, "1.01 at 2, 0.99 at 4"),  # within a hundredth
        ("C13", {"rescaled": (0.1, 0.1011)}, FAILS, "1.00 at 2, 1.01 at 4"),
        ("C13", {"rescaled": (0.1, None)}, FAILS, "1.00 at 2, diverged at 4"),
        ("C13", {"rescaled": (0.1, -0.024)}, FAILS, "1.00 at 2, no rise at 4"),
        # The maximum over a ball that contains 0 is not negative: that is Algorithm 1's failure.
        ("C13", {"mrc": -0.047}, UNCLEAR, "Algorithm 1 found no rise: its MRC is -0.047"),
        ("C14", {"mrc": -0.047}, UNCLEAR, "Algorithm 1 found no rise: its MRC is -0.047"),
        ("C14", {"rise": 0.1}, HOLDS, "robust loss rises by +0.100 (interpolated); MRC 0.100"),
        ("C14", {"rise": 0.101}, FAILS, "robust loss rises by +0.101"),
        ("C14", {"ratio": 0.101, "rise": 0.5}, UNCLEAR, "left the ball"),
    ],
)
def test_theorems(store, claim, changes, verdict, why):
    """MRC is the same at every factor, and inside the ball the loss rises by no more, or not."""
    line = theorems(store, evidence_of(0, **changes))[claim][0]
    assert line.verdict is verdict
    assert why in line.why


def test_evidence_that_is_not_there_or_stale_is_missing(store):
    """A seed without evidence, and evidence of other weights than those on record."""
    made = write_making(
        Store(store.results.parent / "scratch", store.artifacts), cell_at("rift", 1), scale=ONE
    )
    other = PROVENANCE.model_copy(update={"weights_sha256": "e" * 64})
    store.write_making(made.model_copy(update={"provenance": other}))
    for lines_ in theorems(store, evidence_of(0), evidence_of(1)).values():
        assert [line.verdict for line in lines_] == [HOLDS, MISSING, MISSING]
        assert all(line.make.endswith(" --redo-stale") for line in lines_[1:])
    assert found_in(store, ONE)["C13"].verdict is UNCLEAR
