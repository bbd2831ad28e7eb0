"""The precision of attacks and of adversarial training; what is counted is decided as in fp32.

bf16 has 7 bits of mantissa: enough for the sign of a gradient, which is all that an attack takes from
it, and too few to count correct answers, which it shifts by tenths of a point. Hence an example may be
crafted in bf16 and is judged in fp32, or in bf16 where its margin is large (`engine.settled`). `auto`
takes bf16 where the hardware multiplies bf16 matrices (CUDA devices of compute capability 8.0 on;
processors with AMX or AVX512-BF16), and fp32 elsewhere, where bf16 is emulated and slower; it leaves
the ascents of criticality in fp32 (`ascent_in_bf16`). The choice depends on hardware features alone,
never on a timing, so that a machine always makes the same numbers; it is made when work on a base model
begins, and kept (`engine.first_choice`). A scale may fix its precision; work in another one then has
keys of its own.
alpha* is decided by attacks in fp32, whatever is asked for: its 0.1-point rule is one image in 1,000,
which rounding alone can turn.

Like torch's own switches this is a setting of the process; `use` sets it, `computing_in` for a while.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import UserError, unknown
from benchmark.records.cells import IN

if TYPE_CHECKING:
    import torch

    from benchmark.plans.scales import Scale

NAMES = AUTO, FP32, BF16 = "auto", "fp32", "bf16"
COMPILED = ", compiled"
UNITS = "BENCHMARK_BF16_UNITS"
"""The environment variable that answers `yes` or `no` for the hardware; processes inherit it."""

_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # oneDNN takes the first that is set
_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


@dataclass(frozen=True)
class Precision:
    """`name` of the numbers that attacks are computed in, and whether `compiled` kernels compute them
    (None: as `engine.first_choice` finds, for each base model).

    `units` tells `auto` whether there are bf16 units (None: it looks). Raises `UserError` for a name
    that is none of `auto`, `fp32` and `bf16`.
    """

    name: str = AUTO
    compiled: bool | None = False
    units: bool | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise unknown("precision", self.name, NAMES)

    def uses_bf16(self, device: "torch.device") -> bool:
        """Whether gradients of attacks on `device` are in bf16."""
        if self.name != AUTO:
            return self.name == BF16
        return has_bf16_units(device) if self.units is None else self.units

    @property
    def ascent_in_bf16(self) -> bool:
        """Whether a measurement of criticality takes its gradients in bf16: only if that is asked for.

        Attacks take signs, which rounding leaves alone; an ascent takes the gradient itself, and its
        values then move by some percent.
        """
        return self.name == BF16

    def autocast(self, device: "torch.device") -> "torch.autocast":
        """A context in which convolutions and matrix products are in that precision."""
        import torch

        return torch.autocast(device.type, torch.bfloat16, enabled=self.uses_bf16(device))

    def label(self, device: "torch.device") -> str:
        """What a record says: `fp32`, or that bf16 or compiled kernels were part of it."""
        made = "bf16, scored in fp32" if self.uses_bf16(device) else FP32
        return made + COMPILED * bool(self.compiled)

    def settled_label(self, bound: float) -> str:
        """What a record says whose answers are in bf16 above margins of `bound` (`engine.settled`)."""
        made = f"bf16, scored in bf16 above margins of {bound:.4g}, else in fp32"
        return made + COMPILED * bool(self.compiled)

    def mark(self, device: "torch.device") -> str:
        """What progress lines add; nothing for plain fp32."""
        label = self.label(device)
        return "" if label == FP32 else f" {label}"


def asked(name: str | None, compiled: bool | None) -> Precision:
    """The precision that flags ask for (None: `auto`). Raises `UserError` if it cannot be had here."""
    _told()
    if compiled and not has_compiler():
        raise UserError(
            "--compile needs a C++ compiler such as g++ on the path, and Python's headers "
            "(python3-dev); install what is missing or leave it out"
        )
    return Precision(name or AUTO, compiled)


def in_precision(scale: "Scale", name: str | None) -> "Scale":
    """`scale` in the precision `name`, under a name of its own if it fixes another (None: as it is).

    Raises `UserError` for an unknown precision, and if `scale` is in another than its own already.
    """
    if name is None or Precision(name).name == scale.precision or scale.precision is None:
        return scale
    if IN in scale.name:
        raise UserError(f"--scale {scale.name} names its precision; leave --precision {name} out")
    return replace(scale, name=f"{scale.name}{IN}{name}", precision=name)


def has_compiler() -> bool:
    """Whether torch can compile: it takes this C++ compiler and no other, and Python's headers."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    headers = sys.platform != "linux" or Path(sysconfig.get_path("include"), "Python.h").is_file()
    return headers and shutil.which(os.environ.get("CXX", usual)) is not None


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
    """Whether `device` multiplies bf16 matrices faster than fp32 ones.

    Processors as far as oneDNN, which multiplies on them, may use them. Raises `UserError` if the
    environment says neither yes nor no.
    """
    import torch

    if (told := _told()) is not None:
        return told
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or _cap() in _WITHOUT_BF16:
        return False
    # Releases of torch that do not tell are taken for processors without.
    features: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("amx_bf16") or features.get("avx512_bf16"))


def _told() -> bool | None:
    """What the environment says of bf16 units, if anything."""
    said = os.environ.get(UNITS)
    if said not in (None, "yes", "no"):
        raise UserError(f"{UNITS} is '{said}'; it can be 'yes', 'no', or left unset")
    return None if said is None else said == "yes"


def _cap() -> str:
    """The newest instructions that oneDNN may use; torch reports the processor's all the same."""
    return next((said.upper() for name in _CAPS if (said := os.environ.get(name))), "")
