"""In which numbers gradients of attacks are computed; what is counted is always computed in fp32.

bf16 has 8 bits of mantissa: enough for the sign of a gradient, which is all that an attack takes from
it, and too few to count correct answers, which it shifts by tenths of a point. Hence an example may be
crafted in bf16 and is always judged in fp32. `auto` takes bf16 where the hardware multiplies bf16
matrices (CUDA devices of compute capability 8.0 on; processors with AMX or AVX512-BF16), and fp32
elsewhere, where bf16 is emulated and slower; it leaves criticality in fp32 (`rough_ascent`). The choice
depends on the hardware's features alone and never on a timing, so that the same machine always makes
the same numbers. alpha* is decided by attacks in fp32, whatever is asked for: its 0.1-point rule is one
image in 1,000, which rounding alone can turn.

Like torch's own switches this is a setting of the process; `use` sets it, `computing_in` for a while.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmark.errors import UserError

if TYPE_CHECKING:
    import torch

NAMES = AUTO, FP32, BF16 = "auto", "fp32", "bf16"


@dataclass(frozen=True)
class Precision:
    """`name` of the numbers that attacks are computed in, and whether `compiled` kernels compute them.

    Raises `UserError` for a name that is none of `auto`, `fp32` and `bf16`.
    """

    name: str = AUTO
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"unknown precision '{self.name}'; known: {', '.join(NAMES)}")

    def rough(self, device: "torch.device") -> bool:
        """Whether gradients of attacks on `device` are in bf16."""
        return self.name == BF16 or (self.name == AUTO and has_bf16_units(device))

    @property
    def rough_ascent(self) -> bool:
        """Whether a measurement of criticality takes its gradients in bf16: only if that is asked for.

        Attacks take signs, which rounding leaves alone; an ascent takes the gradient itself, and its
        values then move by some percent.
        """
        return self.name == BF16

    def autocast(self, device: "torch.device") -> "torch.autocast":
        """A context in which convolutions and matrix products are in that precision."""
        import torch

        return torch.autocast(device.type, torch.bfloat16, enabled=self.rough(device))

    def label(self, device: "torch.device") -> str:
        """What a record says: `fp32`, or that bf16 or compiled kernels were part of it."""
        made = "bf16, scored in fp32" if self.rough(device) else FP32
        return f"{made}, compiled" if self.compiled else made

    def mark(self, device: "torch.device") -> str:
        """What tells unfinished work in this precision from work in plain fp32, which has no mark."""
        label = self.label(device)
        return "" if label == FP32 else f" {label}"


def asked(name: str, compiled: bool) -> Precision:
    """The precision that flags ask for. Raises `UserError` if it cannot be had here."""
    if compiled and not has_compiler():
        raise UserError(
            "--compile needs a C++ compiler such as g++ on the path; install one or leave it out"
        )
    return Precision(name, compiled)


def has_compiler() -> bool:
    """Whether there is a C++ compiler for torch to compile with."""
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl")))


_used = Precision()


def use(precision: Precision) -> None:
    """Compute in `precision` from now on, in this process."""
    global _used
    _used = precision


def used() -> Precision:
    """The precision that this process computes in."""
    return _used


@contextmanager
def computing_in(name: str) -> Iterator[None]:
    """The precision called `name` inside the block, compiled or not as before; afterwards as before."""
    before = used()
    use(replace(before, name=name))
    try:
        yield
    finally:
        use(before)


def has_bf16_units(device: "torch.device") -> bool:
    """Whether `device` multiplies bf16 matrices faster than fp32 ones."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Releases of torch that do not tell are taken for processors without.
    features: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("amx_bf16") or features.get("avx512_bf16"))
