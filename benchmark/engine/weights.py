"""Tensors on disk: safetensors only, written atomically, identified by a hash of their contents."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from benchmark.data.images import as_array
from benchmark.errors import UserError
from benchmark.records.files import drop, write_atomically
from benchmark.records.specs import Spec, spec_hash

MODULE = "module"
"""Entry of a file's metadata: the spec of its module, as JSON."""
SEAL = "contents_sha256"
"""Entry of a file's metadata: the hash of its tensors and of the rest of its metadata."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write `tensors` and `metadata` to `path`, sealed; an interrupted write leaves what was there."""
    plain: dict[str, Tensor] = {}
    held: set[int] = set()
    for name, tensor in tensors.items():
        kept = tensor.detach().cpu().contiguous()
        plain[name] = kept.clone() if kept.data_ptr() in held else kept  # a weight of two modules
        held.add(kept.data_ptr())
    sealed = {**metadata, SEAL: _seal(plain, metadata)}
    write_atomically(path, safetensors.torch.save(plain, sealed))


def load_tensors(path: Path, *, sealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of `path`, which must have a seal if `sealed`.

    Raises `UserError` if it is not a whole safetensors file or not what it was sealed with.
    """
    tensors, metadata, wrong = _read(path, sealed)
    if wrong:
        raise UserError(f"'{path}' {wrong}; delete it and the same command makes it again")
    return tensors, metadata


def load_unfinished(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """The same of a sealed file, or None if there is none or it is damaged: then it is dropped."""
    if not path.exists():
        return None
    tensors, metadata, wrong = _read(path, sealed=True)
    if wrong:
        drop(path, wrong)
        return None
    return tensors, metadata


def _read(path: Path, sealed: bool) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    """Tensors and metadata, and what is wrong with them if anything is."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
        seal = metadata.pop(SEAL, None)
        if sealed if seal is None else seal != _seal(tensors, metadata):
            fits = "has no" if seal is None else "does not fit the"
            return {}, {}, f"{fits} hash of its contents"
    except PermissionError as error:
        raise UserError(f"cannot read '{path}' ({error.strerror}); mend its permissions") from error
    except (OSError, TypeError, safetensors.SafetensorError) as error:  # types that numpy has not
        return {}, {}, f"is not a readable safetensors file ({error})"
    return tensors, metadata, None


def module_of(path: Path) -> Spec | None:
    """The spec of the module that the metadata of a safetensors file name; None if they name none, and
    for what is no such file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            spec: Spec | None = json.loads((file.metadata() or {}).get(MODULE, "null"))
        # One that has no hash, as with NaN in it, is none.
        return spec if isinstance(spec, dict) and spec_hash(spec) else None
    except (OSError, safetensors.SafetensorError, ValueError, RecursionError):
        return None


def _seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    content = weights_sha256(tensors), json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(" ".join(content).encode()).hexdigest()


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and bytes of a state dict, independent of file format."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(as_array(tensor).tobytes())
    return digest.hexdigest()


def network_sha256(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Hash of `model` with the weights `state`, and of what a state dict lacks: other buffers, and what
    modules say of themselves, such as the mean of a Normalize or the rate of a dropout."""
    says = re.sub(" at 0x[0-9a-f]+", "", repr(model))  # where functions lie in memory
    tensors = weights_sha256({**dict(model.named_buffers()), **state})
    return spec_hash({"modules": says, "tensors": tensors})


def clone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state dict that later training does not touch."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def interpolate(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """(1 - alpha) start + alpha end for every entry of the state dicts (Equation 9).

    Running statistics of batch normalisation are interpolated like weights, as in the released
    code (Immortalise/RiFT, utils.py). Exact at both ends; integer entries are rounded.
    """
    if start.keys() != end.keys():
        raise ValueError("cannot interpolate between state dicts of different networks")
    if alpha in (0, 1):
        return {name: tensor.clone() for name, tensor in (end if alpha else start).items()}
    return {name: _between(start[name], end[name], alpha) for name in start}


def _between(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    if start.is_floating_point() or start.is_complex():
        return (1 - alpha) * start + alpha * end
    return torch.round((1 - alpha) * start.double() + alpha * end.double()).to(start.dtype)


@dataclass(frozen=True)
class Weights:
    """A state dict on the CPU, the spec of its module (None: the cell's network), and a hash of both,
    which identifies the model: two modules may share every tensor."""

    state: dict[str, Tensor]
    sha256: str
    module: Spec | None = None

    @classmethod
    def of(cls, state: dict[str, Tensor], module: Spec | None = None) -> "Weights":
        state = {name: tensor.detach().cpu() for name, tensor in state.items()}
        tensors = weights_sha256(state)
        if module is None:
            return cls(state, tensors)
        both = f"{spec_hash(module)} {tensors}"
        return cls(state, hashlib.sha256(both.encode()).hexdigest(), module)

    @property
    def tags(self) -> dict[str, str]:
        """What the metadata of a file have of the module."""
        return {} if self.module is None else {MODULE: json.dumps(self.module, sort_keys=True)}
