"""Checks of a user's own network, before any work."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.algorithm.criticality import criticality_modules
from benchmark.errors import UserError, reason


def refuse_model(model: Any, modules: Sequence[str] | None = None) -> None:
    """Raise `UserError` unless `model` is a module whose weights are here, and those of `modules`, all
    Conv2d and Linear ones if None, are parameters."""
    if not isinstance(model, nn.Module):
        raise UserError(
            f"the model is a {type(model).__name__}; give a torch.nn.Module from pixels to logits"
        )
    refuse_lazy(model)
    known = criticality_modules(model)
    if modules is None and not any(known):  # a model that is one itself has none with a name
        raise UserError("the model has no Conv2d or Linear module, and so nothing to choose among")
    for name in known if modules is None else [each for each in known if each in modules]:
        weight = model.get_submodule(name).weight
        if not isinstance(weight, nn.Parameter):
            raise UserError(
                f"the weight of '{name}' is computed from others (weight or spectral norm); undo that "
                "first, by torch.nn.utils.parametrize.remove_parametrizations"
            )
    tensors = (each for each in model.state_dict().values() if isinstance(each, Tensor))
    devices = sorted({str(tensor.device) for tensor in tensors})
    if devices == ["meta"]:
        raise UserError("the model is on the meta device, without weights; load them first")
    if len(devices) > 1:
        raise UserError(f"the model lies on several devices ({', '.join(devices)}); use .to")


def refuse_lazy(model: nn.Module) -> None:
    """Raise `UserError` if a parameter or buffer of `model` has no shape before its first pass."""
    for name, tensor in model.state_dict().items():
        if nn.parameter.is_lazy(tensor):
            raise UserError(f"'{name}' has no weight yet; call the model once on some images")


def refuse_modules(modules: Sequence[str]) -> Sequence[str]:
    """`modules`. Raises `UserError` for a single text and for none."""
    if isinstance(modules, str) or not modules:
        raise UserError(f'modules is a list of names, such as ["{modules or "fc"}"]')
    return modules


def refuse_coarse(model: nn.Module) -> None:
    """Raise `UserError` for weights of 16 bits, in which steps as small as fine-tuning's are lost."""
    numbers = (x for x in model.parameters() if x.is_floating_point())
    if coarse := {str(x.dtype) for x in numbers if x.itemsize < 4}:
        raise UserError(f"the model's weights are {', '.join(sorted(coarse))}; give model.float()")


def in_order(x: Tensor) -> Tensor:
    """A copy of images x (B, C, H, W) that is contiguous, also in the strides of a single channel."""
    return x.clone(memory_format=torch.contiguous_format)


def usable(model: nn.Module, x: Tensor, device: torch.device, *, measured: bool) -> int:
    """The number of classes of `model`, by its logits for the images x (B, C, H, W) in [0,1].

    Raises `UserError` if it fails on them, or its logits are not finite or have no gradient with
    respect to the pixels or, if `measured`, the weight of a Conv2d or Linear module.
    """
    x = in_order(x.detach()).requires_grad_(True)
    try:
        model = copy.deepcopy(model).to(device).eval().requires_grad_(True)
        logits = model(x)
    except Exception as error:  # whatever somebody's code raises
        raise UserError(
            f"the model fails on images (N, C, H, W) = {tuple(x.shape)} of {x.dtype}: "
            f"{type(error).__name__}: {reason(error)}"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"the model returns {found} for {len(x)} images; logits are a tensor ({len(x)}, classes)"
        )
    if not bool(logits.isfinite().all()):
        raise UserError("the model's logits are NaN or infinite for the first images")
    names = criticality_modules(model) if measured else []
    weights = [model.get_submodule(name).get_parameter("weight") for name in names]
    slopes: Sequence[Tensor | None] = [None] * (1 + len(weights))
    if logits.requires_grad:
        slopes = torch.autograd.grad(logits.sum(), [x, *weights], allow_unused=True)
    if slopes[0] is None:
        raise UserError(
            "the logits have no gradient with respect to the pixels (no_grad, detach or rounding?)"
        )
    if unused := [name for name, gradient in zip(names, slopes[1:], strict=True) if gradient is None]:
        raise UserError(
            f"the logits do not depend on '{unused[0]}'; remove what evaluation leaves out, such as "
            "auxiliary heads, or name the modules to fine-tune in modules"
        )
    return int(logits.shape[1])
