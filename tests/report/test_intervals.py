"""Intervals and tests against scipy, closed forms and their symmetries."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from benchmark.report.intervals import RESAMPLES, Interval, mcnemar, over_images, over_seeds, wilson

COUNTS = st.integers(0, 300)
SIGNS = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60)
SEEDS = st.integers(0, 2**63 - 1)


# --- Wilson ------------------------------------------------------------------------------------------


@given(st.integers(1, 20_000), st.floats(0, 1))
@example(1, 0.0)
@example(7, 1.0)  # rounding would miss 1
@example(10_000, 0.0)
@example(10_000, 1.0)
def test_wilson_agrees_with_scipy(n, share):
    """It is scipy's interval of a binomial share by Wilson's method, within [0, 1]."""
    k = round(share * n)
    theirs = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    ours = wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= k / n <= ours.high <= 1


# --- McNemar ----------------------------------------------------------------------------------------


@given(COUNTS, COUNTS)
@example(0, 0)
def test_mcnemar_is_a_two_sided_binomial_test(b, c):
    """The p-value is twice the smaller binomial tail at 1/2, at most 1, counted out here."""
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(b, c) == mcnemar(c, b) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


# --- over images ------------------------------------------------------------------------------------


def bootstrap_by_scipy(differences: np.ndarray) -> Interval:
    """The percentile bootstrap that draws image by image."""
    found = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=500,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    return Interval(found.low, found.high)


@pytest.mark.parametrize("kind", ["signs", "seventy-fifths", "continuous"])
def test_over_images_agrees_with_scipy(kind):
    """Drawing counts of distinct values gives the interval that drawing images gives, up to the noise
    of the resampling (a fiftieth of the standard error or so)."""
    rng = np.random.default_rng(3)
    differences = {
        "signs": rng.choice([-1.0, 0.0, 1.0], size=300, p=[0.1, 0.75, 0.15]),
        "seventy-fifths": rng.integers(-5, 9, size=300) / 75,
        "continuous": rng.exponential(size=300) - 0.9,
    }[kind]
    ours, theirs = over_images(differences, seed=11), bootstrap_by_scipy(differences)
    error = differences.std() / math.sqrt(len(differences))
    assert ours.low == pytest.approx(theirs.low, abs=0.15 * error)
    assert ours.high == pytest.approx(theirs.high, abs=0.15 * error)


@given(st.integers(20, 10_000), st.floats(0.02, 0.98), SEEDS)
def test_over_images_of_one_kind_of_change_is_binomial(n, share, seed):
    """If k images are gained and none lost, a resample gains binomial(n, k / n) of them: the ends are
    its quantiles, within the noise of drawing."""
    k = round(share * n)
    found = over_images(np.arange(n) < k, seed)
    slack = 1 + 0.2 * math.sqrt(k * (1 - k / n))
    low, high = stats.binom.ppf([0.025, 0.975], n, k / n)
    assert n * found.low == pytest.approx(low, abs=slack)
    assert n * found.high == pytest.approx(high, abs=slack)


@given(st.integers(1, 500), st.integers(1, 4), SEEDS)
def test_over_images_without_any_difference_is_zero(images, seeds, seed):
    """Models that answer alike have the interval [0, 0], without a sign."""
    found = over_images(np.zeros((seeds, images)), seed)
    assert found == Interval(0.0, 0.0)
    assert found.sign == 0
    assert math.copysign(1, found.low) == math.copysign(1, found.high) == 1


@given(SIGNS, SEEDS)
@example([-1.0, 1.0] * 11, 2)  # gains and losses alike
def test_swapping_the_models_mirrors_the_interval(differences, seed):
    """B minus A is A minus B the other way round, exactly."""
    there, back = over_images(differences, seed), over_images([-d for d in differences], seed)
    assert (back.low, back.high) == (-there.high, -there.low)
    assert back.sign == -there.sign


@given(SIGNS, SEEDS)
def test_over_images_depends_on_values_and_seed_only(differences, seed):
    """The same differences in another order give the same interval, within their range."""
    found = over_images(differences, seed)
    assert found == over_images(sorted(differences), seed)
    assert min(differences) <= found.low <= found.high <= max(differences)


def test_over_images_of_other_resamples_differs():
    """The seed reaches the resampling."""
    differences = np.random.default_rng(0).normal(size=200)
    assert over_images(differences, 0) != over_images(differences, 1)


def test_an_image_of_several_seeds_is_one_unit():
    """Several seeds count as the mean of each image, not as more images: three copies of one seed give
    the interval of that seed, and seeds that cancel out give nothing."""
    one = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], size=250)
    assert over_images(np.stack([one, one, one]), 5) == over_images(one, 5)
    assert over_images(np.stack([one, -one]), 5) == Interval(0.0, 0.0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), SEEDS)
def test_rounding_moves_no_end_across_zero(trials, seed):
    """Fractions, whose sums are rounded, exclude zero where their whole numerators do."""
    whole, fractions = over_images(trials, seed), over_images([k / 75 for k in trials], seed)
    assert fractions.sign == whole.sign
    assert (75 * fractions.low, 75 * fractions.high) == pytest.approx((whole.low, whole.high), abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: wilson(-1, 5), "not a share: -1 of 5"),
        (lambda: wilson(6, 5), "not a share: 6 of 5"),
        (lambda: wilson(0, 0), "not a share: 0 of 0"),
        (lambda: wilson(1, -1), "not a share: 1 of -1"),
        (lambda: mcnemar(3, -1), "not negative: 3, -1"),
        (lambda: over_images(np.zeros((0,)), 0), r"\(N,\) or \(S, N\)"),
        (lambda: over_images(np.zeros((2, 0)), 0), r"\(N,\) or \(S, N\)"),
        (lambda: over_images(np.zeros((2, 3, 4)), 0), r"\(N,\) or \(S, N\)"),
        (lambda: over_images(np.zeros(()), 0), r"\(N,\) or \(S, N\)"),
    ],
)
def test_mistakes_of_the_caller_are_refused(wrong, said):
    """What is no share, no count of images, or no array of (seeds and) images."""
    with pytest.raises(ValueError, match=said):
        wrong()


# --- over seeds -------------------------------------------------------------------------------------


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=8).filter(lambda v: len(set(v)) > 1))
def test_over_seeds_agrees_with_scipy(thousandths):
    """It is the confidence interval of scipy's one-sample t test."""
    differences = [value / 1000 for value in thousandths]
    theirs = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    found = over_seeds(differences)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([], False),
        ([0.5], False),
        ([0.008, 0.008], False),
        ([-0.25] * 3, False),
        ([0.0] * 3, False),
        ([0.904 - 0.9, 0.804 - 0.8, 0.004], False),  # equal but for rounding
        ([0.004, 0.0041], True),
    ],
)
def test_over_seeds_needs_two_that_differ(values, known):
    """One seed shows no spread over seeds, and a tie of all seeds is no certainty."""
    assert (over_seeds(values) is not None) == known


# --- the sign ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "sign"),
    [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (0.0, 0.1, 0), (-0.1, 0.0, 0), (0.0, 0.0, 0)],
)
def test_an_interval_that_touches_zero_contains_it(low, high, sign):
    """Only an interval wholly on one side of zero has a sign."""
    assert Interval(low, high).sign == sign
