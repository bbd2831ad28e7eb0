"""Whatever becomes of a file of a store, the next command makes the same bytes or names the file."""

import json
import logging
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.images import Dataset, Split
from benchmark.errors import UserError
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.records.cells import Cell
from benchmark.records.store import Journal, Store
from benchmark.run import run_cell
from invoking import MINI
from torturing import damage, store_in, trying, work

BASE = Cell("mini", "digits", "resnet18-w8", "pgd-at", "none", 0)
CELLS = (BASE, replace(BASE, finetune="last-layer"))
TWO_EPOCHS = replace(scale(str(MINI)), finetuning={"epochs": 2, "lr": 0.02, "select_images": 50})
EVALUATIONS = ("clean", "pgd10x3")
STOPS = ("training.*", "evaluation-pgd10x3/*.chunk", "finetuning.*", "interpolation/clean-0.3*")
"""Working files, in the order in which they are made; a run is stopped at the first of each."""
CHANGING = ("started", "seconds", "resumed")


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


def read(store: Store) -> None:
    """Read all that tables and checks read."""
    for key in store.keys_on_disk():
        cell = Cell.parse(key)
        for name in store.names(cell):
            if name != "making" and (record := store.record(cell, name)) is not None:
                store.bits(record)
        list(store.of(cell))


class Said(logging.Handler):
    """The lines on dropped work."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def ends_well(command: Any, path: Path, store: Store, expected: dict[str, Any], title: str) -> None:
    """`command`, after `path` was damaged, gives the same or names it in one line, and what it drops in
    one line each."""
    said, log = Said(), logging.getLogger("benchmark.records.files")
    log.addHandler(said)
    with trying(title):
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
    ends_well(lambda: work(store), path, store, expected, "damage to a store")


# --- a store with networks --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def some(digits: Dataset) -> Dataset:
    """A few images of the embedded dataset."""
    parts = (digits.train, 256), (digits.test, 40)
    return Dataset(digits.info, *(Split(s.images[:n], s.labels[:n]) for s, n in parts))


def make(store: Store, data: Dataset, stop: str | None = None) -> None:
    """What a command does: make cells and read the records, until there is a file like `stop`."""

    def stops(*_: object) -> None:
        if stop and list(store.artifacts.rglob(stop)):
            raise KeyboardInterrupt

    store.sweep()
    for cell in CELLS:
        run_cell(Run(Plan.of(cell, TWO_EPOCHS), data, store, stops), EVALUATIONS)
    read(store)


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
@settings(max_examples=settings.default.max_examples // 20)
@given(stop=st.integers(0, len(STOPS)), file=st.integers(0, 10**6), seed=st.integers(0, 10**6))
def test_damage_to_weights_and_states(
    some: Dataset, stopped: list[Path], root: Path, stop: int, file: int, seed: int
) -> None:
    """Of those of a training, a fine-tuning, an interpolation and evaluations, and of what they left."""
    shutil.rmtree(root)
    shutil.copytree(stopped[stop], root)
    store = store_in(root)
    paths = sorted(path for path in store.artifacts.rglob("*") if path.is_file())
    paths.sort(key=lambda path: path.suffix != ".safetensors")
    damage(path := paths[file % min(len(paths), 8)], random.Random(seed))  # chunks are many and alike
    expected = results(store_in(stopped[-1]))
    ends_well(lambda: make(store, some), path, store, expected, "damage to weights")
