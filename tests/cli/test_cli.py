"""The command line: what it makes, prints, refuses and continues."""

import csv
import dataclasses
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

import benchmark.cli.options
import benchmark.cli.work
import benchmark.data.cifar
import benchmark.engine.workspace
from benchmark.engine.precision import Precision
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import TrainingFailed
from benchmark.errors import UserError
from benchmark.jobs.sweep import Options
from benchmark.jobs.worker import Worker
from benchmark.plans.named import SCALES
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning, Training
from benchmark.records.store import Store
from benchmark.report.tables import REPORTS
from handmade import BY_HAND
from invoking import MINI, TINY, Command, Said, said

BASE_0 = "mini/digits/resnet18-w8/pgd-at/none/seed0"
BASE_1 = "mini/digits/resnet18-w8/pgd-at/none/seed1"


def files(*folders: Path) -> dict[str, bytes]:
    """Every file under `folders` by its path."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in found}


def forbidden(*arguments: Any, **options: Any) -> NoReturn:
    """Stand in for work that must not be done."""
    raise AssertionError("this must not run")


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any attempt to make a cell."""
    monkeypatch.setattr(benchmark.cli.work, "sweep", forbidden)
    monkeypatch.setattr(Worker, "do", forbidden)


def refused(answer: Said) -> str:
    """The one line of an error that the user can mend, without its `error: `."""
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert answer.stderr.count("\n") == 1
    assert answer.stderr.startswith("error: ")
    return answer.stderr.removeprefix("error: ").rstrip("\n")


# --- a table from nothing ---------------------------------------------------------------------------


def test_a_table_is_made_from_nothing(made: tuple[Store, Path, Said]) -> None:
    """One command trains, fine-tunes, evaluates, prints the table and writes it three times."""
    store, _, first = made
    assert first.exit_code == 0
    assert first.stdout.startswith(
        "Table 1: adversarial training with and without RiFT (epochs and alpha* chosen"
    )
    assert re.search(r"^Digits +ResNet18 \(width 8\) +AT( +\d+\.\d\d){2}$", first.stdout, re.M)
    assert re.search(r"^ +difference( +[+-]\d+\.\d\d){2}$", first.stdout, re.M)
    assert "—" not in first.stdout
    assert "cells to make: 2, of 1 base models, 1 at a time, threads each: 1" in first.stderr
    assert re.search(r"^cells made: 2 of 2, in \d+ s$", first.stderr, re.M)
    assert f"written to {store.results}/tables/table1-tiny.{{md,tex,csv}}" in first.stderr
    tables = sorted(path.name for path in (store.results / "tables").iterdir())
    assert tables == ["table1-tiny.csv", "table1-tiny.md", "table1-tiny.tex"]


def test_progress_names_every_step(made: tuple[Store, Path, Said]) -> None:
    """Away from a terminal, every step of the paper appears as a line on standard error."""
    _, _, first = made
    steps = ["adversarial training", "criticality", "fine-tuning", "interpolation", "pgd10x3"]
    for step in steps:
        assert f"seed0  {step}" in first.stderr
    assert "epoch 2/2, loss " in first.stderr
    assert "\x1b" not in first.stderr + first.stdout


def test_records_of_a_run_are_complete(made: tuple[Store, Path, Said], tmp_path: Path) -> None:
    """Each cell has its making, its records with bits that add up, and one hash of weights."""
    store, _, _ = made
    for finetune, kind in (("none", Training), ("rift", Finetuning)):
        cell = Cell("tiny", "digits", "resnet18-w8", "pgd-at", finetune, 0)
        making = store.making(cell)
        assert making is not None
        assert isinstance(making.details, kind)
        for evaluation in ("clean", "pgd10x3"):
            record = store.record(cell, evaluation)
            assert record is not None
            assert record.n == 500
            assert record.provenance.weights_sha256 == making.provenance.weights_sha256
            bits = store.bits(record)
            counts = {name: int(array.sum()) for name, array in bits.items()}
            assert record.k == min(counts.values())
            for name, part in record.parts.items():
                if name in counts:
                    assert (part.k, part.n) == (counts[name], len(bits[name]))
    texts = [
        content.decode() for name, content in files(store.results).items() if name.endswith("json")
    ]
    assert len(texts) == 6
    assert not [text for text in texts if str(store.results.parent) in text]


def test_unfinished_work_is_cleared_away(made: tuple[Store, Path, Said]) -> None:
    """After a run nothing but weights, criticality, alpha's curve and the lock is left."""
    store, _, _ = made
    names = {path.name for path in store.artifacts.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith(".part") or "training" in name]
    assert {"weights.safetensors", "finetuned.safetensors", "lock"} <= names
    assert not list(store.artifacts.rglob("evaluation-*"))


def test_the_second_time_nothing_runs(
    made: tuple[Store, Path, Said], idle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command again makes nothing, prints the same table and writes the same files."""
    store, scale, first = made
    before = files(store.results)
    again = Command(store)("table1", "--scale", str(scale))
    assert again.exit_code == 0
    assert again.stdout == first.stdout
    assert again.stderr.startswith("written to ")
    assert files(store.results) == before


def test_deleted_artifacts_do_not_matter_to_finished_cells(
    made: tuple[Store, Path, Said], store: Store, idle: None
) -> None:
    """Records are enough for a table: working files may be deleted."""
    source, scale, first = made
    shutil.copytree(source.results, store.results)
    again = Command(store)("table1", "--scale", str(scale))
    assert again.exit_code == 0
    assert again.stdout == first.stdout


@pytest.mark.parametrize("how", ["csv", "markdown", "latex"])
def test_a_table_in_a_format_is_alone_on_standard_output(
    made: tuple[Store, Path, Said], idle: None, how: str
) -> None:
    """Standard output is exactly the file of that format, so that it can be piped on."""
    store, scale, _ = made
    answer = Command(store)("table1", "--scale", str(scale), "--format", how)
    assert answer.exit_code == 0
    suffix = {"csv": "csv", "markdown": "md", "latex": "tex"}[how]
    assert answer.stdout == (store.results / "tables" / f"table1-tiny.{suffix}").read_text()


def test_csv_on_standard_output_is_csv(made: tuple[Store, Path, Said], idle: None) -> None:
    """A program that reads the CSV from standard output finds every number of the table."""
    store, scale, _ = made
    answer = Command(store)("table1", "--scale", str(scale), "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [line["column"] for line in lines] == ["Std", "Adv"] * 3
    assert all(0 <= float(line["mean"]) <= 1 for line in lines[:4])


def test_run_prints_the_records_of_a_cell(made: tuple[Store, Path, Said], idle: None) -> None:
    """`run` of a finished cell prints its records and those of its base model."""
    store, scale, _ = made
    key = "tiny/digits/resnet18-w8/pgd-at/rift/seed0"
    answer = Command(store)("run", key, key, "--scale", str(scale))
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [key.replace("rift", "none")] * 2 + [key] * 2
    for line in lines:
        assert re.fullmatch(r"\S+  (clean|pgd10x3)  \d+\.\d\d % \[[\d., ]+\] \(\d+ of 500\)", line)


def test_status_shows_every_state(
    made: tuple[Store, Path, Said], store: Store, command: Command
) -> None:
    """`status` lists every cell of every table with its records, and counts the states."""
    shutil.copytree(made[0].results, store.results)
    answer = command("status", "--scale", str(TINY))
    assert answer.exit_code == 0
    heads, *lines, totals = answer.stdout.splitlines()
    assert heads.split() == ["cell", "state", "clean", "pgd10x3"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["tiny/digits/resnet18-w8/pgd-at/none/seed0"] == ["done"] * 3
    assert rows["tiny/digits/resnet18-w8/pgd-at/rift/seed0"] == ["done"] * 3
    assert rows["tiny/digits/resnet18-w8/pgd-at/rift/seed1"] == ["missing"] * 3
    assert len(rows) == 2 * (1 + 2 * 7) + 2 * 2 * 4
    assert totals == f"2 done, {len(rows) - 2} missing"
    answer = command("status", "--scale", str(TINY), "--only", "*/pgd-at/rift/*")
    assert answer.stdout.splitlines()[-1] == "1 done, 1 missing"


def test_status_shows_cells_of_no_table(own_mini: Store, command: Command) -> None:
    """A cell that was made beside the tables is listed too."""
    answer = command("status", "--scale", str(MINI), "--seeds", "1", "--only", "*/none/*")
    assert [line.split()[:2] for line in answer.stdout.splitlines()[1:3]] == [
        [BASE_1, "done"],
        [BASE_0, "done"],
    ]


def test_list_names_everything(idle: None) -> None:
    """`list` shows each registry with a line on every entry."""
    answer = said("list")
    assert answer.exit_code == 0
    heads = [line for line in answer.stdout.splitlines() if not line.startswith(" ")]
    assert heads == [
        *("scales", "datasets", "networks", "methods", "fine-tunings", "protocols"),
        *("evaluations", "tables", "figures"),
    ]
    for name in (
        *SCALES,
        "digits",
        "cifar10",
        "resnet18",
        "pgd-at",
        "rift",
        "top-5",
        "pgd10x3",
        *REPORTS,
    ):
        assert re.search(rf"^  {name} +\S", answer.stdout, re.M)


def test_help_names_every_command() -> None:
    """`--help` shows the commands and what a key looks like."""
    answer = said("--help")
    assert answer.exit_code == 0
    for name in (*REPORTS, "run", "status", "list"):
        assert f" {name} " in answer.stdout
    assert "seed0" in answer.stdout


# --- without running ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_collecting_an_empty_store(command: Command, idle: None, name: str) -> None:
    """`--collect` runs nothing: without records the table is made of dashes."""
    answer = command(name, "--scale", str(TINY), "--collect")
    assert answer.exit_code == 0
    table = answer.stdout.partition("  scale tiny: ")[0]
    assert "—" in table
    assert not re.search(r"\d\.\d\d", table)
    assert not command.store.artifacts.exists()


def test_a_dry_run_writes_nothing(command: Command, idle: None, tmp_path: Path) -> None:
    """`--dry-run` lists what would be made and touches no folder."""
    answer = command("table1", "--scale", str(TINY), "--dry-run")
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[-1] == "4 missing"
    answer = command("run", "quick/digits/resnet18-w8/pgd-at/rift/seed0", "--dry-run")
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[-1] == "2 missing"
    assert list(tmp_path.iterdir()) == []


def test_only_some_cells(mini: Store, idle: None) -> None:
    """After `--only` the table shows what was made and dashes for the rest."""
    answer = Command(mini)("table1", "--scale", str(MINI), "--only", "*/none/*")
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert re.search(r"AT +\d+\.\d\d ± \d+\.\d\d$", lines[4])
    assert re.search(r"^ +\[\d+\.\d\d, \d+\.\d\d\]$", lines[5])
    assert re.search(r"AT\+RiFT +—$", lines[6])
    assert re.search(r"difference +—$", lines[7])
    keys = {path.parent.relative_to(mini.results / "records") for path in mini.results.rglob("*.npz")}
    assert {key.as_posix() for key in keys} == {BASE_0, BASE_1}


def test_seeds_of_the_command_line(mini: Store, store: Store, idle: None) -> None:
    """`--seeds` replaces the scale's seeds, and such a table is printed but not written."""
    shutil.copytree(mini.results, store.results)
    shutil.rmtree(store.results / "tables")
    options = ("--scale", str(MINI), "--seeds", " 1,1", "--only", "*/none/*")
    answer = Command(store)("table1", *options)
    assert answer.exit_code == 0
    assert "seeds 1: one seed, no spread" in answer.stdout
    assert not (store.results / "tables").exists()


def test_evaluations_of_the_command_line(own_mini: Store, command: Command) -> None:
    """`--evaluations` replaces the scale's columns, adds records, and such a table is not written."""
    (own_mini.results / "tables" / "table1-mini.md").unlink()
    options = ("--scale", str(MINI), "--seeds", "0", "--only", "*/none/*")
    answer = command("table1", *options, "--evaluations", " corruptions-15-gen-v2 , clean")
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines()[2].split()[-3:] == ["OOD", "(gen-v2)", "Std"]
    assert own_mini.record(Cell.parse(BASE_0), "corruptions-15-gen-v2") is not None
    assert not (own_mini.results / "tables" / "table1-mini.md").exists()


def test_what_an_evaluation_needs_is_told_before_training(command: Command, tmp_path: Path) -> None:
    """Without frost pictures their evaluation fails at once, not after the base models are trained."""
    options = ("--scale", str(MINI), "--seeds", "0", "--data-dir", str(tmp_path))
    answer = command("table1", *options, "--evaluations", "clean,corruptions-15-gen-v2-pictures")
    assert answer.exit_code == 2
    assert all("frost" in line for line in failures(answer).values())
    assert not list(command.store.artifacts.rglob("*.safetensors"))


def test_a_scale_of_one_method_has_no_table_2(command: Command) -> None:
    """Table 2 compares further methods; a scale that names none is told so."""
    answer = command("table2", "--scale", str(MINI))
    assert answer.exit_code == 2
    assert answer.stderr == ("error: scale 'mini' has nothing for table2: it names one method only\n")


def test_places_are_read_from_the_environment(
    mini: Store, monkeypatch: pytest.MonkeyPatch, idle: None
) -> None:
    """The folders can be named once, by environment variables."""
    monkeypatch.setenv("BENCHMARK_RESULTS", str(mini.results))
    monkeypatch.setenv("BENCHMARK_ARTIFACTS", str(mini.artifacts))
    answer = said("status", "--scale", str(MINI), "--only", "*/none/*")
    assert answer.stdout.splitlines()[-1] == "2 done"


@pytest.mark.parametrize(
    ("options", "threads", "name"),
    [((), 1, "fp32"), (("--threads", "3"), 3, "fp32"), (("--precision", "bf16"), 1, "bf16")],
)
def test_options_reach_the_workers(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    threads: int,
    name: str,
) -> None:
    """Device, data folder, threads and precision go to the workers; the last two are the scale's if not
    given."""
    got: list[Options] = []
    monkeypatch.setattr(
        benchmark.cli.work, "sweep", lambda tasks, scale, options, *rest: got.append(options) or []
    )
    command("table1", "--scale", str(TINY), "--data-dir", "/some/where", "--device", "cuda:1", *options)
    assert got == [Options(command.store, Path("/some/where"), "cuda:1", threads, Precision(name))]


# --- refused --------------------------------------------------------------------------------------

SCALE = """
name = "mine"
summary = "my own"
datasets = ["digits"]
archs = ["resnet18-w8"]
seeds = [0]
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table1", "--scale", "quickest"), "unknown scale 'quickest'; known: "),
        (("table3", "--scale", "none.toml"), "cannot read the scale file 'none.toml'"),
        (("status", "--scale", "quickest"), "unknown scale 'quickest'"),
        (("table1", "--seeds", "0,x"), "--seeds '0,x' is not a list of whole numbers"),
        (("table1", "--seeds", "-1"), "--seeds '-1' is not a list of whole numbers"),
        (("table1", "--seeds", ""), "--seeds '' is not a list of whole numbers"),
        (("table1", "--evaluations", "clean,aa"), "unknown evaluation 'aa'; known: clean"),
        (("table1", "--only", "*/lora/*"), "no cell matches --only '*/lora/*'; a key of this scale"),
        (("status", "--only", "x"), "no cell matches --only 'x'"),
        (("run", "rift"), "'rift' is not a cell key; a key reads SCALE/DATASET/"),
        (("run", "slow/digits/resnet18-w8/pgd-at/rift/seed0"), "unknown scale 'slow'; known: "),
        (
            ("run", "narrow/mnist/resnet18-w8/pgd-at/rift/seed0"),
            "unknown dataset 'mnist'; known: digits",
        ),
        (("run", "narrow/digits/vgg/pgd-at/rift/seed0"), "unknown architecture 'vgg'; known: resnet10"),
        (("run", "narrow/digits/resnet18/fgsm/rift/seed0"), "unknown AT method 'fgsm'; known: "),
        (
            ("run", "narrow/digits/resnet18/pgd-at/lora/seed0"),
            "unknown fine-tuning 'lora'; known: none",
        ),
        (
            (
                "run",
                "narrow/digits/resnet18/pgd-at/rift/seed0",
                "quick/digits/resnet18/pgd-at/rift/seed0",
            ),
            "quick/digits/resnet18/pgd-at/rift/seed0 is of scale 'quick', not 'narrow'; run one scale",
        ),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    store: Store, tmp_path: Path, idle: None, arguments: tuple[str, ...], message: str
) -> None:
    """A wrong name or number gives one line, exit code 2, and nothing on disk."""
    assert refused(Command(store)(*arguments)).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("digits", "mnist", "unknown dataset 'mnist'"),
        ("resnet18-w8", "vgg", "unknown architecture 'vgg'"),
        ("seeds", 'methods = ["fgsm"]\nseeds', "unknown AT method 'fgsm'"),
        ("seeds", 'evaluations = ["carlini-wagner"]\nseeds', "unknown evaluation 'carlini-wagner'"),
        ("[0]", "[0]\n[training]\nspeed = 2", "scale 'mine', training: unknown field 'speed'"),
        ("[0]", "[0]\n[finetuning]\nlr = 'low'", "scale 'mine', finetuning: lr: "),
        ("[0]", "[]", ""),
        ("[0]", "[-1]", ""),
        ('["resnet18-w8"]', "[]", ""),
        ("seeds", "methods = []\nseeds", ""),
        ("mine", "../mine", ""),
        ("seeds", "threads = -1\nseeds", ""),
    ],
)
@pytest.mark.parametrize("name", ["table1", "table3", "status"])
def test_a_wrong_scale_file_is_refused_in_one_line(
    command: Command, tmp_path: Path, idle: None, name: str, old: str, new: str, message: str
) -> None:
    """A scale file with a wrong name or value gives one line, exit code 2, and nothing on disk."""
    path = tmp_path / "mine.toml"
    path.write_text(SCALE.replace(old, new))
    assert message in refused(command(name, "--scale", str(path)))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "arguments",
    [("table1",), ("table1", "--collect"), ("table1", "--dry-run"), ("status",), ("run", BASE_0)],
)
def test_a_broken_record_is_refused_by_its_path(
    own_mini: Store, command: Command, idle: None, arguments: tuple[str, ...]
) -> None:
    """A record that is not one stops every command with one line that names its file."""
    path = own_mini.results / "records" / BASE_0 / "clean.json"
    path.write_text('{"k": ')
    before = files(own_mini.results)
    message = refused(command(*arguments, "--scale", str(MINI)))
    assert message.startswith(f"'{path}' is not a record of schema 1: file: Invalid JSON")
    assert files(own_mini.results) == before


def test_a_record_of_another_schema_is_refused(own_mini: Store, command: Command, idle: None) -> None:
    """A record of a future version is not guessed at."""
    path = own_mini.results / "records" / BASE_0 / "clean.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    assert "schema_version: Input should be 1" in refused(command("table1", "--scale", str(MINI)))


@pytest.mark.parametrize("which", ["--results", "--artifacts"])
def test_a_folder_that_cannot_be_written_is_refused_before_work(
    store: Store, tmp_path: Path, idle: None, which: str
) -> None:
    """Work does not begin where its results could not be kept; the option to mend it is named."""
    (tmp_path / "file").write_text("")
    places = {"--results": str(store.results), "--artifacts": str(store.artifacts)}
    places[which] = str(tmp_path / "file" / "folder")
    answer = said("table1", "--scale", str(TINY), *(part for pair in places.items() for part in pair))
    message = refused(answer)
    assert message.startswith(f"cannot write to '{places[which]}' (")
    assert message.endswith(f"; name another folder by {which}")


def test_a_table_that_cannot_be_written_is_still_printed(
    mini: Store, store: Store, monkeypatch: pytest.MonkeyPatch, idle: None
) -> None:
    """On a read-only results folder `--collect` prints the table and then says what went wrong."""

    def read_only(path: Path, content: bytes) -> NoReturn:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(benchmark.cli.options, "write_atomically", read_only)
    answer = Command(mini)("table1", "--scale", str(MINI), "--collect")
    assert answer.exit_code == 2
    assert answer.stdout.startswith("Table 1")
    assert re.fullmatch(
        r"error: cannot write '.*table1-mini\.md' \(Read-only file system\); .* --results\n",
        answer.stderr,
    )


def test_a_full_disk_is_refused_before_work(
    command: Command, monkeypatch: pytest.MonkeyPatch, idle: None
) -> None:
    """Too little space is said before the first cell."""

    def full(store: Store, megabytes: int) -> NoReturn:
        raise UserError(f"no {megabytes} MB")

    monkeypatch.setattr(Store, "check_writable", full)
    assert refused(command("table1", "--scale", str(TINY))) == "no 500 MB"


def test_control_c_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command ends with the shell's code for it and no traceback."""

    def interrupted(*arguments: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark.cli.work, "sweep", interrupted)
    answer = command("table1", "--scale", str(TINY))
    assert answer.exit_code == 130
    assert answer.stderr.endswith("stopped; the same command continues where this one was\n")


# --- failing cells ----------------------------------------------------------------------------------


def unfinished(store: Store, key: str, *, weights: bool) -> None:
    """Take the record of a base model away, and its weights too unless `weights` stay."""
    for suffix in ("json", "npz"):
        (store.results / "records" / key / f"clean.{suffix}").unlink()
    if not weights:
        (store.artifacts / key / "weights.safetensors").unlink()


BASES = ("table1", "--scale", str(MINI), "--only", "*/none/*")


def failures(answer: Said) -> dict[str, str]:
    """Cell keys and what is said of each, from the list that ends standard error."""
    _, _, listed = answer.stderr.partition("\nfailed: ")
    number, *lines = listed.splitlines()
    found = {}
    for line in lines:
        keys, _, message = line.strip().partition(": ")
        found |= dict.fromkeys(keys.split(", "), message)
    assert len(found) == int(number)
    return found


def test_broken_weights_are_listed_and_mendable(own_mini: Store, command: Command) -> None:
    """Weights that cannot be read fail their cell with exit code 2; the other cell is made."""
    unfinished(own_mini, BASE_0, weights=True)
    unfinished(own_mini, BASE_1, weights=True)
    path = own_mini.artifacts / BASE_0 / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    answer = command(*BASES)
    assert answer.exit_code == 2
    line = failures(answer)[BASE_0]
    assert line.startswith(f"'{path}' is not a readable safetensors file (")
    assert "delete it and the same command makes it again" in line
    assert "cells made: 1 of 2, " in answer.stderr
    assert failures(answer).keys() == {BASE_0}
    assert (own_mini.results / "records" / BASE_1 / "clean.json").exists()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            TrainingFailed("training: the loss is nan in epoch 1"),
            "training: the loss is nan in epoch 1",
        ),
        (RuntimeError("boom"), "RuntimeError: boom (at test_cli:"),
    ],
)
def test_a_failing_cell_does_not_stop_the_others(
    own_mini: Store,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    line: str,
) -> None:
    """A cell that fails is listed last with exit code 1, after the table of what there is."""

    def failing(*arguments: Any, **options: Any) -> NoReturn:
        raise error

    unfinished(own_mini, BASE_0, weights=False)
    unfinished(own_mini, BASE_1, weights=True)
    monkeypatch.setattr(benchmark.engine.workspace, "fit", failing)
    answer = command(*BASES)
    assert answer.exit_code == 1
    assert answer.stdout.startswith("Table 1")
    assert failures(answer).keys() == {BASE_0}
    assert failures(answer)[BASE_0].startswith(line)
    assert "Traceback" not in answer.stderr
    assert (own_mini.results / "records" / BASE_1 / "clean.json").exists()
    assert not (own_mini.results / "records" / BASE_0 / "clean.json").exists()


def test_the_same_command_goes_on_after_a_failure(
    mini: Store, own_mini: Store, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is made by the same command once its cause is gone, with the same numbers."""
    unfinished(own_mini, BASE_1, weights=True)
    with monkeypatch.context() as patch:
        patch.setattr(benchmark.engine.workspace, "load_tensors", forbidden)
        assert command(*BASES).exit_code == 1
    assert command(*BASES).exit_code == 0
    cell = Cell.parse(BASE_1)
    again, first = own_mini.record(cell, "clean"), mini.record(cell, "clean")
    assert again is not None
    assert first is not None
    assert (again.k, again.bits_sha256) == (first.k, first.bits_sha256)


def test_other_weights_than_those_of_the_records_are_not_evaluated(
    own_mini: Store, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights trained anew that differ from those behind the records fail instead of mixing."""

    whole = benchmark.engine.workspace.fit

    def shorter(model: Any, split: Any, info: Any, method: Any, recipe: Recipe, **options: Any) -> Any:
        return whole(model, split, info, method, dataclasses.replace(recipe, epochs=1), **options)

    unfinished(own_mini, BASE_0, weights=False)
    monkeypatch.setattr(benchmark.engine.workspace, "fit", shorter)
    answer = command(*BASES)
    assert answer.exit_code == 1
    assert failures(answer).keys() == {BASE_0}
    assert "are not those behind its records" in failures(answer)[BASE_0]
    assert not (own_mini.results / "records" / BASE_0 / "clean.json").exists()
    assert not (own_mini.artifacts / BASE_0 / "weights.safetensors").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_told(own_mini: Store, command: Command, device: str) -> None:
    """A device that torch does not know or have is an error that the user can mend."""
    unfinished(own_mini, BASE_0, weights=True)
    answer = command(*BASES, "--device", device)
    assert answer.exit_code == 2
    line = failures(answer)[BASE_0]
    assert line.startswith(f"device '{device}' is not to be had (")
    assert line.endswith("; try --device cpu")


def test_data_that_is_not_to_be_had_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without CIFAR-10 and without a network every cell is listed with what to do."""

    def offline(root: Path, train: bool, download: bool) -> NoReturn:
        raise RuntimeError("Error downloading\nmore lines")

    monkeypatch.setattr(benchmark.data.cifar, "CIFAR10", offline)
    data = tmp_path / "data"
    wanted = ("--scale", "narrow", "--only", "*/cifar10/*w16*")
    answer = command("table1", *wanted, "--data-dir", str(data))
    assert answer.exit_code == 2
    assert "—" in answer.stdout
    lines = failures(answer)
    assert len(lines) == 4
    for line in lines.values():
        assert f"CIFAR-10 is not complete under '{data}'" in line
        assert "(Error downloading)" in line
        assert line.endswith("name another folder by --data-dir")
    assert "\nmore lines" not in answer.stderr


# --- stale records ----------------------------------------------------------------------------------


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The mini scale with another training recipe."""
    path = tmp_path / "changed.toml"
    path.write_text(MINI.read_text().replace("epochs = 3", "epochs = 1"))
    return path


def test_stale_records_stop_a_command(
    own_mini: Store, command: Command, idle: None, changed: Path
) -> None:
    """Records of other settings are refused with the option that makes them again."""
    before = files(own_mini.results, own_mini.artifacts)
    message = refused(command("table1", "--scale", str(changed)))
    assert message.startswith(f"the records of {BASE_0} are stale")
    assert "--redo-stale moves them to results/superseded and makes them again" in message
    assert files(own_mini.results, own_mini.artifacts) == before
    answer = command("status", "--scale", str(changed), "--only", "*/none/*")
    assert answer.stdout.splitlines()[-1] == "2 stale"


def test_stale_records_are_left_out_of_a_collected_table(
    own_mini: Store, command: Command, idle: None, changed: Path
) -> None:
    """`--collect` shows dashes for stale records and says how many were left out."""
    answer = command("table1", "--scale", str(changed), "--collect")
    assert answer.exit_code == 0
    assert "stale records left out: 2; `status` lists them" in answer.stdout
    assert not re.search(r"AT +\d", answer.stdout)


def test_stale_records_are_made_again_on_demand(
    own_mini: Store, command: Command, changed: Path
) -> None:
    """`--redo-stale` keeps the old records aside and makes new ones of today's settings."""
    cell = Cell.parse(BASE_0)
    old = own_mini.record(cell, "clean")
    options = ("table1", "--scale", str(changed), "--only", "*/none/seed0", "--redo-stale")
    answer = command(*options)
    assert answer.exit_code == 0
    new = own_mini.record(cell, "clean")
    assert old is not None
    assert new is not None
    assert new.spec_hash != old.spec_hash
    assert new.spec["model"]["recipe"]["epochs"] == 1
    kept = [path.relative_to(own_mini.results / "superseded") for path in
            (own_mini.results / "superseded").rglob("*.*")]  # fmt: skip
    assert sorted(path.name for path in kept) == ["clean.json", "clean.npz", "making.json"]
    assert all(path.as_posix()[13:].startswith(BASE_0) for path in kept)
    assert command(*options).exit_code == 0


def test_a_stale_base_model_stops_its_fine_tunings(
    own_mini: Store, command: Command, changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuning a model whose making is stale is refused before hours of training it again."""
    monkeypatch.setattr(benchmark.engine.workspace, "fit", forbidden)
    message = refused(command("table1", "--scale", str(changed), "--only", "*/rift/*"))
    assert "--redo-stale" in message


def test_by_hand_is_no_scale_of_the_command_line() -> None:
    """The scale of hand-made records of these tests is not mixed up with a built-in one."""
    assert BY_HAND.name not in SCALES
