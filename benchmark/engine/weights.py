"""Tensors on disk: safetensors only, written atomically, identified by a hash of their contents."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from benchmark.engine.precision import used
from benchmark.engine.provenance import device_name, machine_versions
from benchmark.errors import UserError
from benchmark.records.files import write_atomically
from benchmark.records.records import Making, parse_file
from benchmark.records.store import Store

WEIGHTS = "weights.safetensors"
SEAL = "contents_sha256"
"""Entry of a file's metadata: the hash of its tensors and of the rest of its metadata."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write `tensors` and `metadata` to `path`, sealed; an interrupted write leaves what was there."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sealed = {**metadata, SEAL: _seal(plain, metadata)}
    write_atomically(path, safetensors.torch.save(plain, sealed))


def load_tensors(path: Path, *, sealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of `path`, which must have a seal if `sealed`.

    Raises `UserError` if it is not a whole safetensors file or not what its seal says.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"'{path}' is not a readable safetensors file ({error}); delete it and the same command "
            "makes it again"
        ) from error
    seal = metadata.pop(SEAL, None)
    if sealed if seal is None else seal != _seal(tensors, metadata):
        raise UserError(
            f"'{path}' {'has no' if seal is None else 'does not fit the'} hash of its contents; delete "
            "it and the same command makes it again"
        )
    return tensors, metadata


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


class WeightsDiffer(RuntimeError):
    """Weights made again do not have the bytes that existing records were made with."""


@dataclass(frozen=True)
class Weights:
    """A state dict and its hash."""

    state: dict[str, Tensor]
    sha256: str

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> "Weights":
        return cls(state, weights_sha256(state))


def kept_weights(store: Store, path: Path, fingerprint: str) -> Weights | None:
    """Weights left at `path` by the same plan; their making is restored if it was lost."""
    if not path.exists():
        return None
    state, metadata = load_tensors(path)
    if metadata.get("fingerprint") != fingerprint:
        return None
    weights = Weights.of(state)
    making = parse_file(Making, metadata["making"], path)
    if making.provenance.weights_sha256 != weights.sha256:
        raise UserError(f"the tensors in '{path}' are not those it was written with; delete it")
    _settle(store, making)
    return weights


def keep_weights(store: Store, path: Path, fingerprint: str, weights: Weights, making: Making) -> None:
    """File the making of a cell and its weights, which carry a copy of it."""
    _settle(store, making)
    save_tensors(path, weights.state, {"fingerprint": fingerprint, "making": making.model_dump_json()})


def _settle(store: Store, making: Making) -> None:
    """Write `making`, or make sure that the one on disk is of the same weights."""
    cell = making.cell.cell
    known = store.making(cell)
    if known is None:
        store.write_making(making)
    elif known.provenance.weights_sha256 != making.provenance.weights_sha256:
        raise WeightsDiffer(
            f"the weights just made for {cell.key} are not those behind its records; use another "
            "--results, or move its records away"
        )


def check_repeatable(making: Making | None, device: torch.device) -> None:
    """Raise `UserError` if weights behind records are to be made again where that cannot work."""
    if making is None:
        return
    there, here = making.provenance, (machine_versions(), device_name(device))
    if here != (there.versions, there.device):
        raise UserError(
            f"{making.cell.cell.key} has records made on another machine, with weights that are not "
            "here and that this one would not repeat bit by bit; bring its weights.safetensors to "
            "artifacts/, or use another --results for a run of your own"
        )
    if (threads := torch.get_num_threads()) != there.threads:
        raise UserError(
            f"{making.cell.cell.key} has records made with weights that are not here, and {threads} "
            f"threads would not repeat them bit by bit; they were made with --threads {there.threads}"
        )
    if (precision := used().label(device)) != there.precision:
        raise UserError(
            f"{making.cell.cell.key} has records made with weights that are not here, and {precision} "
            f"would not repeat them bit by bit; they were made in {there.precision} (--precision, "
            "--compile)"
        )
