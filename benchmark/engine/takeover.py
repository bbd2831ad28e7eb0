"""A training state that was made otherwise: refused, or continued or set aside as flags allow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError

Circumstances = Mapping[str, str]
"""What last bits of a training depend on beside its settings, by name: precision, threads, ..."""

DEVICE = "device"


@dataclass(frozen=True)
class Takeover:
    """What the user allows: to go on with a training that was begun in other circumstances, and to set
    one of other settings aside."""

    continue_anyway: bool = False
    redo_stale: bool = False

    def differing(self, path: Path, there: Circumstances, here: Circumstances) -> str:
        """Those circumstances `there`, of the state at `path`, that differ `here`; empty if none do.

        Raises `UserError` if any but the device differ, unless `continue_anyway`: a queue chooses the
        device.
        """
        names = [name for name, value in there.items() if here.get(name) != value]
        if names not in ([], [DEVICE]) and not self.continue_anyway:
            raise UserError(
                f"'{path}' is a training begun with {_told(there, names)}, and this run would continue "
                f"it with {_told(here, names)}; --continue-anyway does so, and the record names both; "
                "or move the file away to begin again"
            )
        return _told(there, names)

    def set_aside(self, path: Path, settings: str) -> None:
        """Rename the state at `path`, of other settings with the hash `settings`.

        Raises `UserError` if it may not be.
        """
        if not self.redo_stale:
            raise UserError(
                f"'{path}' is an unfinished training of other settings (another recipe, version or "
                "base model); move it away to begin again, or let --redo-stale rename it"
            )
        path.replace(path.with_stem(f"{path.stem}-{settings[:12] or 'unknown'}"))


REFUSE = Takeover()


def _told(circumstances: Circumstances, names: list[str]) -> str:
    return "; ".join(f"{name} {circumstances.get(name, 'unknown')}" for name in names)
