"""What in a state dict is not the network's, in words: names, shapes, and a normalisation of pixels.

A guess is made only where it tells what to do: leave out a stage that the network never uses, choose
another dataset, or another architecture of `benchmark.models`. Networks of this suite take mean and
standard deviation from the dataset or from the user, never from a file; a file that holds others was
trained with others.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.checkpoints.unwrap import COUNTER
from benchmark.data import DATASETS
from benchmark.data.info import CIFAR10
from benchmark.models import FAMILIES, WIDEST, build
from benchmark.models.normalize import Normalize

Shapes = dict[str, tuple[int, ...]]

UNUSED = "sub_block1."
"""A second first stage that yaodongyu/TRADES's WideResNet builds, and saves, but never calls."""

SHOWN = 4
"""How many differences are named."""

ALIKE = 0.9
"""Share of names and shapes from which a file is said to look like an architecture."""

_CONSTANT = re.compile(r"(?P<layer>(?:.*\.)?_?(?:new_)?)(?P<kind>mean|std|mu|sigma)")
_KINDS = {"mu": "mean", "sigma": "std"}
_MOST = 4
"""Channels of an image, at most."""
_ROUNDING = 1e-6
"""Numbers that differ by less, absolutely or relatively, are taken for the same in float32."""


class _Classifier(NamedTuple):
    """The last layer, by the shape of its weight."""

    name: str
    classes: int
    inputs: int


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """The shape of every entry."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def shape_mismatch(file: Shapes, network: Shapes) -> str | None:
    """What keeps a file's state dict from being the network's, in one line; None if nothing does."""
    names = [name for name in {**network, **file} if file.get(name) != network.get(name)]
    if not names:
        return None
    theirs = [name for name in names if name not in network]
    ours = [name for name in names if name in network]
    shown = ours[: max(SHOWN // 2, SHOWN - len(theirs))]  # of both sides, where both have some
    shown += theirs[: SHOWN - len(shown)]
    parts = [_difference(name, file.get(name), network.get(name)) for name in shown]
    if len(names) > len(shown):
        parts.append(f"and {len(names) - len(shown)} more")
    return "; ".join([*parts, *(_naming(file, network) or _hints(file, network))])


def _naming(file: Shapes, network: Shapes) -> list[str]:
    """What would mend names, where most share a front or all shapes are the network's; else nothing."""
    split = ((name[: dot + 1], name[dot + 1 :]) for name in file for dot in _dots(name))
    fronts = Counter(front for front, inside in split if inside in network)
    front = max(fronts, key=lambda each: fronts[each], default="")
    odd = [name for name in file if not name.startswith(front)]
    if odd and not file.keys() & network.keys():
        hint = f"all but {', '.join(map(repr, odd[:SHOWN]))} begin with {front!r}"
        flags = sorted({f"`--drop {name.partition('.')[0]}{'.' * ('.' in name)}`" for name in odd})
        rest = {name.removeprefix(front): file[name] for name in file.keys() - set(odd)}
        if _weights(rest) == _weights(network) and all(re.fullmatch(r"[\w.]+", name) for name in odd):
            hint += f"; {' '.join(flags)} would make it fit"
        return [hint]
    theirs, ours = (_weights(shapes) for shapes in (file, network))
    if theirs.keys() != ours.keys() and list(theirs.values()) == list(ours.values()):
        one, other = next(pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1])
        return [
            f"the same shapes are there in the same order: {one!r} may be {other!r}; rename them so"
        ]
    return []


def _dots(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == "."]


def _weights(shapes: Shapes) -> Shapes:
    """All but the counters, which may be missing."""
    return {name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)}


def _difference(name: str, file: tuple[int, ...] | None, network: tuple[int, ...] | None) -> str:
    if network is None:
        return f"{name!r} {file} is in the file only"
    if file is None:
        return f"{name!r} {network} is in the network only"
    return f"{name!r} is {file} in the file and {network} in the network"


def _hints(file: Shapes, network: Shapes) -> list[str]:
    """What would mend the mismatch, or what the file looks like; none if nothing is known."""
    used = {name: shape for name, shape in file.items() if not name.startswith(UNUSED)}
    if used == network:
        return [f"`--drop {UNUSED}` would leave this out, because the network never uses it"]
    there, here = _classifier(used), _classifier(network)
    if there is None:
        return []
    if here is not None and _body(used, there) == _body(network, here):
        hints = []
        if there.classes != here.classes:
            hints.append(f"the file has {there.classes} classes, the network {here.classes}")
        if there.inputs != here.inputs:
            hints.append(
                f"the file's classifier takes {there.inputs} inputs, the network's {here.inputs}: "
                "it is for images of another size, or its head averages other windows"
            )
        return hints
    candidates = ((_likeness(used, known), name) for name, known in _architectures(used, there))
    likeness, name = max(candidates, default=(0.0, ""))
    if likeness < ALIKE or likeness <= _likeness(used, network):
        return []
    channels = used["conv1.weight"][1]
    return [f"it looks like {name} (input channels: {channels}, classes: {there.classes})"]


def _classifier(shapes: Shapes) -> _Classifier | None:
    for name in ("linear", "fc"):
        shape = shapes.get(f"{name}.weight", ())
        if len(shape) == 2:
            return _Classifier(name, *shape)
    return None


def _body(shapes: Shapes, classifier: _Classifier) -> Shapes:
    """All entries, those of the classifier with their ranks instead of their shapes."""
    head = f"{classifier.name}."
    return {name: (len(shape),) if name.startswith(head) else shape for name, shape in shapes.items()}


def _likeness(one: Shapes, other: Shapes) -> float:
    """Entries of equal name and shape as a share of all (Jaccard), in [0,1]."""
    return len(one.items() & other.items()) / len(one.items() | other.items())


def _architectures(file: Shapes, classifier: _Classifier) -> Iterator[tuple[str, Shapes]]:
    """Name and shapes of the known networks with the file's width, input channels and classes."""
    first = file.get("conv1.weight", ())
    if len(first) != 4 or not all(0 < size <= WIDEST for size in (*first[:2], classifier.classes)):
        return
    names = [name for family in FAMILIES.values() if (name := family.as_wide_as(file))]
    for side in sorted({info.side for info in DATASETS.values()}):
        info = replace(CIFAR10, classes=classifier.classes, channels=first[1], side=side)
        for name in names:
            with torch.device("meta"):
                yield name, shapes_of(build(name, info).state_dict())


def stored_constants(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Those of `tensors` that are mean or std of a normalisation and not in `model`'s state dict."""
    network = model.state_dict()
    return {
        name: tensor
        for name, tensor in tensors.items()
        if _CONSTANT.fullmatch(name) and tensor.numel() <= _MOST and name not in network
    }


def constants_noted(constants: Mapping[str, Tensor], model: nn.Module) -> list[str]:
    """A line for each of `constants`, with its values and the network's."""
    ours, lines = _normalization(model), []
    for name, tensor in constants.items():
        kind = _parts(name)[1]
        beside = f"; the network has {', '.join(_texts(ours[kind]))}" if ours else ""
        lines.append(f"left out {name!r} = {', '.join(_texts(tensor))}, of a normalisation{beside}")
    return lines


def other_normalization(constants: Mapping[str, Tensor], model: nn.Module) -> str | None:
    """In one line, which of `constants` are not those that `model` normalises by, and what fits.

    None if they are, up to rounding, and for a network that is not this suite's.
    """
    ours = _normalization(model)
    for name in constants if ours else ():
        front, kind = _parts(name)
        layer = {_parts(each)[1]: t for each, t in constants.items() if _parts(each)[0] == front}
        # Pixels are in [0,255] where their mean is beyond 1, else in [0,1].
        white = 255 if "mean" in layer and bool((layer["mean"] > 1).any()) else 1
        if not _equal(constants[name], ours[kind] * white):
            fits = _option(ours | {kind: tensor.double() / white for kind, tensor in layer.items()})
            return (
                f"was trained with a normalisation of its own ({name!r}), and the network has "
                f"{_option(ours)}; `--normalization {fits}` fits, in a registry normalization = "
                f'"{fits}"'
            )
    return None


def _normalization(model: nn.Module) -> dict[str, Tensor]:
    """Mean and std that `model` normalises by; empty if it is not this suite's, or not in memory."""
    layer = next((each for each in model.modules() if isinstance(each, Normalize)), None)
    if layer is None or layer.mean.is_meta:
        return {}
    return {"mean": layer.mean.double().flatten(), "std": layer.std.double().flatten()}


def _parts(name: str) -> tuple[str, str]:
    """What stands before the constant in `name`, and `mean` or `std`."""
    match = _CONSTANT.fullmatch(name)
    assert match is not None
    return match["layer"], _KINDS.get(match["kind"], match["kind"])


def _equal(stored: Tensor, ours: Tensor) -> bool:
    """Whether `stored`, in its precision, equals `ours`: a value per channel, or one for all."""
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
