"""Tables: means, spreads, differences and averages over records with chosen counts."""

import dataclasses
import shutil
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.plans.named import SCALES
from benchmark.plans.scales import Scale
from benchmark.records.records import Count
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate
from benchmark.report.tables import REPORTS
from benchmark.report.tables.layout import Row, Table
from benchmark.report.tables.notes import chosen
from benchmark.report.view import View
from handmade import (
    AUDIT_BY_HAND,
    BY_HAND,
    cell_at,
    measured,
    write_audit,
    write_making,
    write_record,
    write_records,
)


def built(name: str, store: Store, scale: Scale = BY_HAND) -> Table:
    """Table `name` of what is in `store`."""
    return REPORTS[name].build(View(store, scale), REPORTS[name].defaults)


def row(table: Table, *labels: str) -> Row:
    """The one row with these labels."""
    (found,) = [row for row in table.rows if row.labels == labels]
    return found


def percents(row: Row) -> list[tuple[float, float] | None]:
    """Mean and spread of each number of a row in percent, rounded to nine digits."""
    return [
        None if n is None else (round(100 * n.mean, 9), round(100 * (n.spread or 0), 9))
        for n in row.numbers
    ]


@pytest.fixture
def own(written_by_hand, store):
    """A copy of the records written by hand, to be changed."""
    shutil.copytree(written_by_hand.results, store.results)
    return store


# --- table 1 ----------------------------------------------------------------------------------------


def test_table_1_by_hand(tables_by_hand):
    """Every mean, spread, difference and average of Table 1 is what pencil and paper give; a number
    names the cells that it was computed from, one per seed."""
    table = tables_by_hand["table1"]
    assert table.columns == ("Std", "OOD (gen-v2)", "Adv")
    small, large, mean = "ResNet18 (width 8)", "ResNet34 (width 8)", "average"
    root = pytest.approx
    expected = {
        (small, "AT"): [(91, 1), (72, 2), (51, 1)],
        (small, "AT+RiFT"): [(91.4, root(0.84**0.5)), (71, 2), (51, 1)],
        (small, "difference"): [(0.4, 0.2), (-1, 0), (0, 0)],
        (large, "AT"): [(80, 0), (60, 10), (20, 10)],
        (large, "AT+RiFT"): [(80.2, 0.1), (60, 9), (19.9, 10)],
        (large, "difference"): [(0.2, 0.1), (0, 1), (-0.1, 0)],
        (mean, "AT"): [(85.5, 0.5), (66, 6), (35.5, 5.5)],
        (mean, "AT+RiFT"): [(85.8, root(0.2275**0.5)), (65.5, 5.5), (35.45, 5.5)],
        (mean, "difference"): [(0.3, 0.05), (-0.5, 0.5), (-0.05, 0)],
    }
    assert [row.labels for row in table.rows] == [("Digits", *labels) for labels in expected]
    for labels, numbers in expected.items():
        found = row(table, "Digits", *labels)
        assert percents(found) == numbers
        assert found.signed == found.ends_block == (labels[-1] == "difference")
    for number in row(table, "Digits", small, "AT+RiFT").numbers:
        assert isinstance(number, Estimate)
        assert number.sources == tuple(cell_at("rift", seed).key for seed in BY_HAND.seeds)


def test_a_table_of_one_network_has_no_average(written_by_hand):
    """The average of one network would be that network again."""
    one = dataclasses.replace(BY_HAND, archs=("resnet34-w8",))
    table = built("table1", written_by_hand, one)
    assert {row.labels[1] for row in table.rows} == {"ResNet34 (width 8)"}


@pytest.mark.parametrize("evaluation", BY_HAND.evaluations)
def test_a_number_of_some_seeds_is_missing(own, evaluation):
    """One missing record empties its number, its difference and the average: never a partial mean."""
    cell, place = cell_at("rift", seed=1), BY_HAND.evaluations.index(evaluation)
    own.record_path(cell, evaluation).unlink()
    table = built("table1", own)
    for line in table.rows:
        part = line.labels[1] != "ResNet34 (width 8)" and line.labels[2] != "AT"
        missing = [number is None for number in line.numbers]
        assert missing == [part and column == place for column in range(3)]


def test_seeds_that_are_there_are_told(own):
    """Where a model has records of some seeds only, a note names them and the flag that shows them."""
    assert not [note for note in built("table1", own).notes if "--seeds" in note]
    for name in BY_HAND.evaluations:  # a base model alone shows no more
        own.record_path(cell_at("rift", seed=1), name).unlink()
    (told,) = (note for note in built("table1", own).notes if "--seeds" in note)
    assert told.endswith(
        "on record are seeds 0,2 of 0, 1, 2; --seeds 0,2 shows what is there of all of these"
    )


def test_stale_records_are_left_out_with_a_note(own):
    """A record of an older version is not shown, and a note counts what was left out."""
    changed = dataclasses.replace(BY_HAND, finetuning={"lr": 0.5})
    table = built("table1", own, changed)
    for line in table.rows:
        assert all((number is None) == (line.labels[2] != "AT") for number in line.numbers)
    left_out = [note for note in table.notes if "stale" in note]
    assert left_out == ["stale records left out: 18; `--dry-run` lists them"]
    assert not [note for note in built("table1", own).notes if "stale" in note]


@pytest.mark.parametrize("name", REPORTS)
def test_stale_makings_are_left_out(own, name):
    """The alpha* and the modules of an older version are not shown beside empty numbers."""
    changed = dataclasses.replace(BY_HAND, finetuning={"lr": 0.5})
    table = built(name, own, changed)
    assert not [note for note in table.notes if "; alpha* " in note]
    assert not [row for row in table.rows if row.labels[-1].startswith("alpha* ")]


def test_a_dataset_without_an_evaluation_says_so(store):
    """There is no published corrupted set of digits: the number stays missing and a note says why."""
    official = ("clean", "corruptions-15", "pgd10x3")
    scale = dataclasses.replace(BY_HAND, archs=("resnet18-w8",), seeds=(0,), evaluations=official)
    for finetune in ("none", "rift"):
        write_records(store, cell_at(finetune), {"clean": 800, "pgd10x3": 400}, scale=scale)
    table = built("table1", store, scale)
    assert percents(table.rows[1]) == [(80, 0), None, (40, 0)]
    assert percents(table.rows[2]) == [(0, 0), None, (0, 0)]
    assert "Digits has no corruptions-15" in table.notes


def test_the_notes_tell_generated_from_published_corruptions(store):
    """Under a table stands which images its OOD column is of."""
    scale = dataclasses.replace(BY_HAND, datasets=("cifar10",))
    (note,) = [note for note in built("table1", store, scale).notes if "OOD" in note]
    assert note == (
        "CIFAR-10: OOD (gen-v2) is the mean over 15 corruptions at 5 severities, made by this suite's "
        "generator gen-v2 with procedural frost, not the published CIFAR-10-C; "
        "Adv is the worst of three PGD-10 runs, L-infinity, eps 8/255, step 2/255"
    )
    official = dataclasses.replace(scale, evaluations=("corruptions-18",))
    (note,) = [note for note in built("table1", store, official).notes if "OOD" in note]
    what = "the mean over 18 corruptions at 5 severities of the published CIFAR-10-C"
    assert note == f"CIFAR-10: OOD (18) is {what}"


def test_two_datasets_are_averaged_apart(store):
    """Each dataset has its own rows, its own average and its own note on what was chosen."""
    scale = dataclasses.replace(BY_HAND, datasets=("digits", "cifar10"), seeds=(0,))
    for dataset in scale.datasets:
        write_making(store, cell_at("rift", dataset=dataset), scale=scale)
    table = built("table1", store, scale)
    made = [note.partition(":")[0] for note in table.notes if "; alpha* by seed 0.50" in note]
    assert made == [f"AT+RiFT, ResNet18 (width 8) on {label}" for label in ("Digits", "CIFAR-10")]
    assert [row.labels[0] for row in table.rows] == ["Digits"] * 9 + ["CIFAR-10"] * 9
    assert [row.labels[1] for row in table.rows].count("average") == 6


@pytest.mark.parametrize(
    ("tuning", "how"),
    [("rift", "not ranked"), ("rift-official-code", "ranked as the released code does")],
)
def test_the_notes_count_modules_without_a_maximum(store, tuning, how):
    """Under the table stands by seed for how many modules MRC is a lower estimate or not valid."""
    for seed, mrc in enumerate((0.0, -0.1, None)):
        entries = [
            measured(module, value, constrained=module == "conv1")
            for module, value in {"conv1": 0.2, "linear": mrc}.items()
        ]
        write_making(store, cell_at(tuning, seed), criticality=entries)
    cells = [cell_at(tuning, seed) for seed in BY_HAND.seeds]
    (line,) = chosen(View(store, BY_HAND), cells, tuning, "AT+RiFT")
    assert line.endswith(
        "; MRC a lower estimate for 1, 0, 0 of 2 modules (constraint not reached)"
        "; no valid MRC for 0, 1, 1 of 2 modules (ascent diverged or ended lower than it began), " + how
    )


def test_the_better_row_is_told_apart_from_the_other(store):
    """Only where the interval of the difference excludes zero, the base model only where it does so for
    each of its fine-tunings; averages as any row."""
    scale = dataclasses.replace(BY_HAND, evaluations=("clean", "pgd10x3"), archs=BY_HAND.archs[:1])
    counts = {  # clean and Adv of 1,000 by seed
        "none": ((800, 801, 802), (500, 520, 540)),
        "rift": ((811, 812, 814), (499, 521, 540)),
        "bn-only": ((700, 702, 701), (501, 519, 540)),
        "all-layers": ((790, 790, 791), (400, 419, 441)),
    }
    for name, columns in counts.items():
        for evaluation, by_seed in zip(scale.evaluations, columns, strict=True):
            for seed, k in enumerate(by_seed):
                write_record(store, cell_at(name, seed, scale=scale), evaluation, k, scale=scale)

    def better(*finetunes: str) -> dict[str, tuple[bool, ...]]:
        table = REPORTS["table1"].build(View(store, scale), finetunes)
        return {row.labels[-1]: row.better for row in table.rows if not row.signed}

    assert better("rift") == {"AT": (False, False), "AT+RiFT": (True, False)}
    assert better("all-layers") == {"AT": (True, True), "AT+all-layers": (False, False)}
    assert better("bn-only", "rift")["AT"] == (False, False)
    assert better("bn-only", "all-layers")["AT"] == (True, False)


MIXED = dataclasses.replace(BY_HAND, networks={"resnet34-w8": {"seeds": (1, 2)}})


def test_rows_of_different_seeds_say_how_many(written_by_hand, own):
    """A column counts the seeds of each row, and an average is that of the seeds that all have."""
    table = built("table1", written_by_hand, MIXED)
    assert table.label_heads == ("dataset", "network", "seeds", "method")
    for seeds, count, network in (
        (BY_HAND.seeds, "3", "ResNet18 (width 8)"),
        ((1, 2), "2", "ResNet34 (width 8)"),
        ((1, 2), "2", "average"),
    ):
        alike = built("table1", written_by_hand, BY_HAND.with_seeds(seeds))
        for method in ("AT", "AT+RiFT", "difference"):
            numbers = row(alike, "Digits", network, method).numbers
            assert row(table, "Digits", network, count, method).numbers == numbers
    assert "averages are over the seeds that all networks have" in table.notes
    of_none = dataclasses.replace(MIXED, networks={"resnet34-w8": {"seeds": (4,)}})
    for evaluation in of_none.evaluations:
        for finetune in ("none", "rift"):
            cell = cell_at(finetune, 4, "resnet34-w8", of_none)
            write_record(own, cell, evaluation, 500, scale=of_none)
    assert percents(row(built("table1", own, of_none), "Digits", "average", "0", "AT")) == [None] * 3


def test_notes_on_rows_of_different_seeds(written_by_hand):
    """Which models have which seeds, and what the intervals of each kind are over; tables whose rows
    are all of the same seeds are as if the scale had no others."""
    scale = dataclasses.replace(MIXED, networks={"resnet34-w8": {"seeds": (1,)}})
    notes = built("table1", written_by_hand, scale).notes
    assert notes[1] == (
        "accuracy in percent; seeds 0, 1, 2: mean ± standard deviation over seeds (AT, ResNet18 (width "
        "8) on Digits); seeds 1: one seed, with its 95 % interval over test images (all others)"
    )
    several, one, paired = notes[4:7]
    assert several.startswith("several seeds, in the CSV: 95 % t interval")
    assert one.startswith("one seed, in brackets: 95 % interval over test images")
    assert "paired, seed by seed, or of one seed image by image" in paired
    for name in ("table2", "table3", "table4"):
        assert built(name, written_by_hand, scale) == built(name, written_by_hand)


def test_a_method_of_other_seeds_has_a_column_too(written_by_hand):
    """So do the rows of Table 2."""
    scale = dataclasses.replace(BY_HAND, recipes={"mart": {"seeds": (0,)}})
    table = built("table2", written_by_hand, scale)
    assert table.label_heads == ("dataset", "seeds", "method")
    assert {row.labels[1:] for row in table.rows if row.labels[2] != "difference"} == {
        ("3", "TRADES"),
        ("3", "TRADES+RiFT"),
        ("1", "MART"),
        ("1", "MART+RiFT"),
    }


def test_the_notes_are_about_the_columns_shown(written_by_hand):
    """A table without OOD and Adv does not explain them."""
    clean = dataclasses.replace(BY_HAND, evaluations=("clean",))
    table = built("table1", written_by_hand, clean)
    assert table.columns == ("Std",)
    assert not [note for note in table.notes if "OOD" in note or "PGD" in note]


# --- table 2 ----------------------------------------------------------------------------------------


def test_table_2_is_of_the_first_network_and_two_datasets():
    """As in the paper: ResNet18, CIFAR-10 and CIFAR-100, every method but the first."""
    cells = REPORTS["table2"].cells(SCALES["paper"], REPORTS["table2"].defaults)
    assert {cell.arch for cell in cells} == {"resnet18"}
    assert {cell.dataset for cell in cells} == {"cifar10", "cifar100"}
    assert {cell.method for cell in cells} == {"trades", "mart", "awp", "score"}
    assert len(cells) == 2 * 4 * 2 * 3


def test_a_scale_of_one_method_has_no_table_2():
    """There is nothing to compare with."""
    one = dataclasses.replace(BY_HAND, methods=("trades",))
    assert REPORTS["table2"].cells(one, REPORTS["table2"].defaults) == []


# --- tables 3 and 4 ---------------------------------------------------------------------------------


def test_an_alpha_of_some_seeds_is_not_shown(own):
    """The mean alpha* stands only if every seed has one."""
    own.record_path(cell_at("rift", seed=2), "making").unlink()
    labels = [row.labels for row in built("table4", own).rows]
    assert ("top 1", "alpha*") in labels


def test_ablations_explain_only_the_dataset_they_show(store):
    """Tables 3 and 4 are of one dataset, and so are their notes."""
    scale = dataclasses.replace(BY_HAND, datasets=("digits", "cifar10"))
    assert not [note for note in built("table3", store, scale).notes if "CIFAR" in note]


# --- protocols side by side -------------------------------------------------------------------------


def audited(store: Store, *finetunes: str) -> Table:
    """Table 1 of `finetunes`, over the records of the audit in `store`."""
    return REPORTS["table1"].build(View(store, AUDIT_BY_HAND), finetunes)


def rewrite(store: Store, finetune: str, evaluation: str, **changes: Any) -> None:
    """Change fields of a record of the audit's first seed."""
    cell = cell_at(finetune, scale=AUDIT_BY_HAND)
    changed = store.record(cell, evaluation).model_copy(update=changes)
    store.record_path(cell, evaluation).write_text(changed.model_dump_json())


def test_protocols_stand_side_by_side(store):
    """Each base model comes before its fine-tunings, and each difference is to the row's own base."""
    write_audit(store)
    table = audited(store, "rift", "rift-held-out", "bn-only")
    assert [row.labels[-1] for row in table.rows] == [
        *("AT", "AT+RiFT", "difference", "AT+bn-only", "difference"),
        *("AT (held-out)", "AT+RiFT (held-out)", "difference"),
    ]
    for base, tuned, moved in ((0, 1, 2), (0, 3, 4), (5, 6, 7)):
        below, above, between = (table.rows[place].numbers for place in (base, tuned, moved))
        for a, b, c in zip(below, above, between, strict=True):
            assert isinstance(a, Estimate) and isinstance(b, Estimate) and isinstance(c, Estimate)
            assert c.values == pytest.approx([y - x for x, y in zip(a.values, b.values, strict=True)])
    assert table.rows[0].numbers != table.rows[5].numbers


def test_a_title_says_which_data_chose(store):
    """One kind of data is named once; several, by fine-tuning; and the notes explain each protocol."""
    write_audit(store)
    mixed = audited(store, "rift", "rift-held-out")
    assert mixed.title.endswith(
        "(epochs and alpha* chosen on test images: rift; on a hold-out: rift-held-out)"
    )
    assert any(note.startswith("rift-held-out: no test image chooses") for note in mixed.notes)
    alone = audited(store, "rift", "bn-only")
    assert alone.title.endswith("(epochs and alpha* chosen on test images)")
    assert not any(note.startswith("rift-held-out") for note in alone.notes)


@pytest.mark.parametrize("name", ["table3", "table4"])
def test_ablations_under_several_protocols(store, name):
    """A block per protocol, of that protocol's fine-tunings and base model."""
    protocols = ("rift", "rift-official-code", "rift-held-out")
    table = REPORTS[name].build(View(store, BY_HAND), protocols)
    assert table.label_heads == ("protocol", "fine-tuned modules", "alpha")
    assert [row.labels[0] for row in table.rows] == [p for p in protocols for _ in range(9)]
    keys = {cell.finetune for cell in REPORTS[name].cells(BY_HAND, protocols)}
    assert {"none", "none-held-out", "rift-held-out-alpha-1", "rift-official-code"} <= keys
    assert len(keys) == 2 + 8 * 3


def test_an_ablation_is_of_protocols():
    """Tables 3 and 4 cannot be of a single control, and say what they can be of."""
    with pytest.raises(UserError, match=r"'bn-only' is a fine-tuning, not a protocol.*rift-held-out"):
        REPORTS["table3"].cells(BY_HAND, ["rift", "bn-only"])


def test_zero_gradients_are_a_note(store):
    """One line has the highest counts under all attacks shown, and tells of records without."""
    write_audit(store)
    none = "zero gradients at up to 0 of 1000 images; zero losses at up to 0 of 1000 images"
    assert audited(store, "rift").notes.count(none) == 1
    for finetune, parts in (("rift", {"zero-gradients": Count(k=7, n=1000)}), ("none", {})):
        rewrite(store, finetune, "pgd10x3", parts=parts)
    assert (
        "zero gradients at up to 7 of 1000 images; zero losses at up to 0 of 1000 images; "
        "zero gradients not counted in PGD records of earlier versions"
    ) in audited(store, "rift").notes


def test_remarks_of_records_are_notes(store):
    """What a record remarks, such as a sign of gradient masking, is printed with every table of it."""
    write_audit(store)
    assert not any("masking" in note for note in audited(store, "rift").notes)
    rewrite(store, "rift", "pgd10x3", remarks=["warning: masking"])
    assert "warning: masking (1 of 6 models)" in audited(store, "rift").notes
    for finetune, k in (("rift", 3), ("none", 4)):
        rewrite(store, finetune, "pgd10x3", remarks=[f"warning: {k} of 9"])
    alike = ["warning: 4 of 9 (2 of 6 models; numbers of the first)"]
    assert [note for note in audited(store, "rift").notes if note.startswith("warning")] == alike
    rewrite(store, "rift", "clean", remarks=["warning: 5 of 9"])
    assert [note for note in audited(store, "rift").notes if note.startswith("warning")] == alike
