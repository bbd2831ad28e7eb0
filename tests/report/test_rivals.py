"""RiFT among its rivals: the table, its columns of bits, which cells it needs, and its figure."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UserError
from benchmark.evaluation.adaptive import AGAIN, PARTS, TO_BASE
from benchmark.plans.named import SCALES
from benchmark.plans.start import starting_from
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate
from benchmark.report.figures import FIGURES
from benchmark.report.tables.posthoc import both_ways, parts, possible, rival_cells, rivals
from benchmark.report.view import View
from handmade import BY_HAND, cell_at, write_making, write_record, write_records
from invoking import Command

SHOWN = ("clean", "pgd10x3", "pgd10x3-adaptive")
SCALE = replace(BY_HAND, posthoc=SHOWN).for_posthoc
N, OWN = 1000, ("module", "module_again", "module_thrice")


def bits(**right: int) -> dict[str, np.ndarray]:
    """The bits of an adaptive attack of which each part leaves the first so many images right, 500
    where nothing is said."""
    counts = dict.fromkeys((*PARTS, *AGAIN, TO_BASE), 500) | {
        name.replace("_", "-"): count for name, count in right.items()
    }
    return {name: np.arange(N) < count for name, count in counts.items()}


def write(
    store: Store, cell: Cell, worst: int, clean: int = 800, alone: int = 500, **right: int
) -> None:
    """Put into `store` what is right of 1,000 images: clean, under PGD through the module alone, and
    under the adaptive attack, whose bits are `bits(**right)`."""
    write_records(store, cell, {"clean": clean, "pgd10x3": alone}, scale=SCALE)
    write_record(store, cell, "pgd10x3-adaptive", worst, scale=SCALE, bits=bits(**right))


@pytest.fixture
def written(store):
    """A base of 800 / 500, RiFT of 810 / 500 whose examples break two images of the base's, and
    flip-average of 800 / 550 of which the base's examples leave 480."""
    write(store, cell_at(), 500)
    write(store, cell_at("rift"), 498, clean=810, stand_in=498, module_again=498, to_base=498)
    write(store, cell_at("flip-average"), 480, alone=550, transfer=480, **dict.fromkeys(OWN, 550))
    write_making(store, cell_at("rift"), alpha=0.6, scale=SCALE)
    return store


def test_rows_and_differences(written):
    """A method's accuracies stand above their differences to the base; the attack that sees more takes
    away what the other gives."""
    table = rivals(View(written, SCALE), ("rift", "flip-average"))
    shown = {
        (row.labels[0], row.labels[-1]): [
            round(100 * each.mean, 2) if isinstance(each, Estimate) else None for each in row.numbers
        ]
        for row in table.rows
    }
    assert shown["none", "accuracy"] == [80, 50, 50, None, None]
    assert shown["rift", "- base"] == [1, 0, -0.2, 0, 0]
    assert shown["flip-average", "accuracy"] == [80, 55, 48, None, None]
    # Five of fifty points are the module's own; the base's examples take seven, no further start any.
    assert shown["flip-average", "- base"] == [0, 5, -2, -2, 7]
    labels = [row.labels[1:4] for row in table.rows[1::2]]
    assert labels == [("alpha 0.6", "1x", "Adv"), ("", "2x", "fixed")]
    assert table.rows[2].better == (True, False, False)
    assert any(note.startswith("bold, in text *: a gain over the base") for note in table.notes)
    changes = (each for row in table.rows for each in row.numbers if isinstance(each, Estimate))
    sources = {Cell.parse(key).finetune for each in changes for key in each.sources}
    assert sources == {"none", "rift", "flip-average"}
    assert table.notes[0] == "rift keeps the 0.1-point rule with transfer both ways: +0 of 1000 images"


def test_several_seeds_are_shown_as_such(store):
    """Columns of bits are means over seeds as all others are: a value by seed, and every cell named."""
    two = SCALE.with_seeds((0, 1))
    for seed in two.seeds:
        write(store, cell_at(seed=seed), 500)
        left = 480 - seed
        write(store, cell_at("flip-average", seed), left, transfer=left, **dict.fromkeys(OWN, 550))
    both, masked = rivals(View(store, two), ("flip-average",)).rows[-1].numbers[-2:]
    for shown, values in ((both, (-0.02, -0.021)), (masked, (0.07, 0.071))):
        assert isinstance(shown, Estimate)
        assert shown.values == pytest.approx(values)
        assert shown.over == "seeds"
        assert {Cell.parse(key).seed for key in shown.sources} == {0, 1}


def test_the_rule_is_about_all_seeds_together(store):
    """Two images of 2,000 may be lost, as one of 1,000 may; where they fall does not matter."""
    two = SCALE.with_seeds((0, 1))
    for seed in two.seeds:
        left = 500 - 2 * seed
        write(store, cell_at(seed=seed), 500)
        write(store, cell_at("rift", seed), left, stand_in=left, module_again=left)
        write_making(store, cell_at("rift", seed), alpha=0.6, scale=two)
    note = rivals(View(store, two), ("rift",)).notes[0]
    assert note == "rift keeps the 0.1-point rule with transfer both ways: -2 of 2000 images"


def test_warnings_come_first_then_broken_rules(written):
    """What makes a number doubtful stands above the methods whose examples keep the rule."""
    cell = cell_at("bn-only")
    write(written, cell, 490, transfer=490)
    path = written.record_path(cell, "pgd10x3-adaptive")
    path.write_text(path.read_text().replace('"remarks": []', '"remarks": ["warning: masked"]'))
    write_making(written, cell, alpha=0.6, scale=SCALE)
    first, second, third, *_ = rivals(View(written, SCALE), ("rift", "bn-only")).notes
    assert first.startswith("warning: masked")
    assert second.startswith("bn-only does not keep the 0.1-point rule with transfer both ways: -10 of")
    assert third.startswith("rift keeps the 0.1-point rule")


@given(st.integers(0, 2**32))
def test_both_ways_is_fair(seed):
    """Each side meets two starts of its own and one of the other's; what is the base itself has 0."""
    draws = np.random.default_rng(seed)
    ours, theirs = (
        {name: draws.random(50) < 0.7 for name in (*PARTS, *AGAIN, TO_BASE)} for _ in range(2)
    )
    expected = [
        int(ours["module"][i] and ours["stand-in"][i] and ours["transfer"][i])
        - int(theirs["module"][i] and theirs["transfer"][i] and ours[TO_BASE][i])
        for i in range(50)
    ]
    assert both_ways(ours, theirs).tolist() == expected
    base = theirs | {TO_BASE: theirs["stand-in"]}
    assert not both_ways(base, base).any()


def test_autoattack_is_of_a_few():
    """At quick AutoAttack is of the base, RiFT and what changes the forward pass; all else of all."""
    scale = SCALES["quick"].for_posthoc
    (every, cheap), (few, whole) = parts(rival_cells(scale), scale)
    assert {cell.seed for cell in every} == {0}
    assert set(whole.evaluations) - set(cheap.evaluations) == {"autoattack-adaptive-first-100"}
    assert {cell.finetune for cell in few} == {
        *("none", "rift", "flip-average", "mean-sparse", "rift+mean-sparse", "output-mix", "mixed-nuts")
    }
    assert {cell.finetune for cell in few} < {cell.finetune for cell in every}
    _, (few, _) = parts(rival_cells(scale, ("rift-held-out", "bn-only-held-out")), scale)
    assert [cell.finetune for cell in few] == ["none-held-out", "rift-held-out"]  # as any reading of it


def test_autoattack_alone_is_of_those_few():
    """Where nothing else is asked for, there is no part of all."""
    scale = replace(SCALES["quick"].for_posthoc, evaluations=("autoattack-adaptive-first-100",))
    ((few, whole),) = parts(rival_cells(scale), scale)
    assert whole == scale
    assert {"none", "rift", "mean-sparse"} < {cell.finetune for cell in few}
    assert "bn-only" not in {cell.finetune for cell in few}


def test_what_a_checkpoint_cannot_have_is_left_out():
    """There is no second network and no epoch beside a checkpoint; the table says so."""
    scale = starting_from(SCALES["narrow"], ["narrow-cifar10-resnet18-w16-pgd-at-seed0"])
    found = possible(scale, ("mean-sparse", "mixed-nuts", "epoch-average"))
    assert found["mean-sparse"] is None
    assert "standard" in str(found["mixed-nuts"])
    assert "checkpoint" in str(found["epoch-average"])


def test_tables_of_other_rows_are_other_files(store):
    """A module of fine-tuned weights is not both apart; many names of checkpoints and fine-tunings are
    cut to what a file system takes."""
    names = ",".join(f"small-cifar10-resnet18-w16-pgd-at-seed{seed}" for seed in range(5))
    flags = ("--scale", "small", "--from-checkpoint", names, "--collect")
    several = "rift,bn-only,random-layer,all-layers,last-layer"
    for shown in ("rift,mean-sparse", "rift+mean-sparse", several, f"{several}-alpha-1"):
        Command(store)("table1", *flags, "--protocol", shown).good()
    assert len(list((store.results / "tables").glob("table1-small-from-*.csv"))) == 4


def test_two_classes_are_too_few_for_mixed_nuts(monkeypatch):
    """Its normalised logits are the same for every image; the other mix has nothing against them."""
    from benchmark.data import DATASETS
    from benchmark.data.info import DIGITS

    monkeypatch.setitem(DATASETS, "two", replace(DIGITS, name="two", label="Two", classes=2))
    found = possible(replace(BY_HAND, datasets=("two",)), ("mixed-nuts", "output-mix"))
    assert found["mixed-nuts"] == "mixed-nuts needs 3 classes or more, and Two has 2; leave it out"
    assert found["output-mix"] is None


def test_a_scale_without_a_column_of_the_figure_is_refused():
    """Before any cell is made, since none would ever complete the figure."""
    figure, without = FIGURES["figure-posthoc"], replace(BY_HAND, posthoc=SHOWN[:2]).for_posthoc
    assert figure.wanted(SCALE) == SHOWN
    with pytest.raises(UserError, match="of scale 'by-hand' has clean, pgd10x3; add to it"):
        figure.wanted(without)


def test_the_figure_has_both_heads(written):
    """Each model stands where the adaptive attack puts it, and where the other does."""
    picture = FIGURES["figure-posthoc"].build(View(written, SCALE))
    assert picture.rows() == [
        {"method": "none", "clean": 0.8, "robust": 0.5, "not_adaptive": 0.5},
        {"method": "rift", "clean": 0.81, "robust": 0.498, "not_adaptive": 0.5},
        {"method": "flip-average", "clean": 0.8, "robust": 0.48, "not_adaptive": 0.55},
    ]
    assert "left out, because cells are missing or stale" in picture.caption


def test_what_is_of_the_first_images_is_shown_so(store):
    """Where the adaptive attack is on fewer images, heads of its bits name them, and in the figure the
    other attack is on them, too."""
    first = "pgd10x3-adaptive-first-600"
    scale = replace(BY_HAND, posthoc=(*SHOWN[:2], first)).for_posthoc
    attacked = {name: right[:600] for name, right in bits().items()}
    for name in ("none", "flip-average"):
        write_records(store, cell_at(name), {"clean": 800, "pgd10x3": 510}, scale=scale)
        write_record(store, cell_at(name), first, 500, 600, scale, attacked)
    view = View(store, scale)
    assert rivals(view, ("flip-average",)).columns[2:] == (
        "Adv (adaptive, first 600)",
        "Adv (adaptive, first 600), transfer both ways",
        "masked points (first 600)",
    )
    place = FIGURES["figure-posthoc"].build(view).places["none"]
    assert place == pytest.approx((0.8, 510 / 600, 500 / 600))
