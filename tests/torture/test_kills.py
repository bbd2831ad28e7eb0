"""A process that is killed, or overtaken by another, at any call of the file system loses nothing."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.plans.plan import Plan
from benchmark.plans.states import supersede_stale
from benchmark.records.store import Store
from benchmark.submission.place import place, sort
from benchmark.submission.read import read
from handmade import BY_HAND, write_making, write_record
from torturing import CELL, calls_of, files, killed, overtaken, store_in, trying, work

TRIES = settings.default.max_examples // 10
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
    with trying("kill at a call of the file system"):
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
    with trying("another writer, no lock"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "lock", lambda *_: nullcontext())
        other = partial(work, store, answers[1])
        overtaken(partial(work, store, answers[0]), 1 + call % job.calls, other)
        work(store)
        found = files(root)
        assert turned or found == job.left
        assert len(found) == len(job.left)
