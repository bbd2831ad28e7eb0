"""The committed results: records are right, and what is made from them is up to date.

Records of the scale `quick` are not in version control and may be anybody's.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from benchmark.plans.named import OF_ONE_MACHINE, scale
from benchmark.plans.named import SCALES as BUILT_IN
from benchmark.records.cells import FROM
from benchmark.report.bf16 import EMULATED, as_table, read_changes
from benchmark.report.figures import FIGURES
from benchmark.report.tables import REPORTS
from benchmark.report.tables.render import FILES, markdown
from benchmark.submission.examine import examine
from benchmark.submission.expected import Expected
from benchmark.submission.read import read
from invoking import said
from submitting import RESULTS

PICTURES = ("png", "svg", "csv")
KNOWN = {
    "": (
        *("README.md", "published.toml", "croissant.json", "bf16.json", "bf16.md", "bf16-tuning.json"),
        *("leaderboard.md", "leaderboard.json", "leaderboard.csv", "leaderboard.html"),
    ),
    "benchmarks": ("*.json",),
    "checks": ("*",),
    "evidence": ("*.json",),
    "figures": tuple(f"*.{kind}" for kind in PICTURES),
    "scales": ("*.toml",),
    "tables": tuple(f"*.{kind}" for kind in FILES.values()),
}
"""What may be in each folder of the results tree, beside records and what was superseded."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the results tree without scales of one machine and what is made from records."""
    root = tmp_path_factory.mktemp("tree") / "results"
    for folder in (RESULTS / "records").iterdir():
        if folder.name not in OF_ONE_MACHINE:
            shutil.copytree(folder, root / "records" / folder.name)
    if (RESULTS / "scales").is_dir():
        shutil.copytree(RESULTS / "scales", root / "scales")
    return root


@pytest.fixture(scope="module")
def examined(tree):
    """What the tree holds, and what is wrong in it."""
    reading = read([tree])
    own = [scale(str(path)) for path in sorted((tree / "scales").glob("*.toml"))]
    expected = Expected({each.name: each for each in own})
    return reading, examine(reading.entries, (), expected)


def test_records_are_right(examined):
    """Paths are those of contents, specs are today's, hashes and bits fit, and all fits together."""
    reading, found = examined
    assert [problem.line for problem in (*reading.problems, *found.problems)] == []
    assert len(reading.entries) >= 39


def test_nothing_else_is_there():
    """Every file of the results tree is of a kind that is known."""
    unknown = []
    for path in RESULTS.rglob("*"):
        place = path.relative_to(RESULTS)
        if path.is_dir() or place.parts[0] in ("records", "superseded"):
            continue
        patterns = KNOWN.get(place.parent.as_posix() if len(place.parts) > 1 else "", ())
        if not any(path.match(pattern) for pattern in patterns):
            unknown.append(place.as_posix())
    assert unknown == []


def test_the_leaderboard_is_up_to_date():
    """The leaderboard, what was found and the description of the CSV are what the records make."""
    said("leaderboard", "--check", "--results", RESULTS).good()


def test_the_front_page_quotes_what_was_found():
    """The results on the first screen are lines of the generated page, so that no number is typed."""
    page = (RESULTS.parent / "README.md").read_text()
    quoted = page.partition("<!-- from results/README.md -->\n")[2].partition("<!-- end -->")[0]
    found = (RESULTS / "README.md").read_text().splitlines()
    assert quoted and {*quoted.splitlines()} <= {*found}


def test_the_page_of_rivals_counts_as_the_records_do():
    """What docs/posthoc.md says of AutoAttack on MeanSparse is what its record counts."""
    name = "mean-sparse/seed0/autoattack-adaptive-first-100.json"
    (path,) = (RESULTS / "records").glob(f"narrow-from-*/*/*/*/{name}")
    parts = json.loads(path.read_text())["parts"]
    alone, both = parts["square"]["k"], parts["stand-in-apgd-t"]["k"]
    fall = ("none", "one", "two", "three", "four")[alone - both]
    said = " ".join((RESULTS.parent / "docs/posthoc.md").read_text().split())
    assert f"of the {alone} that survive all four attacks through the module, {fall} fall to" in said


def generated(folder: str, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Committed files of a folder without suffix: their stem, command, and what follows it."""
    for path in sorted((RESULTS / folder).glob("*.csv")):
        # The longest: `figure3-official-narrow` is no `figure3` of a scale `official-narrow`.
        name = max((n for n in names if path.stem.startswith(f"{n}-")), key=len, default="")
        rest = path.stem.removeprefix(f"{name}-")
        if not rest.startswith(OF_ONE_MACHINE):
            yield path.stem, name, rest


def made_again(tree: Path, name: str, rest: str) -> None:
    """Make a table or a figure from the records of `tree`, as `rest` of its file's name says."""
    shown, _, protocols = rest.partition(".")
    chosen, _, checkpoints = shown.partition(FROM)
    options = ["--scale", chosen if chosen in BUILT_IN else str(tree / "scales" / f"{chosen}.toml")]
    if checkpoints and not (chosen in BUILT_IN and BUILT_IN[chosen].checkpoints):  # not the scale's own
        options += ["--from-checkpoint", checkpoints.replace("+", ",")]
    if protocols.startswith("seeds-"):
        options += ["--seeds", protocols.removeprefix("seeds-").replace("+", ",")]
    elif protocols:
        options += ["--protocol", protocols]
    places = ["--results", str(tree), "--artifacts", str(tree.parent / "artifacts")]
    said(name, *options, "--collect", *places).good()


TABLES = list(generated("tables", REPORTS))
PLOTS = list(generated("figures", FIGURES))


@pytest.mark.parametrize(("stem", "name", "rest"), TABLES, ids=[stem for stem, *_ in TABLES])
def test_tables_are_up_to_date(tree, stem, name, rest):
    """A table made from the records is, in each format, what is committed."""
    made_again(tree, name, rest)
    for kind in FILES.values():
        file = f"tables/{stem}.{kind}"
        assert (tree / file).read_text() == (RESULTS / file).read_text(), f"{file} is out of date"


@pytest.mark.parametrize(("stem", "name", "rest"), PLOTS, ids=[stem for stem, *_ in PLOTS])
def test_figures_are_up_to_date(tree, monkeypatch, stem, name, rest):
    """The numbers of a figure made from the records are those committed beside its pictures."""
    monkeypatch.setattr("benchmark.report.figures.draw.draw", lambda _picture: {})
    made_again(tree, name, rest)
    file = f"figures/{stem}.csv"
    assert (tree / file).read_text() == (RESULTS / file).read_text(), f"{file} is out of date"
    assert all((RESULTS / f"figures/{stem}.{kind}").is_file() for kind in PICTURES)


@pytest.mark.parametrize("path", list(RESULTS.glob("bf16.json")))
def test_bf16_is_right_and_shown(path):
    """What bf16 changes is of whole test sets, bf16 units and committed code, and is what is shown."""
    measured = read_changes(path.parent)
    assert path.with_suffix(".md").read_text() == markdown(as_table(measured))
    for each in measured:
        if not each.key.startswith(OF_ONE_MACHINE):
            assert (each.evaluation, len(each.runs)) == ("pgd10x3", 3), each.key
            assert (each.provenance.dirty, each.units != EMULATED) == (False, True), each.key


def test_generated_files_have_a_command():
    """No table and no figure is committed that no command makes, and none lacks a format."""
    for stem, name, rest in (*TABLES, *PLOTS):
        assert name, stem
        assert rest.partition(FROM)[0], stem
    there = {path.stem for path in (RESULTS / "tables").iterdir()}
    stems = {stem for stem in there if not any(f"-{name}" in stem for name in OF_ONE_MACHINE)}
    assert stems == {stem for stem, *_ in TABLES}
