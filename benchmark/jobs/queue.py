"""What of this suite's work is in Slurm's queue: the queue itself is the memory of what was submitted.

A job is called `NAME@MARK`: the key that it works on and a mark of the artifacts folder. Beside its
log, in `artifacts/slurm/NAME/`, `ID.json` says which evaluations of which cells it makes.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.records.store import Store

FAILED, ENDED = "failed", "all cells made"
_FIELDS = "%i|%T|%r|%N|%M|%l|%j"
_ACTIVE = ("RUNNING", "COMPLETING", "SUSPENDED")
Parts = dict[str, list[str]]
"""Evaluations by the key of a cell."""


@dataclass(frozen=True)
class Queued:
    """A job that waits or runs: what squeue says of it, and what it makes."""

    id: str
    state: str
    reason: str
    node: str
    elapsed: str
    limit: str
    name: str
    parts: Parts

    @property
    def base(self) -> str:
        """The key of the base model, or of the one cell that it makes."""
        return self.name.partition("+")[0]

    def __str__(self) -> str:
        if self.state in _ACTIVE:
            return f"{self.state.lower()}: job {self.id} on {self.node}, {self.elapsed} of {self.limit}"
        return f"queued: job {self.id} ({self.reason})"


def folder(store: Store) -> Path:
    """Where jobs leave their logs."""
    return store.artifacts / "slurm"


def mark(store: Store) -> str:
    """What ends the names of jobs that work on the artifacts of `store`."""
    return "@" + hashlib.sha256(str(store.artifacts.resolve()).encode()).hexdigest()[:8]


def ask(program: str, *arguments: str) -> str:
    """What one of Slurm's programs says. Raises `UserError` with its last line if it refuses."""
    if shutil.which(program) is None:
        raise UserError(f"there is no {program} here; --slurm is for a node that submits to Slurm")
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{program} does not answer; ask again later") from error
    if done.returncode:
        raise UserError(f"{program} says: {(done.stderr.strip() or 'nothing').splitlines()[-1]}")
    return done.stdout


def queue(store: Store) -> list[Queued]:
    """The jobs on the artifacts of `store` that wait or run. Raises `UserError` if Slurm is mute."""
    found = []
    for line in ask("squeue", "--me", "--noheader", "--format", _FIELDS).splitlines():
        number, state, reason, node, elapsed, limit, name = line.split("|", 6)
        if name.endswith(mark(store)):
            name = name.removesuffix(mark(store))
            parts = _parts(folder(store) / name / f"{number}.json")
            found.append(Queued(number, state, reason, node, elapsed, limit, name, parts))
    return found


def _parts(path: Path) -> Parts:
    try:
        parts: Parts = json.loads(path.read_text())
    except (OSError, ValueError):  # submitted by a command that was killed before it wrote it
        return {}
    return parts


def by_cell(store: Store) -> dict[str, str]:
    """Slurm's state of cells, by key: queued and why, running and where, or failed and why.

    A failed cell may have been made since. Empty, without a call to Slurm, if nothing was submitted.
    """
    submitted = sorted(folder(store).rglob("*.json"), key=lambda path: int(path.stem))
    live = {job.id: str(job) for job in queue(store)} if submitted else {}
    pairs = [(path, key) for path in submitted for key in _parts(path)]
    found = {key: live.get(path.stem) or _failure(path, key) for path, key in pairs}
    return {key: said for key, said in found.items() if said}


def _failure(path: Path, key: str) -> str:
    """Why the job of `path`, not in the queue any more, did not make `key`; empty if it did."""
    log, begins = path.with_name(f"{path.stem}_0_log.err"), f"{FAILED} {key}: "
    text = log.read_text(errors="replace") if log.exists() else ""
    told = (line for line in text.splitlines() if not line.startswith("srun: "))  # that it ended, again
    if not (lines := [line.strip() for line in told if line.strip()]):
        return f"{FAILED}: job {path.stem} never began (cancelled, or what it depends on failed)"
    if lines[-1] == ENDED:
        return ""
    own = [line.removeprefix(begins) for line in lines if line.startswith(begins)]
    return f"{FAILED}: {own[-1] if own else lines[-1]}"


def cancel(store: Store, keys: Collection[str], bases: Collection[str]) -> int:
    """Cancel the jobs that make the cells `keys`, or only the networks `bases` that these start from;
    return their number."""
    jobs = [
        job.id
        for job in queue(store)
        if job.parts.keys() & keys or (not job.parts and job.base in bases)
    ]
    if jobs:
        ask("scancel", *jobs)
    return len(jobs)
