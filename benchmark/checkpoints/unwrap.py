"""Making the tensors of a file fit a network: out of the dicts and name prefixes of training code.

Published checkpoints of one network differ in what stands around the weights: a dict with the epoch
beside them, `module.` of `nn.DataParallel`, counters that old torch did not have. Every step is noted.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import UserError

ENTRIES = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "backbone",
    "weights", "params", "checkpoint", "ema", "model_ema", "ema_state_dict", "state_dict_ema",
)  # fmt: skip
"""Entries under which training code keeps a state dict, in any case of letters."""

PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.", "backbone.", "1.")
"""What wrappers put before every name: DataParallel, torch.compile, nn.Sequential(Normalize, model)."""

ALIASES = {"downsample": "shortcut", "fc": "linear"}
"""Parts of names in torchvision's ResNets, and what the networks of this suite call the same."""

LEVELS = 4
"""How deep dicts in dicts are followed."""

COUNTER = "num_batches_tracked"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class FileTensors:
    """The state dict of a file on its way into a network.

    `tensors` are its entries by name, `notes` has a line for each thing done to them. Methods raise
    `UserError` for what cannot be done.
    """

    def __init__(self, path: Path, content: Any, entry: str | None = None) -> None:
        """Find the state dict in `content`, the objects of the file; `entry` names the dict to open."""
        self.path = path
        self.notes: list[str] = []
        self.tensors = self._opened(content, entry)

    def _opened(self, content: Any, entry: str | None) -> dict[str, Tensor]:
        """The state dict in `content`, out of the dicts around it; what else they hold is noted."""
        inside: list[Any] = []
        for _ in range(LEVELS):
            if not isinstance(content, Mapping):
                break
            inside += [name for name, value in content.items() if _holds_tensors(value)]
            if entry is not None and entry in content:
                chosen, entry = entry, None
            else:
                candidates = _candidates(content)
                if len(candidates) > 1 and entry is None:
                    several = _listed(candidates)
                    raise UserError(f"'{self.path}' holds weights under {several}; choose by --entry")
                if len(candidates) != 1:
                    break
                chosen = candidates[0]
            beside = _listed(name for name in content if name != chosen)
            self.notes.append(f"opened entry {chosen!r}" + (f"; not used: {beside}" if beside else ""))
            content = content[chosen]
        if entry is not None:
            has = f"it has {_listed(inside)}" if inside else "its state dict is in no entry"
            raise UserError(f"'{self.path}' has no entry {entry!r} with weights; {has}")
        if not isinstance(content, Mapping):
            raise UserError(f"'{self.path}' holds a {type(content).__name__}, not a state dict")
        tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if not tensors:
            other = f"; if it is under {_listed(inside)}, say so with --entry" if inside else ""
            raise UserError(f"'{self.path}' holds no state dict under a usual name{other}")
        for name, tensor in tensors.items():
            if not isinstance(name, str):
                raise UserError(f"'{self.path}' has a tensor under {quoted(name)}, not a text")
            if tensor.layout is not torch.strided or tensor.device.type != "cpu":
                raise UserError(f"{name!r} in '{self.path}' is sparse or without values; save it dense")
        if other := _listed(name for name in content if name not in tensors):
            self.notes.append(f"left out what is no tensor: {other}")
        return tensors

    def remove_prefix(self, prefix: str) -> None:
        """Remove `prefix` from the front of every name."""
        if other := [name for name in self.tensors if not name.startswith(prefix)]:
            raise UserError(f"{other[0]!r} in '{self.path}' does not begin with the prefix {prefix!r}")
        self.notes.append(f"removed {prefix!r} from the front of every name")
        self.tensors = {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items()}

    def leave_out(self, names: Collection[str]) -> None:
        """Remove the entries called `names`."""
        self.tensors = {name: tensor for name, tensor in self.tensors.items() if name not in names}

    def rename(self, network: Set[str], drop: Sequence[str]) -> list[str]:
        """Remove the prefixes of wrappers and the entries under `drop`; the names of these entries.

        `network` are the names that the tensors should have.
        """
        self._remove_wrappers(network)
        dropped: list[str] = []
        for prefix in drop:
            out = [name for name in self.tensors if name.startswith(prefix)]
            if not out:
                raise UserError(f"no entry of '{self.path}' begins with {prefix!r}, which --drop names")
            if network & set(out):
                raise UserError(f"--drop {prefix} would leave out {out[0]!r}, which the network needs")
            self.notes.append(f"left out what is under {prefix!r}: {_listed(out)}")
            dropped += out
            self.leave_out(out)
            self._remove_wrappers(network)
        return dropped

    def _remove_wrappers(self, network: Set[str]) -> None:
        """Remove the prefixes that all names share, until one is a name of the network."""
        while self.tensors and not self.tensors.keys() & network:
            shared = [p for p in PREFIXES if all(name.startswith(p) for name in self.tensors)]
            if not shared:
                break
            self.remove_prefix(shared[0])
        front = os.path.commonprefix([*self.tensors]).rpartition(".")[0] + "."  # noqa: RUF071
        inside = {name.removeprefix(front) for name in self.tensors}
        if inside & network and not self.tensors.keys() & network:
            self.remove_prefix(front)

    def take_aliases(self, network: Mapping[str, Tensor]) -> None:
        """Rename by `ALIASES`, if every name and shape is then the network's."""
        names = {n: ".".join(ALIASES.get(part, part) for part in n.split(".")) for n in self.tensors}
        found = {names[name]: tensor.shape for name, tensor in self.tensors.items()}
        right = {name: like.shape for name, like in network.items()}
        if self.tensors.keys() != right.keys() and found == right and len(found) == len(names):
            self.tensors = {names[name]: tensor for name, tensor in self.tensors.items()}
            told = " and ".join(f"{one} to {other}" for one, other in ALIASES.items())
            self.notes.append(f"renamed {told}, from torchvision's names; compare the clean accuracy")

    def add_counters(self, network: Mapping[str, Tensor]) -> None:
        """Add zeros for the counters that batch normalisations did not have before torch 0.4.1."""
        missing = {
            name: torch.zeros(like.shape, dtype=like.dtype, device="cpu")
            for name, like in network.items()
            if name not in self.tensors
            and name.endswith(COUNTER)
            and name.removesuffix(COUNTER) + "running_var" in self.tensors
        }
        if missing:
            self.tensors |= missing
            self.notes.append(f"set {len(missing)} {COUNTER} to zero, absent as before torch 0.4.1")

    def take_constants(self, network: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Take the entries `names` from the network, if the file lacks these and no others."""
        if names and network.keys() - self.tensors.keys() == set(names):
            self.tensors |= {name: network[name] for name in names}
            lacking = " and ".join(map(repr, names))
            self.notes.append(f"{lacking} are not in the file; took those of RobustBench's code")

    def converted(self, network: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies of the tensors in the network's order and types; names and shapes agree already.

        Refuses numbers that are not finite, and integers where the network has floats.
        """
        state: dict[str, Tensor] = {}
        conversions: Counter[str] = Counter()
        for name, like in network.items():
            tensor = self.tensors[name].detach()
            there, here = (str(each.dtype).removeprefix("torch.") for each in (tensor, like))
            fits = _FLOATS if like.is_floating_point() else (*_FLOATS, *_INTEGERS)
            if tensor.dtype not in (*fits, like.dtype):
                raise UserError(f"{name!r} in '{self.path}' is {there}, not the network's {here}")
            if tensor.dtype != like.dtype:
                conversions[f"from {there} to {here}"] += 1
            state[name] = torch.empty(like.shape, dtype=like.dtype, device="cpu").copy_(tensor)
            finite = tensor.isfinite() & state[name].isfinite()
            if not (finite.all() or _alike(finite, like.isfinite())):
                raise UserError(f"{name!r} in '{self.path}' holds NaN or infinite numbers")
        self.notes += [f"converted {count} entries {how}" for how, count in conversions.items()]
        return state


def _alike(finite: Tensor, ours: Tensor) -> bool:
    """Whether a network has numbers that are not finite where a file has them: a mask, say."""
    return not ours.is_meta and torch.equal(finite, ours.cpu())


def _candidates(content: Mapping[Any, Any]) -> list[str]:
    """Entries of `content` that may be the state dict or hold it; none if `content` looks like one."""
    if any(isinstance(value, Tensor) and "." in str(name) for name, value in content.items()):
        return []
    usual = [name for name in content if isinstance(name, str) and name.lower() in ENTRIES]
    return [name for name in usual if _holds_tensors(content[name])]


def _holds_tensors(value: Any, levels: int = LEVELS) -> bool:
    """Whether `value` is a dict with tensors in it or in a dict of it."""
    if not isinstance(value, Mapping) or levels == 0:
        return False
    return any(isinstance(item, Tensor) or _holds_tensors(item, levels - 1) for item in value.values())


def _listed(names: Iterable[Any], shown: int = 8) -> str:
    """The first of `names`, quoted, and how many more there are."""
    texts = [quoted(name) for name in names]
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more


def quoted(name: Any) -> str:
    """A name in one line, whatever the file has for one."""
    return repr(name) if isinstance(name, str) else f"a key of type {type(name).__name__}"
