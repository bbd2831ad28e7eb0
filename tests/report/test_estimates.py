"""Estimates from records with chosen bits: against scipy, loops written out here, and by hand."""

import hashlib
import io
import math

import numpy as np
import pytest
from scipy import stats

from benchmark.errors import UserError
from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate, accuracy, change, change_over_images
from benchmark.report.intervals import Interval
from handmade import ADV, CLEAN, OOD, cell_at, write_record

ARCHS = ("resnet18-w8", "resnet34-w8")
N = 200


def written(
    store: Store,
    right: np.ndarray,
    finetune: str = "none",
    seed: int = 0,
    arch: str = "resnet18-w8",
    evaluation: str = CLEAN,
    dataset: str = "digits",
) -> Record:
    """A record of bits (N,), or (T, N) for T trials of each image."""
    trials = np.atleast_2d(right)
    bits = {f"trial{place}": row for place, row in enumerate(trials)}
    cell = cell_at(finetune, seed, arch, dataset=dataset)
    return write_record(store, cell, evaluation, int(trials.sum()), trials.size, bits=bits)


def drawn(seed: int, share: float, trials: int = 1, images: int = N) -> np.ndarray:
    """Bits (trials, images), where an image is harder or easier in all of its trials."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=images)
    return ease + rng.normal(size=(trials, images)) > stats.norm.isf(share) * math.sqrt(2)


def ends(estimate: Estimate) -> tuple[float, float]:
    """Both ends of the interval, which is there."""
    return estimate.interval.low, estimate.interval.high


def naive(values: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap of the mean of (N,) that draws image by image."""
    rng = np.random.default_rng(5)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def noise(values: np.ndarray) -> float:
    """How far the ends of two bootstraps of (N,) may lie apart: resampling and one step of an image."""
    return 0.2 * float(values.std()) / math.sqrt(len(values)) + 1 / (3 * len(values))


# --- accuracies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluation", [CLEAN, ADV])
def test_one_seed_has_wilsons_interval(store, evaluation):
    """Of one trial per image it is scipy's, of the counts of the record; of Adv of the worst run."""
    runs = np.stack([np.arange(N) < right for right in (160, 150, 155)])
    if evaluation == ADV:
        bits = {f"run{place}": run for place, run in enumerate(runs)}
        record = write_record(store, cell_at(), ADV, 150, N, bits=bits)
    else:
        record = written(store, runs[1])
    found = accuracy(store, [record])
    theirs = stats.binomtest(150, N).proportion_ci(0.95, method="wilson")
    assert found.values == (0.75,)
    assert found.over == "images"
    assert found.sources == (record.cell.cell.key,)
    assert ends(found) == pytest.approx((theirs.low, theirs.high))


def test_one_seed_of_several_trials_is_resampled_by_images(store):
    """Trials of one image go together: the interval is that of a loop over images, and wider than one
    that takes each trial for itself."""
    trials = drawn(1, 0.6, trials=10)
    record = written(store, trials, evaluation=OOD)
    found, shares = accuracy(store, [record]), trials.mean(axis=0)
    assert found.over == "images"
    assert found.mean == pytest.approx(shares.mean())
    assert ends(found) == pytest.approx(naive(shares), abs=noise(shares))
    low, high = ends(found)
    each = stats.binomtest(record.k, record.n).proportion_ci(0.95, method="wilson")
    assert high - low > 1.5 * (each.high - each.low)


def test_models_that_answer_alike_have_the_same_interval(store):
    """Weights that did not change (alpha* = 0) show what the base model shows."""
    trials = drawn(2, 0.5, trials=3)
    records = [written(store, trials, finetune, evaluation=OOD) for finetune in ("none", "rift")]
    base, tuned = (accuracy(store, [record]) for record in records)
    assert base.interval == tuned.interval
    assert change(store, [records[1:]], [records[:1]]).interval == Interval(0.0, 0.0)


def test_several_seeds_have_a_t_interval(store):
    """It is scipy's with n - 1 degrees of freedom, whatever the bits, which are not even read."""
    records = [written(store, np.arange(N) < 100 + 2 * seed, seed=seed) for seed in range(4)]
    for record in records:
        store.bits_file(record).unlink()
    found = accuracy(store, records)
    values = [0.5, 0.51, 0.52, 0.53]
    theirs = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found.values == pytest.approx(values)
    assert found.over == "seeds"
    assert found.sources == tuple(record.cell.cell.key for record in records)
    assert ends(found) == pytest.approx(theirs)


def test_intervals_of_accuracies_end_at_nothing_and_all(store):
    """A t interval that leads past 0 and 1 is cut there; that of a difference is not."""
    ours = [written(store, np.arange(N) < k, "rift", seed) for seed, k in enumerate((N, 0))]
    theirs = [written(store, np.arange(N) < k, seed=seed) for seed, k in enumerate((0, N))]
    assert ends(accuracy(store, ours)) == (0.0, 1.0)
    low, high = ends(change(store, [ours], [theirs]))
    assert (low, high) == pytest.approx((-math.tan(0.475 * math.pi), math.tan(0.475 * math.pi)))


# --- differences ------------------------------------------------------------------------------------


def test_a_difference_is_taken_seed_by_seed(store):
    """Its interval is the t interval of the seeds' differences, not of two spreads."""
    counts = {"rift": (120, 144, 165), "none": (118, 140, 165)}
    ours, theirs = (
        [written(store, np.arange(N) < k, name, seed) for seed, k in enumerate(ks)]
        for name, ks in counts.items()
    )
    found = change(store, [ours], [theirs])
    assert found.values == pytest.approx((0.01, 0.02, 0.0))
    assert found.over == "seeds"
    assert found.sources == tuple(record.cell.cell.key for record in (*ours, *theirs))
    assert ends(found) == pytest.approx(stats.t.interval(0.95, 2, loc=0.01, scale=0.01 / 3**0.5))


@pytest.mark.parametrize(("evaluation", "trials"), [(CLEAN, 1), (OOD, 8)])
def test_a_difference_of_one_seed_is_paired_by_images(store, evaluation, trials):
    """The interval is that of a loop over the images' differences, and narrower than apart."""
    one = drawn(3, 0.6, trials)
    two = one ^ (np.random.default_rng(4).random(one.shape) < 0.03)
    ours = [written(store, one, "rift", evaluation=evaluation)]
    theirs = [written(store, two, evaluation=evaluation)]
    found, differences = change(store, [ours], [theirs]), one.mean(axis=0) - two.mean(axis=0)
    assert found.over == "images"
    assert found.values == pytest.approx((differences.mean(),))
    assert ends(found) == pytest.approx(naive(differences), abs=noise(differences))
    alone = [ends(accuracy(store, records)) for records in (ours, theirs)]
    apart = math.hypot(*(high - low for low, high in alone))
    low, high = ends(found)
    assert high - low < 0.8 * apart
    assert change_over_images(store, [ours], [theirs]) == found.interval


# --- averages ---------------------------------------------------------------------------------------


def test_averages_are_taken_seed_by_seed(store):
    """Of two networks and two seeds: the mean of networks, its t interval, and the same of changes."""
    counts = {"none": ((40, 80), (80, 160)), "rift": ((44, 80), (80, 168))}
    ours, theirs = (
        [
            [written(store, np.arange(N) < k, name, seed, arch) for seed, k in enumerate(ks)]
            for arch, ks in zip(ARCHS, counts[name], strict=True)
        ]
        for name in ("rift", "none")
    )
    base, found = accuracy(store, *theirs), change(store, ours, theirs)
    assert base.values == pytest.approx((0.3, 0.6))
    assert found.values == pytest.approx((0.01, 0.02))
    assert (base.over, found.over) == ("seeds", "seeds")
    half = math.tan(0.475 * math.pi) * 0.005
    assert ends(found) == pytest.approx((0.015 - half, 0.015 + half))
    assert base.sources == tuple(record.cell.cell.key for model in theirs for record in model)
    assert found.sources == accuracy(store, *ours).sources + base.sources


def test_an_average_of_one_seed_is_resampled_by_images(store):
    """Networks were judged on the same images: an image is one unit with its mean over networks."""
    rights = [drawn(20, 0.7)[0], drawn(20, 0.6)[0]]
    models = [[written(store, right, arch=arch)] for right, arch in zip(rights, ARCHS, strict=True)]
    found, shares = accuracy(store, *models), np.mean(rights, axis=0)
    assert found.over == "images"
    assert ends(found) == pytest.approx(naive(shares), abs=noise(shares))
    tuned = [
        [written(store, ~right, "rift", arch=arch)] for right, arch in zip(rights, ARCHS, strict=True)
    ]
    moved = change(store, tuned, models)
    assert ends(moved) == pytest.approx(naive(1 - 2 * shares), abs=noise(2 * shares))


def test_without_shared_images_one_seed_has_no_interval(store):
    """Of averages over datasets nothing is said with one seed, and the usual with several."""
    names = ("digits", "cifar10")
    models = [
        [written(store, drawn(seed, 0.5), seed=seed, dataset=name) for seed in range(2)]
        for name in names
    ]
    assert accuracy(store, *(model[:1] for model in models)).interval is None
    assert accuracy(store, *models).interval is not None
    alone = [model[:1] for model in models]
    assert change(store, alone, alone).interval is None


# --- what is refused --------------------------------------------------------------------------------


def test_an_estimate_is_of_one_record_per_seed(store):
    """Nothing, a seed that is there twice, and two evaluations are mistakes of the caller."""
    clean = written(store, drawn(1, 0.5))
    adv = written(store, drawn(1, 0.5), seed=1, evaluation=ADV)
    for nothing in ([], [[]]):
        with pytest.raises(ValueError, match="at least one record"):
            accuracy(store, *nothing)
    with pytest.raises(ValueError, match=r"one record per seed, not of the seeds \[0, 0\]"):
        accuracy(store, [clean, clean])
    with pytest.raises(ValueError, match="of one dataset and evaluation"):
        accuracy(store, [clean, adv])
    with pytest.raises(ValueError, match=r"same seeds, here \[0\]"):
        accuracy(store, [clean], [adv])


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"evaluation": ADV}, {"dataset": "cifar10"}, {"right": np.arange(N + 1) < 5}],
    ids=["seed", "evaluation", "dataset", "images"],
)
def test_only_what_met_the_same_images_is_a_pair(store, other):
    """Models of another seed, evaluation, dataset or number of images are not subtracted."""
    ours = [written(store, drawn(1, 0.5), "rift")]
    theirs = [written(store, **({"right": drawn(2, 0.5)} | other))]
    with pytest.raises(ValueError, match=r"no pair: by-hand/digits/.*/rift/seed0 clean and by-hand/"):
        change(store, [ours], [theirs])
    with pytest.raises(ValueError, match="no pair"):
        change_over_images(store, [ours], [theirs])


def test_models_and_seeds_are_paired_one_to_one(store):
    """A seed or a network that only one side has is a mistake of the caller."""
    ours = [written(store, drawn(seed, 0.5), "rift", seed) for seed in range(2)]
    theirs = [written(store, drawn(seed, 0.5), seed=seed) for seed in range(2)]
    with pytest.raises(ValueError, match="zip"):
        change(store, [ours], [theirs[:1]])
    with pytest.raises(ValueError, match="zip"):
        change(store, [ours, ours], [theirs])


def test_damaged_bits_are_refused(store):
    """The file is named, whether it is not the record's or does not make the record's value."""
    record = written(store, drawn(1, 0.5))
    one_less = {"k": record.k - 1, "value": (record.k - 1) / N}
    with pytest.raises(UserError, match=r"seed0/clean\.json' says .*, but its bits per image have"):
        accuracy(store, [record.model_copy(update=one_less)])
    with pytest.raises(UserError, match=r"seed0/clean\.json' says 0\.125, but its bits per image have"):
        accuracy(store, [record.model_copy(update={"k": 25, "value": 0.125})])
    path = store.bits_file(record)
    path.write_bytes(b"")
    other = Store(store.results, store.artifacts / "elsewhere")  # nothing of it has been read before
    with pytest.raises(UserError, match=r"seed0/clean\.[0-9a-f]{12}\.npz' is missing or not what"):
        accuracy(other, [record])


def packed(**arrays: np.ndarray | int) -> bytes:
    """The bytes of an npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


EIGHT = np.array([0b11110000], dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (packed(n=8, clean=EIGHT, run0=EIGHT), "it has no apgd-t"),
        (packed(n=8), "it has no arrays"),
        (packed(clean=EIGHT), "it is no file of bits"),
        (packed(n=8, clean=EIGHT.astype(np.float64)), "it is no file of bits"),
        (packed(n=8, clean=np.array([{}])), "it is no file of bits"),
        (b"PK not an archive", "it is no file of bits"),
        (b"", "it is no file of bits"),
    ],
    ids=["another evaluation's", "no arrays", "no n", "no bits", "pickled", "no npz", "empty"],
)
def test_bits_of_something_else_are_refused(store, content, why):
    """A file whose hash is that of its record, but which holds other things, is named in one line."""
    record = written(store, np.arange(8) < 4, evaluation="apgd")
    sha256 = hashlib.sha256(content).hexdigest()
    record = record.model_copy(update={"bits_sha256": sha256})
    path = store.bits_file(record)
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        accuracy(store, [record])
    said = str(error.value)
    assert said.startswith(f"'{path}' does not hold the bits of apgd: {why}; restore it")
    assert "\n" not in said
