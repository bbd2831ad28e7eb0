"""Work that is killed where a test wants it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from benchmark.records.cells import Cell
from benchmark.records.store import Journal
from handmade import store_in
from torturing import forked


def killing(done: int | None = None, note: str = "", stage: str | None = None) -> Callable[..., None]:
    """Progress that ends the process behind so many steps, at a note that begins so, or in a stage."""

    def stops(named: str, now: int, total: int, said: str = "") -> None:
        if done in (None, now) and stage in (None, named) and said.startswith(note):
            raise KeyboardInterrupt

    return stops


def calls_of(patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> SimpleNamespace:
    """Count calls of `module.name` as `made`; work is killed at one more than `most` (None: never)."""
    honest, calls = getattr(module, name), SimpleNamespace(made=0, most=None)

    def counted(*given: object) -> object:
        if calls.made == calls.most:
            raise KeyboardInterrupt
        calls.made += 1
        return honest(*given)

    patch.setattr(module, name, counted)
    return calls


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


@contextmanager
def holding(root: Path, key: str) -> Iterator[None]:
    """Inside, another process holds the base model of the cell `key` in the store in `root`."""
    ours, theirs = os.pipe()

    def hold() -> None:
        with store_in(root).lock(Cell.parse(key)):
            os.write(theirs, b"here")
            time.sleep(600)

    holder = forked(hold)
    os.close(theirs)
    try:
        assert os.read(ours, 4) == b"here"
        yield
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(ours)
