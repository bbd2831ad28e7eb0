"""Where a number comes from: commit, versions, device, threads."""

import functools
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmark.records import Provenance

PRECISION = "fp32"
_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "rift-benchmark")


def provenance(
    started: datetime, *, device: torch.device, weights: str, data: str, resumed: bool
) -> Provenance:
    """Provenance of work that began at `started` (UTC) and ends now."""
    commit, dirty = _commit()
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions={"python": platform.python_version()} | _versions(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=PRECISION,
        started=started.isoformat(timespec="seconds"),
        seconds=round((datetime.now(UTC) - started).total_seconds(), 2),
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


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


@functools.cache
def _commit() -> tuple[str | None, bool | None]:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return head, bool(changes)
