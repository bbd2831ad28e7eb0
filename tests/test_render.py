"""Rendering: percents, and whole tables against files that were read and found right."""

import csv
import io
import re
from pathlib import Path

import pandas as pd
import pytest
from handmade import BY_HAND
from pytest_regressions.file_regression import FileRegressionFixture

from benchmark.render import FILES, FORMATS, MISSING, percent
from benchmark.store import Store
from benchmark.tables import TABLES, Number, Reader, Row, Table

GOLDENS = Path(__file__).parent / "goldens"
SUFFIXES = {"text": "txt"} | FILES


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("how", FORMATS)
def test_rendered_tables(
    tables_by_hand: dict[str, Table], file_regression: FileRegressionFixture, name: str, how: str
) -> None:
    """Each table in each format is, to the letter, what is in the goldens."""
    file_regression.check(
        FORMATS[how](tables_by_hand[name]),
        fullpath=GOLDENS / f"{name}.{SUFFIXES[how]}",
        encoding="utf-8",
        newline="\n",
    )


def test_an_empty_table(store: Store, file_regression: FileRegressionFixture) -> None:
    """A table without any record shows its labels, dashes and notes."""
    table = TABLES["table1"].build(Reader(store, BY_HAND))
    file_regression.check(
        FORMATS["text"](table), fullpath=GOLDENS / "table1-empty.txt", encoding="utf-8", newline="\n"
    )


@pytest.mark.parametrize(
    ("values", "signed", "shown"),
    [
        (None, False, MISSING),
        (None, True, MISSING),
        ((0.5,), False, "50.00"),
        ((0.5,), True, "+50.00"),
        ((-0.005,), True, "-0.50"),
        ((0.0,), False, "0.00"),
        ((0.0,), True, "+0.00"),
        ((1.0,), False, "100.00"),
        ((0.123456,), False, "12.35"),
        ((0.123449,), False, "12.34"),
        ((0.982, 0.982), False, "98.20 ± 0.00"),
        ((0.98, 0.99, 1.0), False, "99.00 ± 1.00"),
        ((0.002, 0.004, 0.006), True, "+0.40 ± 0.20"),
        ((-0.01, 0.01), True, "+0.00 ± 1.41"),
    ],
)
def test_percent(values: tuple[float, ...] | None, signed: bool, shown: str) -> None:
    """Two decimals, a sign for differences only, the spread for several seeds, a dash for nothing."""
    assert percent(None if values is None else Number(values), signed) == shown


@pytest.mark.parametrize("values", [(-0.00001,), (-1e-17,), (0.91 - 0.9, 0.9 - 0.91 - 1e-16)])
def test_percent_has_no_negative_zero(values: tuple[float, ...]) -> None:
    """A difference that rounds to zero is not shown as negative."""
    assert percent(Number(values), signed=True).startswith("+0.00")


def test_text_leaves_out_repeated_labels_only(tables_by_hand: dict[str, Table]) -> None:
    """In text a label stands once per block; in Markdown and CSV every row can stand alone."""
    table = tables_by_hand["table1"]
    assert FORMATS["text"](table).count("Digits  ") == 1
    assert FORMATS["markdown"](table).count("| Digits") == len(table.rows)


def test_text_is_aligned(tables_by_hand: dict[str, Table]) -> None:
    """Every column of the text starts or ends where its head does, and no line has trailing spaces."""
    table = tables_by_hand["table3"]
    lines = FORMATS["text"](table).splitlines()
    rules = [line for line in lines if re.fullmatch(r"-+( +-+)+", line)]
    assert len(rules) == 2
    assert rules[0] == rules[1]
    head = lines[lines.index(rules[0]) - 1]
    ends = [found.end() for found in re.finditer(r"-+", rules[0])]
    for column, end in zip(table.columns, ends[2:], strict=True):
        assert head[:end].endswith(column)
    assert not [line for line in lines if line != line.rstrip()]


def test_csv_reads_back(tables_by_hand: dict[str, Table]) -> None:
    """The CSV has one line per number with fractions, and its sources are keys of cells."""
    table = tables_by_hand["table1"]
    read = pd.read_csv(io.StringIO(FORMATS["csv"](table)))
    assert list(read.columns) == [
        *("dataset", "network", "method", "column", "mean", "sd", "seeds", "sources")
    ]
    assert len(read) == len(table.rows) * len(table.columns)
    first = read.iloc[0]
    assert (first["mean"], first["sd"], first["seeds"]) == (0.91, 0.01, 3)
    assert first["sources"].split() == [
        f"by-hand/digits/resnet18-w8/pgd-at/none/seed{seed}" for seed in (0, 1, 2)
    ]


def test_csv_of_missing_numbers(store: Store) -> None:
    """A missing number has an empty mean and spread, no seeds and no sources."""
    table = TABLES["table1"].build(Reader(store, BY_HAND))
    for line in csv.DictReader(io.StringIO(FORMATS["csv"](table))):
        assert (line["mean"], line["sd"], line["seeds"], line["sources"]) == ("", "", "0", "")


def test_latex_is_made_of_what_latex_knows(tables_by_hand: dict[str, Table], store: Store) -> None:
    """No sign outside ASCII is left in the tabular, and environments and braces are balanced."""
    empty = TABLES["table1"].build(Reader(store, BY_HAND))
    for table in (*tables_by_hand.values(), empty):
        tex = FORMATS["latex"](table)
        body = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
        assert body.isascii()
        assert body.count(r"\begin{tabular}") == body.count(r"\end{tabular}") == 1
        assert body.count("{") == body.count("}")
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len({line.count("&") for line in rows}) == 1


def test_latex_puts_numbers_to_the_right(tables_by_hand: dict[str, Table]) -> None:
    """Labels are set flush left and numbers flush right, as in the text."""
    assert r"\begin{tabular}{lllrrr}" in FORMATS["latex"](tables_by_hand["table1"])
    assert r"\begin{tabular}{llrrr}" in FORMATS["latex"](tables_by_hand["table3"])


def test_latex_escapes_labels() -> None:
    """Characters that mean something to LaTeX are escaped in labels."""
    table = Table("t", "t", ("a_b",), ("c%",), (Row(("x & y_z",), (Number((0.5,)),)),))
    tex = FORMATS["latex"](table)
    assert r"x \& y\_z" in tex
    assert r"c\%" in tex
    assert r"a\_b" in tex
