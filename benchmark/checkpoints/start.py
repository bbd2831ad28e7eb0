"""The tensors of a registry entry as the weights that cells start from, or that a cell left."""

from pathlib import Path

from torch import Tensor, nn

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.checkpoints.load import load_checkpoint
from benchmark.checkpoints.registry import expected_sha256, path_of, registry, verified_file
from benchmark.engine.weights import load_tensors, save_tensors, weights_sha256
from benchmark.records.cells import Cell
from benchmark.records.records import Checkpoint
from benchmark.records.store import WEIGHTS, Store


def starting_weights(
    entry: CheckpointEntry, model: nn.Module, directory: Path
) -> tuple[dict[str, Tensor], Checkpoint]:
    """Read `entry` from the data directory `directory`; return its tensors and what is known of them.

    Raises `UserError` if the file is not the registry's or does not fit `model`.
    """
    loaded = load_checkpoint(
        verified_file(entry, directory),
        model,
        drop=entry.drop,
        entry=entry.entry,
        prefix=entry.prefix,
        sha256=expected_sha256(entry, directory),
    )
    known = Checkpoint(
        name=entry.name,
        file_sha256=loaded.file_sha256,
        source=entry.source,
        licence=entry.licence,
        what=entry.what,
        eps=entry.eps,
        notes=list(loaded.notes),
    )
    return dict(loaded.state), known


def registered_weights(
    cell: Cell, store: Store, directory: Path
) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and metadata of the registered file with the trained weights of `cell`, to go on with.

    None unless `store` has the making of these very weights but not the weights: training anew, with
    results of one's own, uses no registered file. `directory` is the data directory. Raises `UserError`
    if the file is not the registry's.
    """
    making = store.making(cell)
    if making is None or store.has_weights(cell):
        return None
    for entry in registry().values():
        if entry.cell == cell.key and path_of(entry, directory).is_file():
            state, metadata = load_tensors(verified_file(entry, directory))
            if weights_sha256(state) == making.provenance.weights_sha256:
                return state, metadata
    return None


def bring_weights(cell: Cell, store: Store, directory: Path) -> None:
    """Put `registered_weights`, if there are some, in their place. Raises `UserError` as that does."""
    if (found := registered_weights(cell, store, directory)) is not None:
        save_tensors(store.work(cell) / WEIGHTS, *found)
