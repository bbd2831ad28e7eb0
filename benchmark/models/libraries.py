"""Networks of timm and of torchvision by name, with random weights: nothing is ever downloaded.

A network has the dataset's classes and, where the library can, its image size and channels;
torchvision's take the one channel of a grey image three times. Pixels in [0,1] are normalised by a hook
before the network's own forward, so that names of modules and of the state dict are the library's.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.data.info import CIFAR10, DatasetInfo
from benchmark.errors import UserError, close_to, installing, reason
from benchmark.models.normalize import Normalize

Maker = Callable[[str, DatasetInfo], nn.Module]
_ALONE = {"aux_logits": False, "init_weights": True}
_ONE_OUTPUT = {"googlenet": _ALONE, "inception_v3": _ALONE}
"""What makes networks with classifiers on the way return the logits alone."""
_REFUSALS = (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError)
"""What networks raise that cannot take images of a size, as they are made or run."""


@dataclass(frozen=True)
class NetworkLibrary:
    """A library: how its networks of classification are listed and made."""

    names: Callable[[], list[str]]
    make: Maker


def known(full: str) -> tuple[NetworkLibrary, str]:
    """The library of `LIBRARY:NAME`, and NAME. Raises `UserError` if it is missing, or has no NAME."""
    package, _, name = full.partition(":")
    library = _LIBRARIES[package]
    if find_spec(package) is None:
        raise UserError(f"{package} is not installed; {installing(package)}")
    if name in (names := library.names()):
        return library, name
    hint = close_to(name, names) or f"it has {len(names)}, such as {names[0]}"
    raise UserError(f"{package} has no network '{name}'; {hint}")


def network(full: str, info: DatasetInfo) -> nn.Module:
    """The network `LIBRARY:NAME` for images of `info`, with the library's initialisation.

    Raises `UserError` as `known`, and if it cannot take images of this size or returns no logits.
    """
    library, name = known(full)
    why, where = "it returns no logits (B, K)", torch.get_default_device()
    x = torch.zeros(2, info.channels, info.side, info.side, device="cpu")
    try:
        with torch.no_grad(), torch.device("cpu"):  # timm's cannot be made on the device `meta`
            model = library.make(name, info)
            model.add_module("normalize", Normalize(info.mean, info.std))
            model.register_forward_pre_hook(_normalised)
            logits = model.eval()(x)
    except _REFUSALS as error:
        logits, why = None, reason(error)
    if not isinstance(logits, Tensor) or logits.shape != (len(x), info.classes):
        size = f"{info.channels}x{info.side}x{info.side}"
        raise UserError(f"{full} does not classify images of {size} ({why})")
    return model.to(where).train()


@cache
def has_batch_norm(full: str) -> bool:
    """Whether the network has running statistics; taken for granted where the library is not, and of
    one that cannot be made of CIFAR's size, which `network` refuses."""
    if find_spec(full.partition(":")[0]) is None:
        return True
    library, name = known(full)
    try:
        with torch.random.fork_rng(devices=[]):
            model = library.make(name, CIFAR10)
    except _REFUSALS:
        return True
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def _normalised(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """The forward pre-hook: images (B, C, H, W) in [0,1], normalised."""
    out: Tensor = model.get_submodule("normalize")(inputs[0])
    return out


def _grey_as_colour(_model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    return inputs[0].expand(-1, 3, -1, -1)


def _quietly(name: str) -> Any:
    """The module `name`, without its warnings on what moved in torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def _timm(name: str, info: DatasetInfo) -> nn.Module:
    timm = _quietly("timm")
    known = timm.models.get_pretrained_cfg(name)  # None for a few
    size = {"img_size": info.side} if known and known.fixed_input_size else {}
    made: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=info.classes, in_chans=info.channels, **size
    )
    return made


def _torchvision(name: str, info: DatasetInfo) -> nn.Module:
    models = _quietly("torchvision.models")
    size: Mapping[str, Any] = {"image_size": info.side} if name.startswith("vit_") else {}
    own = _ONE_OUTPUT.get(name, {})
    made: nn.Module = models.get_model(name, weights=None, num_classes=info.classes, **size, **own)
    if info.channels == 1:
        made.register_forward_pre_hook(_grey_as_colour)
    return made


def _timm_names() -> list[str]:
    # RobustBench adds networks to timm's list, in capitals, which no key has.
    return [name for name in _quietly("timm").list_models() if name.islower()]


def _torchvision_names() -> list[str]:
    models = _quietly("torchvision.models")
    names: list[str] = models.list_models(module=models)
    return names


_LIBRARIES = {
    "timm": NetworkLibrary(_timm_names, _timm),
    "torchvision": NetworkLibrary(_torchvision_names, _torchvision),
}
