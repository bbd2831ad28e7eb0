"""What worker processes start with, read from the process itself."""

import os

import psutil
import pytest

import benchmark.jobs.pool
import fragile
from benchmark.errors import UserError
from benchmark.jobs.allocator import SETTINGS, SWITCH, TUNABLES, platform, settings_for_workers
from benchmark.jobs.pool import _Pool
from benchmark.jobs.tasks import Options, Task
from benchmark.records.store import Store
from handmade import BY_HAND, cell_at


@pytest.fixture(autouse=True)
def _glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform whose C library is glibc, and nothing said of it."""
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.delenv(TUNABLES, raising=False)


def test_a_worker_has_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment names them when it starts; that of this process does not."""
    monkeypatch.setattr(benchmark.jobs.pool, "serve", fragile.serve)
    options = Options(store, store.artifacts, "cpu", 1)
    worker = _Pool(BY_HAND, options, 1, None)._spawn(0)
    try:
        worker.connection.send((Task(cell_at(), (cell_at(),)), False))
        assert worker.connection.recv()  # it runs
        found = psutil.Process(worker.process.pid).environ()[TUNABLES]
        assert SETTINGS.split(":")[0] == found.split(":")[0]  # glibc ends the string where it has read
        assert TUNABLES not in os.environ
    finally:
        worker.process.terminate()
        worker.process.join()


@pytest.mark.parametrize(
    ("said", "own", "library", "found"),
    [
        (None, None, "glibc", SETTINGS),
        ("yes", None, "glibc", SETTINGS),
        ("no", None, "glibc", None),
        (None, "glibc.malloc.perturb=1", "glibc", "glibc.malloc.perturb=1"),
        (None, None, "", None),
    ],
)
def test_where_they_are_set(
    monkeypatch: pytest.MonkeyPatch, said: str | None, own: str | None, library: str, found: str | None
) -> None:
    """Under glibc, unless it is switched off or the user has settings of their own."""
    monkeypatch.setattr(platform, "libc_ver", lambda: (library, ""))
    for name, value in ((SWITCH, said), (TUNABLES, own)):
        if value is not None:
            monkeypatch.setenv(name, value)
    with settings_for_workers():
        assert os.environ.get(TUNABLES) == found
    assert os.environ.get(TUNABLES) == own


def test_another_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the variable and what it can be."""
    monkeypatch.setenv(SWITCH, "off")
    with pytest.raises(UserError, match=f"{SWITCH} is 'off'; it can be 'yes', 'no'"):
        settings_for_workers().__enter__()
