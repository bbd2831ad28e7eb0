"""Tables, figures, `run` and `status`: what they make, print, refuse and continue."""

import csv
import dataclasses
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import benchmark.cli.options
import benchmark.cli.work
import benchmark.data.cifar
import benchmark.engine.workspace
import benchmark.jobs.worker
from benchmark.engine.precision import Precision
from benchmark.engine.training import TrainingFailed
from benchmark.errors import UserError
from benchmark.jobs.tasks import Options
from benchmark.jobs.worker import Worker
from benchmark.plans.named import SCALES, scale
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning, Training
from benchmark.records.store import Store
from benchmark.report.figures import FIGURES
from benchmark.report.tables import REPORTS
from handmade import write_record
from invoking import MINE, MINI, TINY, Command, said

KEY = "mini/digits/resnet18-w8/pgd-at"
BASE_0, BASE_1 = f"{KEY}/none/seed0", f"{KEY}/none/seed1"
BASES = ("table1", "--scale", MINI, "--only", "*/none/*")
ONE = ("--scale", MINI, "--seeds", "0")


def files(*folders):
    """Every file under `folders` by its path."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in found}


def raising(error):
    """A function that raises `error` whatever it is given."""

    def fail(*arguments, **options):
        raise error

    return fail


FORBIDDEN = raising(AssertionError("this must not run"))


@pytest.fixture
def idle(monkeypatch):
    """Fail on any attempt to make a cell."""
    monkeypatch.setattr(benchmark.cli.work, "sweep", FORBIDDEN)
    monkeypatch.setattr(Worker, "do", FORBIDDEN)


@pytest.fixture
def one_seed(tmp_path):
    """The mini scale with its first seed only."""
    path = tmp_path / "one.toml"
    path.write_text(MINI.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    return path


# --- a table from nothing ---------------------------------------------------------------------------


def test_a_table_is_made_from_nothing(made):
    """One command trains, fine-tunes, evaluates, prints the table and writes it three times."""
    store, _, first = made
    first.good()
    assert first.stdout.startswith(
        "Table 1: adversarial training with and without RiFT (epochs and alpha* chosen"
    )
    assert re.search(r"^Digits +ResNet18 \(width 8\) +AT( +\d+\.\d \[.+?\]){2}$", first.stdout, re.M)
    assert re.search(r"^ +difference( +[+-]\d+\.\d\d \[.+?\]){2}$", first.stdout, re.M)
    assert "—" not in first.stdout
    assert "cells to make: 2, base models: 1, processes: 1, threads each: 1" in first.stderr
    assert re.search(r"^cells made: 2 of 2, in \d+ s$", first.stderr, re.M)
    assert f"written to {store.results}/tables/table1-tiny.{{md,tex,csv}}" in first.stderr
    tables = sorted(path.name for path in (store.results / "tables").iterdir())
    assert tables == ["table1-tiny.csv", "table1-tiny.md", "table1-tiny.tex"]


def test_progress_names_every_step(made):
    """Away from a terminal, every step of the paper appears as a line on standard error."""
    first = made[2]
    for step in ("adversarial training", "criticality", "fine-tuning", "interpolation", "pgd10x3"):
        assert f"seed0  {step}" in first.stderr
    assert "epoch 2/2, loss " in first.stderr
    assert "\x1b" not in first.stderr + first.stdout


def test_records_of_a_run_are_complete(made):
    """Each cell has its making, its records with bits that add up, and one hash of weights."""
    store = made[0]
    for finetune, kind in (("none", Training), ("rift", Finetuning)):
        cell = Cell("tiny", "digits", "resnet18-w8", "pgd-at", finetune, 0)
        making = store.making(cell)
        assert isinstance(making.details, kind)
        for evaluation in ("clean", "pgd10x3"):
            record = store.record(cell, evaluation)
            assert record.n == 500
            assert record.provenance.weights_sha256 == making.provenance.weights_sha256
            bits = store.bits(record)
            counts = {name: int(array.sum()) for name, array in bits.items()}
            assert record.k == min(counts.values())
            for name in record.parts.keys() & counts.keys():
                part = record.parts[name]
                assert (part.k, part.n) == (counts[name], len(bits[name]))
    texts = [text.decode() for name, text in files(store.results).items() if name.endswith("json")]
    assert len(texts) == 6
    assert not [text for text in texts if str(store.results.parent) in text]


def test_unfinished_work_is_cleared_away(made):
    """After a run nothing but weights, criticality, alpha's curve and the lock is left."""
    store = made[0]
    names = {path.name for path in store.artifacts.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith(".part") or "training" in name]
    assert {"weights.safetensors", "finetuned.safetensors", "lock"} <= names
    assert not list(store.artifacts.rglob("evaluation-*"))


def test_the_second_time_nothing_runs(made, store, command, idle):
    """From records alone the same command prints the same table and writes the same files."""
    source, scale, first = made
    shutil.copytree(source.results / "records", store.results / "records")
    again = command("table1", "--scale", scale).good()
    assert again.stdout == first.stdout
    assert again.stderr.startswith("written to ")
    for path in source.results.rglob("*.*"):
        assert (store.results / path.relative_to(source.results)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("how", "suffix"), [("csv", "csv"), ("markdown", "md"), ("latex", "tex")])
def test_a_table_in_a_format_is_alone_on_standard_output(made, idle, how, suffix):
    """Standard output is exactly the file of that format; as CSV, it has every number."""
    store, scale, _ = made
    answer = Command(store)("table1", "--scale", scale, "--format", how).good()
    assert answer.stdout == (store.results / "tables" / f"table1-tiny.{suffix}").read_text()
    if how == "csv":
        lines = list(csv.DictReader(answer.stdout.splitlines()))
        assert [line["column"] for line in lines] == ["Std", "Adv"] * 3
        assert all(0 <= float(line["mean"]) <= 1 for line in lines[:4])


def test_run_prints_the_records_of_a_cell(made, idle):
    """`run` of a finished cell prints its records and those of its base model."""
    store, scale, _ = made
    key = "tiny/digits/resnet18-w8/pgd-at/rift/seed0"
    lines = Command(store)("run", key, key, "--scale", scale).good().stdout.splitlines()
    assert [line.split()[0] for line in lines] == [key.replace("rift", "none")] * 2 + [key] * 2
    for line in lines:
        assert re.fullmatch(r"\S+  (clean|pgd10x3)  \d+\.\d\d % \[[\d., ]+\] \(\d+ of 500\)", line)


def test_status_shows_every_state(made, store, command):
    """`status` lists every cell of every table with its records, and counts the states."""
    shutil.copytree(made[0].results, store.results)
    heads, *lines, totals = command("status", "--scale", TINY).good().stdout.splitlines()
    assert heads.split() == ["cell", "state", "clean", "pgd10x3"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["tiny/digits/resnet18-w8/pgd-at/none/seed0"] == ["done"] * 3
    assert rows["tiny/digits/resnet18-w8/pgd-at/rift/seed0"] == ["done"] * 3
    assert rows["tiny/digits/resnet18-w8/pgd-at/rift/seed1"] == ["missing"] * 3
    assert len(rows) == 2 * (1 + 2 * 7) + 2 * 2 * 4
    assert totals == f"2 done, {len(rows) - 2} missing"
    answer = command("status", "--scale", TINY, "--only", "*/pgd-at/rift/*")
    assert answer.stdout.splitlines()[-1] == "1 done, 1 missing"


def test_status_shows_cells_of_no_table(own_mini, command):
    """A cell that was made beside the tables is listed too."""
    other = BASE_0.replace("seed0", "seed7")
    write_record(own_mini, Cell.parse(other), "clean", 9, 10, scale(str(MINI)))
    answer = command("status", "--scale", MINI, "--only", "*/none/*")
    listed = [line.split()[:2] for line in answer.good().stdout.splitlines()[1:4]]
    assert listed == [[BASE_0, "done"], [BASE_1, "done"], [other, "done"]]


def test_list_names_everything(idle):
    """`list` shows each registry with a line on every entry."""
    listed = said("list").good().stdout
    assert [line for line in listed.splitlines() if not line.startswith(" ")] == [
        *("scales", "datasets", "networks", "methods", "fine-tunings", "protocols"),
        *("evaluations", "tables", "figures"),
    ]
    for name in (*SCALES, "digits", "resnet18", "pgd-at", "rift", "top-5", "pgd10x3", *REPORTS):
        assert re.search(rf"^  {name} +\S", listed, re.M)


def test_help_names_every_command():
    """`--help` shows the commands and what a key looks like."""
    shown = said("--help").good().stdout
    for name in (*REPORTS, *FIGURES, "run", "status", "list", "evaluate", "evidence", "check"):
        assert f" {name} " in shown
    assert "seed0" in shown


# --- without running ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_collecting_an_empty_store(command, idle, name):
    """`--collect` runs nothing: without records the table has no rows, and says how many it lacks."""
    answer = command(name, "--scale", TINY, "--collect").good()
    table, _, hidden = answer.stdout.partition("  rows without any number, not shown: ")
    assert int(hidden.partition(";")[0]) >= 3
    assert not re.search(r"\d\.\d|—", table)
    assert not command.store.artifacts.exists()


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (("table1", "--scale", TINY), "4 missing"),
        (("run", "quick/digits/resnet18-w8/pgd-at/rift/seed0"), "2 missing"),
        (("figure-damage", *ONE), "23 missing"),
    ],
)
def test_a_dry_run_writes_nothing(command, idle, tmp_path, arguments, last):
    """`--dry-run` lists what would be made and what it costs, and touches no folder."""
    lines = command(*arguments, "--dry-run").good().stdout.splitlines()
    assert last in lines and lines[0].startswith("cell  ")
    assert lines[-1].startswith("cost from scratch; operations are counted, hours assume ")
    damaged = f"{KEY}/module-layer2.1.conv2-alpha-1/seed0"
    assert any(damaged in line for line in lines) == (arguments[0] == "figure-damage")
    assert list(tmp_path.iterdir()) == []


def test_only_some_cells(mini, idle):
    """After `--only` the table shows what was made and counts the rest."""
    lines = Command(mini)(*BASES).good().stdout.splitlines()
    assert re.search(r"AT +\d+\.\d\d ± \d+\.\d\d$", lines[4])
    assert lines[6] == "  rows without any number, not shown: 2; `--dry-run` lists what is missing"
    keys = {path.parent.relative_to(mini.results / "records") for path in mini.results.rglob("*.npz")}
    assert {key.as_posix() for key in keys} == {BASE_0, BASE_1}


def test_seeds_of_the_command_line(own_mini, command, idle):
    """`--seeds` replaces the scale's seeds, and such a table is printed but not written."""
    shutil.rmtree(own_mini.results / "tables")
    answer = command(*BASES, "--seeds", " 1").good()
    assert "seeds 1: one seed, with its 95 % interval over test images" in answer.stdout
    assert not (own_mini.results / "tables").exists()


def test_models_of_the_command_line(command, tmp_path):
    """`--arch` and `--method` replace those of the scale, by any name of a network."""
    flags = ("--arch", "vit-mini-w8,timm:resnet18,timm-resnet18", "--method", "standard", *ONE)
    lines = command("table1", *flags, "--dry-run").good().stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("mini/")] == [
        f"mini/digits/{arch}/standard/{finetune}/seed0"
        for arch in ("vit-mini-w8", "timm-resnet18")
        for finetune in ("none", "rift")
    ]
    answer = command("audit", *flags, "--collect").good()
    assert "ViT-mini (width 8) on Digits" in answer.stdout and "left out: bn-only" in answer.stdout
    alone = command("audit", *flags, "--protocol", "bn-only", "--collect").good()
    assert "left out: bn-only" in alone.stdout
    assert not (tmp_path / "results" / "tables").exists()
    assert "vit-mini" in command("audit", "--arch", "vit-min").refusal
    damage = command("figure-damage", "--arch", "vit-mini-w8", *ONE, "--dry-run").good().stdout
    assert "/module-patch-embed.proj-alpha-1/seed0 " in damage


def test_evaluations_of_the_command_line(own_mini, command):
    """`--evaluations` replaces the scale's columns, adds records, and such a table is not written."""
    shutil.rmtree(own_mini.results / "tables")
    answer = command("table1", *ONE, "--only", "*/none/*", "--evaluations", " pgd10x3 , clean").good()
    assert answer.stdout.splitlines()[2].split()[-2:] == ["Adv", "Std"]
    assert own_mini.record(Cell.parse(BASE_0), "pgd10x3") is not None
    assert not (own_mini.results / "tables").exists()


def test_what_an_evaluation_needs_is_told_before_training(command, tmp_path):
    """Without frost pictures their evaluation fails at once, not after the base models are trained."""
    wanted = ("--evaluations", "clean,corruptions-15-gen-v2-pictures")
    assert "frost" in command("table1", *ONE, "--data-dir", tmp_path, *wanted).refusal
    assert not list(command.store.artifacts.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", f"{KEY}/module-layer9.conv1/seed0"), "has no module 'layer9.conv1'; it has conv1, "),
        (
            ("table1", "--protocol", "mean-sparse", "--arch", "torchvision:resnet18"),
            "mean-sparse has no place in a ResNet; ",
        ),
        (("posthoc", "--evaluations", "clean,autoattack-first-600"), "Digits has 500 test images"),
    ],
)
def test_what_a_later_step_needs_is_told_before_training(command, idle, arguments, message):
    """A module that is not there, a network that a method does not fit, AutoAttack's images."""
    assert message in command(*arguments, "--scale", MINI).refusal


def test_the_time_left_counts_the_base_model(command, monkeypatch):
    """Also of a figure, which trains base models and shows none."""
    given = []

    @contextmanager
    def display(*_, costs):
        given.append(costs)
        yield None

    monkeypatch.setattr(benchmark.cli.work, "display", display)
    monkeypatch.setattr(benchmark.cli.work, "sweep", lambda *_: [])
    command("figure3", *ONE)
    assert [next(iter(stages)) for stages in given[0].values()] == ["adversarial training"]


def test_a_dry_run_says_which_data_are_missing(command, tmp_path):
    """With the command that gets them: the dataset, and a published set if a column is of one."""
    flags = ("--scale", "narrow", "--only", "*/cifar10/resnet18*", "--data-dir", tmp_path, "--dry-run")
    last = command("table1", *flags, "--evaluations", "clean").good().stdout.splitlines()[-1]
    get = "python -m benchmark data get"
    assert last == f"missing in '{tmp_path}': {get} cifar10 --data-dir {tmp_path}"
    last = command("table1", *flags, "--evaluations", "corruptions-15").good().stdout.splitlines()[-1]
    assert last.endswith(f"data get cifar10 cifar10-c --data-dir {tmp_path}")
    wanted = ("--evaluations", "corruptions-15-gen-v2-pictures")
    last = command("table1", *flags, *wanted).good().stdout.splitlines()[-1]
    assert last == f"missing in '{tmp_path}': a folder 'frost' of pictures of yours (docs/data.md)"


def test_a_dry_run_says_which_checkpoint_is_missing(command, tmp_path):
    """Of those that cells start from, which lie in the data folder, too."""
    name = "zhang2019theoretically-cifar10"
    flags = ("--scale", "narrow", "--from-checkpoint", name, "--data-dir", tmp_path, "--dry-run")
    last = command("table1", *flags).good().stdout.splitlines()[-1]
    get = f"python -m benchmark checkpoints get {name} --data-dir {tmp_path}"
    assert last == f"missing in '{tmp_path}': {get}"


@pytest.mark.parametrize(
    ("options", "threads", "name"),
    [((), 1, "fp32"), (("--threads", "3"), 3, "fp32"), (("--precision", "bf16"), 1, "bf16")],
)
def test_options_reach_the_workers(command, monkeypatch, options, threads, name):
    """Device, data folder, threads and precision go to the workers, the last two by default as the
    scale has them."""
    got = []
    monkeypatch.setattr(benchmark.cli.work, "sweep", lambda *given: got.append(given[2]) or [])
    monkeypatch.setattr(benchmark.jobs.worker, "refuse_missing", lambda *given: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    command("table1", "--scale", TINY, "--data-dir", "/some/where", "--device", "cuda:1", *options)
    assert got == [
        Options(command.store, Path("/some/where"), "cuda:1", threads, Precision(name, None))
    ]


@pytest.mark.parametrize(
    ("option", "least"), [("--jobs", 1), ("--threads", 1), ("--limit", 1), ("--memory", 0)]
)
def test_numbers_out_of_range_are_refused(command, idle, option, least):
    """The ranges of flags that commands share are checked."""
    answer = command("table1", "--jobs", "1", option, least - 1)
    assert answer.exit_code == 2
    assert f"'{option}'" in answer.stderr
    assert f"greater than or equal to {least}" in answer.stderr


# --- protocols, limits, the audit, figures ----------------------------------------------------------


def test_protocols_of_the_command_line(own_mini, command, one_seed):
    """`--protocol` puts fine-tunings side by side; the table is written under their names."""
    protocols = "bn-only, module-linear-held-out"
    shown = command("table1", "--scale", one_seed, "--protocol", protocols).good().stdout
    labels = re.findall(r" (AT\S*(?: \(held-out\))?) +\*?\d+\.\d \[.+\]$", shown, re.M)
    assert labels == ["AT", "AT+bn-only", "AT (held-out)", "AT+module-linear-held-out"]
    written = {path.name for path in (own_mini.results / "tables").glob("*.bn-only*")}
    assert written == {
        f"table1-mini.bn-only,module-linear-held-out.{kind}" for kind in ("md", "tex", "csv")
    }


def test_the_audit_of_one_seed(own_mini, command):
    """The audit makes its cells, evaluates them, and compares them image by image."""
    options = ("--evaluations", "clean,apgd-first-10", "--protocol", "last-layer-alpha-1,bn-only")
    shown = command("audit", *ONE, *options).good().stdout
    assert "Adv (APGD-CE +" in shown
    assert shown.count("95 % images ") >= 2
    assert shown.count("McNemar p ") >= 2
    assert own_mini.record(Cell.parse(f"{KEY}/bn-only/seed0"), "apgd-first-10").n == 10


def test_a_limit_names_its_records(own_mini, command):
    """`--limit N` evaluates N images under another name, and leaves the whole record alone."""
    path = own_mini.results / "records" / BASE_0 / "clean.json"
    before = path.read_bytes()
    answer = command("run", BASE_0, "--scale", MINI, "--limit", "30").good()
    assert re.search(r"clean-first-30  \d+\.\d\d % \[.+\] \(\d+ of 30\)", answer.stdout)
    assert path.read_bytes() == before
    answer = command("table1", *ONE, "--limit", "30", "--collect")
    assert "Std (first 30)" in answer.stdout
    assert re.search(r"AT +\*?\d+\.\d \[.+\]$", answer.stdout, re.M)


def test_all_notes_are_printed_on_demand(own_mini, command):
    """`--notes` prints what six lines leave out, and the files stay as they were."""
    brief = command("table1", "--scale", MINI, "--collect").good().stdout
    written = {path: path.read_bytes() for path in (own_mini.results / "tables").iterdir()}
    whole = command("table1", "--scale", MINI, "--collect", "--notes").good().stdout
    table, _, notes = brief.partition("  scale mini")
    assert whole.startswith(table)
    assert len(notes.splitlines()) <= 6 < len(whole.partition("  scale mini")[2].splitlines())
    assert written == {path: path.read_bytes() for path in written}


def test_a_limit_on_a_checkpoint(mini, command):
    """`evaluate --limit N` too looks at N images, and its records are named so."""
    file = ("--weights", mini.artifacts / BASE_0 / "weights.safetensors", "--name", "mine")
    model = ("--arch", "resnet18-w8", "--dataset", "digits")
    answer = command("evaluate", *file, *model, "--evaluations", "clean", "--limit", "10").good()
    line = r"mine/none/seed0  clean-first-10  \d+\.\d\d % \[.+\] \(\d+ of 10\)"
    assert re.search(line, answer.stdout)


def test_a_figure_is_made_and_written(own_mini, command):
    """A figure makes its cells, is written as PNG, SVG and CSV, and again with the same bytes."""
    answer = command("figure3", *ONE).good()
    folder = own_mini.results / "figures"
    first = files(folder)
    names = {Path(name).name: content for name, content in first.items()}
    assert {Path(name).suffix for name in names} == {".png", ".svg", ".csv"}
    assert names["figure3-mini.seeds-0.png"].startswith(b"\x89PNG")
    rows = list(csv.DictReader(names["figure3-mini.seeds-0.csv"].decode().splitlines()))
    making = own_mini.making(Cell.parse(f"{KEY}/rift/seed0"))
    assert {row["module"] for row in rows} == {entry.module for entry in making.details.criticality}
    shutil.rmtree(folder)
    assert command("figure3", *ONE, "--collect").stdout == answer.stdout
    assert files(folder) == first


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table1", "--scale", "quickest"), "unknown scale 'quickest'; close to it: quick; known: "),
        (("table3", "--scale", "none.toml"), "cannot read the scale file 'none.toml'"),
        (("status", "--scale", "quickest"), "unknown scale 'quickest'"),
        (("figure1", "--scale", "quickest"), "unknown scale 'quickest'"),
        (("table1", "--seeds", "0,x"), "--seeds '0,x' is not a list of whole numbers"),
        (("table1", "--seeds", "-1"), "--seeds '-1' is not a list of whole numbers"),
        (("table1", "--seeds", ""), "--seeds '' is not a list of whole numbers"),
        (("table1", "--evaluations", "clean,aa"), "unknown evaluation 'aa'; known: clean"),
        (("audit", "--evaluations", "clean-first-x"), "unknown evaluation 'clean-first-x'"),
        (("table1", "--protocol", "rfit"), "unknown fine-tuning 'rfit'"),
        (("table1", "--protocol", "none,rift"), "'none' is a base model, which stands beside its"),
        (("table3", "--protocol", "bn-only"), "'bn-only' is a fine-tuning, not a protocol"),
        (("table1", "--only", "*/lora/*"), "no cell matches --only '*/lora/*'; a key of this scale"),
        (("status", "--only", "x"), "no cell matches --only 'x'"),
        (("table2", "--scale", MINI), "scale 'mini' has nothing for table2: it names one method only"),
        (("table2", *ONE, "--method", "trades"), "--method trades has nothing for table2"),
        (("table1", "--scale", "lean", "--arch", "resnet34"), "--arch resnet34: the checkpoints are"),
        (("table3", "--scale", "lean", "--method", "mart"), "--method mart: the checkpoints are of "),
        (("table1", "--slurm-limit", "2"), "--slurm-limit and --slurm-split are of jobs"),
        (("table1", "--evaluations", "corruptions-15"), "digits: no data for corruptions-15; choose"),
        (("figure3", "--collect"), ""),
        (("run", "rift"), "'rift' is not a cell key; a key reads SCALE/DATASET/"),
        (("run", "slow/digits/resnet18-w8/pgd-at/rift/seed0"), "unknown scale 'slow'; known: "),
        (("run", "narrow/digits/resnet18/pgd-at/lora/seed0"), "unknown fine-tuning 'lora'; known: "),
        (
            ("run", BASE_0.replace("mini", "narrow"), BASE_1.replace("mini", "quick")),
            f"{BASE_1.replace('mini', 'quick')} is of scale 'quick', not 'narrow'; run one scale",
        ),
    ],
)
def test_wrong_input_is_refused_in_one_line(command, tmp_path, idle, arguments, message):
    """A wrong name or number gives one line, exit code 2, and nothing on disk."""
    assert command(*arguments).refusal.startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("digits", "mnist", "unknown dataset 'mnist'"),
        ("resnet18-w8", "vgg", "unknown architecture 'vgg'"),
        ("seeds", 'methods = ["fgsm"]\nseeds', "unknown AT method 'fgsm'"),
        ("seeds", 'evaluations = ["carlini-wagner"]\nseeds', "unknown evaluation 'carlini-wagner'"),
        ("[0]", "[0]\n[training]\nspeed = 2", "mine.toml', training: unknown field 'speed'"),
        ("[0]", "[0]\n[finetuning]\nlr = 'low'", "mine.toml', finetuning: lr: "),
    ],
)
@pytest.mark.parametrize("name", ["table1", "table3", "status"])
def test_a_wrong_scale_file_is_refused_in_one_line(command, tmp_path, idle, name, old, new, message):
    """A scale file with a wrong name or value gives one line, exit code 2, and nothing on disk."""
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(old, new))
    assert message in command(name, "--scale", path).refusal
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "arguments",
    [("table1",), ("table1", "--collect"), ("table1", "--dry-run"), ("status",), ("run", BASE_0)],
)
def test_a_broken_record_is_refused_by_its_path(own_mini, command, idle, arguments):
    """A record that is not one stops every command with one line that names its file."""
    path = own_mini.results / "records" / BASE_0 / "clean.json"
    path.write_text('{"k": ')
    before = files(own_mini.results)
    message = command(*arguments, "--scale", MINI).refusal
    assert message.startswith(f"'{path}' is not a record of schema 1: file: Invalid JSON")
    assert files(own_mini.results) == before


@pytest.mark.parametrize("which", ["results", "artifacts"])
def test_a_folder_that_cannot_be_written_is_refused_before_work(store, tmp_path, idle, which):
    """Work does not begin where its results could not be kept; the option to mend it is named."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "folder"
    message = Command(dataclasses.replace(store, **{which: folder}))("table1", "--scale", TINY).refusal
    assert message.startswith(f"cannot write to '{folder}' (")
    assert message.endswith(f"; name another folder by --{which}")


def test_a_table_that_cannot_be_written_is_still_printed(mini, monkeypatch, idle):
    """On a read-only results folder `--collect` prints the table and then says what went wrong."""
    read_only = raising(OSError(30, "Read-only file system"))
    monkeypatch.setattr(benchmark.cli.options, "write_atomically", read_only)
    answer = Command(mini)("table1", "--scale", MINI, "--collect")
    assert answer.stdout.startswith("Table 1")
    (line,) = answer.errors()
    assert re.fullmatch(
        r"cannot write '.*table1-mini\.md' \(Read-only file system\); .* --results", line
    )


def test_a_full_disk_is_refused_before_work(command, monkeypatch, idle):
    """Too little space is said before the first cell."""

    def full(store, megabytes):
        raise UserError(f"no {megabytes} MB")

    monkeypatch.setattr(Store, "check_writable", full)
    assert command("table1", "--scale", TINY).refusal == "no 500 MB"


# --- failing cells ----------------------------------------------------------------------------------


def unfinished(store, key, *, weights):
    """Take the record of a base model away, and its weights too unless `weights` stay."""
    for path in (store.results / "records" / key).glob("clean.*"):
        path.unlink()
    if not weights:
        (store.artifacts / key / "weights.safetensors").unlink()


def failure(answer):
    """What is said of `BASE_0`, the only cell in the list that ends standard error."""
    number, line = answer.stderr.partition("\nfailed: ")[2].splitlines()
    assert number == "1"
    key, _, message = line.strip().partition(": ")
    assert key == BASE_0
    return message


def test_broken_weights_are_listed_and_mendable(own_mini, command):
    """Weights that cannot be read fail their cell with exit code 2; the other cell is made."""
    for key in (BASE_0, BASE_1):
        unfinished(own_mini, key, weights=True)
    path = own_mini.artifacts / BASE_0 / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    answer = command(*BASES)
    assert answer.exit_code == 2
    line = failure(answer)
    assert line.startswith(f"'{path}' is not a readable safetensors file (")
    assert "delete it and the same command makes it again" in line
    assert "cells made: 1 of 2, " in answer.stderr
    assert (own_mini.results / "records" / BASE_1 / "clean.json").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TrainingFailed("training: the loss is nan"), "training: the loss is nan"),
        (RuntimeError("boom"), "RuntimeError: boom (at test_cli:"),
    ],
)
def test_a_failing_cell_does_not_stop_the_others(own_mini, command, monkeypatch, error, expected):
    """A cell that fails is listed last with exit code 1, after the table of what there is."""
    unfinished(own_mini, BASE_0, weights=False)
    unfinished(own_mini, BASE_1, weights=True)
    monkeypatch.setattr(benchmark.engine.workspace, "fit", raising(error))
    answer = command(*BASES)
    assert answer.exit_code == 1
    assert answer.stdout.startswith("Table 1")
    line = failure(answer)
    assert line.startswith(expected)
    assert "Traceback" not in answer.stderr
    assert (own_mini.results / "records" / BASE_1 / "clean.json").exists()
    assert not (own_mini.results / "records" / BASE_0 / "clean.json").exists()


def test_the_same_command_goes_on_after_a_failure(mini, own_mini, command, monkeypatch):
    """What failed is made by the same command once its cause is gone, with the same numbers."""
    unfinished(own_mini, BASE_1, weights=True)
    with monkeypatch.context() as patch:
        patch.setattr(benchmark.engine.workspace, "read_weights", FORBIDDEN)
        assert command(*BASES).exit_code == 1
    command(*BASES).good()
    again, first = (store.record(Cell.parse(BASE_1), "clean") for store in (own_mini, mini))
    assert (again.k, again.bits_sha256) == (first.k, first.bits_sha256)


def test_other_weights_than_those_of_the_records_are_not_evaluated(own_mini, command, monkeypatch):
    """Weights trained anew that differ from those behind the records fail instead of mixing."""
    whole = benchmark.engine.workspace.fit

    def shorter(model, split, info, method, recipe, **options):
        return whole(model, split, info, method, dataclasses.replace(recipe, epochs=1), **options)

    unfinished(own_mini, BASE_0, weights=False)
    monkeypatch.setattr(benchmark.engine.workspace, "fit", shorter)
    answer = command(*BASES)
    assert answer.exit_code == 1
    line = failure(answer)
    assert "are not those behind its records" in line
    assert not (own_mini.results / "records" / BASE_0 / "clean.json").exists()
    assert not (own_mini.artifacts / BASE_0 / "weights.safetensors").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu,cuda:99"])
def test_a_device_that_is_not_there_is_told(command, device):
    """Of several, too, before work: no cell has failed of it."""
    line = command(*BASES, "--device", device).refusal
    assert line.startswith(f"device '{device.rpartition(',')[2]}' is not to be had (")
    assert line.endswith("; try --device cpu")


def test_data_that_is_not_to_be_had_is_told(command, tmp_path, monkeypatch):
    """Without CIFAR-10 and without a network one line says what to do, and no table is made."""
    offline = raising(UserError("no answer"))
    monkeypatch.setattr(benchmark.data.cifar, "fetch", offline)
    data, wanted = tmp_path / "data", ("--scale", "narrow", "--only", "*/cifar10/*w16*")
    line = command("table1", *wanted, "--data-dir", data).refusal
    assert line.startswith(f"CIFAR-10 is not complete under '{data}'")
    assert "no answer" in line
    assert line.endswith("name another folder by --data-dir")


# --- stale records ----------------------------------------------------------------------------------


@pytest.fixture
def changed(tmp_path):
    """`--scale` and the mini scale with another training recipe."""
    path = tmp_path / "changed.toml"
    path.write_text(MINI.read_text().replace("epochs = 3", "epochs = 1"))
    return "--scale", path


def test_stale_records_stop_a_command(own_mini, command, idle, changed):
    """Records of other settings are refused with the option that makes them again."""
    before = files(own_mini.results, own_mini.artifacts)
    message = command("table1", *changed).refusal
    assert message.startswith(f"the records of {BASE_0} are stale")
    assert "--redo-stale moves them to results/superseded and makes them again" in message
    assert files(own_mini.results, own_mini.artifacts) == before
    answer = command("status", *changed, "--only", "*/none/*")
    assert answer.stdout.splitlines()[-1] == "2 stale"


def test_stale_records_are_left_out_of_a_collected_table(own_mini, command, idle, changed):
    """`--collect` shows dashes for stale records and says how many were left out."""
    answer = command("table1", *changed, "--collect").good()
    assert "stale records left out: 2; `--dry-run` lists them" in answer.stdout
    assert not re.search(r"AT +\d", answer.stdout)


def test_stale_records_are_made_again_on_demand(own_mini, command, changed):
    """`--redo-stale` keeps the old records aside and makes new ones of today's settings."""
    old = own_mini.record(Cell.parse(BASE_0), "clean")
    bits = own_mini.bits_file(old).name
    options = ("table1", *changed, "--only", "*/none/seed0", "--redo-stale")
    command(*options).good()
    new = own_mini.record(Cell.parse(BASE_0), "clean")
    assert new.spec_hash != old.spec_hash
    assert new.spec["model"]["recipe"]["epochs"] == 1
    aside = own_mini.results / "superseded"
    kept = sorted(path.relative_to(aside).as_posix()[13:] for path in aside.rglob("*.*"))
    assert kept == [f"{BASE_0}/{name}" for name in (bits, "clean.json", "making.json")]
    command(*options).good()


def test_a_stale_base_model_stops_its_fine_tunings(own_mini, command, changed, monkeypatch):
    """Fine-tuning a model whose making is stale is refused before hours of training it again."""
    monkeypatch.setattr(benchmark.engine.workspace, "fit", FORBIDDEN)
    assert "--redo-stale" in command("table1", *changed, "--only", "*/rift/*").refusal
