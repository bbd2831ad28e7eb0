"""Where a number comes from: commit, versions, device, threads, precision."""

import functools
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmark.git import git
from benchmark.precision import used
from benchmark.records import PACKAGES, Provenance


def provenance(
    started: datetime,
    *,
    device: torch.device,
    weights: str,
    data: str,
    resumed: bool,
    seconds: float | None = None,
) -> Provenance:
    """Provenance of work that began at `started` (UTC) and took `seconds` (None: until now)."""
    commit, dirty = _commit()
    elapsed = (datetime.now(UTC) - started).total_seconds()
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions=machine_versions(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=used().label(device),
        started=started.isoformat(timespec="seconds"),
        seconds=round(elapsed if seconds is None else seconds, 2),
        resumed=resumed,
        weights_sha256=weights,
        data_sha256=data,
    )


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


def machine_versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | _versions()


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


@functools.cache
def _commit() -> tuple[str | None, bool | None]:
    head = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no")
    if head is None or changes is None:
        return None, None
    return head.strip(), bool(changes.strip())
