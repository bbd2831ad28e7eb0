"""Mean and standard deviation of pixels that a checkpoint keeps among its weights.

Networks of this suite take theirs from the dataset or from the user, never from a file. A file that
holds others was trained with others.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmark.models.normalize import Normalize

_NAME = re.compile(r"(?P<layer>(?:.*\.)?_?(?:new_)?)(?P<kind>mean|std|mu|sigma)")
_KINDS = {"mu": "mean", "sigma": "std"}
_MOST = 4
"""Channels of an image, at most."""
_ROUNDING = 1e-6
"""Numbers that differ by less, absolutely or relatively, are taken for the same in float32."""


def stored_constants(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Those of `tensors` that are mean or std of a normalisation and not in `model`'s state dict."""
    own = model.state_dict()
    return {
        name: tensor
        for name, tensor in tensors.items()
        if _NAME.fullmatch(name) and tensor.numel() <= _MOST and name not in own
    }


def constants_noted(constants: Mapping[str, Tensor], model: nn.Module) -> list[str]:
    """A line for each of `constants`, with its values and the network's."""
    own, lines = _own(model), []
    for name, tensor in constants.items():
        ours = own.get(_parts(name)[1])
        beside = "" if ours is None else f"; the network has {', '.join(_texts(ours))}"
        lines.append(f"left out {name!r} = {', '.join(_texts(tensor))}, of a normalisation{beside}")
    return lines


def other_normalization(constants: Mapping[str, Tensor], model: nn.Module) -> str | None:
    """In one line, which of `constants` are not those that `model` normalises by, and what fits.

    None if they are, up to rounding, and for a network that is not this suite's.
    """
    own = _own(model)
    for name in constants if own else ():
        front, kind = _parts(name)
        layer = {_parts(each)[1]: t for each, t in constants.items() if _parts(each)[0] == front}
        white = _white(layer)
        if not _equal(constants[name], own[kind] * white):
            fits = _option(own | {kind: tensor.double() / white for kind, tensor in layer.items()})
            return (
                f"was trained with a normalisation of its own ({name!r}), and the network has "
                f"{_option(own)}; `--normalization {fits}` fits, in a registry normalization = "
                f'"{fits}"'
            )
    return None


def _own(model: nn.Module) -> dict[str, Tensor]:
    """Mean and std that `model` normalises by; empty if it is not this suite's, or not in memory."""
    layer = next((each for each in model.modules() if isinstance(each, Normalize)), None)
    if layer is None or layer.mean.is_meta:
        return {}
    return {"mean": layer.mean.double().flatten(), "std": layer.std.double().flatten()}


def _parts(name: str) -> tuple[str, str]:
    """What stands before the constant in `name`, and `mean` or `std`."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return match["layer"], _KINDS.get(match["kind"], match["kind"])


def _white(layer: Mapping[str, Tensor]) -> int:
    """The value of white in the pixels that `layer` takes: 255 if their mean is beyond 1, else 1."""
    return 255 if "mean" in layer and bool((layer["mean"] > 1).any()) else 1


def _equal(stored: Tensor, ours: Tensor) -> bool:
    """Whether `stored`, in its precision, is `ours`: a value per channel, or one for all."""
    if stored.numel() not in (1, ours.numel()):
        return False
    rounded = ours.to(stored.dtype) if stored.is_floating_point() else ours
    return torch.allclose(stored.double().flatten(), rounded.double(), rtol=_ROUNDING, atol=_ROUNDING)


def _option(layer: Mapping[str, Tensor]) -> str:
    """Mean and std of `layer` as `--normalization` takes them."""
    return "/".join(",".join(_texts(layer[kind])) for kind in ("mean", "std"))


def _texts(tensor: Tensor) -> list[str]:
    """Every value, in the fewest digits that give it back in float32."""
    return [str(value) for value in tensor.float().flatten().numpy()]
