"""The tensors of a registry entry as the weights that cells start from."""

from pathlib import Path

from torch import Tensor, nn

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.checkpoints.load import load_checkpoint
from benchmark.checkpoints.registry import expected_sha256, verified_file
from benchmark.records.records import Checkpoint


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
