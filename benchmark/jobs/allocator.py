"""The allocator settings of worker processes: activations are freed and allocated again at every step,
and returning their pages to the system in between costs time."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from benchmark.errors import UserError

SWITCH = "BENCHMARK_ALLOCATOR"
"""The environment variable that, by `no`, leaves workers with the system's settings."""
TUNABLES = "GLIBC_TUNABLES"
SETTINGS = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 2**32, "top_pad": 2**26}.items()
)
"""Huge pages where the system has them, no mmap per tensor, nothing returned below 4 GiB free."""


@contextmanager
def settings_for_workers() -> Iterator[None]:
    """Give processes that start inside the block `SETTINGS`, where the C library is glibc.

    A user's own `GLIBC_TUNABLES` stay. Raises `UserError` if `SWITCH` is neither yes nor no.
    """
    said = os.environ.get(SWITCH, "yes")
    if said not in ("yes", "no"):
        raise UserError(f"{SWITCH} is '{said}'; it can be 'yes', 'no', or left unset")
    if said == "no" or TUNABLES in os.environ or platform.libc_ver()[0] != "glibc":
        yield
        return
    os.environ[TUNABLES] = SETTINGS
    try:
        yield
    finally:
        del os.environ[TUNABLES]
