"""Rendering: percents, and whole tables against files that were read and found right."""

import dataclasses
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_regressions.file_regression import FileRegressionFixture

from benchmark.report.estimates import Estimate
from benchmark.report.intervals import Interval, PValues
from benchmark.report.tables import REPORTS
from benchmark.report.tables.audit import audit
from benchmark.report.tables.layout import DEFAULT_PROTOCOLS, Row, Table, brief
from benchmark.report.tables.render import FILES, FORMATS, MISSING, entry, rendered, summary
from benchmark.report.view import View
from handmade import AUDIT_BY_HAND, BY_HAND, cell_at, store_in, write_audit, write_record

GOLDENS = Path(__file__).parents[1] / "goldens"
SUFFIXES = {"text": "txt"} | FILES


@pytest.fixture(scope="module")
def audit_by_hand(tmp_path_factory):
    """The audit of `handmade.AUDIT`, with one Adv of `random-layer` missing."""
    store = store_in(tmp_path_factory.mktemp("audit"))
    write_audit(store)
    store.record_path(cell_at("random-layer", 1, scale=AUDIT_BY_HAND), "pgd10x3").unlink()
    return audit(View(store, AUDIT_BY_HAND))


@pytest.fixture
def empty(store):
    """Table 1 without any record."""
    return REPORTS["table1"].build(View(store, BY_HAND), DEFAULT_PROTOCOLS)


def check(file_regression: FileRegressionFixture, text: str, name: str) -> None:
    """Hold `text` against the golden called `name`, to the letter."""
    file_regression.check(text, fullpath=GOLDENS / name, encoding="utf-8", newline="\n")


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "posthoc"])
@pytest.mark.parametrize("how", FORMATS)
def test_rendered_tables(tables_by_hand, audit_by_hand, file_regression, name, how):
    """Each table in each format is, to the letter, what is in the goldens; in text with all notes."""
    table = audit_by_hand if name == "audit" else tables_by_hand[name]
    check(file_regression, rendered(table, how, every_note=how == "text"), f"{name}.{SUFFIXES[how]}")


def test_a_table_of_one_seed(written_by_hand, file_regression):
    """Without a spread, with intervals over images and a note that says so."""
    view = View(written_by_hand, dataclasses.replace(BY_HAND, seeds=(0,)))
    table = REPORTS["table1"].build(view, DEFAULT_PROTOCOLS)
    check(file_regression, rendered(table, "text", every_note=True), "table1-one-seed.txt")


def test_an_empty_table(empty, file_regression):
    """A table without any record shows its heads, how many rows it lacks, and its first notes."""
    check(file_regression, rendered(empty, "text"), "table1-empty.txt")


@pytest.mark.parametrize(
    ("number", "signed", "shown"),
    [
        (None, False, MISSING),
        (None, True, MISSING),
        (Estimate((0.5,)), False, "50.00"),
        (Estimate((0.5,)), True, "+50.00"),
        (Estimate((-0.005,)), True, "-0.50"),
        (Estimate((0.0,)), False, "0.00"),
        (Estimate((0.0,)), True, "+0.00"),
        (Estimate((1.0,)), False, "100.00"),
        (Estimate((0.123456,)), False, "12.35"),
        (Estimate((0.123449,)), False, "12.34"),
        (Estimate((0.982, 0.982)), False, "98.20 ± 0.00"),
        (Estimate((0.98, 0.99, 1.0)), False, "99.00 ± 1.00"),
        (Estimate((0.002, 0.004, 0.006)), True, "+0.40 ± 0.20"),
        (Estimate((-0.01, 0.01)), True, "+0.00 ± 1.41"),
        (Estimate((-0.00001,)), True, "+0.00"),  # no negative zero
        (Estimate((-1e-17,)), True, "+0.00"),
        (Estimate((0.91 - 0.9, 0.9 - 0.91 - 1e-16)), True, "+0.00 ± 1.41"),
        (Estimate((0.5,), Interval(0.25, 0.75)), False, "50.0 [25.0, 75.0]"),
        (Estimate((0.5,), Interval(0.25, 0.75)), True, "+50.00 [+25.00, +75.00]"),
        (Estimate((0.4, 0.6), Interval(0.25, 0.75)), False, "50.00 ± 14.14"),
        (Interval(-0.002, 0.028), False, "[-0.20, +2.80]"),
        (Interval(-0.002, 0.028), True, "[-0.20, +2.80]"),
        (Interval(0.0, 0.0), True, "[+0.00, +0.00]"),
        (Interval(-0.00001, 0.00004), True, "[+0.00, +0.00]"),
        (Interval(-0.123456, -0.1), True, "[-12.35, -10.00]"),
        (PValues((0.03125, 1.0, 0.5)), False, "0.031 1.000 0.500"),
        (PValues((0.00099, 0.001, 0.0)), False, "<0.001 0.001 <0.001"),
        (PValues((0.0494,)), False, "0.049"),
    ],
)
def test_entries(number, signed, shown):
    """Percents have the spread of several seeds or the interval of one, accuracies with that a decimal
    less; differences and intervals alone have a sign; p-values that would be nothing are bounded."""
    assert entry(number, signed) == shown


SEVERAL = Table(
    "t",
    "Table 7: title",
    ("of", "model"),
    ("Std", "Adv"),
    (
        Row(("a", "AT"), (Estimate((0.5, 0.7), Interval(0.0, 1.0)), None)),
        Row(("a", "RiFT"), (Estimate((0.8, 0.8)), Estimate((0.5,))), better=(True, False)),
        Row(("a", "change"), (None, None), signed=True, ends_block=True),
        Row(("b", "AT"), (None, None), ends_block=True),
        Row(("[c", "images"), (Interval(-0.1, 0.1), PValues((0.0001,)))),
    ),
    ("note 1", "note 2"),
)


def test_every_row_is_one_line_in_text():
    """What is better stands behind a star; rows without a number are counted; blocks keep their end."""
    assert rendered(SEVERAL, "text").splitlines() == [
        "Table 7: title",
        "",
        "of    model                 Std     Adv",
        "----  -------  ----------------  ------",
        "a     AT          60.00 ± 14.14       —",
        "      RiFT        *80.00 ± 0.00   50.00",
        "",
        "[c    images   [-10.00, +10.00]  <0.001",
        "----  -------  ----------------  ------",
        "  rows without any number, not shown: 2; `--dry-run` lists what is missing",
        "  note 1",
        "  note 2",
    ]


def test_every_row_stands_alone_in_markdown():
    """So that rows can be sorted; what is better is bold."""
    lines = rendered(SEVERAL, "markdown").splitlines()[4:-4]
    assert [[part.strip() for part in line.split("|")[1:-1]] for line in lines] == [
        ["a", "AT", "60.00 ± 14.14", "—"],
        ["a", "RiFT", "**80.00 ± 0.00**", "50.00"],
        ["[c", "images", "[-10.00, +10.00]", "<0.001"],
    ]
    title = rendered(replace(SEVERAL, title="at its alpha* (of one)"), "markdown").splitlines()[0]
    assert title == r"**at its alpha\* (of one)**"


def test_latex_keeps_caption_label_and_notes():
    """Inside the float; LaTeX numbers the caption, and no bracket follows a line break, whose optional
    argument it would be."""
    tex = rendered(SEVERAL, "latex")
    body = tex.partition(r"\midrule")[2].partition(r"\bottomrule")[0].splitlines()[1:]
    assert body == [
        r"{}a & AT & 60.00 $\pm$ 14.14 & \textemdash{} \\",
        r"{} & RiFT & \textbf{80.00 $\pm$ 0.00} & 50.00 \\",
        r"\addlinespace",
        r"{}[c & images & [$-$10.00, +10.00] & $<$0.001 \\",
    ]
    assert "\\caption{title}\n\\label{tab:t}\n" in tex
    notes = tex.partition(r"\begin{tablenotes}")[2].partition(r"\end{tablenotes}")[0]
    assert r"\item {}note 2" in notes


def test_six_notes_are_shown():
    """The first five and how many there are besides; all if asked for, and the CSV has none."""
    table = replace(SEVERAL, rows=SEVERAL.rows[:2], notes=tuple(f"note {i}" for i in range(9)))
    shown = rendered(table, "markdown").splitlines()[-6:]
    assert shown == [*(f"- note {i}" for i in range(5)), "- 4 more notes: --notes prints all"]
    assert brief(table, every_note=True) == table
    assert "note" not in rendered(table, "csv")
    exactly = replace(table, notes=table.notes[:6])
    assert brief(exactly) == exactly


def test_a_record_in_one_line(store):
    """Its accuracy, the 95 % interval over images (by hand for 1 of 4) and the counts."""
    record = write_record(store, cell_at(), "clean", 1, 4)
    z2 = 1.959963984540054**2
    centre, half = 0.25 + z2 / 8, (z2 * (0.25 * 0.75 / 4 + z2 / 64)) ** 0.5
    low, high = (100 * end / (1 + z2 / 4) for end in (centre - half, centre + half))
    assert summary(store, record) == f"clean  25.00 % [{low:.2f}, {high:.2f}] (1 of 4)"


def test_long_heads_are_broken_in_text():
    """A head longer than its numbers and than 17 signs takes two lines, and nothing else changes."""
    heads = ("Std", "Adv (AutoAttack, first 100)")
    rows = tuple(Row((name,), (Estimate((0.5,)),) * 2, ends_block=True) for name in ("a", "b"))
    lines = FORMATS["text"](Table("t", "title", ("model",), heads, rows, ("note",))).splitlines()
    assert lines == [
        "title",
        "",
        "model      Std    Adv (AutoAttack,",
        "                        first 100)",
        "-------  -----  ------------------",
        "a        50.00               50.00",
        "",
        "b        50.00               50.00",
        "-------  -----  ------------------",
        "  note",
    ]


def test_latex_heads_are_as_wide_as_what_is_better():
    """A bold number of 23 signs leaves a head of 21 on one line."""
    rows = (Row(("a",), (Estimate((0.5,), Interval(0.25, 0.75)),), signed=True, better=(True,)),)
    tex = FORMATS["latex"](Table("t", "title", ("model",), ("Adv (AutoAttack, 100)",), rows))
    assert r"\shortstack{Adv (AutoAttack, 100)}" in tex


def test_csv_of_intervals_and_p_values():
    """Ends are fractions, of a number or in a row of their own; tables of tests have one p per seed."""
    numbers = Row(("a", "n"), (Estimate((0.25, 0.75), Interval(0.0, 1.0), "seeds", ("x", "y")), None))
    compared = Row(("a", "c"), (Interval(-0.1, 0.2), PValues((0.5, 1e-9))))
    table = Table("t", "t", ("of", "what"), ("c", "d"), (numbers, compared))
    assert FORMATS["csv"](table).splitlines() == [
        "of,what,column,mean,sd,low,high,over,seeds,sources,p",
        "a,n,c,0.5,0.3535533906,0.0,1.0,seeds,2,x y,",
        "a,n,d,,,,,,0,,",
        "a,c,c,,,-0.1,0.2,,,,",
        "a,c,d,,,,,,2,,0.5 1e-09",
    ]
    assert FORMATS["csv"](Table("t", "t", ("of", "what"), ("c", "d"), (numbers,))).splitlines() == [
        "of,what,column,mean,sd,low,high,over,seeds,sources",
        "a,n,c,0.5,0.3535533906,0.0,1.0,seeds,2,x y",
        "a,n,d,,,,,,0,",
    ]


def test_latex_is_made_of_what_latex_knows(tables_by_hand, audit_by_hand, empty):
    """No sign outside ASCII is left, and environments, braces and columns are balanced."""
    for table in (*tables_by_hand.values(), audit_by_hand, empty):
        tex = rendered(table, "latex", every_note=True)
        assert tex.isascii()
        assert tex.count("{") == tex.count("}")
        for kind in ("table", "tabular", "threeparttable", "tablenotes", "adjustbox"):
            assert tex.count(rf"\begin{{{kind}}}") == tex.count(rf"\end{{{kind}}}") == 1
        rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
        assert len({line.count("&") for line in rows}) == 1


def has_tex() -> bool:
    """Whether there is TeX with the packages that a table names."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    asked = ["kpsewhich", "adjustbox.sty", "threeparttable.sty", "booktabs.sty"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_tex(), reason="no TeX with the packages here")
def test_latex_compiles_without_an_overfull_box(tables_by_hand, audit_by_hand, empty, tmp_path):
    """In a column of the usual width, with all notes, those of hostile text included."""
    hostile = replace(SEVERAL, title="a_b #1 \\x {^~} <&>", notes=("% --notes `$x$` [a] * ~", "x" * 30))
    tables = [*tables_by_hand.values(), audit_by_hand, empty, hostile]
    floats = [rendered(table, "latex", every_note=True) for table in tables]
    packages = r"\documentclass{article}\usepackage{adjustbox,booktabs,threeparttable}"
    source = "\n".join([packages, r"\begin{document}", *floats, r"\end{document}", ""])
    (tmp_path / "all.tex").write_text(source)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-2000:]
    assert not re.findall(r"Overfull.*|Float too large.*", answer.stdout)


def test_latex_escapes_labels():
    """Characters that mean something to LaTeX are escaped in labels, title and notes."""
    rows = (Row(("x & y_z",), (Estimate((0.5,)),)),)
    table = Table("t", "t #1", ("a_b",), ("c%",), rows, ("--notes 5 % {^~} < \\x",))
    tex = FORMATS["latex"](table)
    assert r"x \& y\_z" in tex
    assert r"c\%" in tex
    assert r"a\_b" in tex
    assert r"\caption{t \#1}" in tex
    escaped = r"-{}-notes 5 \% \{\textasciicircum{}\textasciitilde{}\} $<$ \textbackslash{}x"
    assert escaped in tex
