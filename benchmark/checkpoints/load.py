"""A user's own checkpoint: read without running code, unwrapped, and made to fit a network exactly.

Published checkpoints of one network differ in what stands around the weights: a dict with the epoch
beside them, `module.` of `nn.DataParallel`, a normalisation in front, counters that old torch did not
have. What is undone is said in notes; what is left must have exactly the network's names and shapes.

A torch file is read by `torch.load(weights_only=True)` and by nothing else, so it is as safe as that
is: torch before 2.10 has known holes there (CVE-2025-32434, CVE-2026-24747). TorchScript and tar
archives are refused before torch sees them. Nothing is read at all while the environment tells torch to
unpickle freely (`UNSAFE`): whatever else uses torch in such a process runs what files say.
"""

import hashlib
import io
import os
import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from benchmark.checkpoints.mismatch import misfit, shapes_of
from benchmark.checkpoints.stored_normalization import (
    constants_noted,
    other_normalization,
    stored_constants,
)
from benchmark.errors import UserError

ENTRIES = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "backbone",
    "weights", "params", "checkpoint", "ema", "model_ema", "ema_state_dict", "state_dict_ema",
)  # fmt: skip
"""Entries under which training code keeps a state dict, in any case of letters."""

PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.", "backbone.", "1.")
"""What wrappers put before every name: DataParallel, torch.compile, nn.Sequential(Normalize, model)."""

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""The environment variable that switches off torch's protection against code in files."""

LEVELS = 4
"""How deep dicts in dicts are followed."""

_AVERAGED = "n_averaged"  # counter of torch.optim.swa_utils.AveragedModel
_COUNTER = "num_batches_tracked"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


@dataclass(frozen=True, eq=False)
class Loaded:
    """Weights of a file in the form of one network.

    `state` has the network's names, shapes and types in its order, on the CPU and contiguous;
    `file_sha256` is the hash of the file's bytes; `dropped` names the tensors of its state dict that
    were left out, and `notes` has one line for each thing done to it.
    """

    state: dict[str, Tensor]
    file_sha256: str
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def load_checkpoint(
    path: Path,
    model: nn.Module,
    *,
    drop: Sequence[str] = (),
    entry: str | None = None,
    prefix: str | None = None,
    sha256: str | None = None,
) -> Loaded:
    """The weights in `path`, as `model`, which is not changed, would load them.

    Reads safetensors and what torch.save writes, told apart by content. `entry` names the entry to open
    where the file holds several state dicts; `prefix` stands before every name and is removed, beside
    the usual ones of wrappers (`PREFIXES`), which need not be told; `drop` are beginnings of names to
    leave out, after all prefixes are gone. Half and double precision become the network's. Of a file
    whose bytes do not have the hash `sha256` (None: any) nothing is taken.

    Raises `UserError` for a file that is missing, damaged, no checkpoint, another file or holds code;
    where `entry`, `prefix` or `drop` names nothing; if names, shapes, types or a normalisation that it
    holds are not the network's or a weight is not finite; and where the environment switches off
    torch's protection.
    """
    refuse_unsafe_environment(f"'{path}'")
    notes: list[str] = []
    network = model.state_dict()
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise UserError(f"'{path}' is another file: expected sha256 {sha256}, found {digest}")
    found = _opened(path, _unpacked(path, content), entry, notes)
    if prefix:
        found = _without(path, found, prefix, notes)
    constants = stored_constants(found, model)
    notes += constants_noted(constants, model)
    left_out = [*constants, *(found.keys() & {_AVERAGED})]
    if _AVERAGED in left_out:
        notes.append(f"left out {_AVERAGED!r}, a counter of averaged weights")
    kept = {name: tensor for name, tensor in found.items() if name not in left_out}
    kept, dropped = _renamed(path, kept, network.keys(), drop, notes)
    counters = _missing_counters(kept, network)
    if counters:
        kept |= counters
        notes.append(f"set {len(counters)} {_COUNTER} to zero, absent as before torch 0.4.1")
    if problem := misfit(shapes_of(kept), shapes_of(network)):
        raise UserError(f"'{path}' does not fit the network: {problem}")
    if problem := other_normalization(constants, model):
        raise UserError(f"'{path}' {problem}")
    state = _converted(path, kept, network, notes)
    return Loaded(state, digest, (*left_out, *dropped), tuple(notes))


def refuse_unsafe_environment(what: str) -> None:
    """Raise `UserError`, of `what` is to be read, if the environment lets torch run what files hold."""
    if os.environ.get(UNSAFE, "").strip().lower() not in ("", "0", "false", "n", "no", "off"):
        raise UserError(
            f"{what} is not read: {UNSAFE} is set, which lets files run code when torch reads them; "
            "unset it"
        )


def refuse_other_content(path: Path) -> None:
    """Raise `UserError` unless `path` begins as a checkpoint does; nothing of it is interpreted.

    The message says what it is instead, such as the web page that a download gave.
    """
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
            return start + file.read()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror or error}") from error


def _check_start(path: Path, start: bytes) -> None:
    if not (_is_safetensors(start) or start.startswith((_ZIP, _PICKLE))):
        raise UserError(f"'{path}' {_other_content(start)}")


def _is_safetensors(start: bytes) -> bool:
    """Whether a file begins with the length of a JSON object (8 bytes) and its brace."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32


def _other_content(start: bytes) -> str:
    """What a file is that begins with `start` and is no checkpoint, and what would be right."""
    if not start:
        return "is empty; fetch it again"
    if start.lstrip()[:1] == b"<":
        return "is a web page, not a checkpoint; the address it came from needs a browser or a login"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the checkpoint itself; fetch that with `git lfs pull`"
    if start[257:262] == b"ustar":
        return "is a tar archive; unpack it and name the checkpoint in it"
    return "is not a checkpoint: neither a safetensors file nor one of torch.save"


def _unpacked(path: Path, content: bytes) -> Any:
    """The objects in the file, of plain types and tensors on the CPU only."""
    try:
        if _is_safetensors(content):
            return safetensors.torch.load(content)
        if content.startswith(_ZIP):
            _check_archive(path, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol
            # From memory: torch before 2.6 tries files on disk as tar archives first, unsafely.
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(_holds_code(path, f" ({name[1]})" if name else "")) from error
    except Exception as error:  # a damaged file can raise anything
        reason = next(iter(str(error).splitlines()), "")[:160] or type(error).__name__
        raise UserError(f"'{path}' is damaged or not whole ({reason}); fetch it again") from error


def _check_archive(path: Path, content: bytes) -> None:
    """Raises `UserError` unless the zip archive is one of torch.save, with the checksums it has.

    torch writes them and does not look at them.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
        damaged = archive.testzip()
    if "constants.pkl" in names:
        raise UserError(_holds_code(path, " (TorchScript)"))
    if "data.pkl" not in names:
        raise UserError(f"'{path}' is a zip archive, but none of torch.save")
    if damaged is not None:
        raise UserError(
            f"'{path}' is damaged: {_quoted(damaged)} in it has another checksum (CRC-32) than was "
            "written; fetch it again"
        )


def _holds_code(path: Path, what: str) -> str:
    return (
        f"'{path}' holds Python code or objects{what}, which are not run; export the state dict with "
        "torch.save(model.state_dict(), ...) or safetensors"
    )


def _opened(path: Path, content: Any, entry: str | None, notes: list[str]) -> dict[str, Tensor]:
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
                raise UserError(f"'{path}' holds weights under {several}; choose one with --entry")
            if len(candidates) != 1:
                break
            chosen = candidates[0]
        beside = _listed(name for name in content if name != chosen)
        notes.append(f"opened entry {chosen!r}" + (f"; not used: {beside}" if beside else ""))
        content = content[chosen]
    if entry is not None:
        has = f"it has {_listed(inside)}" if inside else "its state dict is in no entry"
        raise UserError(f"'{path}' has no entry {entry!r} with weights; {has}")
    if not isinstance(content, Mapping):
        raise UserError(f"'{path}' holds a {type(content).__name__}, not a state dict")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        other = f"; if it is under {_listed(inside)}, say so with --entry" if inside else ""
        raise UserError(f"'{path}' holds no state dict under a usual name{other}")
    for name, tensor in tensors.items():
        _check_plain(path, name, tensor)
    other = _listed(name for name in content if name not in tensors)
    if other:
        notes.append(f"left out what is no tensor: {other}")
    return tensors


def _candidates(content: Mapping[Any, Any]) -> list[str]:
    """Entries of `content` that may be the state dict or hold it; none if `content` looks like one."""
    if any(isinstance(value, Tensor) and "." in str(name) for name, value in content.items()):
        return []
    return [
        name
        for name, value in content.items()
        if isinstance(name, str) and name.lower() in ENTRIES and _holds_tensors(value)
    ]


def _holds_tensors(value: Any, levels: int = LEVELS) -> bool:
    """Whether `value` is a dict with tensors in it or in a dict of it."""
    if not isinstance(value, Mapping) or levels == 0:
        return False
    return any(isinstance(item, Tensor) or _holds_tensors(item, levels - 1) for item in value.values())


def _check_plain(path: Path, name: Any, tensor: Tensor) -> None:
    """Raises `UserError` unless the entry has a text for a name and its numbers in memory."""
    if not isinstance(name, str):
        raise UserError(f"'{path}' has a tensor under {_quoted(name)}, where state dicts have a text")
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise UserError(f"{name!r} in '{path}' is sparse or without values; save it dense")


def _without(
    path: Path, tensors: dict[str, Tensor], prefix: str, notes: list[str]
) -> dict[str, Tensor]:
    """`tensors` with `prefix`, which all names have, removed."""
    other = next((name for name in tensors if not name.startswith(prefix)), None)
    if other is not None:
        raise UserError(f"{other!r} in '{path}' does not begin with the prefix {prefix!r}")
    notes.append(f"removed {prefix!r} from the front of every name")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _renamed(
    path: Path,
    tensors: dict[str, Tensor],
    network: Set[str],
    drop: Sequence[str],
    notes: list[str],
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """`tensors` without the prefixes of wrappers and the entries under `drop`; the names of these."""
    tensors = _stripped(tensors, network, notes)
    dropped: list[str] = []
    for prefix in drop:
        out = [name for name in tensors if name.startswith(prefix)]
        if not out:
            raise UserError(f"no entry of '{path}' begins with {prefix!r}, which --drop names")
        if network & set(out):
            raise UserError(f"--drop {prefix} would leave out {out[0]!r}, which the network needs")
        notes.append(f"left out what is under {prefix!r}: {_listed(out)}")
        dropped += out
        tensors = _stripped({n: t for n, t in tensors.items() if n not in out}, network, notes)
    return tensors, tuple(dropped)


def _stripped(tensors: dict[str, Tensor], network: Set[str], notes: list[str]) -> dict[str, Tensor]:
    """`tensors` without the prefixes that all names share, until one is a name of the network."""
    while tensors and not tensors.keys() & network:
        shared = [p for p in PREFIXES if all(name.startswith(p) for name in tensors)]
        if not shared:
            break
        notes.append(f"removed {shared[0]!r} from the front of every name")
        tensors = {name.removeprefix(shared[0]): tensor for name, tensor in tensors.items()}
    return tensors


def _missing_counters(
    tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Zeros for the counters that the file's batch normalisations lack."""
    return {
        name: torch.zeros(like.shape, dtype=like.dtype, device="cpu")
        for name, like in network.items()
        if name not in tensors
        and name.endswith(_COUNTER)
        and name.removesuffix(_COUNTER) + "running_var" in tensors
    }


def _converted(
    path: Path, tensors: Mapping[str, Tensor], network: Mapping[str, Tensor], notes: list[str]
) -> dict[str, Tensor]:
    """Copies of `tensors`, of the network's names, in its order and types; all numbers are finite."""
    state: dict[str, Tensor] = {}
    converted: Counter[str] = Counter()
    for name, like in network.items():
        tensor = tensors[name].detach()
        if tensor.dtype not in (_FLOATS if like.is_floating_point() else (*_FLOATS, *_INTEGERS)):
            there, here = _type(tensor), _type(like)
            raise UserError(f"{name!r} in '{path}' is {there}, the network's {here}; save it as that")
        if tensor.dtype != like.dtype:
            converted[f"from {_type(tensor)} to {_type(like)}"] += 1
        state[name] = torch.empty(like.shape, dtype=like.dtype, device="cpu").copy_(tensor)
        if not (tensor.isfinite().all() and state[name].isfinite().all()):
            raise UserError(f"{name!r} in '{path}' holds NaN or infinite numbers; no network works so")
    notes += [f"converted {count} entries {how}" for how, count in converted.items()]
    return state


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(names: Iterable[Any], shown: int = 8) -> str:
    """The first of `names`, quoted, and how many more there are."""
    quoted = [_quoted(name) for name in names]
    more = f" and {len(quoted) - shown} more" if len(quoted) > shown else ""
    return ", ".join(quoted[:shown]) + more


def _quoted(name: Any) -> str:
    """A name in one line, whatever the file has for one."""
    return repr(name) if isinstance(name, str) else f"a key of type {type(name).__name__}"
