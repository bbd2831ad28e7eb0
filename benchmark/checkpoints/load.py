"""Reading a checkpoint file without running code, as the state dict of one network.

A torch file is read by `torch.load(weights_only=True)` and nothing else (`objects.py`), so it is as
safe as that is: torch before 2.10 has known holes there (CVE-2025-32434, CVE-2026-24747). TorchScript
and tar archives are refused before torch sees them. Nothing is read at all while the environment tells
torch to unpickle freely (`UNSAFE`): whatever else uses torch in such a process runs what files say.
"""

import hashlib
import io
import os
import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import safetensors.torch
from torch import Tensor, nn

from benchmark.checkpoints.mismatch import compared_constants, shape_mismatch, stored_constants
from benchmark.checkpoints.objects import conversion, read_plain
from benchmark.checkpoints.unwrap import FileTensors
from benchmark.errors import UserError, reason
from benchmark.records.specs import Spec

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""The environment variable that switches off torch's protection against code in files."""

_AVERAGED = "n_averaged"  # counter of torch.optim.swa_utils.AveragedModel
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


@dataclass(frozen=True, eq=False)
class Loaded:
    """Weights of a file in the form of one network.

    `state` has the network's names, shapes and types in its order, on the CPU and contiguous;
    `file_sha256` is the hash of the file's bytes; `dropped` names the tensors of its state dict that
    were left out, and `notes` has one line for each thing done to it. `module` is the spec of what
    a post-hoc method made, where the file holds that (None: a network).
    """

    state: dict[str, Tensor]
    file_sha256: str
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    module: Spec | None = None


def load_checkpoint(
    path: Path,
    model: nn.Module,
    *,
    drop: Sequence[str] = (),
    entry: str | None = None,
    prefix: str | None = None,
    sha256: str | None = None,
    may_lack: Sequence[str] = (),
) -> Loaded:
    """Read the weights in `path`, safetensors or what torch.save writes, told apart by content.

    Args:
        path: The file.
        model: The network; it is not changed.
        drop: Beginnings of names to leave out, after all prefixes are gone.
        entry: The entry to open where the file holds several state dicts.
        prefix: What stands before every name, beside the usual ones of wrappers (`PREFIXES`).
        sha256: The hash of the file's bytes (None: any).
        may_lack: Names that are `model`'s own where the file lacks all of them, and no others.

    Returns:
        The weights as `model` would load them; half and double precision become the network's.

    Raises:
        UserError: The file is missing, damaged, no checkpoint, another file or holds code; `entry`,
            `prefix` or `drop` names nothing; names, shapes, types or a normalisation in the file are
            not the network's; a weight is not finite; the environment switches off torch's protection.
    """
    refuse_unsafe_environment(f"'{path}'")
    network = model.state_dict()
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise UserError(f"'{path}' is another file: expected sha256 {sha256}, found {digest}")
    file = FileTensors(path, _unpickled(path, content), entry)
    if prefix:
        file.remove_prefix(prefix)
    constants = stored_constants(file.tensors, model)
    noted, other = compared_constants(constants, model)
    file.notes += noted
    left_out = [*constants, *(file.tensors.keys() & {_AVERAGED})]
    if _AVERAGED in left_out:
        file.notes.append(f"left out {_AVERAGED!r}, a counter of averaged weights")
    file.leave_out(left_out)
    left_out += file.rename(network.keys(), drop)
    file.add_counters(network)
    file.take_aliases(network)
    file.take_constants(network, may_lack)
    if problem := shape_mismatch(file.tensors, network):
        raise UserError(f"'{path}' does not fit the network: {problem}")
    if other:
        raise UserError(f"'{path}' {other}")
    return Loaded(file.converted(network), digest, tuple(left_out), tuple(file.notes))


def refuse_unsafe_environment(what: str) -> None:
    """Raise `UserError`, which names `what`, if the environment lets torch run what files hold."""
    if os.environ.get(UNSAFE, "").strip().lower() not in ("", "0", "false", "n", "no", "off"):
        raise UserError(
            f"{what} is not read: {UNSAFE} is set, which lets files run code when torch reads them; "
            "unset it"
        )


def refuse_other_content(path: Path) -> None:
    """Raise `UserError`, which names what it is, unless `path` begins as a checkpoint does."""
    with path.open("rb") as file:
        _check_start(path, file.read(512))


def _read(path: Path) -> bytes:
    """All of the file, once its first bytes are those of a checkpoint."""
    try:
        if path.is_dir():
            raise UserError(f"'{path}' is a folder; name the checkpoint in it")
        if not path.exists():
            raise UserError(f"there is no file '{path}'")
        if not path.is_file():
            raise UserError(f"'{path}' is not a regular file")
        with path.open("rb") as file:
            start = file.read(512)
            _check_start(path, start)
            _check_memory(path, path.stat().st_size)
            return start + file.read()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror or error}") from error


def _check_memory(path: Path, size: int) -> None:
    """Raise `UserError` if the `size` bytes to be read of the file are more than what is free."""
    free = psutil.virtual_memory().available
    if size > free:
        raise UserError(f"'{path}' has {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free")


def _check_start(path: Path, start: bytes) -> None:
    """Raise `UserError`, which names what would be right, unless a checkpoint begins with `start`."""
    if _is_safetensors(start) or start.startswith((_ZIP, _PICKLE)):
        return
    if not start:
        found = "is empty; fetch it again"
    elif start.lstrip()[:1] == b"<":
        found = "is a web page, not a checkpoint; the address it came from needs a browser or a login"
    elif start.startswith(b"version https://git-lfs"):
        found = "is a pointer of Git LFS, not the checkpoint itself; fetch that with `git lfs pull`"
    elif start[257:262] == b"ustar":
        found = "is a tar archive; unpack it and name the checkpoint in it"
    else:
        found = "is not a checkpoint: neither a safetensors file nor one of torch.save"
    raise UserError(f"'{path}' {found}")


def _is_safetensors(start: bytes) -> bool:
    """Whether a file begins with the length of a JSON object (8 bytes) and its brace."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32


def _unpickled(path: Path, content: bytes) -> Any:
    """The objects in the file, plain types and tensors on the CPU only."""
    try:
        if _is_safetensors(content):
            return safetensors.torch.load(content)
        if content.startswith(_ZIP):
            _check_archive(path, content)
        return read_plain(content)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        raise _holds_code(path, f" ({name[1]})" if name else "", content) from error
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"'{path}' is damaged or not whole ({reason(error)})") from error


def _check_archive(path: Path, content: bytes) -> None:
    """Raise `UserError` unless the zip archive comes from torch.save and its checksums match.

    torch writes them but never verifies them.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
        _check_memory(path, sum(member.file_size for member in archive.infolist()))
        damaged = archive.testzip()
    if "constants.pkl" in names:
        raise _holds_code(path, " (TorchScript)", b"")
    if "data.pkl" not in names:
        raise UserError(f"'{path}' is a zip archive, but none of torch.save")
    if damaged is not None:
        raise UserError(
            f"'{path}' is damaged: {damaged!r} has another checksum (CRC-32) than was written"
        )


def _holds_code(path: Path, what: str, content: bytes) -> UserError:
    command = conversion(path, content)
    return UserError(
        f"'{path}' holds Python code or objects{what}, which are not run; export the state dict with "
        "torch.save(model.state_dict(), ...) or safetensors"
        + (f", or without the code that wrote it: {command}" if command else "")
    )
