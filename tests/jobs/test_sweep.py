"""Sweeps: order, number of processes, processes that die, and commands that are killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from filelock import Timeout

import benchmark.cli.work
import benchmark.jobs.pool
import benchmark.jobs.tasks
import fragile
from benchmark.engine.device import devices
from benchmark.engine.precision import Precision
from benchmark.errors import UserError
from benchmark.jobs.pool import sweep
from benchmark.jobs.tasks import Failure, Options, Task, default_jobs, side_by_side, tasks_for
from benchmark.plans.named import scale
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.store import WEIGHTS, Store
from benchmark.report.tables import REPORTS
from handmade import BY_HAND, cell_at, write_making, write_record, write_records
from invoking import MINI, TINY

GIB = 2**30
ROOT = Path(__file__).parents[2]
BASES = [Cell("mini", "digits", "resnet18-w8", "pgd-at", "none", seed) for seed in (0, 1)]
ONLY_BASES = ("table1", "--scale", str(MINI), "--only", "*/none/*")


class Watched:
    """A display that notes what it was told."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, str, str]] = []
        self.finished: list[str] = []

    def update(self, worker: int, key: str, stage: str, done: int, total: int, note: str) -> None:
        """Note the worker, the cell and the stage."""
        self.updates.append((worker, key, stage))

    def finish(self, worker: int, key: str, cells: int, failed: int = 0) -> None:
        """Note the base model."""
        self.finished.append(key)


def contents(store: Store, cell: Cell) -> dict[str, Any]:
    """What must be equal in every run of a cell: weights, logs, counts and bits."""
    making, record = store.making(cell), store.record(cell, "clean")
    hashes = [
        (made.weights_sha256, made.data_sha256) for made in (making.provenance, record.provenance)
    ]
    counts = {name: getattr(record, name) for name in ("value", "k", "n", "parts")}
    return counts | {"of": hashes, "log": making.details, "bits": store.bits_file(record).read_bytes()}


def assert_same(one: Store, other: Store, cells: Sequence[Cell] = BASES) -> None:
    """Both stores hold the same results for `cells`."""
    for cell in cells:
        assert contents(one, cell) == contents(other, cell)


# --- how many processes -----------------------------------------------------------------------------

Memory = namedtuple("Memory", ["available"])


@pytest.mark.parametrize(
    ("cores", "threads", "gib", "tasks", "jobs"),
    [
        (8, 1, 64, 100, 8),
        (8, 2, 64, 100, 4),
        (8, 3, 64, 100, 2),
        (8, 1, 64, 3, 3),
        (8, 1, 6, 100, 4),
        (8, 1, 1, 100, 1),
        (2, 4, 64, 100, 1),
        (1, 1, 64, 100, 1),
    ],
)
def test_as_many_jobs_as_cores_memory_and_tasks_allow(monkeypatch, cores, threads, gib, tasks, jobs):
    """The default is the least of cores by threads, memory by 1.5 GiB, and tasks; at least one."""
    monkeypatch.setattr(benchmark.jobs.tasks, "cores", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(gib * GIB))
    assert default_jobs("cpu", threads, tasks) == jobs
    assert default_jobs("cuda", threads, tasks) == 1


def test_no_more_jobs_than_an_allocation_has_memory_for(monkeypatch):
    """Whatever the rest of the node has."""
    monkeypatch.setattr(benchmark.jobs.tasks, "cores", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(64 * GIB))
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "6144")
    assert default_jobs("cpu", 1, 100) == 4


# --- which tasks ------------------------------------------------------------------------------------


def test_a_task_is_a_base_model_with_its_cells(store):
    """Every missing cell is in the task of its base model, once; larger networks come first."""
    cells = REPORTS["table1"].cells(BY_HAND, REPORTS["table1"].defaults)
    tasks = tasks_for(store, BY_HAND, [*cells, *cells])
    large, small = ("resnet34-w8", "resnet18-w8")
    assert [(task.base.arch, task.base.seed) for task in tasks] == [
        *((large, seed) for seed in (0, 1, 2)),
        *((small, seed) for seed in (0, 1, 2)),
    ]
    for task in tasks:
        assert task.cells == (task.base, cell_at("rift", task.base.seed, task.base.arch))


def test_what_is_made_is_evaluated_side_by_side(store: Store) -> None:
    """A task for each cell once all weights are there, whose locks keep none of the others away."""
    rift = cell_at("rift")
    tasks = [Task(rift.base, (rift.base, rift))]
    for cell in (rift.base, rift):
        assert side_by_side(store, tasks) == tasks
        (store.work(cell) / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
        (store.work(cell) / WEIGHTS).touch()
    one, two = side_by_side(store, tasks)
    assert [(one.cells, one.alone), (two.cells, two.alone)] == [((rift.base,), True), ((rift,), True)]
    with store.lock(rift.base, 0, alone=True), store.lock(rift, 0, alone=True):
        pass
    with store.lock(rift, 0, alone=True), pytest.raises(Timeout), store.lock(rift, 0, alone=True):
        pass


def test_done_cells_are_no_task(store: Store) -> None:
    """A base model that is done is not in its task, and a task without cells is none."""
    counts = dict.fromkeys(BY_HAND.evaluations, 5)
    rift = cell_at("rift")
    write_records(store, rift.base, counts)
    assert tasks_for(store, BY_HAND, [rift.base, rift]) == [Task(rift.base, (rift,))]
    write_records(store, rift, counts)
    assert tasks_for(store, BY_HAND, [rift.base, rift]) == []


def test_stale_cells_stop_a_sweep(store):
    """A stale cell is named with the option that makes it again."""
    other = Scale(**{**vars(BY_HAND), "finetuning": {"lr": 0.5}})
    write_record(store, cell_at("rift"), "clean", 5, 10, scale=other)
    with pytest.raises(
        UserError, match=f"the records of {cell_at('rift').key} are stale.*--redo-stale"
    ):
        tasks_for(store, BY_HAND, REPORTS["table1"].cells(BY_HAND, REPORTS["table1"].defaults))


@pytest.mark.parametrize(
    ("name", "part", "changed"),
    [
        ("rift", cell_at("none"), "training"),
        ("rift+mean-sparse", cell_at("rift"), "finetuning"),
        ("output-mix", cell_at(method="standard"), "training"),
    ],
)
def test_what_a_cell_is_made_of_is_not_stale(store, name, part, changed):
    """Base model, weights before `+`, second network of a mix: none would fit its making either."""
    write_making(store, part, scale=Scale(**{**vars(BY_HAND), changed: {"lr": 0.5}}))
    with pytest.raises(UserError, match=f"the records of {part.key} are stale.*--redo-stale"):
        tasks_for(store, BY_HAND, [cell_at(name)])


def test_no_task_is_no_work(store):
    """Without tasks no process starts and no folder is made."""
    assert sweep([], BY_HAND, options(store), 8, Watched()) == []
    assert not store.artifacts.exists()


def options(store: Store) -> Options:
    """One thread on the CPU, in fp32."""
    return Options(store, store.artifacts / "data", "cpu", 1, Precision("fp32"))


# --- one process ------------------------------------------------------------------------------------


def test_a_busy_task_is_put_off(store, monkeypatch):
    """A base model that another command holds is left for the end and then waited for."""
    import benchmark.jobs.worker

    asked = []

    def do(worker: Any, task: Task, block: bool) -> list[Failure]:
        asked.append((task.base.seed, block))
        if task.base.seed == 0 and not block:
            raise Timeout("lock")
        return [Failure(task.base.key, "no", False)] if task.base.seed == 1 else []

    monkeypatch.setattr(benchmark.jobs.worker.Worker, "do", do)
    tasks, seen = [Task(cell_at(seed=seed), (cell_at(seed=seed),)) for seed in range(3)], Watched()
    failures = sweep(tasks, BY_HAND, options(store), 1, seen)
    assert asked == [(0, False), (1, False), (2, False), (0, True)]
    assert failures == [Failure(cell_at(seed=1).key, "no", False)]
    assert seen.finished == [cell_at(seed=seed).key for seed in (1, 2, 0)]


@pytest.mark.parametrize(("alone", "told"), [(True, ["none", "rift"]), (False, ["none", "none"])])
def test_what_is_finished_is_told_by_name(store, monkeypatch, alone, told):
    """By its cell where cells are made apart, else by its base model."""
    monkeypatch.setattr("benchmark.jobs.worker.Worker.do", lambda *_, **__: [])
    cells, seen = (cell_at(), cell_at("rift")), Watched()
    tasks = [Task(cell.base, (cell,), alone) for cell in cells]
    sweep(tasks, BY_HAND, options(store), 1, seen)
    assert seen.finished == [cell_at(name).key for name in told]


def test_a_lock_that_cannot_be_had_fails_its_own_cells(mini, store):
    """One line for each of its cells, and the other base model is made."""
    mini_scale, seen = scale(str(MINI)), Watched()
    lock = store.work(BASES[0]) / "lock"
    lock.mkdir(parents=True)
    (failed,) = sweep(tasks_for(store, mini_scale, BASES), mini_scale, options(store), 1, seen)
    assert failed.key == BASES[0].key
    assert failed.message.startswith(f"cannot lock '{lock}' (Is a directory)")
    assert failed.user
    assert_same(store, mini, BASES[1:])


def test_what_failed_is_not_tried_again(store, monkeypatch):
    """By the next part of a table, with other evaluations; and it is told once."""
    asked = []

    def make(_work: Any, part: Any, *_later: Any, **_how: Any) -> list[Failure]:
        cells, _ = part
        asked.append([cell.finetune for cell in cells])
        return [Failure(cell.key, "no", False) for cell in cells if cell.finetune == "rift"]

    monkeypatch.setattr(benchmark.cli.work.Work, "_make", make)
    work = benchmark.cli.work.Work(results=store.results, artifacts=store.artifacts)
    part = [cell_at("none"), cell_at("rift")], BY_HAND
    (failed,) = work.make(part, part)
    assert failed.key == cell_at("rift").key
    assert asked == [["none", "rift"], ["none"]]


# --- several processes --------------------------------------------------------------------------------


def test_a_worker_that_dies_fails_its_own_cells(store, monkeypatch):
    """Cells of a killed process are failures, the process is replaced, and all else is done."""
    monkeypatch.setattr(benchmark.jobs.pool, "serve", fragile.serve)
    tasks = [Task(cell_at(seed=seed), (cell_at(seed=seed), cell_at("rift", seed))) for seed in range(5)]
    seen = Watched()
    failures = sweep(tasks, BY_HAND, options(store), 2, seen)
    assert {failure.key for failure in failures} == {
        cell_at(finetune, seed).key for finetune in ("none", "rift") for seed in (1, 3)
    }
    for failure in failures:
        if failure.key.endswith("seed1"):
            assert failure.message == "its process died (exit code -9; out of memory?)"
            assert not failure.user
        else:
            assert failure == Failure(failure.key, "no", True)
    assert sorted(seen.finished) == [cell_at(seed=seed).key for seed in range(5)]
    assert {worker for worker, _, _ in seen.updates} == {0, 1}
    assert workers(os.getpid()) == []


def test_what_a_dead_worker_had_made_has_not_failed(store, monkeypatch):
    """Its records stand, and only what was left of its task is told."""
    monkeypatch.setattr(benchmark.jobs.pool, "serve", fragile.serve)
    write_records(store, cell_at(seed=1), dict.fromkeys(BY_HAND.evaluations, 5))
    pairs = [(cell_at(seed=seed), cell_at("rift", seed)) for seed in (0, 1)]
    tasks = [Task(cells[0], cells) for cells in pairs]
    (failed,) = sweep(tasks, BY_HAND, options(store), 2, Watched())
    assert failed.key == cell_at("rift", 1).key


def workers(parent: int) -> list[psutil.Process]:
    """The running worker processes of a process."""
    return [
        child
        for child in psutil.Process(parent).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


def test_a_worker_that_begins_is_not_interrupted(store, monkeypatch):
    """A terminal's signals right after its start, before it ignores them itself, leave it at work."""
    monkeypatch.setattr(benchmark.jobs.pool, "serve", fragile.serve)
    worker = benchmark.jobs.pool._Pool(BY_HAND, options(store), 1, Watched())._spawn(0)
    try:
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(worker.process.pid, number)
        worker.connection.send((Task(cell_at(), (cell_at(),)), False))
        assert worker.connection.recv()[0] == "progress"
    finally:
        worker.process.terminate()
        worker.process.join()


def test_two_processes_make_what_one_makes(mini, store, monkeypatch):
    """Base models made side by side, each on a device of its own, are those made one by one."""
    spawned, spawn = [], benchmark.jobs.pool._Pool._spawn
    monkeypatch.setattr(
        benchmark.jobs.pool._Pool,
        "_spawn",
        lambda pool, index: spawned.append(spawn(pool, index)) or spawned[-1],
    )
    seen, mini_scale = Watched(), scale(str(MINI))
    tasks = tasks_for(store, mini_scale, BASES)
    assert len(tasks) == 2
    assert sweep(tasks, mini_scale, replace(options(store), device="cpu:0,cpu"), 2, seen) == []
    assert [worker.device for worker in spawned] == ["cpu:0", "cpu"]
    assert_same(store, mini)
    assert sorted(seen.finished) == [cell.key for cell in BASES]
    assert {worker for worker, _, _ in seen.updates} == {0, 1}
    assert {stage for _, _, stage in seen.updates} == {"adversarial training", "clean"}


# --- commands against each other and against the clock ------------------------------------------------


KEEPING = """from benchmark.records import stopping
stopping.EVERY = 0.0
from benchmark.cli import main
main()"""
"""`python -m benchmark`, but that a training keeps its state after every step."""


def started(
    store: Store, *more: str, new_session: bool = False, keeping: bool = False
) -> subprocess.Popen[str]:
    """`python -m benchmark table1 ...` on base models of the mini scale, as a process of its own, which
    is `KEEPING` its states or not."""
    program = ("-c", KEEPING) if keeping else ("-m", "benchmark")
    places = ("--results", str(store.results), "--artifacts", str(store.artifacts))
    return subprocess.Popen(
        [sys.executable, *program, *ONLY_BASES, *places, *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )


def test_two_sweeps_of_one_store_share_the_work(mini, store, command):
    """Two commands at once both end well, and every cell was made by one of them."""
    with started(store, "--jobs", "1", keeping=True) as one:
        wait_for("**/training.safetensors", store.artifacts, one)
        here = command(*ONLY_BASES).good()
        there = one.communicate(timeout=300)
    assert one.returncode == 0, there
    assert here.stdout == there[0]
    assert_same(store, mini)
    keys = [path.parent.relative_to(store.results / "records").as_posix()
            for path in store.results.rglob("making.json")]  # fmt: skip
    assert sorted(keys) == [cell.key for cell in BASES]
    lines = [line for said in (here.stderr, there[1]) for line in said.splitlines()]
    for cell in BASES:
        trained = [line for line in lines if cell.key in line and "epoch 3/3" in line]
        assert len(trained) == 1
    assert not list(store.results.rglob("*.part"))


def wait_for(pattern: str, folder: Path, process: subprocess.Popen[str]) -> list[Path]:
    """Wait until a file that matches `pattern` appears under `folder` while `process` runs."""
    for _ in range(12000):
        if found := list(folder.glob(pattern)):
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError(f"{pattern} never appeared")


def test_a_killed_command_goes_on_where_it_was(mini, store, command):
    """Killed in the middle of training, a command gives the same bytes when it is called again."""
    with started(store, "--jobs", "1", keeping=True) as first:
        (checkpoint,) = wait_for("**/training.safetensors", store.artifacts, first)
        first.kill()
    killed = Cell.parse(checkpoint.parent.relative_to(store.artifacts).as_posix())
    assert store.making(killed) is None
    assert store.record(killed, "clean") is None
    said = command(*ONLY_BASES).good()
    assert_same(store, mini)
    making = store.making(killed)
    assert making.provenance.resumed
    assert f"{killed.key}  adversarial training 1/" not in said.stderr
    assert not list(store.artifacts.rglob("training.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_process_quietly(store, number):
    """Control-C in a terminal reaches all processes at once, and so do a batch system's SIGTERM and the
    hang-up of a closed terminal: one message, no traceback, none left."""
    with started(store, "--jobs", "2", new_session=True) as process:
        wait_for("**/training.safetensors", store.artifacts, process)
        children = workers(process.pid)
        for _ in range(3):
            os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.endswith("stopped; the same command continues where this one was\n")
    assert "Traceback" not in said
    assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.slow
def test_every_table_of_the_tiny_scale(command, tmp_path):
    """With all three evaluations every table of one seed is whole, and tables share their cells."""
    path = tmp_path / "whole.toml"
    one_seed = TINY.read_text().replace("seeds = [0, 1]", "seeds = [0]")
    path.write_text(re.sub("evaluations = .*", "", one_seed))
    for name in (name for name, spec in REPORTS.items() if spec.of_tables):
        assert "—" not in command(name, "--scale", path).good().stdout
    assert re.fullmatch(r"\d+ done", command("status", "--scale", path).stdout.splitlines()[-1])


# --- several devices ----------------------------------------------------------------------------------


def test_jobs_are_per_device(command, monkeypatch):
    """`--jobs 1` on two devices is two workers, and none that has nothing to do."""
    got = []
    monkeypatch.setattr(benchmark.cli.work, "sweep", lambda *given: got.append(given[2:4]) or [])
    for devices_named in ("cpu:0,cpu", "cpu,cpu,cpu"):
        command(*ONLY_BASES, "--device", devices_named, "--jobs", "1").good()
    assert [(each.device, jobs) for each, jobs in got] == [("cpu:0,cpu", 2), ("cpu,cpu,cpu", 2)]


@pytest.mark.parametrize(("visible", "found"), [(1, ["cuda"]), (3, ["cuda:0", "cuda:1", "cuda:2"])])
def test_cuda_is_all_that_are_visible(monkeypatch, visible, found):
    """`cuda` stands for every device that CUDA_VISIBLE_DEVICES shows."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    assert list(devices("cuda")) == found
    assert list(devices("cuda:0")) == ["cuda:0"]
    with pytest.raises(UserError, match=f"visible: {visible}"):
        devices(f"cuda:{visible}")
    with pytest.raises(UserError, match="'cudaa' is not to be had"):
        devices("cudaa")
