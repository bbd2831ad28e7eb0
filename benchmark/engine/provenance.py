"""Where a number comes from: commit, versions, device, threads, precision, chunk; and which unfinished
work may be continued without a trace."""

import functools
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.engine.precision import used
from benchmark.engine.takeover import DEVICE
from benchmark.errors import UserError
from benchmark.records.checkout import git
from benchmark.records.plugins import LOADED
from benchmark.records.records import PACKAGES, Making, Provenance
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import DEVICES, Journal


def provenance(
    started: datetime,
    *,
    device: torch.device,
    weights: str,
    data: str,
    resumed: bool,
    chunk: int | None = None,
    precision: str | None = None,
    seconds: float | None = None,
    begun: Sequence[str] = (),
) -> Provenance:
    """Provenance of work that began at `started` (UTC) and took `seconds` (None: until now), in
    `precision` (None: that of the process)."""
    commit, dirty = _commit()
    elapsed = max(0.0, (datetime.now(UTC) - started).total_seconds())  # a clock may be set back
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions=machine_versions(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=precision or used().label(device),
        chunk=chunk,
        started=started.isoformat(timespec="seconds"),
        seconds=round(elapsed if seconds is None else seconds, 2),
        resumed=resumed,
        begun=list(begun),
        weights_sha256=weights,
        data_sha256=data,
        plugins={name: plugin.sha256 for name, plugin in LOADED.items()},
    )


def journaled(
    spec: Spec, *weights: str, device: torch.device, chunk: int, precision: str | None = None
) -> str:
    """Fingerprint of unfinished work by `spec` on weights of these sha256, `chunk` images at a time, in
    `precision` (None: that of the process).

    Precision and chunk are part of it because either may change bits: what was done in others is done
    again, and a resumed run ends with the bytes of one that was not interrupted. The device is not:
    what goes on on another one says so (`done_elsewhere`).
    """
    numbers = precision or used().label(device) + ", ascents too" * used().ascent_in_bf16
    return " ".join((spec_hash(spec), *weights, numbers, f"by {chunk}"))


@dataclass(frozen=True)
class NotingJournal(Journal):
    """A journal that notes the device `here` with the first chunk that is finished on it."""

    here: str

    def put(self, name: str, **arrays: NDArray[Any]) -> None:
        if self.here not in (there := _devices(self)):
            super().put(DEVICES, names=np.array([*there, self.here]))
        super().put(name, **arrays)


def noting(journal: Journal, device: torch.device) -> Journal:
    """`journal`, which notes `device` where that does a part of its work."""
    return NotingJournal(journal.folder, journal.fingerprint, _here(device))


def done_elsewhere(journal: Journal, stage: str, device: torch.device) -> list[str]:
    """A line for each device but `device` that has done a part of `stage`, as `journal` notes."""
    others = [name for name in _devices(journal) if name != _here(device)]
    return [f"{stage}: a part was done on device {name}" for name in others]


def _devices(journal: Journal) -> list[str]:
    kept = journal.get(DEVICES)
    return [] if kept is None else [str(name) for name in kept["names"]]


def _here(device: torch.device) -> str:
    """Its name; a CPU with another number of threads is another one: it adds in another order."""
    threads = f", threads {torch.get_num_threads()}" if device.type == "cpu" else ""
    return f"{device_name(device)}{threads}"


def circumstances(device: torch.device, precision: str, chunk: int) -> dict[str, str]:
    """What last bits of a training depend on beside its settings: in `precision`, judged by PGD on
    `chunk` images at a time."""
    return {
        "precision": precision,
        "threads": str(torch.get_num_threads()),
        "chunk": str(chunk),
        DEVICE: device_name(device),
        "torch": version("torch"),
    }


def device_name(device: torch.device) -> str:
    """The name of the accelerator, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {_processor()}"


@functools.cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def machine_versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute; shared, hence not to be changed."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@functools.cache
def _commit() -> tuple[str | None, bool | None]:
    head = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no")
    if head is None or changes is None:
        return None, None
    return head.strip(), bool(changes.strip())


_commit()  # as the code is read: a checkout may move on while a training runs


def check_repeatable(making: Making, device: torch.device) -> None:
    """Raise `UserError` if the weights of `making` would not be made again bit by bit on `device`."""
    key, there = making.cell.cell.key, making.provenance
    if (machine_versions(), device_name(device)) != (there.versions, there.device):
        raise UserError(
            f"{key} has records made on another machine or by other versions, with weights that are "
            "not here and would not be repeated bit by bit; bring the folders of its base model to "
            "artifacts/, or use another --results for a run of your own"
        )
    if making.details.kind == "training" and there.begun:
        raise UserError(
            f"{key} has records made with weights that are not here and that no run repeats bit by bit "
            f"({there.begun[0]}); bring its folder to artifacts/, or use another --results"
        )
    if (threads := torch.get_num_threads()) != there.threads:
        raise UserError(
            f"{key} has records made with weights that are not here, and {threads} threads would not "
            f"repeat them bit by bit; they were made with --threads {there.threads}"
        )
    if (precision := used().label(device)) != there.precision:
        raise UserError(
            f"{key} has records made with weights that are not here, and {precision} would not repeat "
            f"them bit by bit; they were made in {there.precision} (--precision, --compile)"
        )
