"""What the torture tests share: work on a store, damage, and processes that end early."""

import json
import mmap
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.plans.plan import Plan
from benchmark.records.bits import pack_bits
from benchmark.records.store import EVALUATION, Journal, Store
from handmade import BY_HAND, cell_at, record_and_bits, write_making

CELL = cell_at("rift")
IMAGES, CHUNKS = 12, 3
CHANGING = ("started", "seconds", "resumed")
"""Fields of a provenance that another run of the same work need not have."""
CALLS = mmap.mmap(-1, 4)
"""How often the last `forked` process has called the file system, for its parent."""


# --- work on a store --------------------------------------------------------------------------------


def work(store: Store, turned: int = 0) -> None:
    """What a command does with a store, without a network: two evaluations in three chunks, a making,
    and then all is read. `turned` images have other answers, as on another GPU."""
    store.sweep()
    with store.lock(CELL):
        if store.making(CELL) is None:
            write_making(store, CELL)
        for name in ("clean", "pgd10x3"):
            if store.record(CELL, name) is None:
                evaluate(store, name, turned)
    for record in map(store.record, (CELL, CELL), ("clean", "pgd10x3")):
        assert record is not None
        assert store.bits(record)[record.evaluation].sum() == record.k
    assert len(list(store.of(CELL))) == 3
    assert list(store.keys_on_disk()) == [CELL.key]


def evaluate(store: Store, name: str, turned: int) -> None:
    """File a record of `name` whose bits come chunk by chunk."""
    journal = Journal(store.work(CELL) / f"{EVALUATION}{name}", "abc")
    chunks = []
    for at in np.arange(IMAGES).reshape(CHUNKS, -1):
        if (kept := journal.get(f"{at[0]}")) is None:
            kept = {"right": at >= turned}
            journal.put(f"{at[0]}", **kept)
        chunks.append(kept["right"])
    bits = {name: np.concatenate(chunks)}
    record, packed = record_and_bits(Plan.of(CELL, BY_HAND), name, int(bits[name].sum()), IMAGES, bits)
    assert pack_bits(bits)[1] == record.bits_sha256
    store.write_record(record, packed)
    journal.remove()


def results(store: Store) -> dict[str, Any]:
    """Every file of the results, but for when and in how many parts it was made."""
    found: dict[str, Any] = {}
    for path in sorted(store.results.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(store.results))] = path.read_bytes()
            if path.suffix == ".json":
                content = json.loads(path.read_bytes())
                made = content["provenance"]
                content["provenance"] = {name: made[name] for name in made if name not in CHANGING}
                found[str(path.relative_to(store.results))] = content
    return found


def files(root: Path) -> dict[str, bytes]:
    """Every file below `root` but locks, which stay."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


# --- damage -----------------------------------------------------------------------------------------


def _cut(content: bytes, random: random.Random) -> bytes:
    return content[: random.randrange(len(content))]


def _zeros(content: bytes, random: random.Random) -> bytes:
    at = random.randrange(len(content))
    return content[:at] + bytes(len(content[at : at + 512])) + content[at + 512 :]


def _noise(content: bytes, random: random.Random) -> bytes:
    at = random.randrange(len(content))
    return content[:at] + b"\xff" + random.randbytes(32) + content[at + 33 :]


def _bit(content: bytes, random: random.Random) -> bytes:
    changed = bytearray(content)
    changed[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(changed)


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_cut, _zeros, _noise, _bit)


def damage(path: Path, random: random.Random) -> None:
    """Cut the file, overwrite a part with zeros or noise, turn a bit, delete it or put a folder there.

    A JSON keeps its bits: a turned letter is another text, which only version control tells.
    """
    kind = random.randrange(len(CHANGES) + 2)
    content = path.read_bytes()
    path.unlink()
    if kind < len(CHANGES) and content:
        change = CHANGES[kind] if path.suffix != ".json" else _zeros
        path.write_bytes(change(content, random))
    elif kind == len(CHANGES):
        path.mkdir()


# --- processes that end early -----------------------------------------------------------------------


def forked(job: Callable[[], object], at: int = 0, end: Callable[[], object] | None = None) -> int:
    """Start `job` in a process of its own, which before its call number `at` of the file system does
    `end`; it exits with 0 if `job` returns, with 1 if it raises. Returns its id."""
    if child := os.fork():
        return child
    CALLS[:4] = bytes(4)

    def count(event: str, _: object) -> None:
        if event == "open" or event.startswith(("os.", "fcntl.", "torture.")):
            CALLS[:4] = (calls := int.from_bytes(CALLS[:4]) + 1).to_bytes(4)
            if calls == at and end is not None:
                end()

    try:
        os.fsync = lambda _: sys.audit("torture.fsync")  # type: ignore[assignment]
        sys.addaudithook(count)
        job()
    except BaseException:  # noqa: BLE001 - the parent sees the exit code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def calls_of(job: Callable[[], object]) -> int:
    """How many calls of the file system `job` makes, in a process of its own."""
    assert not killed(job, 0)
    return int.from_bytes(CALLS[:4])


def killed(job: Callable[[], object], at: int) -> bool:
    """Whether `job` was killed at its call number `at`; False if it had ended before."""
    child = forked(job, at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def overtaken(job: Callable[[], object], at: int, other: Callable[[], object]) -> bool:
    """Let `other` run from end to end while `job` stands before its call number `at`.

    Returns whether it stood there: False if it had ended before.
    """
    child = forked(job, at, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    stopped = os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    try:
        other()
    finally:
        if stopped:
            os.kill(child, signal.SIGCONT)
            status = os.waitpid(child, 0)[1]
    assert not stopped or os.waitstatus_to_exitcode(status) == 0
    return stopped
