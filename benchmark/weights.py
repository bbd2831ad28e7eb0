"""Tensors on disk: safetensors only, written atomically, identified by a hash of their contents."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.files import write_atomically


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write `tensors` and `metadata` to `path`; an interrupted write leaves what was there."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, safetensors.torch.save(plain, dict(metadata)))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of `path`. Raises `UserError` if it is not a whole safetensors file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"'{path}' is not a readable safetensors file ({error}); delete it and the same command "
            "makes it again"
        ) from error


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
