"""A process that is killed, or overtaken by another, at any call of the file system loses nothing."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.images import Dataset
from benchmark.plans.plan import Plan
from benchmark.plans.states import supersede_stale
from benchmark.records.store import Store
from benchmark.submission.place import place, sort
from benchmark.submission.read import read
from handmade import BY_HAND, store_in, write_making, write_record
from invoking import MINI, Command
from tiny_runs import make
from torturing import CELL, calls_of, files, forked, killed, overtaken, results, work

TRIES = settings.default.max_examples // 10
ONLY_BASES = ("table1", "--scale", str(MINI), "--only", "*/none/*")
STALE = replace(BY_HAND, finetuning={"lr": 0.5})


@dataclass(frozen=True)
class Job:
    """What is killed: `run` in a store that `begin` makes; its number of calls of the file system, and
    the files that it leaves."""

    run: Callable[[], object]
    begin: Callable[[], object]
    calls: int = 0
    left: dict[str, bytes] = field(default_factory=dict, repr=False)


@pytest.fixture(scope="module")
def jobs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """Jobs in `root` by name."""
    store, theirs = store_in(root), tmp_path_factory.mktemp("theirs")
    plan, names = Plan.of(CELL, BY_HAND), ("clean", "pgd10x3")
    work(store_in(theirs))

    def empty() -> None:
        shutil.rmtree(root)
        root.mkdir()

    def stale() -> None:
        empty()
        for name in names:
            write_record(store, CELL, name, 3, 10, STALE)
        write_making(store, CELL, scale=STALE)

    def submit() -> None:
        store.sweep()
        new, _ = sort(read([theirs / "results"]).entries, store.results)
        place(new, {"by-hand": b"a scale"}, store.results)

    def redo() -> None:
        supersede_stale(store, plan, names)
        work(store)

    found = {"work": Job(partial(work, store), empty), "submit": Job(submit, empty)}
    found["redo"] = Job(redo, stale)
    for name, job in found.items():
        job.begin()
        calls = calls_of(job.run)
        found[name] = replace(job, calls=calls, left=files(root))
    return found


@pytest.mark.parametrize("name", ["work", "submit", "redo"])
@settings(max_examples=TRIES)
@given(calls=st.lists(st.integers(0, 10**6), min_size=1, max_size=2))
def test_a_kill_at_any_call(jobs: dict[str, Job], root: Path, name: str, calls: list[int]) -> None:
    """Killed once or twice in a row, a job that is begun again leaves what it leaves in one go, and
    nothing else."""
    job = jobs[name]
    job.begin()
    for call in calls:
        killed(job.run, 1 + call % job.calls)
    job.run()
    assert files(root) == job.left


@settings(max_examples=TRIES)
@given(call=st.integers(0, 10**6), turned=st.integers(0, 2), later=st.booleans())
def test_two_writers_whose_lock_does_nothing(
    jobs: dict[str, Job], root: Path, call: int, turned: int, later: bool
) -> None:
    """While one stands before any call of the file system another does all of its work: both end well,
    what is left is whole, and every record is of one of them, though their answers differ."""
    job, store, answers = jobs["work"], store_in(root), (0, turned) if later else (turned, 0)
    job.begin()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "lock", lambda *_: nullcontext())
        other = partial(work, store, answers[1])
        overtaken(partial(work, store, answers[0]), 1 + call % job.calls, other)
        work(store)
        found = files(root)
        assert turned or found == job.left
        assert len(found) == len(job.left)


# --- kill -9 of runs with networks ------------------------------------------------------------------


def until_killed(job: Callable[[], object], seconds: float) -> bool:
    """Whether `job`, in a process of its own, had to be killed after that time."""
    child = forked(job)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if (found := os.waitpid(child, os.WNOHANG)) != (0, 0):
            assert found[1] == 0
            return False
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


@pytest.mark.torture
def test_kills_of_a_run(some: Dataset, root: Path, tmp_path: Path) -> None:
    """At any moment of trainings, fine-tunings and evaluations, again and again until it is done."""
    whole, clock = store_in(tmp_path), random.Random(0)
    began = time.monotonic()
    make(whole, some)
    longest, kills = (time.monotonic() - began) / 2, 0
    while kills < 25:
        shutil.rmtree(root)
        while until_killed(partial(make, store_in(root), some), clock.uniform(0, longest)):
            kills += 1
        make(store_in(root), some)
        assert results(store_in(root)) == results(whole)
        assert files(root).keys() == files(tmp_path).keys()


@pytest.mark.torture
@pytest.mark.parametrize("jobs", [1, 2])
def test_kills_of_a_command(mini: Store, store: Store, jobs: int) -> None:
    """With one process and with workers, which die with it."""
    clock = random.Random(jobs)
    places = ("--results", store.results, "--artifacts", store.artifacts, "--jobs", str(jobs))
    line = (sys.executable, "-m", "benchmark", *ONLY_BASES, *places)
    for _ in range(4):
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as command:
            with suppress(subprocess.TimeoutExpired):
                command.wait(clock.uniform(3, 12))
            ended = command.poll() is not None  # before it was killed
            workers = [] if ended else psutil.Process(command.pid).children(recursive=True)
            command.kill()
            assert b"Traceback" not in command.communicate()[1]
            assert psutil.wait_procs(workers, timeout=20)[1] == []
    Command(store)(*ONLY_BASES).good()
    assert results(store) == results(mini)
    assert files(store.artifacts).keys() == files(mini.artifacts).keys()


@pytest.mark.torture
@pytest.mark.parametrize("late", [0, 1, 3])
def test_two_nodes_whose_lock_does_nothing(mini: Store, store: Store, late: int) -> None:
    """Both make all cells at once, one `late` s after the other, and end well with the same bytes."""

    def node() -> None:
        Store.lock = lambda *_, **__: nullcontext()  # type: ignore[method-assign, assignment]
        Command(store)(*ONLY_BASES).good()

    children = []
    for _ in range(2):
        children.append(forked(node))
        time.sleep(late)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert results(store) == results(mini)
    store.sweep()
    assert files(store.artifacts).keys() == files(mini.artifacts).keys()
