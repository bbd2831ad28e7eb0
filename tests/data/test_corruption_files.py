"""Corruption files: their layout, going on after a kill, and that nothing unvouched for is read."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmark.data.corruptions import files
from benchmark.data.corruptions.files import MANIFEST, images_sha256, read_file, write_files
from benchmark.data.corruptions.generator import OPERATIONS, SEVERITY_LEVELS, SPEC, corrupt
from benchmark.data.get import sha256sums
from benchmark.errors import UserError
from invoking import refused

COUNT = 12
DIGITS = np.rint(load_digits().images[:COUNT] * 255 / 16).astype(np.uint8)[..., None]
SOURCE = images_sha256(DIGITS)
IDS = np.arange(COUNT, dtype=np.int64)


def write(folder: Path, **changes) -> None:
    """Write the corruptions of the digits."""
    write_files(DIGITS, folder, "digits", **({"seed": 5, "threads": 2} | changes))


def read(folder: Path, name: str = "fog", severity: int = 2, **changes):
    """Read what `write` wrote."""
    return read_file(folder, name, severity, **({"seed": 5, "source_sha256": SOURCE} | changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files; to be read or copied, not changed."""
    folder = tmp_path_factory.mktemp("files") / "c"
    write(folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy of `written`, to be changed."""
    return shutil.copytree(written, tmp_path / "c")


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file on disk each array is, and when it was written."""
    return {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.npy")}


def test_files_are_laid_out_like_cifar_10_c(written: Path) -> None:
    """One plain uint8 array per corruption, the severities one after the other, and no file more."""
    names = {path.name for path in written.iterdir()} - {".write.lock"}
    assert names == {f"{name}.npy" for name in OPERATIONS} | {MANIFEST}
    for name in OPERATIONS:
        array = np.load(written / f"{name}.npy", allow_pickle=False)
        blocks = [corrupt(DIGITS, name, level, seed=5, ids=IDS) for level in SEVERITY_LEVELS]
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, np.concatenate(blocks))


def test_manifest_says_what_the_files_are(written: Path) -> None:
    """Generator, data set, seed, shape and hash of the images, and a hash per file."""
    manifest = json.loads((written / MANIFEST).read_text())
    assert manifest["generator"] == SPEC
    assert (manifest["dataset"], manifest["seed"]) == ("digits", 5)
    assert manifest["shape"] == [COUNT, 8, 8, 1]
    assert manifest["source_sha256"] == SOURCE
    assert list(manifest["files"]) == list(OPERATIONS)


@pytest.mark.parametrize("name", ["fog", "snow"])
def test_reading_gives_what_the_generator_makes(folder: Path, name: str) -> None:
    """Every severity; the file is hashed once and stays as it is."""
    before = (folder / f"{name}.npy").read_bytes()
    sha256sums._known.cache_clear()
    for severity in SEVERITY_LEVELS:
        expected = corrupt(DIGITS, name, severity, seed=5, ids=IDS)
        found = read(folder, name, severity)
        np.testing.assert_array_equal(found, expected)
        found[:] = 0
    assert sha256sums._known.cache_info().misses == 1
    assert (folder / f"{name}.npy").read_bytes() == before
    with pytest.raises(ValueError, match="severity 0 is not one of"):
        read(folder, name, severity=0)


@pytest.mark.parametrize("changes", [{"seed": 6}, {"source_sha256": "0" * 64}, {"name": "rain"}])
def test_what_does_not_fit_is_not_read(written: Path, changes: dict) -> None:
    """Another seed, other images or an unknown corruption: there is nothing to read."""
    assert read(written, **changes) is None


def test_what_nothing_vouches_for_is_not_read(folder: Path, monkeypatch) -> None:
    """Files of an older generator, without a manifest, or in no folder at all count as absent."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "SPEC", SPEC | {"version": 2})
        assert read(folder) is None
    assert read(folder) is not None
    (folder / MANIFEST).unlink()
    assert read(folder) is None
    assert read(folder / "none") is None


@pytest.mark.parametrize("harm", ["gone", "other"])
def test_writing_again_mends_a_damaged_file_only(folder: Path, harm: str) -> None:
    """Whole files stay; a missing or changed one is an error to the reader and is made anew."""
    before, path = states(folder), folder / "snow.npy"
    write(folder)
    assert states(folder) == before
    good = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused(lambda: read(folder, "snow"), r"snow\.npy' is missing or damaged; write the corruption")
    assert read(folder, "fog") is not None
    write(folder)
    assert path.read_bytes() == good
    assert {name for name, state in states(folder).items() if state != before[name]} <= {"snow"}
    assert read(folder, "snow") is not None


def test_a_killed_writer_goes_on_where_it_was(written: Path, tmp_path: Path, monkeypatch) -> None:
    """What was whole before the kill is kept, no part is left behind, the result is the same."""
    real, calls = files.corrupt, []

    def killed(images, name, severity, **options):
        calls.append(name)
        if (name, severity) == ("defocus_blur", 3):
            raise KeyboardInterrupt
        return real(images, name, severity, **options)

    monkeypatch.setattr(files, "corrupt", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "c")
    before = states(tmp_path / "c")
    assert set(before) == {"gaussian_noise", "shot_noise", "impulse_noise"}
    assert not list((tmp_path / "c").glob(".*.part"))
    assert read(tmp_path / "c", "shot_noise") is not None
    assert read(tmp_path / "c", "defocus_blur") is None

    monkeypatch.setattr(files, "corrupt", real)
    write(tmp_path / "c")
    after = states(tmp_path / "c")
    assert {name: after[name] for name in before} == before
    for name in OPERATIONS:
        file = f"{name}.npy"
        assert (tmp_path / "c" / file).read_bytes() == (written / file).read_bytes()


def test_a_folder_of_something_else_is_left_alone(folder: Path) -> None:
    """Another seed, or other images, are an error that says what differs; nothing changes on disk."""
    before = states(folder)
    refused(lambda: write(folder, seed=6), "corruptions of another seed")
    with pytest.raises(UserError, match="another source_sha256"):
        write_files(DIGITS[::-1], folder, "digits", seed=5, threads=1)
    assert states(folder) == before


def test_a_damaged_manifest_is_named(folder: Path) -> None:
    """Reader and writer stop at a manifest that is none."""
    (folder / MANIFEST).write_text("{}")
    for action in (read, write):
        refused(partial(action, folder), r"manifest\.json' is damaged: .*; move it away")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """Images that the generator does not take and a file in the folder's place are refused at once."""
    with pytest.raises(UserError, match=r"for the sides \(8, 32, 64\), not for 7 pixels"):
        write_files(DIGITS[:, :7, :7], tmp_path / "c", "digits", seed=0, threads=1)
    assert not (tmp_path / "c").exists()
    (tmp_path / "file").write_text("")
    refused(lambda: write(tmp_path / "file"), "cannot write corruptions into")


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    """Progress is reported after every corruption and ends at the total."""
    seen = []
    write(tmp_path / "c", progress=lambda stage, done, total, note="": seen.append((done, total, note)))
    assert [note for _, _, note in seen] == list(OPERATIONS)
    assert seen[-1][:2] == (95, 95)
    assert sorted(seen) == seen


def test_hash_ignores_the_memory_layout() -> None:
    """The same pixels in another order of memory are the same images; another shape is not."""
    assert images_sha256(np.asfortranarray(DIGITS)) == SOURCE
    assert images_sha256(DIGITS.reshape(COUNT, 4, 16, 1)) != SOURCE
