"""The published numbers: that they are the paper's, fit together, and are refused where they do not."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from benchmark.algorithm.official_code import README_MODULES, readme_module
from benchmark.checkpoints.registry import registry
from benchmark.evaluation import EVALUATIONS
from benchmark.records.checkout import shipped
from benchmark.report.check.published import published
from benchmark.report.check.published_schema import OTHERS_EVALUATIONS, PrintedChange, PublishedRow
from invoking import refused

COLUMNS = ("clean", "corruptions-15", "pgd10x3")
CIFAR10, CIFAR100, TINY = "cifar10", "cifar100", "tiny-imagenet"

# Std, OOD and Adv in percent, typed from the paper by hand.
TABLE_1 = {
    (CIFAR10, "resnet18"): (("81.46", "73.56", "53.63"), ("83.44", "75.69", "53.65")),
    (CIFAR10, "resnet34"): (("84.23", "75.37", "55.31"), ("85.41", "77.15", "55.34")),
    (CIFAR10, "wrn-34-10"): (("87.41", "78.75", "55.40"), ("87.89", "79.31", "55.41")),
    (CIFAR100, "resnet18"): (("57.10", "46.43", "30.15"), ("58.74", "48.06", "30.17")),
    (CIFAR100, "resnet34"): (("58.67", "48.24", "30.50"), ("60.88", "49.97", "30.58")),
    (CIFAR100, "wrn-34-10"): (("62.35", "50.61", "31.66"), ("64.56", "52.69", "31.64")),
    (TINY, "resnet18"): (("49.10", "27.68", "23.28"), ("50.61", "28.73", "23.34")),
    (TINY, "resnet34"): (("50.96", "27.91", "24.27"), ("52.54", "30.07", "24.37")),
    (TINY, "wrn-34-10"): (("52.78", "31.81", "26.07"), ("55.31", "33.86", "26.17")),
}
TABLE_2 = {
    (CIFAR10, "trades"): (("81.54", "73.42", "53.31"), ("81.87", "74.09", "53.30")),
    (CIFAR10, "mart"): (("76.77", "68.62", "56.90"), ("77.14", "69.41", "56.92")),
    (CIFAR10, "awp"): (("78.40", "70.48", "53.83"), ("78.79", "71.12", "53.84")),
    (CIFAR10, "score"): (("84.20", "75.82", "54.59"), ("85.65", "77.37", "54.62")),
    (CIFAR100, "trades"): (("57.44", "47.23", "30.20"), ("57.78", "47.52", "30.22")),
    (CIFAR100, "mart"): (("51.46", "42.07", "31.47"), ("52.42", "43.35", "31.48")),
    (CIFAR100, "awp"): (("52.85", "43.10", "31.00"), ("54.89", "45.08", "31.05")),
    (CIFAR100, "score"): (("54.83", "45.39", "29.49"), ("57.63", "47.77", "29.50")),
}
TABLE_3 = {
    "all-layers": ("83.56", "75.48", "52.66"),
    "last-layer": ("83.35", "75.16", "52.75"),
    "robust-critical": ("83.36", "75.42", "52.48"),
    "rift": ("83.44", "75.69", "53.65"),
}
TABLE_4 = {
    "rift": ("83.44", "75.69", "53.65"),
    "top-2": ("83.41", "75.61", "52.47"),
    "top-3": ("83.59", "75.77", "52.22"),
    "top-5": ("83.70", "75.82", "52.35"),
}


@pytest.fixture(scope="module")
def rows():
    """The rows of the shipped file by id."""
    return {row.id: row for row in published().rows}


def fractions(percents: Sequence[str]) -> dict[str, float]:
    """Three percents as a row's values."""
    return {name: float(Decimal(p) / 100) for name, p in zip(COLUMNS, percents, strict=True)}


def of_paper(where: str) -> list[PublishedRow]:
    """The rows of one table of the paper."""
    return [row for row in published().rows if row.source == "rift" and row.where == where]


def recomputed(rows: dict[str, PublishedRow], change: PrintedChange, name: str) -> Decimal:
    """The change in the column `name`, in points, from the rows `after` and `before`."""

    def mean(ids: Sequence[str]) -> Decimal:
        return sum(Decimal(str(rows[i].values[name])) for i in ids) / Decimal(len(ids))

    return 100 * (mean(change.after) - mean(change.before))


def test_tables_1_and_2_are_those_of_the_paper():
    """Each pair of Tables 1 and 2 is there with three columns, and nothing else is."""
    for where, table, key in (("Table 1", TABLE_1, "arch"), ("Table 2", TABLE_2, "method")):
        found = {
            (row.dataset, getattr(row, key), row.finetunes[0]): row.values for row in of_paper(where)
        }
        expected = {
            (*place, finetune): fractions(values)
            for place, pair in table.items()
            for finetune, values in zip(("none", "rift"), pair, strict=True)
        }
        assert found == expected
    assert {row.method for row in of_paper("Table 1")} == {"pgd-at"}
    assert {row.arch for row in of_paper("Table 2")} == {"resnet18"}


def test_tables_3_and_4_are_those_of_the_paper():
    """Each row of Tables 3 and 4 is there, of ResNet18 on CIFAR-10, at either alpha but for RiFT's."""
    for where, table in (("Table 3", TABLE_3), ("Table 4", TABLE_4)):
        rows = of_paper(where)
        found = {row.finetunes[0].removesuffix("-alpha-1"): row.values for row in rows}
        assert found == {name: fractions(values) for name, values in table.items()}
        assert {(row.dataset, row.arch, row.method) for row in rows} == {
            (CIFAR10, "resnet18", "pgd-at")
        }
        for row in rows:
            name = row.finetunes[0].removesuffix("-alpha-1")
            assert name == "rift" or row.finetunes == (f"{name}-alpha-1", name)


def test_printed_differences_follow_from_the_rows(rows):
    """All 60 printed differences and averages come out to the last digit, but for two averages."""
    assert len(published().changes) * len(COLUMNS) == 60
    off = {}
    for change in published().changes:
        for name, value in change.values.items():
            printed, correct = Decimal(str(value)) * 100, recomputed(rows, change, name)
            if abs(correct - printed) > Decimal("0.005"):
                off[change.id, name] = (str(printed.normalize()), f"{correct:.4f}")
    assert off == {
        ("table1/cifar100/average/difference", "pgd10x3"): ("0.02", "0.0267"),
        ("table1/tiny-imagenet/average/difference", "pgd10x3"): ("0.08", "0.0867"),
    }
    notes = " ".join(note.text for note in published().notes if "Table 1" in note.where)
    assert all(f"printed as +{p}" in notes and correct in notes for p, correct in off.values())


def changes_of(prefix: str, name: str) -> list[Decimal]:
    """The printed changes of pairs of rows under `prefix`, in points."""
    return [
        Decimal(str(change.values[name])) * 100
        for change in published().changes
        if change.id.startswith(prefix) and len(change.after) == 1
    ]


def test_claims_quote_the_tables(rows):
    """The numbers in the words of the claims are those of the rows."""
    quoted = {claim.id: claim.numbers or "" for claim in published().claims}
    for claim, prefix in (("C1", "table1/"), ("C2", "table2/")):
        for name, label in (("clean", "Std "), ("corruptions-15", "OOD "), ("pgd10x3", "Adv ")):
            values = changes_of(prefix, name)
            assert f"{label}{min(values):+.2f} to {max(values):+.2f}" in quoted[claim]
            assert f"({sum(v > 0 for v in values)} of {len(values)} up)" in quoted[claim]
    base = rows["table1/cifar10/resnet18/none"].values
    for claim, where in (("C4", "Table 3"), ("C6", "Table 4")):
        for row in of_paper(where):
            assert f"{100 * (row.values['pgd10x3'] - base['pgd10x3']):+.2f}" in quoted[claim]
    for dataset in (CIFAR10, CIFAR100, TINY):
        gains = changes_of(f"table1/{dataset}/", "clean")
        assert ", ".join(f"{gain:+.2f}" for gain in gains) in quoted["C10"]


def test_modules_are_those_of_the_readme():
    """The modules named by the released code are the ones that its protocol fine-tunes."""
    assert len(published().modules) == len(README_MODULES)
    for named in published().modules:
        assert readme_module(named.dataset, named.arch) == named.module


def test_criticality_is_that_of_figure_3():
    """The three modules whose values the paper prints, and the least critical one is the README's."""
    found = {m.module: (m.mrc, m.accuracy_drop, m.role) for m in published().criticality}
    assert found == {
        "layer2.1.conv2": (0.09, 0.0286, "non-robust-critical"),
        "layer4.1.conv1": (12.94, 0.5303, "robust-critical"),
        "layer4.0.conv2": (None, 0.5305, None),
    }
    assert readme_module(CIFAR10, "resnet18") == "layer2.1.conv2"
    alpha = published().alpha
    assert (alpha.low, alpha.high, alpha.lr) == (0.6, 0.9, 0.001)


def test_robustbench_rows_agree_with_the_registry():
    """A row of given weights agrees with the entry of the registry."""
    of_weights = [row for row in published().rows if row.checkpoint is not None]
    entries = registry(shipped("checkpoints.toml"))
    assert of_weights
    for row in of_weights:
        entry = entries[row.checkpoint or ""]
        assert (entry.dataset, entry.eps, entry.extra_data) == (row.dataset, row.eps, row.extra_data)
        shared = set(entry.published) & set(row.values)
        assert shared == {"clean", "autoattack"}
        assert {name: entry.published[name] for name in shared} == {n: row.values[n] for n in shared}


def test_only_the_same_attack_within_the_same_radius_is_comparable(rows):
    """TRADES attacked within 0.031 leaves clean accuracy, and others' PGD-20 nothing to compare."""
    trades = rows["robustbench/cifar10/Zhang2019Theoretically"]
    assert set(trades.values) == {"clean", "pgd20", "autoattack"}
    assert set(trades.comparable) == {"clean"}
    pgd_at = rows["dat/cifar10/resnet18/pgd-at"]
    assert set(pgd_at.values) - set(pgd_at.comparable) == {"pgd20", "pgd100"}
    assert not set(OTHERS_EVALUATIONS) & set(EVALUATIONS)


def test_rows_of_other_methods_are_told_apart(rows):
    """One id is TRADES-AWP and AT-AWP; TRADES with averaged weights is no method of the suite."""
    assert rows["robustbench/cifar10/Wu2020Adversarial"].method == "trades-awp"
    assert rows["robustbench/cifar100/Wu2020Adversarial"].method == "awp"
    assert not rows["robustbench/cifar10/Rebuffi2021Fixing_R18_ddpm"].ours
    assert all(row.ours for row in rows.values() if row.source == "rift")


SMALL = """
schema_version = 1
criticality = []
modules = []
claims = []
notes = []

[sources.paper]
title = "A paper"
url = "https://example.org"
kind = "paper"

[alpha]
source = "paper"
where = "Section 1"
low = 0.6
high = 0.9
lr = 0.001

[[groups]]
source = "paper"
where = "Table 1"
dataset = "cifar10"
arch = "resnet18"
method = "pgd-at"
label = "AT"
finetunes = ["none"]
protocol = "as usual"
tolerance = "seeds"
rows = [
  { id = "before", values = { clean = 0.81 } },
  { id = "after", finetunes = ["rift"], values = { clean = 0.83 } },
]
changes = [{ id = "change", after = ["after"], before = ["before"], values = { clean = 0.02 } }]
"""


def test_what_a_group_says_holds_for_its_rows(tmp_path):
    """A row has the fields of its group but for those that it says anew."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    small = published(path)
    before, after = small.rows
    assert (before.arch, before.finetunes) == ("resnet18", ("none",))
    assert (before.seeds, before.eps) == (None, "8/255")
    assert (after.arch, after.finetunes) == ("resnet18", ("rift",))
    assert (small.changes[0].source, small.changes[0].where) == ("paper", "Table 1")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("clean = 0.83", "clean = 83.44", ["rows 'after'", "less than or equal to 1"]),
        ("clean = 0.83", 'clean = "0.83"', ["rows 'after'", "valid number"]),
        ("clean = 0.83", "clean = nan", ["rows 'after'", "finite"]),
        ("clean = 0.83", "pgd7 = 0.83", ["rows 'after'", "unknown evaluation 'pgd7'"]),
        ("clean = 0.02", "clean = 2.0", ["changes 'change'", "less than or equal to 1"]),
        ("clean = 0.02", "pgd10x3 = 0.02", ["change 'change'", "'after' has not"]),
        ('["rift"]', '["lift"]', ["rows 'after'", "unknown fine-tuning 'lift'"]),
        ('["rift"]', "[]", ["rows 'after'", "finetunes"]),
        ('"cifar10"', '"cifar-10"', ["rows 'before'", "unknown dataset 'cifar-10'"]),
        ('"resnet18"', '"resnet50"', ["rows 'before'", "'resnet50'", "'other:...'"]),
        ('"resnet18"', '"other:"', ["rows 'before'", "arch"]),
        ('"pgd-at"', '"at"', ["rows 'before'", "unknown AT method 'at'"]),
        ('id = "after"', 'id = "before"', ["row 'before' stands there twice"]),
        ('after = ["after"]', 'after = ["later"]', ["change 'change'", "'later', which is no row"]),
        ('source = "paper"\nwhere = "Table 1"', 'source = "x"\nwhere = "T"', ["unknown source 'x'"]),
        ('tolerance = "seeds"', 'tolerance = "close"', ["rows 'before'", "tolerance"]),
        ('tolerance = "seeds"', 'tolerance = "same-weights"', ["rows 'before'", "'checkpoint'"]),
        ('label = "AT"', "", ["rows 'before' label", "required"]),
        ('label = "AT"', 'label = "AT"\nseed = 3', ["rows 'before' seed", "not permitted"]),
        ('label = "AT"', 'label = "AT"\neps = "8"', ["rows 'before' eps"]),
        ('label = "AT"', 'label = "AT"\nseeds = 0', ["rows 'before' seeds"]),
        ("low = 0.6", "low = 0.95", ["alpha", "above high"]),
        ('kind = "paper"', 'kind = "rumour"', ["sources paper kind"]),
        ("https://", "ftp://", ["sources paper url"]),
        ("schema_version = 1", "schema_version = 2", ["schema_version"]),
        ("schema_version = 1", "schema_version 1", ["is not TOML"]),
        ("claims = []", "", ["claims", "required"]),
        ("[[groups]]", "[groups]", ["groups", "[[groups]]"]),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, old, new, said):
    """What does not fit is named with file, entry and reason."""
    path = tmp_path / "small.toml"
    assert old in SMALL
    path.write_text(SMALL.replace(old, new, 1))
    message = refused(lambda: published(path))
    assert all(part in message for part in (str(path), *said)), message


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    """A file that is not there is named."""
    refused(lambda: published(tmp_path / "nowhere.toml"), r"cannot read .*nowhere\.toml")
