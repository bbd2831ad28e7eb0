"""Whatever becomes of a file of a store, the next command makes the same bytes or names the file."""

import logging
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.images import Dataset
from benchmark.errors import UserError
from benchmark.records.store import Journal, Store
from handmade import store_in
from tiny_runs import make
from torturing import damage, results, work

STOPS = ("training.*", "evaluation-pgd10x3/*.chunk", "finetuning.*", "interpolation/clean-0.3*")
"""Working files, in the order in which they are made; a run is stopped at the first of each."""


class Said(logging.Handler):
    """The lines on dropped work."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def ends_well(command: Any, path: Path, store: Store, expected: dict[str, Any]) -> None:
    """`command`, after `path` was damaged, gives the same or names it in one line, and what it drops in
    one line each."""
    said, log = Said(), logging.getLogger("benchmark.records.files")
    log.addHandler(said)
    line = None
    try:
        command()
    except UserError as error:
        line = str(error)
    finally:
        log.removeHandler(said)
    assert results(store) == expected if line is None else str(path) in line and "\n" not in line
    assert said.lines in ([], [line for line in said.lines[:1] if str(path) in line])


# --- a store without networks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Roots of a store before every chunk of `work` and at its end."""
    own = tmp_path_factory.mktemp("stages")
    found: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        put = Journal.put

        def keep(journal: Journal, name: str, **arrays: Any) -> None:
            put(journal, name, **arrays)
            found.append(shutil.copytree(own / "now", own / str(len(found))))

        patch.setattr(Journal, "put", keep)
        work(store_in(own / "now"))
    return [*found, own / "now"]


@settings(max_examples=settings.default.max_examples // 4)
@given(stage=st.integers(0, 10**6), file=st.integers(0, 10**6), seed=st.integers(0, 10**6))
def test_damage_to_any_file(stages: list[Path], root: Path, stage: int, file: int, seed: int) -> None:
    """Of records, bits, makings, journals and locks, at any stage of the work."""
    shutil.rmtree(root)
    shutil.copytree(stages[stage % len(stages)], root)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    damage(path := paths[file % len(paths)], random.Random(seed))
    store, expected = store_in(root), results(store_in(stages[-1]))
    ends_well(lambda: work(store), path, store, expected)


# --- a store with networks --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(some: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Roots of a store that was stopped at each of `STOPS`, and of one at its end."""
    own = tmp_path_factory.mktemp("stopped")
    found: list[Path] = []
    for stop in STOPS:
        with pytest.raises(KeyboardInterrupt):
            make(store_in(own / "now"), some, stop)
        found.append(shutil.copytree(own / "now", own / str(len(found))))
    make(store_in(own / "now"), some)
    return [*found, own / "now"]


@pytest.mark.torture
@settings(max_examples=settings.default.max_examples // 40)
@given(stop=st.integers(0, len(STOPS)), file=st.integers(0, 10**6), seed=st.integers(0, 10**6))
def test_damage_to_weights_and_states(
    some: Dataset, stopped: list[Path], root: Path, stop: int, file: int, seed: int
) -> None:
    """Of a training, a fine-tuning, an interpolation, evaluations, and of what they left."""
    shutil.rmtree(root)
    shutil.copytree(stopped[stop], root)
    store = store_in(root)
    paths = sorted(path for path in store.artifacts.rglob("*") if path.is_file())
    paths.sort(key=lambda path: path.suffix != ".safetensors")
    damage(path := paths[file % min(len(paths), 8)], random.Random(seed))  # chunks are many and alike
    expected = results(store_in(stopped[-1]))
    ends_well(lambda: make(store, some), path, store, expected)
