"""Cells on Slurm: what is asked of it, and with a real one (`tox -e slurm`) what it makes."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from test_sweep import BASES, assert_same

import benchmark.cli.cells
import benchmark.cli.slurm
import benchmark.cli.states
import benchmark.jobs.worker
from benchmark.errors import UserError
from benchmark.jobs import queue
from benchmark.jobs.cluster import Cluster, Step, steps, submit
from benchmark.jobs.tasks import Options, Task, tasks_for
from benchmark.plans.named import scale
from benchmark.records.cells import Cell
from benchmark.records.store import WEIGHTS, Store
from handmade import BY_HAND, cell_at, write_making
from invoking import MINI, Command

ROOT = Path(__file__).parents[2]
BASE = BASES[0]
ONLY_BASES = ("table1", "--scale", MINI, "--only", "*/none/*")
SMALL = ("--device", "cpu", "--slurm", "cpus_per_task=1", "--slurm", "mem_gb=1")
SMALL += ("--slurm", "timeout_min=30")


def asked(*settings: str) -> Cluster:
    """What `--slurm` with each of `settings` asks for."""
    return Cluster.of(settings, split=False, limit=None)


# --- without a cluster ------------------------------------------------------------------------------


def test_a_job_gets_what_its_dataset_needs():
    """One GPU, 8 CPUs, a day, and 8 GB, or 24 for Tiny-ImageNet; never a wckey, and on a CPU no GPU."""
    base = Cell("paper", "cifar10", "wrn-34-10", "trades", "none", 0)
    given = asked().of_job(Task(base, ()), "cuda")
    assert given == {
        "time": 1440,
        "cpus_per_task": 8,
        "mem": "8192M",
        "gpus_per_node": 1,
        "wckey": None,
        "srun_args": ["--cpus-per-task=8"],
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes"},
    }
    large = Task(replace(base, dataset="tiny-imagenet"), ())
    assert asked().of_job(large, "cuda") == given | {"mem": "24576M"}
    assert "gpus_per_node" not in asked().of_job(large, "cpu")


def test_what_the_user_asks_for_stands(tmp_path):
    """Of flags and a TOML file, also in submitit's other words, and instead of what says the same."""
    file = tmp_path / "cluster.toml"
    file.write_text(
        'timeout_min = 90\ngres = "gpu:a100:1"\n[additional_parameters]\nreservation = "x"\n'
    )
    asks = asked(str(file), "partition=gpu", "mem_per_cpu=2G", "mem_gb=4", "cpus_per_task=3")
    given = asks.of_job(Task(BASE, ()), "cuda")
    assert (given["time"], given["partition"]) == (90, "gpu")
    assert given["mem"] == "4096M"
    assert given["srun_args"] == ["--cpus-per-task=3"]
    assert given["additional_parameters"]["reservation"] == "x"
    assert "gpus_per_node" not in given
    assert "mem" not in asked("mem_per_cpu=2G").of_job(Task(BASE, ()), "cuda")


def test_values_stay_what_they_are():
    """Zeros before an account are part of its name, a line of a setup is one, and text for srun is
    split as a shell would, behind what srun does not take over by itself."""
    words = ("account=0123", "cpus_per_task=4", "setup=module load cuda")
    asks = asked(*words, "srun_args=--mpi=none --cpu-bind='x y'")
    given = asks.of_job(Task(BASE, ()), "cpu")
    assert (given["account"], given["cpus_per_task"]) == ("0123", 4)
    assert given["setup"] == ["module load cuda"]
    assert given["srun_args"] == ["--cpus-per-task=4", "--mpi=none", "--cpu-bind=x y"]


@pytest.mark.parametrize("name", ["dependency", "job-name", "nodes", "ntasks", "array"])
def test_what_the_suite_sets_is_refused_among_other_parameters(tmp_path, name):
    """A job that waits for something else than its base model would begin without it."""
    file = tmp_path / "cluster.toml"
    file.write_text(f'[additional_parameters]\n{name} = "afterok:1"\n')
    with pytest.raises(UserError, match=f"--slurm {name.replace('-', '_')}: the suite sets that"):
        asked(str(file))


@pytest.mark.parametrize("text", ["nothing", "no.toml", "job_name=x", "dependency=after:1"])
def test_settings_that_are_none(text, command):
    """What is no setting, no file, or the suite's own to say is refused in a line, before any work."""
    answer = command(*ONLY_BASES, "--slurm", text)
    name, is_set, _ = text.partition("=")
    refused = (
        f"--slurm {name}: " if is_set else f"cannot read the file or NAME=VALUE of --slurm '{text}'"
    )
    assert answer.errors()[0].startswith(refused)
    assert not queue.folder(command.store).exists()


def test_a_base_model_is_one_job_or_one_per_tuning(store):
    """Split, fine-tunings wait for the base model, those that need criticality for that, too."""
    cells = [cell_at(name) for name in ("none", "rift", "rift-alpha-1", "top-2", "all-layers")]
    (task,) = tasks_for(store, BY_HAND, cells)
    assert steps(task, BY_HAND, store, split=False) == [Step(task.base.key, task)]
    base, measured = task.base.key, f"{task.base.key}+criticality"
    found = {step.name: step for step in steps(task, BY_HAND, store, split=True)}
    assert {name: step.needs for name, step in found.items()} == {
        base: (),
        measured: (base,),
        cell_at("rift").key: (base, measured),
        cell_at("top-2").key: (base, measured),
        cell_at("all-layers").key: (base,),
    }
    assert found[cell_at("rift").key].task.cells == (cell_at("rift"), cell_at("rift-alpha-1"))
    made = [key for step in found.values() for key in step.parts(BY_HAND)]
    assert sorted(made) == sorted(cell.key for cell in cells)


def test_a_base_model_that_is_there_is_not_made_again(store):
    """It is a job if it is missing, whether its records are asked for or not."""
    task = Task(cell_at(), (cell_at("all-layers"),))
    assert [step.name for step in steps(task, BY_HAND, store, split=True)] == [
        cell_at().key,
        cell_at("all-layers").key,
    ]
    write_making(store, cell_at())
    assert len(steps(task, BY_HAND, store, split=True)) == 2  # its weights are gone
    (store.work(cell_at()) / WEIGHTS).parent.mkdir(parents=True)
    (store.work(cell_at()) / WEIGHTS).touch()
    assert len(steps(task, BY_HAND, store, split=True)) == 1


@pytest.mark.parametrize("split", [False, True])
def test_what_a_module_is_made_of_comes_first(store, split):
    """The second network of two mixes is one job, which they wait for, and so is a module's tuning,
    though that is named last: a job can wait only for one that is submitted before it."""
    names = ("output-mix", "mixed-nuts", "rift+mean-sparse", "rift")
    (task,) = tasks_for(store, BY_HAND, [cell_at(name) for name in names])
    found = {step.name: step for step in steps(task, BY_HAND, store, split=split)}
    second = replace(cell_at(), method="standard")
    assert found[second.key].make is not None and found[second.key].needs == ()
    if not split:
        assert list(found) == [second.key, cell_at().key]
        assert found[cell_at().key].needs == (second.key,)
        return
    for name in names[:2]:
        assert found[cell_at(name).key].needs == (cell_at().key, second.key)
    tuned, module = cell_at("rift").key, cell_at("rift+mean-sparse").key
    assert tuned in found[module].needs
    assert list(found).index(tuned) < list(found).index(module)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time=1-00:00:00", "say minutes, such as time=1440"),
        ("timeout_min=24:00:00", "say minutes"),
        ("signal_delay_s=2m", "say seconds"),
        ("cpus_per_task=08", "say a number"),
        ("stderr_to_stdout=true", "the suite sets that itself"),
        ("additional_parameters=x", "a table of a TOML file"),
    ],
)
def test_values_that_are_counted_with(text, says):
    """What submitit would stumble over at a time limit is refused before anything is submitted."""
    with pytest.raises(UserError, match=says):
        asked(text)


def test_a_second_network_that_is_asked_for_is_evaluated(store, tmp_path, monkeypatch):
    """Its job makes its records, too, whichever of both tasks comes first."""
    second, made = cell_at(method="standard"), []
    monkeypatch.setattr(benchmark.jobs.cluster, "queue", lambda _: [])
    monkeypatch.setattr(benchmark.jobs.cluster, "_submit", lambda *of: made.append(of[0]) or "1")
    monkeypatch.setattr(benchmark.jobs.worker, "refuse_missing", lambda *_: None)
    for method in ("pgd-at", "trades"):
        mix = cell_at("output-mix", method=method)
        made.clear()
        tasks = tasks_for(store, BY_HAND, [second, mix])
        found = submit(tasks, BY_HAND, Options(store, tmp_path, "cpu", 1), asked(), lambda *_: None)
        assert found == (2, 0)
        assert [key for step in made for key in step.parts(BY_HAND)] == [second.key, mix.key]


@pytest.mark.parametrize("device", ["cuda:0,cuda:1", "gpu"])
def test_a_job_has_one_device(command, device):
    """Devices of this machine mean nothing on a node."""
    answer = command(*ONLY_BASES, "--slurm", "partition=x", "--device", device)
    assert answer.errors()[0].startswith(f"--device {device}: a job has a GPU of its own")


@pytest.fixture
def said(store, tmp_path, monkeypatch):
    """A function that lets squeue say lines, of jobs that are on the artifacts of `store`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def say(*lines: str, code: int = 0) -> None:
        text = "".join(f"{line}{queue.mark(store)}\n" for line in lines)
        program = tmp_path / "bin" / "squeue"
        program.write_text(f"#!/bin/sh\ncat <<'E'\n{text}E\necho 'no controller' >&2\nexit {code}\n")
        program.chmod(0o755)

    return say


def test_a_job_that_is_submitted_from_within_one(store, said, tmp_path, monkeypatch):
    """It inherits nothing of what Slurm has told the other, but for where Slurm is set up."""
    said()
    for name in ("sbatch", "srun"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\nenv >'{tmp_path}/told'\necho 'Submitted batch job 7'\n")
        program.chmod(0o755)
    inside = {"SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "1", "SLURM_CPU_BIND": "mask_cpu:0x1"}
    for name, value in (inside | {"SLURM_CONF": "here"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(benchmark.jobs.worker, "refuse_missing", lambda *_: None)
    how = Options(store, tmp_path, "cpu", 1), asked(), print
    assert submit(tasks_for(store, BY_HAND, [cell_at()]), BY_HAND, *how) == (1, 0)
    told = dict(line.partition("=")[::2] for line in (tmp_path / "told").read_text().splitlines())
    assert told["SLURM_CONF"] == "here"
    assert not inside.keys() & told.keys()
    assert {name: os.environ[name] for name in inside} == inside


def submitted(store: Store, number: int, cell: Cell, log: str | None = None) -> None:
    """As if job `number` had been submitted to evaluate `cell`, and had left `log`."""
    where = queue.folder(store) / cell.key
    where.mkdir(parents=True, exist_ok=True)
    (where / f"{number}.json").write_text(json.dumps({cell.key: ["clean"]}))
    if log is not None:
        (where / f"{number}_0_log.err").write_text(log)


def test_status_says_what_slurm_has(store, said, command):
    """Waiting and why, running where and how long, failed and why: of the last job of a cell."""
    cells = [replace(BASE, seed=0), replace(BASE, seed=1), replace(BASE, finetune="rift")]
    submitted(store, 3, cells[0], "Traceback\nValueError: an earlier one\n")
    submitted(store, 10, cells[0])
    submitted(store, 11, cells[1])
    submitted(store, 12, cells[2], f"failed {cells[2].key}: no images\nsrun: error: exit code 1\n")
    other = f"13|RUNNING|None|n9|0:01|1:00|{BASE.key}"
    waits, runs = "10|PENDING|Priority||0:00|1:00", "11|RUNNING|None|n7|0:12|1:00:00"
    said(f"{waits}|{cells[0].key}", f"{runs}|{cells[1].key}", f"{other}@another")
    assert queue.by_cell(store) == {
        cells[0].key: "queued: job 10 (Priority)",
        cells[1].key: "running: job 11 on n7, 0:12 of 1:00:00",
        cells[2].key: "failed: no images",
    }
    text = command("status", "--scale", MINI).good().stdout
    assert "job 10 (Priority)" in text and "0:12 of 1:00:00" in text and "failed: no images" in text


def test_status_is_watched_while_something_goes_on(store, command, monkeypatch):
    """It is shown again until nothing waits or runs: what failed does neither."""
    others = {"quick/digits/wrn-10-1/pgd-at/none/seed0": "queued: job 2 (Priority)"}
    answers = [{BASE.key: "queued: job 1 (Priority)"}, {BASE.key: "failed: no images"} | others]
    monkeypatch.setattr(benchmark.cli.cells, "WATCH_S", 0)
    monkeypatch.setattr(benchmark.cli.states, "by_cell", lambda _: answers.pop(0))
    text = command("status", "--scale", MINI, "--watch").good().stdout
    assert answers == []
    assert "job 1 (Priority)" in text and "failed: no images" in text


def test_a_watch_outlasts_a_mute_slurm(store, said, command, monkeypatch):
    """A controller that does not answer is asked again; jobs may be there all the same."""
    submitted(store, 5, BASE, "no images\n")
    said(code=1)
    monkeypatch.setattr(benchmark.cli.cells, "WATCH_S", 0)
    monkeypatch.setattr(benchmark.cli.cells.time, "sleep", lambda _: said())
    answer = command("status", "--scale", MINI, "--watch").good()
    assert "squeue says: no controller" in answer.stderr
    assert "failed: no images" in answer.stdout


def test_a_figure_that_is_on_its_way(store, command, monkeypatch):
    """What cannot be drawn yet is no error of a command that submits it."""
    monkeypatch.setattr(benchmark.cli.slurm, "submit", lambda *_: (2, 0))
    said = command("figure3", "--scale", MINI, "--slurm", "partition=x").good().stderr
    assert "jobs submitted: 2" in said and "nothing drawn yet: figure3" in said


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (None, "job 5 never began (cancelled, or what it depends on failed)"),
        (
            "ModuleNotFoundError: No module named 'torch'\nsrun: error: n1\n",
            "ModuleNotFoundError: No module",
        ),
        (f"failed {BASE.key}: one\nfailed {BASE.key}: two\n", "two"),
        (f"[1 s] {BASE.key}\nall cells made\n", None),
    ],
)
def test_why_a_job_failed(store, said, log, why):
    """The line about the cell, else the last one; nothing of a job that ended well."""
    submitted(store, 5, BASE, log)
    said()
    assert queue.by_cell(store).get(BASE.key, "").startswith(f"failed: {why}" if why else "")
    assert bool(queue.by_cell(store)) == bool(why)


def test_nobody_is_asked_where_nothing_was_submitted(store, said):
    """`status` costs no call of Slurm on a machine without; a mute one stops it no more than that."""
    said(code=1)
    assert queue.by_cell(store) == {}
    submitted(store, 5, BASE)
    with pytest.raises(UserError, match="squeue says: no controller"):
        queue.by_cell(store)


def test_the_job_of_a_second_network_is_cancelled_too(command, monkeypatch):
    """The command that is cancelled submitted it, and nothing else begins with it."""
    second, asked_for = replace(BASE, method="standard").key, []
    job = queue.Queued("7", "PENDING", "Priority", "", "0:00", "1:00", second, {})
    monkeypatch.setattr(queue, "queue", lambda _: [job])
    monkeypatch.setattr(queue, "ask", lambda *words: asked_for.append(words) or "")
    key = replace(BASE, finetune="output-mix").key
    assert "cancelled: 1" in command("run", key, "--scale", MINI, "--slurm-cancel").good().stderr
    assert asked_for == [("scancel", "7")]


def test_slurm_is_needed(command, monkeypatch):
    """Where there is none `--slurm` says so and nothing is made."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert command(*ONLY_BASES, *SMALL).errors() == [
        "there is no squeue here; --slurm is for a node that submits to Slurm"
    ]


# --- with a real one --------------------------------------------------------------------------------

PACKAGES = "apt-get install -y --no-install-recommends slurm-wlm munge"
real = pytest.mark.slurm


@pytest.fixture(scope="session")
def nodes(tmp_path_factory):
    """The folder of a Slurm of two nodes on this machine, which commands speak to."""
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip(f"no Slurm here: {PACKAGES}")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([ROOT / "tests/slurm.sh", "up", folder, "2"], check=True)
    before = os.environ.get("PYTHONPATH")
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": str(ROOT)}
    yield folder
    subprocess.run([ROOT / "tests/slurm.sh", "down", folder], check=True)
    del os.environ["SLURM_CONF"]
    os.environ["PYTHONPATH"] = before or ""


def wait(until: Callable[[], object], seconds: int = 400) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.2)


def ended(store: Store) -> bool:
    """Whether no job on `store` waits or runs."""
    return not queue.queue(store)


@real
def test_nodes_make_what_is_made_here(nodes, mini, store, command):
    """Submitted at once, asked for twice and submitted once; weights, bits and counts as made here."""
    said = command(*ONLY_BASES, *SMALL).good()
    assert "jobs submitted: 2, already in the queue: 0" in said.stderr
    assert "rows without any number, not shown" in said.stdout
    again = command(*ONLY_BASES, *SMALL).good()
    assert "jobs submitted: 0, already in the queue: 2" in again.stderr
    assert {job.name for job in queue.queue(store)} == {cell.key for cell in BASES}
    wait(lambda: ended(store))
    assert_same(store, mini)
    assert queue.by_cell(store) == {}
    assert command("status", "--scale", MINI, "--only", "*/none/*").stdout.endswith("2 done\n")


SLOW = replace(BASE, scale="slow", method="slow")


def start(store: Store, what: Sequence[str], *more: str) -> None:
    """Call the command line in a process of its own, which a plug-in does not outlive."""
    places = ("--results", str(store.results), "--artifacts", str(store.artifacts))
    words = [sys.executable, "-m", "benchmark", *what, *places, *more]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)


@pytest.fixture(scope="session")
def slow(tmp_path_factory):
    """One base model that takes longer than a limit and than a state is due, and what asks for it."""
    root = tmp_path_factory.mktemp("slow")
    path = root / "slow.toml"
    text = MINI.read_text().replace("epochs = 3\n", "epochs = 52\n").replace("[0, 1]", "[0]")
    path.write_text(text.replace("mini", "slow").replace("pgd-at", "slow"))
    store = Store(root / "results", root / "artifacts")
    plugin = str(ROOT / "tests" / "slow.py")
    what = ("table1", "--scale", str(path), "--only", "*/none/*", "--plugin", plugin)
    start(store, what, "--jobs", "1")
    return store, what


def die(nodes: Path, name: str) -> None:
    """Let a node die at once with all that runs on it."""
    dying = {psutil.Process(int((nodes / f"{name}.pid").read_text()))}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            told = process.environ()
            if (
                told.get("SLURM_CONF") == str(nodes / "slurm.conf")
                and told.get("SLURMD_NODENAME") == name
            ):
                dying |= {process} | {p for p in process.parents() if p.name() == "slurmstepd"}
    for process in dying:
        process.suspend()
    for process in dying:
        process.kill()


def hurried(store: Store) -> bool:
    """Whether no job on `store` waits or runs; one filed again need not wait for its minutes."""
    jobs = queue.queue(store)
    for job in jobs:
        if job.reason == "BeginTime":
            queue.ask("scontrol", "update", f"JobId={job.id}", "StartTime=now")
    return not jobs


def assert_continued(store: Store, local: Store) -> None:
    """The slow model is the one made here, and was not made in one go."""
    assert_same(store, local, [SLOW])
    making = store.making(SLOW)
    assert making is not None and making.provenance.resumed


@real
def test_a_killed_node(nodes, slow, store):
    """A node dies in the middle of training: the other one goes on, and makes the same bytes."""
    local, what = slow
    start(store, what, *SMALL)
    wait(lambda: list(store.artifacts.rglob("training.safetensors")))
    (job,) = queue.queue(store)
    die(nodes, job.node)
    try:
        wait(lambda: hurried(store) or queue.queue(store)[0].node not in ("", job.node))
        (again,) = queue.queue(store)
        assert again.id == job.id
        wait(lambda: hurried(store))
    finally:
        subprocess.run([ROOT / "tests/slurm.sh", "node", nodes, job.node], check=True)
    assert_continued(store, local)


@real
def test_a_time_limit(nodes, slow, store):
    """A job that needs longer than it may goes on where it was, as often as needed: the same bytes."""
    local, what = slow
    start(store, what, *SMALL, "--slurm", "timeout_min=1", "--slurm", "signal_delay_s=10")
    wait(lambda: hurried(store), 900)
    logs = [path.read_text() for path in queue.folder(store).rglob("*_log.out")]
    assert "Requeued job" in "".join(logs)
    assert_continued(store, local)


@real
def test_one_job_of_a_name_at_a_time(nodes, mini, store, command, monkeypatch):
    """Two commands that know nothing of each other: the second's job waits, and finds all made."""
    one = ("table1", "--scale", MINI, "--only", "*/none/seed0", *SMALL)
    command(*one).good()
    with monkeypatch.context() as patch:
        patch.setattr(benchmark.jobs.cluster, "queue", lambda _: [])
        command(*one).good()
    first, second = sorted(queue.queue(store), key=lambda job: int(job.id))
    assert (first.name, second.state, second.reason) == (second.name, "PENDING", "Dependency")
    wait(lambda: ended(store))
    assert_same(store, mini, BASES[:1])


@real
def test_no_more_at_once_than_asked_for_and_cancelled(nodes, store, command):
    """With a limit of one the second job waits; cancelling ends the jobs of these cells."""
    command(*ONLY_BASES, *SMALL, "--slurm-limit", "1").good()
    assert [job.reason for job in queue.queue(store)].count("Dependency") == 1
    only = ("table1", "--scale", MINI, "--only", "*/none/seed1", "--slurm-cancel")
    assert "jobs cancelled: 1" in command(*only).good().stderr
    wait(lambda: [job.name for job in queue.queue(store)] == [BASE.key])
    assert "jobs cancelled: 1" in command(*ONLY_BASES, "--slurm-cancel").good().stderr
    wait(lambda: ended(store))


@real
def test_a_partition_that_is_none(nodes, store, command):
    """What Slurm refuses is one line, and nothing was submitted."""
    answer = command(*ONLY_BASES, *SMALL, "--slurm", "partition=none")
    assert "invalid partition" in answer.errors()[0]
    assert ended(store)
    assert "Unavailable parameter" in command(*ONLY_BASES, *SMALL, "--slurm", "partitio=x").errors()[0]


@real
def test_a_node_without_the_data(nodes, store, command, monkeypatch, tmp_path):
    """It says so at once, in a line of `status`; what depends on it does not wait for ever."""
    path = tmp_path / "cifar.toml"
    path.write_text(MINI.read_text().replace('"mini"', '"cifar"').replace("digits", "cifar10"))
    what = (
        "--scale",
        path,
        "--seeds",
        "0",
        "--data-dir",
        tmp_path / "nowhere",
        "--slurm-split",
        "tuning",
    )
    assert "CIFAR-10 is not complete" in command("table1", *what, *SMALL).errors()[0]
    assert ended(store)
    with monkeypatch.context() as patch:  # as if the data were here
        patch.setattr(benchmark.jobs.worker, "refuse_missing", lambda *_: None)
        assert "jobs submitted: 3" in command("table1", *what, *SMALL).good().stderr
    wait(lambda: ended(store))
    told = queue.by_cell(store)
    base = replace(BASE, scale="cifar", dataset="cifar10")
    assert re.match("failed: node .* has no cifar10 in ", told[base.key])
    assert "never began" in told[replace(base, finetune="rift").key]


@real
def test_each_tuning_a_job(nodes, store, command, tmp_path):
    """Base model, criticality and fine-tunings on their own make what one process makes."""
    what = ("--scale", MINI, "--seeds", "0", "--protocol", "rift,all-layers")
    said = command("table1", *what, *SMALL, "--slurm-split", "tuning").good()
    assert "jobs submitted: 4" in said.stderr
    again = command("table1", *what, *SMALL, "--slurm-split", "tuning").good()
    assert "jobs submitted: 0, already in the queue: 4" in again.stderr
    local = Store(tmp_path / "local-results", tmp_path / "local-artifacts")
    Command(local)("table1", *what).good()
    wait(lambda: ended(store))
    assert_same(
        store, local, [BASE, replace(BASE, finetune="rift"), replace(BASE, finetune="all-layers")]
    )
    assert scale(str(MINI)).evaluations == ("clean",)  # what is compared is all that is made
