"""What in a state dict is not the network's, in words: names, shapes, and a normalisation of pixels.

A hint is given only where it tells what to do: leave out a stage that the network never uses, or choose
another dataset. Networks of this suite take mean and standard deviation from the dataset or from the
user, never from a file; a file that holds others was trained with others.
"""

import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmark.checkpoints.unwrap import COUNTER
from benchmark.models.normalize import Normalize

Shapes = dict[str, tuple[int, ...]]

UNUSED = "sub_block1."
"""A second first stage that yaodongyu/TRADES's WideResNet builds, and saves, but never calls."""

SHOWN = 4
"""How many differences are named."""

_CONSTANT = re.compile(r"(?P<layer>(?:.*\.)?_?(?:new_)?)(?P<kind>mean|std|mu|sigma)")
_HEADS = ("linear.", "fc.")
"""How the names of the last layer begin, whose weight is (classes, inputs)."""
_KINDS = {"mu": "mean", "sigma": "std"}
_MOST = 4
"""Channels of an image, at most."""
_ROUNDING = 1e-6
"""Numbers that differ by less, absolutely or relatively, are taken for the same in float32."""


def shape_mismatch(given: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> str | None:
    """What keeps a file's state dict from being the network's, in one line; None if nothing does."""
    file, network = (
        {name: tuple(tensor.shape) for name, tensor in state.items()} for state in (given, needed)
    )
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
    dots = ((name, dot.end()) for name in file for dot in re.finditer(r"\.", name))
    fronts = Counter(name[:end] for name, end in dots if name[end:] in network)
    front = max(fronts, key=fronts.__getitem__, default="")
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
        return [f"the same shapes are there in the same order: {one!r} may be {other!r}"]
    return []


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
    """What would mend the mismatch; none if nothing is known."""
    used = {name: shape for name, shape in file.items() if not name.startswith(UNUSED)}
    if used == network:
        return [f"`--drop {UNUSED}` would leave this out, because the network never uses it"]
    head = next((each for each in _HEADS if len(used.get(f"{each}weight", ())) == 2), None)
    if head is None or _body(used, head) != _body(network, head):
        return []
    (theirs, given), (ours, taken) = (shapes[f"{head}weight"] for shapes in (used, network))
    hints = []
    if theirs != ours:
        hints.append(f"the file has {theirs} classes, the network {ours}")
    if given != taken:
        hints.append(
            f"the file's classifier takes {given} inputs, the network's {taken}: it is for images of "
            "another size, or its head averages other windows"
        )
    return hints


def _body(shapes: Shapes, head: str) -> Shapes:
    """All entries, those of the last layer `head` with their ranks instead of their shapes."""
    return {name: (len(shape),) if name.startswith(head) else shape for name, shape in shapes.items()}


def stored_constants(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Those of `tensors` that are mean or std of a normalisation and not in `model`'s state dict, there
    without the prefix of a wrapper."""
    network = model.state_dict()
    return {
        name: tensor
        for name, tensor in tensors.items()
        if _CONSTANT.fullmatch(name)
        and tensor.numel() <= _MOST
        and not {name, name.rpartition(".")[2]} & network.keys()
    }


def compared_constants(
    constants: Mapping[str, Tensor], model: nn.Module
) -> tuple[list[str], str | None]:
    """A note on each of `constants`, with its values and those that `model` normalises by; and one line
    on the first that differs, with the option that fits: None if all agree up to rounding, and for a
    network that is not this suite's."""
    layer = next((each for each in model.modules() if isinstance(each, Normalize)), None)
    known = layer is not None and not layer.mean.is_meta
    ours = {kind: getattr(layer, kind).double().flatten() for kind in ("mean", "std") if known}
    notes, problem = [], None
    for name, tensor in constants.items():
        front, kind = _parts(name)
        beside = f"; the network has {', '.join(_texts(ours[kind]))}" if ours else ""
        notes.append(f"left out {name!r} = {', '.join(_texts(tensor))}, of a normalisation{beside}")
        theirs = {_parts(each)[1]: t for each, t in constants.items() if _parts(each)[0] == front}
        # Pixels are in [0,255] where their mean is beyond 1, else in [0,1].
        white = 255 if "mean" in theirs and bool((theirs["mean"] > 1).any()) else 1
        if ours and problem is None and not _equal(tensor, ours[kind] * white):
            fits = _option(ours | {kind: each.double() / white for kind, each in theirs.items()})
            problem = (
                f"was trained with a normalisation of its own ({name!r}), and the network has "
                f"{_option(ours)}; `--normalization {fits}` fits, in a registry normalization = "
                f'"{fits}"'
            )
    return notes, problem


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
    return [str(value) for value in tensor.detach().float().flatten().numpy()]
