"""Devices by name."""

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
