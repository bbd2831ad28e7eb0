"""The audit of hand-made records, whose differences and p-values can be checked by hand."""

import dataclasses
import math
import shutil
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.plans.named import SCALES
from benchmark.records.records import Count
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import Interval, PValues, mcnemar, over_images
from benchmark.report.tables.audit import AUDITED, SIMPLER, audit, audit_cells
from benchmark.report.tables.layout import Entry, Table
from benchmark.report.view import View
from handmade import ADV, AUDIT_BY_HAND, CLEAN, OOD, cell_at, store_in, write_audit, write_record

DIFFERENCE, IMAGES, SEEDS, P = "difference", "95 % images", "95 % seeds", "McNemar p"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store with every record of `handmade.AUDIT`; to be read only."""
    store = store_in(tmp_path_factory.mktemp("audit"))
    write_audit(store)
    return store


@pytest.fixture(scope="module")
def table(written):
    """The audit of everything; resampling is seeded, so that it repeats."""
    found = audit(View(written, AUDIT_BY_HAND))
    assert audit(View(written, AUDIT_BY_HAND)) == found
    return found


@pytest.fixture
def own(written, store):
    """A copy of the records, to be changed."""
    shutil.copytree(written.results, store.results)
    return store


def entries(table: Table, name: str, what: str) -> tuple[Entry, ...]:
    """The entries Std, OOD, Adv of one line."""
    (found,) = [row for row in table.rows if (row.labels[0], row.labels[-1]) == (name, what)]
    return found.numbers


def percent(entry: Entry) -> list[float]:
    """A number by seed, or the ends of an interval, in percent to nine digits."""
    assert isinstance(entry, Estimate | Interval)
    values = entry.values if isinstance(entry, Estimate) else (entry.low, entry.high)
    return [round(100 * value, 9) + 0.0 for value in values]


def bare(notes: Sequence[str], start: str) -> str:
    """What the one note that begins with `start` says after it."""
    (found,) = [note for note in notes if note.startswith(start)]
    return found.removeprefix(start)


# --- which cells ------------------------------------------------------------------------------------


def test_the_cells_are_of_one_network_with_their_base_models():
    """The first dataset, network and method; both base models; every seed."""
    cells = audit_cells(SCALES["quick"])
    assert {(cell.dataset, cell.arch, cell.method) for cell in cells} == {
        ("digits", "resnet10-w16", "pgd-at")
    }
    names = list(dict.fromkeys(cell.finetune for cell in cells))
    assert names == ["none", *AUDITED[:-1], "none-held-out", "rift-held-out"]
    assert len(cells) == len(set(cells)) == 3 * len(names)
    assert {cell.base for cell in cells} <= set(cells)


def test_other_fine_tunings_can_be_audited():
    """A base model is among the cells only if something starts from it."""
    assert {cell.finetune for cell in audit_cells(AUDIT_BY_HAND, ["top-2"])} == {"none", "top-2"}
    held_out = audit_cells(AUDIT_BY_HAND, ["rift-held-out"])
    assert {cell.finetune for cell in held_out} == {"none-held-out", "rift-held-out"}


def test_an_unknown_fine_tuning_is_refused(store):
    """A name that is not there ends with the names that are."""
    with pytest.raises(UserError, match=r"unknown fine-tuning 'rifft'; close to it: rift"):
        audit(View(store, AUDIT_BY_HAND), ["rifft"])


def test_what_a_plug_in_adds_is_compared_with_rift(written, monkeypatch):
    """Directly, as a control is, under each protocol of which both are shown."""
    from benchmark.records.plugins import ORIGINS, Plugin

    names = ("rift", "top-2", "rift-held-out", "top-2-held-out")
    for known in (False, True):
        if known:
            monkeypatch.setitem(ORIGINS, ("tuning", "top-2"), Plugin("mine", "0" * 64, "mine.py"))
        labels = {row.labels[0] for row in audit(View(written, AUDIT_BY_HAND), names).rows}
        beside = {"rift - top-2", "rift-held-out - top-2-held-out"}
        assert labels & beside == (beside if known else set())


# --- rows and numbers -------------------------------------------------------------------------------


def test_accuracies_by_hand(table):
    """Std, OOD (two corruptions) and Adv (the run with the fewest) are the counts of their bands."""
    base, rift = entries(table, "none (AT)", "accuracy"), entries(table, "rift", "accuracy")
    assert [percent(each) for each in base] == [[90, 91, 92], [65, 67, 69], [50, 51, 52]]
    assert [percent(each) for each in rift] == [[91.2, 92, 93], [64, 66, 68], [50.3, 51, 51.7]]


def test_differences_are_to_the_own_base_model(table):
    """RiFT is compared with AT; what was chosen on a hold-out with AT that has not seen it."""
    rift = entries(table, "rift", DIFFERENCE)
    assert [percent(each) for each in rift] == [[1.2, 1, 1], [-1, -1, -1], [0.3, 0, -0.3]]
    held_out = entries(table, "rift-held-out", DIFFERENCE)
    assert [percent(each) for each in held_out] == [[0.3, -0.1, 0.2], [0, 0, 0], [0.2, 0, -0.1]]
    assert isinstance(held_out[0], Estimate)
    assert {source.split("/")[4] for source in held_out[0].sources} == {
        "rift-held-out",
        "none-held-out",
    }


def test_mcnemar_by_hand(table):
    """RiFT loses 4 clean images and gains 16, 14 and 14; under attack it gains 6 and loses 3, differs
    in nothing, and gains 2 and loses 5."""
    clean, ood, adv = entries(table, "rift", P)
    assert isinstance(clean, PValues)
    assert isinstance(adv, PValues)
    assert clean.values == pytest.approx([mcnemar(4, 16), mcnemar(4, 14), mcnemar(4, 14)])
    assert clean.values[0] == pytest.approx(2 * 6196 / 2**20)
    assert adv.values == pytest.approx([mcnemar(3, 6), 1.0, mcnemar(5, 2)])
    assert ood is None


def test_intervals_over_images_are_of_the_bits(table):
    """The ends are those of a bootstrap, with another seed, of differences written out here: within the
    noise of resampling and one step of a third of an image."""

    def at(start: int, stop: int) -> np.ndarray:
        return np.where((np.arange(1000) >= start) & (np.arange(1000) < stop), 1.0, 0.0)

    differences = {
        CLEAN: [
            at(stop - gained, stop) - at(0, 4) for stop, gained in ((916, 16), (924, 14), (934, 14))
        ],
        OOD: [-(at(stop - 10, stop) + at(stop - 110, stop - 100)) / 2 for stop in (700, 720, 740)],
        ADV: [at(500, 506) - at(0, 3), at(0, 0), at(520, 522) - at(0, 5)],
    }
    for entry, name in zip(entries(table, "rift", IMAGES), (CLEAN, OOD, ADV), strict=True):
        by_seed = np.stack(differences[name])
        noise = 100 * (0.15 * by_seed.mean(axis=0).std() / math.sqrt(1000) + 1 / 3000)
        assert percent(entry) == pytest.approx(percent(over_images(by_seed, seed=99)), abs=noise)


def test_intervals_over_seeds_are_of_the_differences(table):
    """The t interval of 1.2, 1.0 and 1.0 points: mean 16/15, standard error 1/15, quantile 4.3027."""
    clean = entries(table, "rift", SEEDS)[0]
    assert percent(clean) == pytest.approx([16 / 15 - 4.302653 / 15, 16 / 15 + 4.302653 / 15])


def test_intervals_of_differences_have_rows_of_their_own(written):
    """Accuracies carry their interval, over seeds or of one seed over images; differences carry none
    beside the rows below them."""
    for seeds, over in (((0, 1, 2), "seeds"), ((0,), "images")):
        shown = audit(View(written, dataclasses.replace(AUDIT_BY_HAND, seeds=seeds)), ["rift"])
        for accuracy in entries(shown, "rift", "accuracy"):
            assert isinstance(accuracy, Estimate)
            assert accuracy.over == over
            assert accuracy.interval is not None
        for difference in entries(shown, "rift", DIFFERENCE):
            assert isinstance(difference, Estimate)
            assert difference.interval is None
        assert None not in entries(shown, "rift", IMAGES)


def test_one_seed_has_no_interval_over_seeds(written):
    """The line is left out, and so is its explanation; one p stands where there were three."""
    one = dataclasses.replace(AUDIT_BY_HAND, seeds=(0,))
    table = audit(View(written, one))
    assert SEEDS not in {row.labels[-1] for row in table.rows}
    assert not [note for note in table.notes if SEEDS in note or "its mean over seeds" in note]
    assert entries(table, "rift", P)[0] == PValues((pytest.approx(mcnemar(4, 16)),))
    assert percent(entries(table, "rift", DIFFERENCE)[0]) == [1.2]


# --- what is missing --------------------------------------------------------------------------------


def test_a_missing_record_is_missed_where_it_is_needed(own):
    """One Adv of one seed empties Adv of its fine-tuning and of the comparison with it, and no more."""
    own.record_path(cell_at("random-layer", 1, scale=AUDIT_BY_HAND), ADV).unlink()
    table = audit(View(own, AUDIT_BY_HAND), ["rift", "bn-only", "random-layer"])
    for row in table.rows:
        if row.labels[-1] == SEEDS:  # none where seeds agree exactly
            continue
        lacks = row.labels[0] in ("random-layer", "rift - random-layer")
        ood_p = row.labels[-1] == P
        assert [each is None for each in row.numbers] == [False, ood_p, lacks]
    assert entries(table, "rift", SEEDS)[2] is not None
    lines = [row.labels[-1] for row in table.rows if row.labels[0] == "random-layer"]
    assert lines == ["accuracy", DIFFERENCE, IMAGES, P]  # Std and OOD agree exactly
    adv = bare(table.notes, "Adv, 95 % images: ")
    assert "random-layer" not in adv
    assert "rift - bn-only" in adv


def test_without_a_base_model_there_is_no_comparison(own):
    """Rows keep their accuracies, and comparisons of fine-tunings with each other stay."""
    own.record_path(cell_at("none", 0, scale=AUDIT_BY_HAND), CLEAN).unlink()
    table = audit(View(own, AUDIT_BY_HAND), ["rift", "bn-only", "rift-held-out"])
    assert entries(table, "rift", "accuracy")[0] is not None
    for what in (DIFFERENCE, IMAGES, SEEDS, P):
        assert entries(table, "rift", what)[0] is None
        assert entries(table, "rift - bn-only", what)[0] is not None
        assert entries(table, "rift-held-out", what)[0] is not None


def test_an_empty_store_gives_a_whole_audit_of_nothing(store):
    """Every accuracy and difference is missing, nothing is claimed and nothing is written."""
    table = audit(View(store, AUDIT_BY_HAND))
    assert len(table.rows) == 2 + 2 * 7 + 2
    assert not [each for row in table.rows for each in row.numbers if each is not None]
    assert not [note for note in table.notes if "gains of" in note or "contains 0" in note]
    assert not [note for note in table.notes if "p-values" in note]
    assert not store.results.exists()


def test_stale_records_are_left_out(written):
    """Fine-tunings of another recipe are not compared with today's base model."""
    changed = dataclasses.replace(AUDIT_BY_HAND, finetuning={"lr": 0.5})
    table = audit(View(written, changed))
    assert None not in entries(table, "none (AT)", "accuracy")
    for name in AUDITED:
        assert set(entries(table, name, "accuracy") + entries(table, name, DIFFERENCE)) == {None}
    assert {row.labels[1] for row in table.rows} == {""}


# --- notes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rift", "bn_only", "said"),
    [
        (550, 500, ["rift in Std", "bn-only in no column"]),
        (500, 550, ["rift in no column", "bn-only in Std"]),
        (450, 450, ["rift in no column", "bn-only in no column"]),
    ],
)
def test_gains_are_computed(store, rift, bn_only, said):
    """The sentence follows the records, a loss is no gain, and a mean of weights is another model."""
    one = dataclasses.replace(AUDIT_BY_HAND, seeds=(0,), evaluations=(CLEAN,))
    counts = {"none": 500, "rift": rift, "bn-only": bn_only, "epoch-average": 550}
    for finetune, k in counts.items():
        write_record(store, cell_at(finetune, scale=one), CLEAN, k, scale=one)
    table = audit(View(store, one), ["rift", "bn-only", "epoch-average"])
    notes = [note.partition("images: ")[2] for note in table.notes if note.startswith("gains of")]
    assert notes == said


# --- correctness per image --------------------------------------------------------------------------

RUNS = arrays(np.bool_, st.tuples(st.just(3), st.integers(1, 30)))


@given(RUNS)
def test_per_image_of_a_mean_is_the_mean_of_trials(trials):
    """Clean and corrupted: the mean over images is k / n over all trials."""
    bits = {f"trial{place}": row for place, row in enumerate(trials)}
    shares = evaluation(OOD).per_image(bits)
    assert shares.dtype == np.float64
    assert shares == pytest.approx(trials.sum(axis=0) / 3)
    assert shares.mean() == pytest.approx(Count.of(trials).fraction)
    assert (evaluation(CLEAN).per_image({"clean": trials[0]}) == trials[0]).all()


@given(RUNS)
def test_per_image_of_the_worst_run_is_the_first_with_the_fewest(trials):
    """Adv: the answers of the run that the value is of, and of no mixture of runs."""
    found = evaluation(ADV).per_image({f"run{place}": row for place, row in enumerate(trials)})
    counts = [int(row.sum()) for row in trials]
    assert (found == trials[counts.index(min(counts))]).all()
    assert found.dtype == np.float64


def test_simpler_methods_are_shown_when_asked_for(store):
    """Each has its rows, and `rift` minus it; the audit that nobody asks anything has none of them."""
    asked = ("rift", *SIMPLER)
    labels = [row.labels[0] for row in audit(View(store, AUDIT_BY_HAND), asked).rows]
    blocks = list(dict.fromkeys(labels))
    assert blocks[1:] == [*asked, *(f"rift - {name}" for name in SIMPLER)]
    assert not set(SIMPLER) & set(AUDITED)
