"""Tables in the paper's layout, with its numbers beside those on record."""

from dataclasses import replace
from itertools import product

import pytest

from benchmark.errors import UserError
from benchmark.plans.named import scale
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.check.published import published
from benchmark.report.tables import REPORTS
from benchmark.report.tables.beside import beside_paper, printed_in
from benchmark.report.tables.layout import Table
from benchmark.report.tables.render import FORMATS, rendered
from benchmark.report.view import View
from handmade import write_record

PAPER = replace(scale("paper"), seeds=(0, 1))
NARROW = replace(scale("narrow"), evaluations=("clean", "corruptions-15-gen-v2"))


def shown(store: Store, name: str, of=PAPER) -> Table:
    """Table `name` of what is in `store`, in the paper's layout."""
    view = View(store, of)
    return beside_paper(view, REPORTS[name].build(view, REPORTS[name].defaults))


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_records_of_the_papers_own_numbers_agree_with_it(store: Store, name: str) -> None:
    """Every row and difference that the paper prints is there, and where each record is the number
    that it prints, both sides are; the paper truncates two of its averages."""
    for row in printed_in(name, PAPER):
        for seed, (evaluation, value) in product(PAPER.seeds, row.values.items()):
            cell = Cell(PAPER.name, row.dataset, row.arch, row.method, row.finetunes[0], seed)
            write_record(store, cell, evaluation, round(10_000 * value), 10_000, PAPER)
    where = f"Table {name[-1]}"
    printed = [
        value
        for each in (*published().rows, *published().changes)
        if (each.source, each.where) == ("rift", where)
        for value in each.values.values()
    ]
    table = shown(store, name)
    entries = [entry for row in table.rows for entry in row.numbers]
    assert sorted(entry.paper for entry in entries) == sorted(printed)
    for row in table.rows:
        for entry in row.numbers:
            near = 0.0001 if row.labels[0] == "average" else 1e-9
            assert entry.ours.mean == pytest.approx(entry.paper, abs=near), row.labels


def test_a_narrower_network_stands_in_its_place(store: Store) -> None:
    """It and another evaluation for the same column are named; what is not on record is a dash, and a
    dataset without any record is no column. The CSV has the paper's numbers of rows without ours."""
    cell = Cell("narrow", "cifar10", "resnet18-w16", "pgd-at", "none", 0)
    write_record(store, cell, "clean", 6628, 10_000, NARROW)
    text = rendered(shown(store, "table1", NARROW), "markdown")
    assert (
        "| ResNet18 (width 16) / ResNet18 | AT       | 66.28 / 81.46 | — / 73.56 | — / 53.63 |" in text
    )
    assert "- side by side, but not the same number: OOD of ours is OOD (gen-v2); networks" in text
    assert "- without any number, not shown: CIFAR-100, Tiny-ImageNet" in text
    for how in FORMATS:
        assert "81.46" in (said := rendered(shown(store, "table1", NARROW), how)) or "0.8146" in said
        assert ("ResNet34,AT,Std,,,,,,0,,0.8" in said) == (how == "csv") == ("ResNet34" in said)


def test_what_is_at_another_alpha_is_named(store: Store) -> None:
    """Of Table 3 all but RiFT, whose alpha the paper leaves out; Table 1 has nothing to say."""
    (note, *_) = shown(store, "table3").notes
    assert note.startswith("side by side, but not the same number: All layers, Last layer, Robust-cr")
    assert not [each for each in shown(store, "table1").notes if "alpha 1" in each]


@pytest.mark.parametrize(
    ("name", "of", "said"),
    [("audit", "narrow", "table1 to table4"), ("table1", "quick", "`--scale narrow` is")],
)
def test_what_the_paper_does_not_have_is_refused(name: str, of: str, said: str) -> None:
    """A table or datasets without a number of the paper: one line says which have some."""
    with pytest.raises(UserError, match=said):
        printed_in(name, scale(of))
