"""What a person asks the command line: its version, its help, names to complete, all about one cell."""

import json
import subprocess
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.plans.named import SCALES, scale
from benchmark.plans.plan import Plan
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.tables import REPORTS
from handmade import BY_HAND, cell_at, record_and_bits, write_making
from invoking import said
from submitting import RESULTS

KEY = "narrow/cifar10/resnet18-w16/pgd-at/rift/seed0"
OWN = "own/cifar10/resnet18-w16/mine/none/seed0"


def test_it_knows_its_version():
    """`--version` needs no command."""
    assert f"rift-benchmark {version('rift-benchmark')}," in said("--version").good().stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ta", {"table1", "table2", "table3", "table4"}),
        ("table1 --scale n", {"narrow"}),
        ("run --evaluations cl", {"clean"}),
    ],
)
def test_the_shell_completes(words, wanted):
    """Commands, scales and evaluations are completed from what was begun."""
    line = f"rift-benchmark {words}"
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    asked["_RIFT_BENCHMARK_COMPLETE"] = "complete_bash"
    answer = CliRunner().invoke(app, prog_name="rift-benchmark", env=asked)
    assert set(answer.stdout.split()) == wanted


@pytest.mark.parametrize("name", ["status", "figure1", "run", "evidence", "evaluate", "bf16", *REPORTS])
def test_help_speaks_of_what_the_command_does(name):
    """Only the commands that write tables say when a table is printed and not written."""
    shown = " ".join(said(name, "--help").good().stdout.split())
    assert ("printed, not written" in shown) == (name in REPORTS)


@pytest.mark.parametrize(("flag", "place"), [("--seeds=3", -1), ("--arch=wrn-34-1", 2)])
def test_status_is_of_what_its_flags_name(flag: str, place: int) -> None:
    """Cells on record of other seeds and networks are left out, too."""
    lines = said("status", "--scale", "narrow", "--results", RESULTS, flag).good().stdout.splitlines()
    shown = {line.split()[0].split("/")[place] for line in lines if line.startswith("narrow/")}
    assert shown == {flag.partition("=")[2] if place == 2 else "seed3"}


def test_a_cell_is_shown_with_all_that_is_on_record() -> None:
    """Module, recipe, criticality, the curve with alpha*, the time and every accuracy."""
    shown = said("show", KEY, "--results", RESULTS).good().stdout
    making = json.loads((RESULTS / "records" / KEY / "making.json").read_text())
    details = making["details"]
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    for point in details["curve"]:
        robust = point["robust"]
        adv = "—" if robust is None else f"{100 * robust['k'] / robust['n']:.2f}"
        share = 100 * point["clean"]["k"] / point["clean"]["n"]
        assert f"{point['alpha']:g} {share:.2f} {adv}" in lines
    for each in details["criticality"]:
        assert f"{each['module']} {each['mrc']:.4f}" in " ".join(lines)
    module, alpha = details["modules"][0], f"alpha {details['alpha']:g}"
    for said_of in (module, alpha, "recipe of", making["spec_hash"]):
        assert said_of in shown
    for record in Store(RESULTS, RESULTS).of(Cell.parse(KEY)):
        if hasattr(record, "evaluation"):
            assert f"{record.evaluation} {100 * record.value:.2f} %" in " ".join(lines)


@pytest.mark.parametrize(
    ("method", "judged"), [("pgd-at", " right under PGD-10"), ("standard", " right")]
)
def test_what_chose_the_epoch_is_told(store, method, judged):
    """Epochs of clean training are chosen by clean accuracy, and said to be."""
    cell = cell_at(method=method)
    write_making(store, cell)
    lines = said("show", cell.key, "--results", store.results).good().stdout.splitlines()
    assert any(line.endswith(f"by 400 of 500 images{judged}") for line in lines)


def test_an_evaluation_that_is_not_known_hides_no_cell(store):
    """A record of a plug-in's evaluation is shown without the interval that it alone can tell."""
    record, packed = record_and_bits(Plan.of(cell_at(), BY_HAND), "clean", 400, 500)
    store.write_record(record.model_copy(update={"evaluation": "mine"}), packed)
    shown = said("show", cell_at().key, "--results", store.results).good().stdout
    assert "mine  80.00 % (400 of 500; an evaluation that this version does not know)" in shown


def test_a_mistyped_cell_is_met_with_close_ones():
    """A key that nothing is on record of names those that are close."""
    line = said("show", KEY.replace("rift", "rfit"), "--results", RESULTS).refusal
    assert KEY in line.partition("close to it: ")[2]


@pytest.mark.parametrize(
    ("key", "hint"), [(KEY, f"`run {KEY}` makes it"), (OWN, "`evaluate` makes it")]
)
def test_what_makes_a_cell_that_is_not_there_is_told(store, key, hint):
    """Weights from elsewhere are evaluated; no cell of them is run."""
    line = said("show", key, "--results", store.results).refusal
    assert line == f"nothing is on record of {key}; {hint}"


def test_the_demo_is_small():
    """Two seeds of one small network on embedded images, whose files are ignored by git."""
    known = scale("demo")
    assert next(iter(SCALES)) == "demo"
    assert (known.datasets, len(known.archs), known.seeds) == (("digits",), 1, (0, 1))
    path = RESULTS / "tables" / "table1-demo.md"
    ignored = ["git", "check-ignore", "-q", str(path)]
    assert subprocess.run(ignored, cwd=RESULTS, check=False).returncode == 0


@pytest.mark.slow
def test_the_demo_prints_a_table(command):
    """`table1 --scale demo` trains, fine-tunes, evaluates and prints; half a minute on two cores."""
    shown = command("table1", "--scale", "demo").good().stdout
    assert "AT+RiFT" in shown
    assert "—" not in shown.partition("  scale demo")[0]
