"""Tensors on disk: safetensors only, written atomically, identified by a hash of their contents."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.records.files import drop, write_atomically

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


def load_unfinished(
    path: Path, *, sealed: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """The same, or None if there is no such file or it is damaged: then it is dropped."""
    if not path.exists():
        return None
    tensors, metadata, wrong = _read(path, sealed)
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


def _seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    content = weights_sha256(tensors), json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(" ".join(content).encode()).hexdigest()


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and bytes of a state dict, independent of file format."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def clone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state dict that later training does not touch."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@dataclass(frozen=True)
class Weights:
    """A state dict and its hash."""

    state: dict[str, Tensor]
    sha256: str

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> "Weights":
        return cls(state, weights_sha256(state))
