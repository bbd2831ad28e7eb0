"""The store: written once, whole or not at all, refused when tampered with, locked per base model."""

import errno
import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from filelock import Timeout

from benchmark.errors import UserError
from benchmark.plans.plan import Plan
from benchmark.records.bits import pack_bits
from benchmark.records.cells import Cell
from benchmark.records.files import locked, temporary, write_atomically
from benchmark.records.store import Journal, Store
from handmade import BY_HAND, cell_at, record_and_bits, write_making, write_record
from killing import holding
from torturing import files

CELL = cell_at("rift")
PLAN = Plan.of(CELL, BY_HAND)


# --- records, makings and bits --------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 7, 8, 500])
def test_a_record_and_its_bits_read_back(store: Store, length: int) -> None:
    """What was written is read back, for lengths that fill bytes and that do not."""
    rng = np.random.default_rng(length)
    bits = {"run0": rng.random(length) < 0.5, "run1": np.ones(length, dtype=bool)}
    packed, sha256 = pack_bits(bits)
    record, _ = record_and_bits(PLAN, "pgd10x3", 0, length)
    record = record.model_copy(update={"bits_sha256": sha256})
    store.write_record(record, packed)
    assert store.record(CELL, "pgd10x3") == record
    again = store.bits(record)
    assert list(again) == ["run0", "run1"]
    for name, array in bits.items():
        assert again[name].dtype == bool
        np.testing.assert_array_equal(again[name], array)


def test_bits_of_one_record_have_one_length() -> None:
    """Arrays of different lengths cannot be of the same images."""
    with pytest.raises(ValueError, match=r"one length, not \[3, 4\]"):
        pack_bits({"a": np.ones(3), "b": np.ones(4)})


def test_packed_bits_are_the_same_bytes_every_time() -> None:
    """Equal bits give equal files, so that records of the same run can be compared."""
    bits = {"clean": np.arange(500) % 3 == 0}
    assert pack_bits(bits) == pack_bits(bits)


def test_what_is_not_there_is_none(store: Store) -> None:
    """A missing record or making is None, and reading makes no folders."""
    assert store.record(CELL, "clean") is None
    assert store.making(CELL) is None
    assert list(store.keys_on_disk()) == []
    assert not store.results.exists()
    assert not store.artifacts.exists()


def test_a_record_lies_under_its_key(store: Store) -> None:
    """The tree is `records/<key>/`: JSON that people can read, and bits, by evaluation."""
    record = write_record(store, CELL, "clean", 3, 4)
    write_making(store, CELL.base)
    text = store.record_path(CELL, "clean").read_text()
    assert '\n "value": 0.75,\n "k": 3,\n "n": 4,\n' in text
    assert text.endswith("}\n")
    assert sorted(files(store.results)) == [
        "records/by-hand/digits/resnet18-w8/pgd-at/none/seed0/making.json",
        f"records/by-hand/digits/resnet18-w8/pgd-at/rift/seed0/clean.{record.bits_sha256[:12]}.npz",
        "records/by-hand/digits/resnet18-w8/pgd-at/rift/seed0/clean.json",
    ]
    assert list(store.keys_on_disk()) == [CELL.base.key, CELL.key]


def test_results_are_written_once(store: Store) -> None:
    """A second record or making leaves the first as it was, bits included: of the same weights and
    settings the first one is returned, and another is refused."""
    first = write_record(store, CELL, "clean", 3, 10)
    made = write_making(store, CELL, alpha=0.5)
    before = files(store.results)
    again, bits = record_and_bits(PLAN, "clean", 4, 10)
    assert store.write_record(again, bits) == first
    assert store.write_making(made.model_copy(update={"schema_version": 1})) == made
    other = again.provenance.model_copy(update={"weights_sha256": "c" * 64})
    with pytest.raises(UserError, match="exists and results are written once"):
        store.write_record(again.model_copy(update={"provenance": other}), bits)
    with pytest.raises(UserError, match="exists and results are written once"):
        write_record(store, CELL, "clean", 4, 10, scale=replace(BY_HAND, finetuning={"lr": 0.5}))
    assert store.write_making(made.model_copy(update={"provenance": other})) == made
    assert files(store.results) == before
    assert store.bits(first)["clean"].sum() == 3


def test_bits_by_the_name_of_older_trees(store: Store) -> None:
    """They are read, and the record is not made again."""
    record = write_record(store, CELL, "clean", 3, 10)
    path = store.bits_file(record)
    old = path.rename(store.record_path(CELL, "clean").with_suffix(".npz"))
    assert store.bits(record)["clean"].sum() == 3
    _, bits = record_and_bits(PLAN, "clean", 3, 10)
    assert store.write_record(record, bits) == record
    assert store.bits_file(record) == old
    assert not path.exists()


@pytest.mark.parametrize("older", [False, True])
def test_superseding_moves_a_record_with_its_bits(store: Store, older: bool) -> None:
    """It leaves its place to a new one and is kept under its own hash."""
    record = write_record(store, CELL, "clean", 3, 10)
    if older:
        store.bits_file(record).rename(store.record_path(CELL, "clean").with_suffix(".npz"))
    before = files(store.results / "records")
    store.supersede(CELL, "clean", record.spec_hash)
    assert files(store.results / "records") == {}
    assert files(store.results / "superseded" / record.spec_hash[:12]) == before
    assert store.record(CELL, "clean") is None
    write_record(store, CELL, "clean", 4, 10)


def test_hidden_files_are_nobodys(store: Store) -> None:
    """What file systems, editors and notebooks leave beside records is not taken for one."""
    write_record(store, CELL, "clean", 3, 10)
    write_making(store, CELL)
    folder = store.record_path(CELL, "clean").parent
    for name in (".DS_Store", "._clean.json", ".ipynb_checkpoints/clean.json", ".clean.json"):
        for there in (folder, folder.parent, store.results / "records"):
            write_atomically(there / name, b"\0")
    assert store.names(CELL) == ["clean", "making"]
    assert len(list(store.of(CELL))) == 2
    assert list(store.others(CELL.base, "clean")) == [store.record(CELL, "clean")]
    assert list(store.keys_on_disk()) == [CELL.key]


def test_a_folder_that_cannot_be_read_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the same as one without records."""
    write_record(store, CELL, "clean", 3, 10)

    def refused(path: Any) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refused)
    for read in (store.keys_on_disk, lambda: store.of(CELL), lambda: store.others(CELL.base, "clean")):
        with pytest.raises(UserError, match=f"cannot read '{store.results}.*Permission denied"):
            list(read())


OTHER, _ = pack_bits({"clean": np.ones(10)})


@pytest.mark.parametrize("content", [b"", b"PK", OTHER, None], ids=["empty", "cut", "other", "gone"])
def test_tampered_bits_are_refused(store: Store, content: bytes | None) -> None:
    """Bits that were changed, deleted or are another record's are refused by the path of their file."""
    record = write_record(store, CELL, "clean", 3, 10)
    path = store.bits_file(record)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"clean\.\w{12}\.npz' is missing or not what its record was written"
    ):
        store.bits(record)


@pytest.mark.parametrize(
    ("cell", "name", "given"),
    [
        (cell_at("rift", 1), "clean", "clean"),
        (CELL, "pgd10x3", "clean"),
        (cell_at("rift", 1), "making", "making"),
    ],
)
def test_a_file_in_a_wrong_place_is_refused(store: Store, cell: Cell, name: str, given: str) -> None:
    """What was copied to another cell or another name is not taken for that cell's."""
    write_record(store, CELL, "clean", 3, 10)
    write_making(store, CELL)
    path = store.record_path(cell, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(store.record_path(CELL, given), path)
    with pytest.raises(UserError, match="move it to its own folder") as got:
        store.making(cell) if name == "making" else store.record(cell, name)
    assert str(path) in str(got.value)
    assert CELL.key in str(got.value)


@pytest.mark.parametrize("broken", [False, True], ids=["folder", "broken"])
@pytest.mark.parametrize("name", ["clean", "making"])
def test_what_cannot_be_read_is_told(store: Store, name: str, broken: bool) -> None:
    """A folder in the place of a file, or what is no such file, is one line with its path."""
    write_record(store, CELL, "clean", 900)
    write_making(store, CELL)
    path = store.record_path(CELL, name)
    path.unlink()
    path.write_text('{"k": 1') if broken else path.mkdir()
    with pytest.raises(UserError, match=f"'{path}' is " if broken else f"cannot read '{path}'"):
        store.making(CELL) if name == "making" else store.record(CELL, name)


# --- failing writers --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("patched", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patched: str, error: BaseException
) -> None:
    """Whatever step of an atomic write fails, the old content stays and no part is left."""

    def failing(*arguments: Any, **options: Any) -> NoReturn:
        raise error

    path = tmp_path / "a" / "b" / "file.json"
    umask = os.umask(0o022)
    write_atomically(path, b"first")
    write_atomically(path, b"old")
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644
    monkeypatch.setattr(os, patched, failing)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert files(tmp_path) == {"a/b/file.json": b"old"}


# --- journals ---------------------------------------------------------------------------------------


def test_a_journal_keeps_chunks(tmp_path: Path) -> None:
    """Arrays put in one process's journal are there for the next with the same fingerprint."""
    journal = Journal(tmp_path / "work", "abc")
    assert journal.empty
    assert journal.get("run0-000000") is None
    bits, k = np.array([True, False]), np.array(3)
    journal.put("run0-000000", bits=bits, k=k)
    again = Journal(tmp_path / "work", "abc")
    assert not again.empty
    kept = again.get("run0-000000")
    assert kept is not None
    assert kept.keys() == {"bits", "k"}
    np.testing.assert_array_equal(kept["bits"], bits)
    assert int(kept["k"]) == 3


@pytest.mark.parametrize("mark", [b"old", b"\xe1bc", None], ids=["other", "damaged", "missing"])
def test_a_journal_of_other_work_is_dropped(tmp_path: Path, mark: bytes | None) -> None:
    """Chunks left by another fingerprint, or by nobody knows which, are never read."""
    Journal(tmp_path / "work", "abc").put("run0", bits=np.ones(2))
    path = tmp_path / "work" / "fingerprint"
    path.unlink()
    if mark is not None:
        path.write_bytes(mark)
    journal = Journal(tmp_path / "work", "abc")
    assert journal.empty
    assert journal.get("run0") is None


def test_a_damaged_chunk_counts_as_missing(tmp_path: Path) -> None:
    """Whichever bit is flipped and wherever the file is cut, its work is done again."""
    journal = Journal(tmp_path / "work", "abc")
    journal.put("run0", bits=np.ones(3, dtype=bool))
    (path,) = (tmp_path / "work").glob("run0*")
    whole = path.read_bytes()
    assert journal.get("run0") is not None
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        assert journal.get("run0") is None
    for kept in (0, 10, 32, 100, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert journal.get("run0") is None
    journal.put("run0", bits=np.zeros(3, dtype=bool))
    assert journal.get("run0") is not None


def test_a_journal_forgets_on_demand(tmp_path: Path) -> None:
    """`drop` forgets the chunks that match, `remove` everything."""
    journal = Journal(tmp_path / "work", "abc")
    for name in ("x_adv-000000", "x_adv-000256", "conv1"):
        journal.put(name, entry=np.zeros(1))
    journal.drop("x_adv-*")
    assert journal.get("x_adv-000000") is None
    assert journal.get("conv1") is not None
    journal.remove()
    journal.remove()
    assert not (tmp_path / "work").exists()


# --- locks ------------------------------------------------------------------------------------------


def test_a_base_model_is_worked_on_by_one_process(store: Store, tmp_path: Path) -> None:
    """A second process times out on any cell of a locked base model until the first one is killed."""
    with holding(tmp_path, CELL.key):
        for cell in (CELL, CELL.base, cell_at("top-5")):
            with pytest.raises(Timeout):
                store.lock(cell, timeout=0).__enter__()
        with store.lock(cell_at("rift", seed=1), timeout=0):
            pass
    with store.lock(CELL, timeout=0):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EPERM])
def test_a_lock_that_cannot_be_had(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A file system without locks, or a lock that may not be written, is one line with its path."""

    def refused(*arguments: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    with (
        pytest.raises(
            UserError, match=rf"cannot lock '{store.work(CELL.base)}/lock' \({os.strerror(code)}"
        ),
        store.lock(CELL),
    ):
        pass


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    """What is not there is nobody's to remove: its folder takes no files, as one that is read-only."""
    (folder := tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=f"^cannot write to '{folder}' .*; name another folder$"),
        locked(folder / "lock"),
    ):
        pass


def test_a_folder_in_the_place_of_a_lock(store: Store) -> None:
    """It is named, too."""
    (store.work(CELL.base) / "lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot lock '.*Is a directory"), store.lock(CELL):
        pass


@pytest.mark.parametrize(
    ("folder", "lock"), [(0o755, 0o644), (0o2775, 0o664), (0o1777, 0o666), (0o700, 0o600)]
)
def test_who_may_write_a_folder_may_lock_in_it(tmp_path: Path, folder: int, lock: int) -> None:
    """Whatever the umask of the process that made the lock first."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(folder)
    with locked(tmp_path / "shared" / "lock"):
        pass
    assert (tmp_path / "shared" / "lock").stat().st_mode & 0o777 == lock


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_records_honour_the_umask(store: Store, umask: int) -> None:
    """Bits and records have the rights of any new file."""
    before = os.umask(umask)
    try:
        write_record(store, CELL, "clean", 3, 10)
    finally:
        os.umask(before)
    rights = {path.stat().st_mode & 0o777 for path in store.record_path(CELL, "clean").parent.iterdir()}
    assert rights == {0o666 & ~umask}


# --- what killed processes left ---------------------------------------------------------------------


def test_what_is_swept(store: Store) -> None:
    """Temporaries of dead processes of this host and those of yesterday go, in every folder; those of a
    living process and of another host, and what only looks like one, stay."""
    folder, me = store.record_path(CELL, "clean").parent, os.getpid()
    work = store.work(CELL) / "evaluation-clean"
    dead = subprocess.Popen(["true"])
    dead.wait()
    name = temporary(folder).name
    gone = [name.replace(f"-{me}-", f"-{dead.pid}-"), f".old-{me}-{'0' * 8}.part", ".clean.json.x.part"]
    kept = [name, f".other-{dead.pid}-{'0' * 8}.part", "clean.part", ".DS_Store"]
    places = (store.results, folder, work, store.artifacts)
    for place in places:
        for each in (*gone, *kept):
            write_atomically(place / each, b"")
        for each in gone[1:]:
            os.utime(place / each, (0, 0))
        (place / gone[0]).unlink()
        (place / gone[0] / "deep").mkdir(parents=True)
    store.sweep()
    for place in places:
        assert sorted(path.name for path in place.iterdir() if path.is_file()) == sorted(kept)
        assert not (place / gone[0]).exists()


def test_the_journal_of_what_is_on_record_is_swept(store: Store) -> None:
    """It was left by a process that was killed between the two; that of other work stays."""
    for name in ("clean", "pgd10x3"):
        Journal(store.work(CELL) / f"evaluation-{name}", "abc").put("run0", bits=np.ones(2))
    write_record(store, CELL, "clean", 3, 10)
    store.sweep()
    assert [path.name for path in store.work(CELL).iterdir()] == ["evaluation-pgd10x3"]


# --- before a long run ------------------------------------------------------------------------------


def test_a_writable_store_passes_and_stays_empty(store: Store) -> None:
    """The check makes both folders and leaves nothing in them."""
    store.check_writable(1)
    assert files(store.results) == files(store.artifacts) == {}


@pytest.mark.parametrize("which", ["results", "artifacts"])
def test_a_folder_without_files_is_told_before_work(
    store: Store, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """A folder that cannot be written or made is named with the reason and the option to mend it."""
    folder: Path = getattr(store, which)
    original, option = tempfile.TemporaryFile, f"name another folder by --{which}"

    def read_only(**options: Any) -> Any:
        if options["dir"] == folder:
            raise OSError(30, "Read-only file system")
        return original(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(UserError, match=rf"^cannot write to '{folder}' \(Read-only .*\); {option}$"):
        store.check_writable(1)
    folder.rmdir()
    folder.touch()
    with pytest.raises(UserError, match=rf"^cannot write to '{folder}' \(File exists\); {option}$"):
        store.check_writable(1)


def test_a_full_disk_is_told_before_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little space is named with what there is and what is needed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=499 * 2**20))
    store.check_writable(499)
    with pytest.raises(UserError, match=r"has 499 MB free and this needs about 500 MB; .* --results"):
        store.check_writable(500)
