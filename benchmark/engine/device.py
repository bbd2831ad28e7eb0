"""Devices by name, and what is free on them."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import torch

from benchmark.errors import UserError

TO_A_COMMAND = "device '{name}' is not to be had ({reason}); try --device cpu"
TO_A_CALLER = "the device '{name}' cannot be used here ({reason}); leave device out, or say 'cpu'"


def torch_device(name: torch.device | str, refusal: str = TO_A_COMMAND) -> torch.device:
    """Return the device called `name`. Raises `UserError` if this machine or this torch has none.

    To a command this also switches TF32 off (`set_tf32`), and leaves cuDNN and attention those kernels
    alone that add in a fixed order: the same work has the same bytes. A caller's process is not ours.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # which meta has no answer to
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(refusal.format(name=name, reason=reason)) from error
    if device.type == "cuda" and refusal == TO_A_COMMAND:
        set_tf32(convolutions=False, products=False)
        torch.backends.cudnn.deterministic = True
        plain_attention()
    return device


def set_tf32(convolutions: bool, products: bool) -> None:
    """Say whether CUDA may take TF32 for fp32.

    With its 10 bits of mantissa it is not what records mean by fp32, nor what the 0.1-point rule needs.
    """
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


def plain_attention() -> Callable[[], None]:
    """Compute attention by plain products: on CUDA the gradients of its fused kernels add in no fixed
    order. Returns what puts the caller's flags back."""
    on, said = torch.backends.cuda, dict[Callable[[bool], None], bool]()
    for name in ("flash", "mem_efficient", "cudnn", "math"):
        enable = getattr(on, f"enable_{name}_sdp")
        said[enable] = getattr(on, f"{name}_sdp_enabled")()
        enable(name == "math")

    def put_back() -> None:
        for enable, before in said.items():
            enable(before)

    return put_back


def exact_fp32() -> Callable[[], None]:
    """Take neither TF32 nor bf16 for fp32 on any device; returns what puts the caller's flags back.

    torch has an older and a newer interface to them, and refuses to tell what the older one was given
    where the newer one says otherwise. Where both say the same, it tells; and so both are set here.
    """
    on: Any = torch.backends
    cpu, cudnn = on.mkldnn, on.cudnn
    newer = on.cuda.matmul, cudnn.conv, cudnn.rnn, cpu.matmul, cpu.conv, cpu.rnn
    said = [each.fp32_precision for each in newer]

    def say(values: Sequence[str]) -> None:
        for each, value in zip(newer, values, strict=True):
            each.fp32_precision = value

    exact = ["ieee"] * len(newer)
    say(exact)
    products = torch.get_float32_matmul_precision()
    try:
        convolutions = cudnn.allow_tf32
    except RuntimeError:  # the older one differs from what was just said
        convolutions = True
    torch.set_float32_matmul_precision("highest")
    set_tf32(convolutions=False, products=False)
    say(exact)

    def put_back() -> None:
        torch.set_float32_matmul_precision(products)
        cudnn.allow_tf32 = convolutions
        say(said)

    return put_back


def free_memory(device: torch.device) -> int:
    """Bytes free on `device` now; on a CPU, no more than Slurm allots to the job."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    free: int = psutil.virtual_memory().available
    return min(free, _allotted() or free)


def _allotted() -> int:
    """Bytes that Slurm allots to the job on this node; 0 where it names no limit."""
    names = ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")
    said = (os.environ.get(f"SLURM_{name}", "") for name in names)
    whole, each, processors = (int(text) if text.isdecimal() else 0 for text in said)  # in MiB
    return (whole or each * processors) * 2**20


def devices(names: str) -> Sequence[str]:
    """Return the devices in the comma-separated list `names`; `cuda` is all that are visible.

    Raises `UserError` for one that this machine does not have, before anything begins there.
    """
    found = [name.strip() for name in names.split(",")]
    if found == ["cuda"] and (visible := torch.cuda.device_count()) > 1:
        return [f"cuda:{index}" for index in range(visible)]
    for name in found:
        if not re.fullmatch("cuda(:(0|[1-9][0-9]?))?", name):
            torch_device(name)
            continue
        visible = torch.cuda.device_count()  # without a context of this process on any
        if (torch.device(name).index or 0) >= visible:
            raise UserError(TO_A_COMMAND.format(name=name, reason=f"visible: {visible}"))
    return found
