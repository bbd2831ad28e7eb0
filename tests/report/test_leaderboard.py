"""The leaderboard: what is ranked with what, what is flagged, and what its three files say."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.checkpoints.registry import VARIABLE, registry
from benchmark.cli.leaderboard import rendered
from benchmark.evaluation import evaluation
from benchmark.jobs.export import toml_block
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.records.applied import Applied
from benchmark.records.cells import OWN, Cell
from benchmark.records.records import Count
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import Interval
from benchmark.report.leaderboard.boards import RankRange, kept_scales, leaderboard, rank_ranges
from benchmark.report.leaderboard.columns import in_order, ranked_by
from benchmark.report.leaderboard.markdown import markdown
from benchmark.report.leaderboard.page import html
from benchmark.report.leaderboard.scatter import WIDTH, scatter
from benchmark.report.leaderboard.schema import BoardEntry, Leaderboard
from benchmark.report.leaderboard.wording import duration, own_flags, remarks, seeds
from handmade import (
    BY_HAND,
    PROVENANCE,
    cell_at,
    measured,
    record_and_bits,
    store_in,
    write_making,
    write_record,
    write_records,
)
from handmade_boards import ONE_SEED, several_boards, someones, write_own
from invoking import MINI, Said, said

NAME = "narrow-cifar10-resnet18-w16-pgd-at-seed0"  # of the registry in the repository


def board_of(store: Store, **changes: Any) -> Leaderboard:
    """The leaderboard of the scale `BY_HAND`, or of what `changes` say."""
    return leaderboard(store, **{"scales": {BY_HAND.name: BY_HAND}, "checkpoints": {}} | changes)


def entry_in(shown: Leaderboard, ending: str) -> BoardEntry:
    """The only entry whose id ends so."""
    (found,) = (e for board in shown.boards for e in board.entries if e.id.endswith(ending))
    return found


def kinds(entry: BoardEntry) -> set[str]:
    """Kinds of the flags of an entry."""
    return {flag.kind for flag in entry.flags}


def rewrite(store: Store, cell: Cell, name: str, k: int = 500, **changes: Any) -> None:
    """A record of `k` of 1000, with some fields changed."""
    record, packed = record_and_bits(Plan.of(cell, BY_HAND), name, k, 1000)
    store.write_record(record.model_copy(update=changes), packed)


def written(store: Store, name: str = "pgd10x3", **counts: int) -> None:
    """Records of so many of 1000, by fine-tuning (with `_` for `-`), of the first seed."""
    for tuning, k in counts.items():
        write_record(store, cell_at(tuning.replace("_", "-")), name, k)


def weights(digit: str) -> dict[str, Any]:
    """The field of a record of the weights whose hash is of this digit."""
    return {"provenance": PROVENANCE.model_copy(update={"weights_sha256": digit * 64})}


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Five boards with gaps; to be read only."""
    return several_boards(store_in(tmp_path_factory.mktemp("several")))


@pytest.fixture(scope="module")
def by_hand(written_by_hand):
    """One board of three seeds, with the counts of `handmade`."""
    return board_of(written_by_hand)


# --- ranks --------------------------------------------------------------------------------------------


def estimate(low: float | None, mean: float, high: float | None, over: Any = "images") -> Estimate:
    """A number with its interval, if it has ends."""
    return Estimate((mean,), None if low is None or high is None else Interval(low, high), over)


@pytest.mark.parametrize(
    ("numbers", "ranges"),
    [
        # disjoint intervals have one possible rank each
        ([(0.5, 0.6, 0.7), (0.3, 0.35, 0.4), (0, 0.1, 0.2)], [(1, 1, 1), (2, 2, 2), (3, 3, 3)]),
        # the middle one overlaps both others, which are told apart from each other
        ([(0.5, 0.6, 0.7), (0.3, 0.45, 0.6), (0.2, 0.3, 0.4)], [(1, 1, 2), (2, 1, 3), (3, 2, 3)]),
        # equal means share a rank, and the next is third
        ([(0.4, 0.5, 0.6), (0.4, 0.5, 0.6), (0.3, 0.4, 0.5)], [(1, 1, 3), (1, 1, 3), (3, 1, 3)]),
        # an interval over seeds and one over images tell nothing apart
        ([(0.8, 0.9, 1), (0.4, 0.5, 0.6, "seeds")], [(1, 1, 2), (2, 1, 2)]),
        # nor is anything told apart from a number without an interval
        ([(0.8, 0.9, 1), (None, 0.1, None)], [(1, 1, 2), (2, 1, 2)]),
    ],
)
def test_ranks_by_hand(numbers, ranges):
    """A rank is by the mean, its range what the intervals leave open."""
    found = rank_ranges({str(i): estimate(*number) for i, number in enumerate(numbers)})
    assert list(found.values()) == [RankRange(*each) for each in ranges]


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6
    )
)
def test_ranks_are_those_of_some_order(numbers):
    """A rank lies in its range, whose ends are those of the intervals at their extremes."""
    known = {str(i): estimate(m - a, m, m + b) for i, (m, a, b) in enumerate(numbers)}
    found = rank_ranges(known)
    ends = [(m - a, m + b) for m, a, b in numbers]
    for i, (low, high) in enumerate(ends):
        place = found[str(i)]
        assert place.best <= place.rank <= place.worst
        # Put this one at an end of its interval and all others as far to the other side as they go.
        assert place.best == 1 + sum(
            other_low > high for j, (other_low, _) in enumerate(ends) if j != i
        )
        assert place.worst == 1 + sum(other >= low for j, (_, other) in enumerate(ends) if j != i)


# --- columns ------------------------------------------------------------------------------------------


def test_columns_stand_by_strength_and_size():
    """AutoAttack comes first, then weaker attacks, clean, OOD; whole test sets before parts of them."""
    wanted = [
        "autoattack",
        "autoattack-first-1000",
        "autoattack-first-100",
        "apgd",
        "pgd10x3",
        "pgd10x3-first-2000",
        "pgd10-official-code",
        "clean",
        "corruptions-15",
        "corruptions-15-gen-v2",
    ]
    assert in_order(reversed(wanted)) == wanted


@pytest.mark.parametrize(
    ("held", "bases", "wanted"),
    [
        ({"autoattack": 1, "autoattack-first-1000": 5, "pgd10x3": 9}, (), "autoattack-first-1000"),
        ({"autoattack": 5, "autoattack-first-1000": 5, "pgd10x3": 9}, (), "autoattack"),
        ({"autoattack": 1, "autoattack-first-999": 5, "pgd10x3": 9}, (), "autoattack"),
        ({"autoattack-first-999": 5, "pgd10x3": 1, "pgd10x3-first-2000": 4}, (), "pgd10x3-first-2000"),
        ({"autoattack-first-3": 2, "apgd-first-100": 1, "clean": 9}, (), None),
        ({"pgd10x3": 1, "apgd": 1, "clean": 7}, (), "apgd"),
        ({"pgd10-official-code": 2, "pgd10x3-first-50": 1}, (), "pgd10-official-code"),
        ({"clean": 3}, (), None),
        # of two attacks of one strength, what a module masks leads none
        ({"pgd10x3": 3, "pgd10x3-adaptive": 3, "clean": 9}, (), "pgd10x3-adaptive"),
        ({"autoattack": 2, "pgd10x3-adaptive": 3}, (), "autoattack"),
        # controls on fewer images leave neither AT nor RiFT without a rank; a stronger attack does
        ({"pgd10x3": 2, "pgd10x3-first-2000": 3}, ("clean", "pgd10x3"), "pgd10x3"),
        ({"pgd10x3": 2, "pgd10x3-first-2000": 3, "autoattack": 1}, ("pgd10x3",), "autoattack"),
    ],
)
def test_a_board_is_ordered_by_its_strongest_attack(held, bases, wanted):
    """AutoAttack goes before other attacks, and there a variant that base models have, then the one
    that most entries have; an attack on fewer than 1,000 images goes before none."""
    assert ranked_by(held, bases) == wanted


def test_few_images_give_no_position(store):
    """Two trials on three images neither stand on top nor have positions, only the range of ranks that
    their intervals allow; alone they order no board."""
    for tuning, k in (("top-2", 3), ("top-3", 2)):
        bits = {"square": np.arange(3) < k}
        write_record(store, cell_at(tuning), "autoattack-first-3", k, 3, bits=bits)
    (board,) = board_of(store).boards
    assert board.ranked_by is None
    numbers = [entry.numbers["autoattack-first-3"] for entry in board.entries]
    assert [(each.rank, each.rank_best, each.rank_worst) for each in numbers] == [(None, 1, 2)] * 2
    said = "not ranked: no attack is of the whole test set, nor of 1,000 images of it"
    assert said in markdown(board_of(store)) and said in html(board_of(store))
    written(store, none=500, rift=510)
    (board,) = board_of(store).boards
    assert board.ranked_by == "pgd10x3"
    assert [entry.finetune for entry in board.entries] == ["rift", "none", "top-2", "top-3"]


def test_a_column_has_as_many_images_as_its_smallest_number(store):
    """One model on 999 other images leaves no positions, however many the others have."""
    written(store, none=500, top_2=510)
    record, packed = record_and_bits(Plan.of(cell_at("rift"), BY_HAND), "pgd10x3", 300, 999)
    other = PROVENANCE.model_copy(update={"data_sha256": "e" * 64})
    store.write_record(record.model_copy(update={"provenance": other}), packed)
    (board,) = board_of(store).boards
    numbers = {entry.finetune: entry.numbers["pgd10x3"] for entry in board.entries}
    assert {name: (each.rank, each.rank_best) for name, each in numbers.items()} == {
        **dict.fromkeys(("none", "top-2"), (None, 1)),
        "rift": (None, None),
    }


def test_mce_is_relative_to_the_base_model(store):
    """Half as many errors as it makes are 0.5, of corruptions alone."""
    for tuning, wrong in (("none", 200), ("rift", 100)):
        parts = {f"fog-{severity}": Count(k=1000 - wrong, n=1000) for severity in (1, 2)}
        rewrite(store, cell_at(tuning), "corruptions-15-gen-v2", parts=parts)
        write_record(store, cell_at(tuning), "clean", 500)
    numbers = entry_in(board_of(store), "rift").numbers
    assert (numbers["corruptions-15-gen-v2"].mce, numbers["clean"].mce) == (0.5, None)


# --- boards -------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_records(by_hand):
    """Means, differences to the base model and t intervals are as worked out by hand."""
    entry = entry_in(by_hand, "resnet18-w8/pgd-at/rift")
    number = entry.numbers["clean"]
    assert number.values == (0.904, 0.916, 0.922)
    assert number.mean == 0.914
    assert (number.over, number.seeds) == ("seeds", (0, 1, 2))
    assert number.change.values == (0.004, 0.006, 0.002)
    half = 4.302653 * 0.002 / 3**0.5  # Student's t of 2 degrees of freedom at 97.5 %
    assert number.change.low == pytest.approx(0.004 - half, abs=2e-6)
    assert number.change.high == pytest.approx(0.004 + half, abs=2e-6)
    assert entry.alphas == {0: 0.5, 1: 0.6, 2: 0.7}
    assert entry_in(by_hand, "resnet18-w8/pgd-at/none").numbers["clean"].change is None


def test_an_end_of_an_interval_is_rounded_once(store):
    """Of gains of 0, 16, 37, 10 and 1 in 10,000 images it is 0.31495 points, and +0.31 as elsewhere."""
    five = replace(BY_HAND, seeds=(0, 1, 2, 3, 4))
    for seed, gained in enumerate((0, 16, 37, 10, 1)):
        for tuning, k in (("none", 4500), ("rift", 4500 + gained)):
            write_record(store, cell_at(tuning, seed), "pgd10x3", k, 10_000, scale=five)
    assert "+0.13 [-0.06, +0.31]" in markdown(board_of(store, scales={BY_HAND.name: five}))


def test_what_is_not_comparable_is_never_ranked_together(several):
    """Scales, and choices on test images and on a hold-out, have boards, each in the order of its main
    ranking; evaluations have rankings, where a rank is one more than the number of better means."""
    assert {board.id for board in several.boards} == {
        "by-hand/digits/linf-0.08/hold-out",
        "by-hand/digits/linf-0.08/test",
        "other-hand/digits/linf-0.08/hold-out",
        "other-hand/digits/linf-0.08/test",
        "own/digits/linf-0.08/unknown",
    }
    for board in several.boards:
        for entry in board.entries:
            assert entry.id.startswith(f"{board.scale}/{board.dataset}/")
            assert entry.protocol.chosen_on == board.chosen_on
            assert ("held-out" in entry.finetune) == (board.chosen_on == "hold-out")
        main = [entry.numbers.get(board.ranked_by or "") for entry in board.entries]
        order = [number.rank if number and number.rank else len(main) + 1 for number in main]
        assert order == sorted(order)
        for column in board.columns:
            numbers = [
                e.numbers[column.evaluation] for e in board.entries if column.evaluation in e.numbers
            ]
            ranks = [1 + sum(other.mean > own.mean for other in numbers) for own in numbers]
            assert [number.rank for number in numbers] == ranks


def test_differences_are_to_the_base_model_of_the_same_protocol(store):
    """What chooses on a hold-out is compared with the base model that was trained without it."""
    written(store, none=500, none_held_out=400, rift_held_out=430)
    change = entry_in(board_of(store), "rift-held-out").numbers["pgd10x3"].change
    assert change.mean == 0.03


def test_a_number_of_other_images_is_shown_and_not_ranked(store):
    """Another test set, by its hash, has no rank, no difference and a flag."""
    written(store, none=500, rift=510, all_layers=520)
    other = PROVENANCE.model_copy(update={"data_sha256": "d" * 64})
    rewrite(store, cell_at("top-2"), "pgd10x3", 900, provenance=other)
    shown = board_of(store)
    stranger = entry_in(shown, "top-2")
    number = stranger.numbers["pgd10x3"]
    assert (number.mean, number.rank, number.rank_best, number.change) == (0.9, None, None, None)
    assert "other-images" in kinds(stranger)
    assert shown.boards[0].entries[-1] == stranger
    assert entry_in(shown, "all-layers").numbers["pgd10x3"].rank == 1


def test_a_mean_over_fewer_seeds_than_the_base_has_is_not_ranked(store):
    """Its position would be luck of the seeds; what has all of them is ranked."""
    for seed in (0, 1):
        for tuning, k in (("none", 500), ("rift", 510)):
            write_record(store, cell_at(tuning, seed=seed), "pgd10x3", k + seed)
    written(store, all_layers=900)
    shown = board_of(store)
    number = entry_in(shown, "all-layers").numbers["pgd10x3"]
    assert (number.rank, number.rank_best, number.change.mean) == (None, None, 0.4)
    ranks = [entry_in(shown, name).numbers["pgd10x3"].rank for name in ("rift", "none")]
    assert ranks == [1, 2]
    assert shown.boards[0].entries[-1].id.endswith("all-layers")


def test_weights_of_several_seeds(store):
    """The first seed's are linked, in whatever order the registry has them."""
    own = {}
    for seed in (2, 1):
        write_record(store, cell_at(seed=seed), "clean", 900)
        own[f"seed{seed}"] = someones(
            name=f"seed{seed}", method="pgd-at", seed=seed, cell=cell_at(seed=seed).key
        )
    assert entry_in(board_of(store, checkpoints=own), "none").checkpoint.name == "seed1"


def test_stale_and_unknown_records_are_left_out_and_listed(store):
    """A record of other settings is not shown but named, as is one whose name means nothing."""
    write_record(store, cell_at(), "clean", 900)
    stale = replace(BY_HAND, training={"epochs": 3})
    write_record(store, cell_at(), "pgd10x3", 500, scale=stale)
    write_record(store, cell_at(method="trades"), "clean", 900)
    (store.results / "records/by-hand/digits/resnet18-w8/trades").rename(
        store.results / "records/by-hand/digits/resnet18-w8/no-method"
    )
    shown = board_of(store)
    assert {(each.why, each.evaluation) for each in shown.left_out} == {
        ("unknown-name", None),
        ("stale", "pgd10x3"),
    }
    assert set(entry_in(shown, "none").numbers) == {"clean"}


def test_scales_that_are_kept(store):
    """`quick` is not in version control and left out; a scale without a name of its own is listed."""
    for name in ("quick", "narrow", "somebodys", OWN):
        folder = store.results / "records" / name / "digits/resnet18-w8/pgd-at/none/seed0"
        folder.mkdir(parents=True)
        (folder / "clean.json").write_text("{}")
    chosen, left_out = kept_scales(store)
    assert chosen == {"narrow": scale("narrow"), OWN: None}
    (other,) = left_out
    assert (other.why, other.text) == ("unknown-scale", "unknown scale 'somebodys'")


def test_curves_are_no_entries(store):
    """A fine-tuning that was looked at along its whole curve is the same model again."""
    written(store, none=900, rift=900, rift_curve=900)
    assert {e.finetune for board in board_of(store).boards for e in board.entries} == {"none", "rift"}


# --- flags and costs ----------------------------------------------------------------------------------


def test_entries_without_all_seeds_are_flagged(store):
    """Two of three seeds are shown, and said to be two of three."""
    for seed in (0, 2):
        write_record(store, cell_at(seed=seed), "pgd10x3", 500)
    entry = entry_in(board_of(store), "none")
    assert entry.numbers["pgd10x3"].seeds == (0, 2)
    (flag,) = (flag for flag in entry.flags if flag.kind == "seeds")
    assert flag.text == "2 of the scale's 3 seeds (without 1): pgd10x3"
    own = replace(BY_HAND, networks={"resnet18-w8": {"seeds": (2, 0)}})
    entry = entry_in(board_of(store, scales={"by-hand": own}), "none")
    assert entry.scale_seeds == (2, 0)
    assert "seeds" not in kinds(entry) and seeds(entry) == "2"
    other = replace(BY_HAND, networks={"resnet18-w8": {"seeds": (1, 2)}})  # 0 is none of its seeds
    assert seeds(entry_in(board_of(store, scales={"by-hand": other}), "none")) == "1 of 2"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("warning", {"remarks": ["warning: gradients may be masked"]}),
        ("changed-checkout", {"provenance": PROVENANCE.model_copy(update={"dirty": True})}),
        (
            "changed-checkout",
            {"provenance": PROVENANCE.model_copy(update={"commit": None, "dirty": None})},
        ),
    ],
)
def test_records_raise_flags(store, kind, changes):
    """What a record says of itself is a flag of its entry, and of no other."""
    write_record(store, cell_at("rift"), "clean", 900)
    rewrite(store, cell_at("rift"), "pgd10x3", **changes)
    write_records(store, cell_at("top-2"), {"clean": 900, "pgd10x3": 500})
    shown = board_of(store)
    assert kind in kinds(entry_in(shown, "pgd-at/rift"))
    assert kind not in kinds(entry_in(shown, "top-2"))


def test_models_of_the_same_weights_are_flagged(store):
    """A fine-tuned model names its base model, else another fine-tuned one, of its weights, by seed."""
    for tuning, seed, digit in (
        ("none", 0, "1"), ("none", 1, "2"), ("rift", 0, "1"), ("top-2", 0, "1"), ("top-2", 1, "3"),
        ("top-2-alpha-1", 1, "3"), ("bn-only", 0, "4"), ("bn-only", 1, "1"),
    ):  # fmt: skip
        rewrite(store, cell_at(tuning, seed), "pgd10x3", **weights(digit))
    shown, model = board_of(store), "has the very weights of by-hand/digits/resnet18-w8/pgd-at"
    said = {
        ending: [
            flag.text.removesuffix(", and so its results").removeprefix(model)
            for flag in entry_in(shown, f"/{ending}").flags
            if flag.kind == "same-weights"
        ]
        for ending in ("none", "rift", "top-2", "top-2-alpha-1", "bn-only")
    }
    assert said == {
        "none": [],
        "rift": ["/none/seed0"],
        "top-2": ["/none/seed0", "/top-2-alpha-1/seed1"],
        "top-2-alpha-1": ["/top-2/seed1"],
        "bn-only": [],
    }


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, ["zero gradients not counted in PGD records of earlier versions"]),
        ({"zero-gradients": Count(k=0, n=1000), "zero-losses": Count(k=0, n=1000)}, []),
        (
            {"zero-gradients": Count(k=3, n=1000), "zero-losses": Count(k=4, n=1000)},
            ["zero gradients at up to 3 of 1000 images", "zero losses at up to 4 of 1000 images"],
        ),
    ],
)
def test_zero_gradients_are_shown(store, parts, said):
    """Counts that are not zero, and that there are none; clean accuracy needs none."""
    rewrite(store, cell_at(), "clean", parts={})
    rewrite(store, cell_at(), "pgd10x3", parts=parts)
    flags = entry_in(board_of(store), "none").flags
    assert [flag.text for flag in flags if flag.kind == "zero-gradients"] == said


def test_an_attack_that_counts_no_zeros_is_no_earlier_version(store):
    """The adaptive PGD counts none; nothing is said where all records are of this version."""
    rewrite(store, cell_at(), "pgd10x3")
    bits = {name: np.arange(1000) < 500 for name in evaluation("pgd10x3-adaptive").arrays}
    record, packed = record_and_bits(Plan.of(cell_at(), BY_HAND), "pgd10x3-adaptive", 500, 1000, bits)
    store.write_record(record.model_copy(update={"parts": {}}), packed)
    assert "zero-gradients" not in kinds(entry_in(board_of(store), "none"))


def test_a_warning_stays_in_the_row_of_every_entry(store):
    """What all entries of a board share is said once below it, but for warnings, each in its row."""
    for tuning, digit in (("rift", "1"), ("top-2", "2")):
        write_making(store, cell_at(tuning))
        warning = ["warning: 2 of 1000 came back"]
        rewrite(store, cell_at(tuning), "pgd10x3", remarks=warning, **weights(digit))
    (board,) = board_of(store).boards
    for entry in board.entries:
        shown = [flag.kind for flag in own_flags(board, entry)]
        assert shown == ["warning"]
    said = remarks(board)
    assert any(line.startswith("every entry: 1 of the scale's 3 seeds") for line in said)
    assert not [line for line in said if "came back" in line]
    text = markdown(board_of(store))
    rows = [line for line in text.splitlines() if line.startswith("|") and "top-2" in line]
    assert ["| warning |" in row for row in rows] == [True]


def test_what_holds_for_every_entry_of_a_board_is_seen(store):
    """On the page it is in no fold, however many boards stand before it."""
    scales = {name: replace(BY_HAND, name=name) for name in "abcdef"}
    for known in scales.values():
        for tuning in ("none", "rift"):
            write_record(store, cell_at(tuning, scale=known), "clean", 900, scale=known)
    page = html(board_of(store, scales=scales))
    assert page.count('<p class="warn">every entry: 1 of the scale') == len(scales)


def test_nothing_is_common_to_a_single_entry(store):
    """A board of one entry has all flags in its row, and says nothing of every entry."""
    write_record(store, cell_at("rift"), "pgd10x3", 500)
    shown = board_of(store)
    (board,) = shown.boards
    (entry,) = board.entries
    assert own_flags(board, entry) == list(entry.flags)
    assert {"seeds", "chosen-on-test"} <= kinds(entry)
    assert "every entry" not in markdown(shown) + html(shown)


def test_parts_of_the_test_set_and_choices_on_it_are_flagged(store):
    """A number of the first images says so; what chose on a hold-out is not said to favour itself."""
    write_record(store, cell_at("rift"), "pgd10x3-first-100", 50, 100)
    write_record(store, cell_at("rift-held-out"), "pgd10x3", 500)
    shown = board_of(store)
    assert {"subset", "chosen-on-test"} <= kinds(entry_in(shown, "/rift"))
    assert kinds(entry_in(shown, "/rift-held-out")).isdisjoint({"subset", "chosen-on-test"})


def test_modules_without_a_maximum_are_flagged(store):
    """Modules whose MRC is a lower estimate, and those whose ascent failed, are counted."""
    write_record(store, cell_at("rift"), "clean", 900)
    mrc = {"conv1": 0.1, "layer1.0.conv1": -0.1, "linear": 0.1}
    entries = [measured(name, mrc[name], constrained=name == "conv1") for name in mrc]
    write_making(store, cell_at("rift"), criticality=entries)
    flags = {flag.kind: flag.text for flag in entry_in(board_of(store), "rift").flags}
    assert flags["constraint"].startswith("seed 0: MRC is a lower estimate for 1 of 3 modules")
    assert flags["ascent"].startswith("seed 0: no valid MRC for 1 of 3 modules")


def test_costs_are_means_over_seeds(by_hand):
    """Base model and fine-tuning took 1.5 s each, by hand, on a device that is named once."""
    entry = entry_in(by_hand, "resnet18-w8/pgd-at/rift")
    assert (entry.cost.base_seconds, entry.cost.finetune_seconds, entry.cost.total) == (1.5, 1.5, 3.0)
    assert entry.cost.devices == ("cpu, by hand, 1 thread",)
    assert entry_in(by_hand, "resnet18-w8/pgd-at/none").cost.finetune_seconds is None


def test_the_only_device_is_named_once(store):
    """Below the board, also where nothing is known of how its base model was made."""
    written(store, none=500, rift=510)
    write_making(store, cell_at("rift"))
    assert markdown(board_of(store)).count("cpu, by hand") == 1


def test_a_module_costs_what_making_it_took(store):
    """What is made around a network counts as a fine-tuning does."""
    cell = cell_at("mean-sparse")
    for each in (cell.base, cell):
        write_record(store, each, "clean", 900, scale=ONE_SEED)
        write_record(store, each, "pgd10x3", 500, scale=ONE_SEED)
    write_making(store, cell.base, scale=ONE_SEED)
    making = write_making(store, cell, scale=ONE_SEED)
    applied = Applied(
        module={"forward": {}, "numbers": {}},
        on_sha256="0" * 64,
        partner_sha256=None,
        reference=None,
        points=[],
        remarks=[],
    )
    store.write_making(making.model_copy(update={"details": applied}))
    entry = entry_in(board_of(store, scales={BY_HAND.name: ONE_SEED}), "/mean-sparse")
    assert (entry.cost.finetune_seconds, entry.cost.total) == (1.5, 3.0)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.5, "1 min"),
        (3569, "59 min"),
        (3571, "1 h"),
        (4189, "1 h 10 min"),
    ],
)
def test_durations(seconds, said):
    """A duration is told in the largest units that it needs."""
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, set()),
        ({"eps": "8/255"}, {"other-eps"}),
        ({"eps": "0.0799999"}, set()),
        ({"extra_data": True}, {"extra-data"}),
        ({"dataset": "cifar10", "eps": "0.08"}, {"other-dataset"}),
        ({"selects_on": "test"}, {"chosen-on-test"}),
    ],
)
def test_models_from_elsewhere_are_what_the_registry_says(store, changes, wanted):
    """Training data, eps and selection of a registered checkpoint are its flags and its board."""
    known = someones(**changes)
    shown = leaderboard(store, write_own(store), {"someones": known})
    entry = entry_in(shown, "someones/none")
    assert kinds(entry) == wanted
    assert (entry.label, entry.method, entry.protocol.chosen_on) == (
        "someones",
        "trades",
        known.selects_on,
    )
    assert entry.checkpoint.link == known.source
    assert [paper.link for paper in entry.papers] == ["https://example.org/paper"]
    assert entry.extra_data == known.extra_data


def test_a_method_is_ascribed_to_its_own_paper(store):
    """RiFT's is that of RiFT, its controls and a module on its weights, not of its rivals."""
    papers = {
        "none": ["Madry"],
        "rift": ["Madry", "Zhu"],
        "random-layer": ["Madry", "Zhu"],
        "wise-ft": ["Madry", "Wortsman"],
        "mean-sparse": ["Madry", "Amini"],
        "rift+mean-sparse": ["Madry", "Zhu", "Amini"],
        "flip-average": ["Madry"],
    }
    for name in papers:
        write_record(store, cell_at(name), "pgd10x3", 500)
    shown = board_of(store)
    for name, wanted in papers.items():
        entry = entry_in(shown, f"/{name}")
        assert [paper.authors.split()[0] for paper in entry.papers] == wanted


def test_a_model_from_elsewhere_that_nobody_registered_is_flagged(store):
    """Nothing is known of how it was trained, and it is ranked with nothing that is known."""
    entry = entry_in(leaderboard(store, write_own(store), {}), "someones/none")
    assert kinds(entry) == {"made-elsewhere"}
    assert entry.protocol.chosen_on == "unknown"


def test_what_starts_from_a_checkpoint_stands_apart_and_says_so(store):
    """Its board is of a scale of its own, and names the weights."""
    known = scale(f"narrow-from-{NAME}")
    cell = Cell(f"narrow-from-{NAME}", "cifar10", "resnet18-w16", "pgd-at", "rift", 0)
    write_record(store, cell, "pgd10x3", 400, scale=known)
    narrow_record(store, "rift", 410)
    chosen, left_out = kept_scales(store)
    shown = leaderboard(store, chosen, registry(), left_out)
    assert [(board.scale, len(board.entries)) for board in shown.boards] == [
        ("narrow", 1),
        (f"narrow-from-{NAME}", 1),
    ]
    entry = shown.boards[1].entries[0]
    assert "made-elsewhere" in kinds(entry)
    assert entry.checkpoint.starts_from


def test_weights_are_linked_only_beside_their_registry(tmp_path):
    """The address of a file in a registry's folder leads there from the results, or there is none."""
    for folder, link in (("here", "../kept/someones.safetensors"), ("elsewhere", None)):
        store = Store(tmp_path / folder / "results", tmp_path / "artifacts")
        kept = someones(
            source="kept/someones.safetensors", link=None, root=(tmp_path / "here").resolve()
        )
        shown = leaderboard(store, write_own(store), {"someones": kept})
        found = entry_in(shown, "someones/none").checkpoint
        assert found.link == link


# --- the three files ----------------------------------------------------------------------------------


class Page(HTMLParser):
    """Elements with their attributes, rows with their numbers of cells, and text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[int] = []
        self.text: list[str] = []
        self.source = text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element; count cells."""
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_data(self, data: str) -> None:
        """Keep text unless it is a script or a style, behind either of which an element begins."""
        if not self.elements or self.elements[-1][0] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(several):
    """The page of five boards."""
    return Page(html(several))


def test_json_is_the_leaderboard(several):
    """The file holds schema 1, reads back as what was written, and every accuracy is a fraction."""
    content = rendered(several)["json"]
    assert Leaderboard.model_validate_json(content) == several
    read = json.loads(content)
    assert read["schema_version"] == 1
    numbers = [n for b in read["boards"] for e in b["entries"] for n in e["numbers"].values()]
    assert numbers
    for number in numbers:
        assert 0 <= number["low"] <= number["mean"] <= number["high"] <= 1


def test_csv_has_every_number(several):
    """A row for each number, and the numbers are those of the JSON."""
    rows = list(csv.DictReader(io.StringIO(rendered(several)["csv"].decode())))
    wanted = {
        (entry.id, name): number
        for board in several.boards
        for entry in board.entries
        for name, number in entry.numbers.items()
    }
    assert {(row["id"], row["evaluation"]) for row in rows} == set(wanted)
    assert len(rows) == len(wanted)
    for row in rows:
        number = wanted[row["id"], row["evaluation"]]
        assert (float(row["mean"]), row["rank"]) == (number.mean, str(number.rank))
        assert (row["change"] == "") == (number.change is None)


def test_the_drawing_keeps_every_entry_in_its_frame(by_hand, several):
    """Each entry with both numbers is a dot; more accuracy is further right and further up; intervals
    surround their dots; no label leaves the frame."""
    drawn = [(board, scatter(board)) for shown in (by_hand, several) for board in shown.boards]
    assert sum(each is not None for _, each in drawn) >= 2
    for board, each in drawn:
        both = [
            (entry.numbers["clean"].mean, entry.numbers[board.ranked_by].mean)
            for entry in board.entries
            if board.ranked_by and {"clean", board.ranked_by} <= set(entry.numbers)
        ]
        assert (each is None) == (len(both) < 2)
        if each is None:
            continue
        places = [(dot.x, -dot.y) for dot in each.dots]
        for axis in (0, 1):
            order = sorted(range(len(both)), key=lambda i: both[i][axis])
            line = [places[i][axis] for i in order]
            assert line == sorted(line)
        for dot in each.dots:
            assert each.x.start <= dot.across[0] <= dot.x <= dot.across[1] <= each.x.end
            assert each.y.start >= dot.along[0] >= dot.y >= dot.along[1] >= each.y.end
            long = 6 * len(dot.label)  # a letter takes a little more
            left = dot.at[0] - long * (dot.anchor == "end")
            assert not dot.label or each.x.start < left < left + long < WIDTH


def test_the_same_records_give_the_same_bytes(tmp_path):
    """Neither the order in which records were written nor the place they lie at shows."""
    wanted = [(seed, t, k) for seed in (0, 1, 2) for t, k in (("none", 500), ("rift", 510 + seed))]
    files = []
    for folder, order in (("a", wanted), ("b", wanted[::-1])):
        store = Store(tmp_path / folder, tmp_path / "artifacts")
        for seed, tuning, k in order:
            write_record(store, cell_at(tuning, seed), "pgd10x3", k)
        files.append(rendered(board_of(store)))
    assert files[0] == files[1]


def test_the_page_is_self_contained(page):
    """Nothing is loaded: no file, font, frame or picture, and links lead to records and checkpoints."""
    for tag, attributes in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "video", "audio", "base", "source")
        assert "src" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "link":
            assert attributes == {"rel": "icon", "href": "data:,"}
        elif href := attributes.get("href"):
            assert tag == "a"
            assert href.startswith(("records/", "leaderboard.", "../checkpoints/", "https://"))
            assert Path(href).suffix or href.startswith("https://"), "a file host lists no folder"
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|eval\(", page.source)


def test_the_page_reads_without_script(several, page):
    """Every entry is a full row of its table, with its number in percent."""
    heads = [len(board.columns) + 4 for board in several.boards]
    rows = [width for width, board in zip(heads, several.boards, strict=True) for _ in board.entries]
    assert sorted(page.rows) == sorted([*heads, *rows])
    entries = (entry for board in several.boards for entry in board.entries)
    for number in (number for entry in entries for number in entry.numbers.values()):
        assert f"{100 * number.mean:.2f}" in " ".join(page.text)


def test_ids_and_labels_of_the_page(page):
    """Ids are unique, every column has a scope, and the language is named."""
    ids = [known["id"] for _, known in page.elements if "id" in known]
    assert len(ids) == len(set(ids))
    assert all(known.get("scope") in ("col", "row") for tag, known in page.elements if tag == "th")
    assert ("html", {"lang": "en"}) in page.elements
    assert {known.get("aria-labelledby") for _, known in page.elements} <= {None, *ids}


HOSTILE = '</script><img src=x onerror="alert(1)">|`*[x](javascript:alert(1)) # {{ 7*7 }}'


def hostile(store: Store) -> Leaderboard:
    """A leaderboard with markup wherever somebody else's words can come in."""
    rewrite(store, cell_at("rift"), "pgd10x3", remarks=[f"warning: {HOSTILE}"])
    write_record(store, cell_at("top-2"), "pgd10x3", 500)
    made = PROVENANCE.model_copy(update={"device": HOSTILE})
    making = write_making(store, cell_at("rift"), modules=[HOSTILE])
    path = store.record_path(cell_at("rift"), "making")
    path.write_text(making.model_copy(update={"provenance": made}).model_dump_json())
    bad = someones(what=HOSTILE, link="javascript:alert(1)")
    scales = {BY_HAND.name: replace(BY_HAND, summary=HOSTILE)} | write_own(store)
    return leaderboard(store, scales, {"someones": bad})


def test_markup_in_records_stays_text_on_the_page(store):
    """Hostile words add no element, no address and no template expression, and are shown as such."""
    page = Page(html(hostile(store)))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert not [known for _, known in page.elements if (known.get("href") or "").startswith("java")]
    said = " ".join("".join(page.text).split())
    assert " ".join(HOSTILE.split()) in said
    assert "# 49" not in said


def test_markup_in_records_stays_text_in_markdown(store):
    """Tables keep their columns, no HTML but line breaks gets through, and no link that is not ours."""
    text = markdown(hostile(store))
    assert set(re.findall(r"<[^>]*>?", text)) == {"<br>"}
    assert not re.search(r"(?<!\\)\]\(java", text)
    tables = [block for block in text.split("\n\n") if block.startswith("| Rank")]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


# --- the command --------------------------------------------------------------------------------------


def say(store: Store, *arguments: str) -> Said:
    """What the command says of a store, called inside this process."""
    return said("leaderboard", *arguments, "--results", store.results)


def narrow_record(store: Store, tuning: str, k: int) -> None:
    """A record of the scale `narrow`."""
    cell = Cell("narrow", "cifar10", "resnet18-w16", "pgd-at", tuning, 0)
    write_record(store, cell, "pgd10x3", k, scale=scale("narrow"))


@pytest.fixture
def narrow(store):
    """A store with two records of the scale `narrow`."""
    narrow_record(store, "none", 410)
    narrow_record(store, "rift", 420)
    return store


def test_the_command_writes_and_checks(narrow):
    """It writes four files, finds them up to date, and finds a changed or missing one by name."""
    assert say(narrow, "--check").exit_code == 1
    assert not list(narrow.results.glob("leaderboard*"))
    say(narrow).good()
    names = {path.name for path in narrow.results.glob("leaderboard*")}
    assert names == {f"leaderboard.{suffix}" for suffix in ("json", "csv", "md", "html")}
    write_record(narrow, cell_at("none", scale=scale("quick")), "clean", 490, scale=scale("quick"))
    (later,) = narrow.results.glob("records/quick/**/clean.json")
    later.write_text(later.read_text().replace(PROVENANCE.started[:10], "2999-12-31"))
    say(narrow, "--check").good()
    path = narrow.results / "leaderboard.md"
    path.write_text(path.read_text().replace("41.00", "99.00"))
    found = say(narrow, "--check")
    assert found.exit_code == 1
    assert "leaderboard.md is not up to date" in found.stderr
    assert "leaderboard.html" not in found.stderr


def test_the_command_for_one_scale(narrow):
    """A named scale has files of its own; one without records and an unknown one are refused."""
    say(narrow, "--scale", "narrow").good()
    assert (narrow.results / "leaderboard-narrow.json").exists()
    for name, why in (("paper", "no record of scale"), ("nonsense", "unknown scale")):
        assert f"{why} '{name}'" in say(narrow, "--scale", name).refusal


def test_a_filed_scale_is_known_by_name(store, monkeypatch, tmp_path):
    """Records of a scale in results/scales are shown by default and by name, also from a checkpoint."""
    text = MINI.read_text().replace('"mini"', '"filed"')
    path = store.results / "scales" / "filed.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    registered = tmp_path / "checkpoints.toml"
    fields = {"arch": "resnet18-w4", "method": "pgd-at", "link": None}
    registered.write_text("schema_version = 1\n" + toml_block(someones(**fields)))
    monkeypatch.setenv(VARIABLE, str(registered))
    for name in ("filed", "filed-from-someones"):
        cell = Cell(name, "digits", "resnet18-w4", "pgd-at", "rift", 0)
        assert f"`table1 --scale {path}" in say(store, "--scale", name).refusal
        write_record(store, cell, "clean", 400, scale=scale(name, store.results))
        say(store, "--scale", name).good()
        shown = json.loads((store.results / f"leaderboard-{name}.json").read_text())
        assert [board["scale"] for board in shown["boards"]] == [name]
    say(store).good()
    shown = json.loads((store.results / "leaderboard.json").read_text())
    assert [board["scale"] for board in shown["boards"]] == ["filed", "filed-from-someones"]
    assert shown["left_out"] == []


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("quick", "`table1 --scale quick` makes some"),
        ("own", "`evaluate` makes some"),
        (f"narrow-from-{NAME}", f"`table1 --scale narrow --from-checkpoint {NAME}` makes some"),
    ],
)
def test_what_makes_records_is_named(store, name, command):
    """A scale without records is told the command that makes its own."""
    assert say(store, "--scale", name).refusal.endswith(command)


@pytest.mark.parametrize("name", ["leaderboard.md", "leaderboard.html"])
def test_all_files_are_written_or_none(narrow, name):
    """A folder where a file goes is refused by name, also by --check, and no other file is new."""
    (narrow.results / name).mkdir()
    before = sorted(path.name for path in narrow.results.iterdir())
    for arguments in ((), ("--check",)):
        assert str(narrow.results / name) in say(narrow, *arguments).refusal
    assert sorted(path.name for path in narrow.results.iterdir()) == before


def test_a_file_that_cannot_be_written_leaves_the_old_ones(narrow, monkeypatch):
    """A disk that is full at the last file changes none."""
    say(narrow).good()
    narrow_record(narrow, "top-2", 430)
    before = {path: path.read_bytes() for path in narrow.results.glob("leaderboard.*")}

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".html":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr("benchmark.cli.leaderboard.write_atomically", full)
    assert "No space left on device" in say(narrow).refusal
    assert {path: path.read_bytes() for path in narrow.results.glob("leaderboard.*")} == before
    assert not list(narrow.results.glob(".leaderboard*"))


def test_a_broken_record_is_refused_by_name(narrow):
    """A value that is not k of n stops the command before anything is written."""
    (path,) = narrow.results.glob("records/**/rift/seed0/pgd10x3.json")
    path.write_text(path.read_text().replace('"k": 420', '"k": 421'))
    assert str(path) in say(narrow).refusal
    assert not list(narrow.results.glob("leaderboard*"))
