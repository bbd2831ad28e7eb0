"""A base model and a fine-tuning of a few images, as a command makes them: about a second."""

from dataclasses import replace

from benchmark.data.images import Dataset
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.run import run_cell
from invoking import MINI

BASE = Cell("mini", "digits", "resnet18-w8", "pgd-at", "none", 0)
CELLS = (BASE, replace(BASE, finetune="last-layer"))
TWO_EPOCHS = replace(scale(str(MINI)), finetuning={"epochs": 2, "lr": 0.02, "select_images": 50})
EVALUATIONS = ("clean", "pgd10x3")


def changed(before, after):
    """Names of the tensors of two states that are not equal to the last bit."""
    return {name for name in before if not before[name].equal(after[name])}


def run_of(cell: Cell, data: Dataset, store: Store) -> Run:
    """The run of a cell of `mini.toml`."""
    return Run(Plan.of(cell, scale(str(MINI))), data, store, silent)


def read(store: Store) -> None:
    """Read all that tables and checks read."""
    for key in store.keys_on_disk():
        cell = Cell.parse(key)
        for name in store.names(cell):
            if name != "making" and (record := store.record(cell, name)) is not None:
                store.bits(record)
        list(store.of(cell))


def make(store: Store, data: Dataset, stop: str | None = None) -> None:
    """What a command does: make cells and read the records, until there is a file like `stop`."""

    def stops(*_: object) -> None:
        if stop and list(store.artifacts.rglob(stop)):
            raise KeyboardInterrupt

    store.sweep()
    for cell in CELLS:
        run_cell(Run(Plan.of(cell, TWO_EPOCHS), data, store, stops), EVALUATIONS)
    read(store)
