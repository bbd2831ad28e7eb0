"""Work that is killed where a test wants it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmark.records.store import Journal


def killing(done: int | None = None, note: str = "", stage: str | None = None) -> Callable[..., None]:
    """Progress that ends the process behind so many steps, at a note that begins so, or in a stage."""

    def stops(named: str, now: int, total: int, said: str = "") -> None:
        if done in (None, now) and stage in (None, named) and said.startswith(note):
            raise KeyboardInterrupt

    return stops


@contextmanager
def killed_after(chunks: int) -> Iterator[None]:
    """Work inside is killed once journals have kept so many chunks."""
    put, kept = Journal.put, []

    def fails_later(journal: Journal, name: str, **arrays: object) -> None:
        if len(kept) == chunks:
            raise KeyboardInterrupt
        put(journal, name, **arrays)
        kept.append(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "put", fails_later)
        with pytest.raises(KeyboardInterrupt):
            yield


HOLDER = """
import sys, time
from pathlib import Path
from benchmark.records.cells import Cell
from benchmark.records.store import Store

store = Store(Path(sys.argv[1]) / "results", Path(sys.argv[1]) / "artifacts")
with store.lock(Cell.parse(sys.argv[2])):
    print("here", flush=True)
    time.sleep(600)
"""


@contextmanager
def holding(root: Path, key: str) -> Iterator[None]:
    """Inside, another process holds the base model of the cell `key` in the store in `root`."""
    command = [sys.executable, "-c", HOLDER, str(root), key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"here\n"
        try:
            yield
        finally:
            holder.kill()
