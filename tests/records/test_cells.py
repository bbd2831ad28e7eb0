"""Cells: keys, bases and seeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UserError
from benchmark.records.cells import Cell

BASE = Cell("quick", "digits", "resnet18-w8", "pgd-at", "none", 0)
RIFT = Cell("narrow", "cifar10", "wrn-34-1", "pgd-at", "rift", 12)

names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,12}", fullmatch=True)
cells = st.builds(Cell, names, names, names, names, names, st.integers(0, 2**40))


@given(cells)
def test_a_key_reads_back_as_its_cell(cell: Cell) -> None:
    """Parsing the key of any cell gives the cell, with or without slashes around it."""
    assert Cell.parse(cell.key) == cell
    assert Cell.parse(f"/{cell.key}/") == cell


def test_the_key_is_written_out() -> None:
    """The key is the six names with slashes between them."""
    assert RIFT.key == "narrow/cifar10/wrn-34-1/pgd-at/rift/seed12"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "quick/digits/resnet18-w8/pgd-at/rift",
        "quick/digits/resnet18-w8/pgd-at/rift/0",
        "quick/digits/resnet18-w8/pgd-at/rift/seed-1",
        "quick/digits/resnet18-w8/pgd-at/rift/seed0/more",
        "quick//resnet18-w8/pgd-at/rift/seed0",
        "quick/../resnet18-w8/pgd-at/rift/seed0",
        "Quick/digits/resnet18-w8/pgd-at/rift/seed0",
        "quick/digits/resnet 18/pgd-at/rift/seed0",
        "quick/digits/resnet18-w8/pgd-at/rift/seed0\n",
        "quick/digits/resnet18-w8/pgd-at/rift/seed007",  # a second spelling of a folder's name
    ],
)
def test_a_bad_key_is_refused_with_the_form_of_a_good_one(key: str) -> None:
    """What is not a key raises one error that shows the form and an example."""
    with pytest.raises(UserError, match="not a cell key; a key reads SCALE/DATASET/ARCH/METHOD") as got:
        Cell.parse(key)
    assert "for example quick/digits/resnet10-w16/pgd-at/rift/seed0" in str(got.value)


def test_the_base_of_a_cell() -> None:
    """A fine-tuned cell starts from the model of its own seed; a base is its own base."""
    assert BASE.is_base
    assert BASE.base == BASE
    assert not RIFT.is_base
    assert RIFT.base == Cell("narrow", "cifar10", "wrn-34-1", "pgd-at", "none", 12)


@pytest.mark.parametrize(
    ("cell", "stage", "parts", "seed"),
    [
        (BASE, "train", (), 9150171577285772664),
        (BASE, "pgd10x3", (2,), 6587343925516102854),
        (RIFT, "finetune", (), 5596112255221947630),
        (RIFT, "epoch", (3, "x"), 8278035429646860528),
    ],
)
def test_seeds_are_frozen(cell: Cell, stage: str, parts: tuple[object, ...], seed: int) -> None:
    """Seeds are what they were: another derivation voids every number and needs a decision."""
    assert cell.seed_for(stage, *parts) == seed
