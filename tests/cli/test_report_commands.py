"""Protocols, limits, the audit and the figures from the command line."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.figures import FIGURES
from invoking import MINI, Command, Said, said

KEY = "mini/digits/resnet18-w8/pgd-at"
ONE = ("--scale", str(MINI), "--seeds", "0")


def refused(answer: Said) -> str:
    """The one line of an error that the user can mend, without its `error: `."""
    assert answer.exit_code == 2
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    return line.removeprefix("error: ")


def test_protocols_of_the_command_line(own_mini: Store, command: Command) -> None:
    """`--protocol` puts fine-tunings side by side; the table is written under their names."""
    scale = own_mini.results.parent / "one.toml"
    scale.write_text(MINI.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    answer = command("table1", "--scale", str(scale), "--protocol", "bn-only, module-linear-held-out")
    assert answer.exit_code == 0, answer.stderr
    labels = re.findall(r" (AT\S*(?: \(held-out\))?) +\d+\.\d\d$", answer.stdout, re.M)
    assert labels == ["AT", "AT+bn-only", "AT (held-out)", "AT+module-linear-held-out"]
    written = {path.name for path in (own_mini.results / "tables").glob("*.bn-only*")}
    assert written == {
        f"table1-mini.bn-only+module-linear-held-out.{kind}" for kind in ("md", "tex", "csv")
    }


def test_the_audit_of_one_seed(own_mini: Store, command: Command) -> None:
    """The audit makes its cells, evaluates them, and compares them image by image."""
    options = ("--evaluations", "clean,apgd-first-10", "--protocol", "last-layer-alpha-1,bn-only")
    answer = command("audit", *ONE, *options)
    assert answer.exit_code == 0, answer.stderr
    assert "Adv (APGD-CE +" in answer.stdout
    assert answer.stdout.count("95 % images ") >= 2
    assert answer.stdout.count("McNemar p ") >= 2
    record = own_mini.record(Cell.parse(f"{KEY}/bn-only/seed0"), "apgd-first-10")
    assert record is not None
    assert record.n == 10


def test_a_limit_names_its_records(own_mini: Store, command: Command) -> None:
    """`--limit N` evaluates N images under another name, and leaves the whole record alone."""
    before = (own_mini.results / "records" / KEY / "none/seed0/clean.json").read_bytes()
    answer = command("run", f"{KEY}/none/seed0", "--scale", str(MINI), "--limit", "30")
    assert answer.exit_code == 0, answer.stderr
    assert re.search(r"clean-first-30  \d+\.\d\d % \[.+\] \(\d+ of 30\)", answer.stdout)
    assert (own_mini.results / "records" / KEY / "none/seed0/clean.json").read_bytes() == before
    answer = command("table1", *ONE, "--limit", "30", "--collect")
    assert "Std (first 30)" in answer.stdout
    assert re.search(r"AT +\d+\.\d\d$", answer.stdout, re.M)


def test_a_limit_that_is_none(own_mini: Store, command: Command) -> None:
    """As many images as there are is refused before anything is evaluated."""
    answer = command("run", f"{KEY}/none/seed0", "--scale", str(MINI), "--limit", "500")
    assert answer.exit_code == 2
    assert "Digits has 500 test images" in answer.stderr
    assert not list(own_mini.results.rglob("*first*"))


def test_a_limit_on_a_checkpoint(mini: Store, store: Store) -> None:
    """`evaluate --limit N` too looks at N images and says so."""
    weights = mini.artifacts / KEY / "none/seed0/weights.safetensors"
    places = ("--results", str(store.results), "--artifacts", str(store.artifacts))
    model = ("--arch", "resnet18-w8", "--dataset", "digits", "--name", "mine")
    answer = said(
        "evaluate",
        "--weights",
        str(weights),
        *model,
        *places,
        "--evaluations",
        "clean",
        "--limit",
        "10",
    )
    assert answer.exit_code == 0, answer.stderr
    assert re.search(
        r"mine/none/seed0  clean-first-10  \d+\.\d\d % \[.+\] \(\d+ of 10\)", answer.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table1", "--protocol", "rfit"), "unknown fine-tuning 'rfit'"),
        (("table3", "--protocol", "bn-only"), "'bn-only' is a fine-tuning, not a protocol"),
        (("audit", "--evaluations", "autoattack-first-x"), "unknown evaluation 'autoattack-first-x'"),
        (("figure1", "--scale", "quik"), "unknown scale 'quik'"),
        (("figure3", "--collect"), "figure3"),
    ],
)
def test_wrong_input_is_one_line(command: Command, arguments: tuple[str, ...], message: str) -> None:
    """A wrong name, or a figure without anything to show, ends in one line and exit code 2."""
    assert message in refused(command(*arguments))
    assert not list(command.store.results.rglob("*"))


def test_a_figure_is_made_and_written(own_mini: Store, command: Command) -> None:
    """A figure makes its cells, is written as PNG, SVG and CSV, and again with the same bytes."""
    answer = command("figure3", *ONE)
    assert answer.exit_code == 0, answer.stderr
    folder = own_mini.results / "figures"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {Path(name).suffix for name in first} == {".png", ".svg", ".csv"}
    assert first["figure3-mini.seeds-0.png"].startswith(b"\x89PNG")
    rows = list(csv.DictReader(first["figure3-mini.seeds-0.csv"].decode().splitlines()))
    making = own_mini.making(Cell.parse(f"{KEY}/rift/seed0"))
    assert making is not None
    assert {row["module"] for row in rows} == {entry.module for entry in making.details.criticality}
    shutil.rmtree(folder)
    again = command("figure3", *ONE, "--collect")
    assert again.stdout == answer.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_dry_run_of_a_figure(command: Command) -> None:
    """`--dry-run` lists the cells of a figure and writes nothing."""
    answer = command("figure-damage", *ONE, "--dry-run")
    assert answer.exit_code == 0
    assert f"{KEY}/module-layer2.1.conv2-alpha-1/seed0" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "23 missing"
    assert not list(command.store.results.rglob("*"))


def test_help_names_tables_and_figures() -> None:
    """Every figure and the audit are commands."""
    answer = said("--help")
    for name in (*FIGURES, "audit"):
        assert f" {name} " in answer.stdout
