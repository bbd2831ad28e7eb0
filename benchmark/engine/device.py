"""Devices by name."""

import re
from collections.abc import Sequence

import torch

from benchmark.errors import UserError

TO_A_COMMAND = "device '{name}' is not to be had ({reason}); try --device cpu"
TO_A_CALLER = "the device '{name}' cannot be used here ({reason}); leave device out, or say 'cpu'"


def torch_device(name: torch.device | str, refusal: str = TO_A_COMMAND) -> torch.device:
    """Return the device called `name`. Raises `UserError` if this machine or this torch has none."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(refusal.format(name=name, reason=reason)) from error
    return device


def devices(names: str) -> Sequence[str]:
    """Return the devices in the comma-separated list `names`; `cuda` is all that are visible.

    Raises `UserError` for one that this machine does not have, before anything begins there.
    """
    found = [name.strip() for name in names.split(",")]
    if found == ["cuda"] and (visible := torch.cuda.device_count()) > 1:
        return [f"cuda:{index}" for index in range(visible)]
    for name in found:
        if not re.fullmatch("cuda(:[0-9]+)?", name):
            torch_device(name)
            continue
        visible = torch.cuda.device_count()  # without a context of this process on any
        if (torch.device(name).index or 0) >= visible:
            raise UserError(TO_A_COMMAND.format(name=name, reason=f"visible: {visible}"))
    return found
