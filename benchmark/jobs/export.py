"""Finished cells as files for others: safetensors with its making, a model card, a registry entry."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import safetensors.torch
from pydantic import ValidationError
from torch import Tensor

from baselines import adversarial, method
from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.checkpoints.networks import normalization_of
from benchmark.checkpoints.registry import registry, registry_file
from benchmark.data import dataset_info
from benchmark.engine.kept_weights import read_weights
from benchmark.engine.recipes import pixel_units
from benchmark.errors import UserError, problems
from benchmark.models import arch
from benchmark.records.applied import Applied
from benchmark.records.cells import OWN, Cell
from benchmark.records.records import Checkpoint, Finetuning, Making, Record, Training
from benchmark.records.store import WEIGHTS, Store
from benchmark.report.model_card import base_spec, model_card

FORMAT, FORMAT_VERSION = "rift-benchmark-checkpoint", "1"


@dataclass(frozen=True)
class Exported:
    """The bytes of a file, its entry for the registry, and its model card in Markdown."""

    content: bytes
    entry: CheckpointEntry
    card: str


def export(cell: Cell, source: str, store: Store, *, name: str, licence: str | None = None) -> Exported:
    """Pack the network of a finished `cell` as the checkpoint `name`; nothing is written.

    `source` is the path of the file from the folder of the registry that the entry is for. The licence
    is MIT unless the weights started from a checkpoint of another. The same cell gives the same bytes
    each time. Raises `UserError` if the cell is not finished, its weights are not here or not those of
    its records, or `name` cannot stand in a key.
    """
    making, records = made(cell, store)
    path, kept = store.work(cell) / WEIGHTS, read_weights(store, cell)
    if kept is None:
        raise UserError(
            f"the weights of {cell.key} are not at '{path}'; bring its folder from where they were made"
        )
    weights, metadata = kept
    if weights.sha256 != making.provenance.weights_sha256:
        raise UserError(f"the tensors in '{path}' are not those of the making of {cell.key}; delete it")
    origin = _origin(cell, store)
    chosen = licence or (origin.licence if origin else "MIT")
    content = packed(
        weights.state, _metadata(making, records, chosen, metadata.get("fingerprint")) | weights.tags
    )
    entry = _entry(making, records, origin, content, source, name, chosen)
    return Exported(content, entry, model_card(entry, making, records, store))


def made(cell: Cell, store: Store) -> tuple[Making, list[Record]]:
    """The making of a finished cell and all its records, which are of these weights.

    Raises `UserError` for a cell without either, and for a record of other weights.
    """
    if cell.scale == OWN:
        raise UserError(f"{cell.key} is of weights made elsewhere; export is for those made here")
    making = store.making(cell)
    if making is None:
        raise UserError(f"{cell.key} has no making in '{store.results}'; `run {cell.key}` makes it")
    records = [filed for filed in store.of(cell) if isinstance(filed, Record)]
    if not records:
        raise UserError(f"{cell.key} has no record in '{store.results}'; `run {cell.key}` makes them")
    for record in records:
        if record.provenance.weights_sha256 != making.provenance.weights_sha256:
            raise UserError(
                f"'{store.record_path(cell, record.evaluation)}' is of other weights than the making "
                "beside it; move it away"
            )
    return making, records


def card(entry: CheckpointEntry, store: Store) -> str:
    """The model card of a registered checkpoint that is of a cell on record.

    Raises `UserError` for one that belongs to none, and as `made` does.
    """
    if entry.cell is None:
        raise UserError(f"{entry.name} was not made by this suite; see {entry.link or entry.source}")
    making, records = made(Cell.parse(entry.cell), store)
    return model_card(entry, making, records, store)


def packed(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file whose bytes depend on nothing but its content.

    The library writes metadata in the order of a hash map, which differs from run to run; here they
    are sorted. Header: its length (8 bytes, little-endian), then JSON, padded by spaces to 8 bytes.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content = safetensors.torch.save(plain, dict(metadata))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def toml_block(entry: CheckpointEntry) -> str:
    """The table of an entry as it stands in `checkpoints.toml`, without what is left at its default."""
    fields = entry.model_dump(exclude_defaults=True).items()
    return "\n".join(["[[checkpoint]]", *(f"{name} = {_toml(value)}" for name, value in fields)]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        names = (name if re.fullmatch("[A-Za-z0-9_-]+", name) else _toml(name) for name in value)
        parts = (f"{name} = {_toml(part)}" for name, part in zip(names, value.values(), strict=True))
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers, booleans: as in TOML


def _metadata(
    making: Making, records: list[Record], licence: str, fingerprint: str | None
) -> dict[str, str]:
    """What the file says of itself; with `fingerprint` and `making` it can stand in `artifacts/`."""
    counts = {record.evaluation: {"k": record.k, "n": record.n} for record in records}
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "cell": making.cell.cell.key,
        "spec_hash": making.spec_hash,
        "recipe": json.dumps(base_spec(making.spec).get("recipe"), sort_keys=True),
        "records": json.dumps(counts, sort_keys=True),
        "licence": licence,
        "making": making.model_dump_json(),
    }
    return facts | ({"fingerprint": fingerprint} if fingerprint else {})


def _origin(cell: Cell, store: Store) -> Checkpoint | None:
    """The checkpoint that the base of `cell` was read from; None if it was trained."""
    base = store.making(cell.base)
    return base.details if base and isinstance(base.details, Checkpoint) else None


def _entry(
    making: Making,
    records: list[Record],
    origin: Checkpoint | None,
    content: bytes,
    source: str,
    name: str,
    licence: str,
) -> CheckpointEntry:
    cell, base = making.cell.cell, base_spec(making.spec)
    info, data = dataset_info(cell.dataset), base["dataset"]
    known = registry().get(origin.name) if origin else None
    clean = not adversarial(cell.method)
    try:
        return CheckpointEntry(
            name=name,
            dataset=cell.dataset,
            arch=cell.arch,
            method=cell.method if cell.is_base else None,
            seed=cell.seed,
            cell=cell.key,
            source=source,
            file=PurePosixPath(source).name,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            normalization=normalization_of(info, tuple(data["mean"]), tuple(data["std"])),
            licence=licence,
            what=_what(making, origin),
            eps=origin.eps if origin else pixel_units(0 if clean else data["threat"]["eps"]),
            extra_data=known.extra_data if known else False,
            selects_on=_selects_on(making, origin, known),
            published={record.evaluation: record.value for record in records},
        )
    except ValidationError as error:
        raise UserError(
            f"'{source}' cannot be an entry of a registry: {problems(error)[0]}; a name is of "
            "lower-case letters, digits, dots and dashes, a licence is one line"
        ) from error


def _what(making: Making, origin: Checkpoint | None) -> str:
    cell, details = making.cell.cell, making.details
    network = f"{arch(cell.arch).label} on {dataset_info(cell.dataset).label}"
    trained = f"{method(cell.method).label} by this suite at the scale {cell.scale}"
    start = f"the checkpoint {origin.name}" if origin else trained
    if isinstance(details, Finetuning):
        modules = ", ".join(details.modules) or "no module"
        return f"{network}: {start}, then {cell.finetune} ({modules}, alpha {details.alpha:g})."
    if isinstance(details, Applied):
        values = "".join(f", {name} {value:g}" for name, value in details.numbers.items())
        return f"{network}: {start}, then {cell.finetune}{values}."
    if isinstance(details, Training):
        return f"{network}: {trained}, epoch {details.best_epoch} of {len(details.epochs)}."
    return f"{network}: {start} as it was read ({details.what.rstrip('.')})."


def _selects_on(
    making: Making, origin: Checkpoint | None, known: CheckpointEntry | None
) -> Literal["test", "hold-out", "unknown"]:
    """What chose epochs and alpha: test images if any step looked at them; `known` is the registry's
    entry of `origin`."""
    held_out = "hold_out" in base_spec(making.spec)
    if making.spec.get("selects_on") == "test" or not (origin or held_out):
        return "test"
    if origin is not None:
        return "unknown" if known is None else known.selects_on
    return "hold-out"


def source_of(path: Path) -> str | None:
    """`path` from the folder of the registry in use; None unless it lies below that."""
    folder = registry_file().resolve().parent
    found = path.resolve()
    return found.relative_to(folder).as_posix() if found.is_relative_to(folder) else None


def exported_paths(out: Path) -> tuple[Path, Path]:
    """`out` and its model card; `UserError` unless it can be written as a new safetensors file."""
    if out.suffix != ".safetensors":
        raise UserError(f"--out '{out}' does not end in .safetensors, which the file will be")
    card = out.with_suffix(".md")
    for path in (out, card):
        if path.exists():
            raise UserError(f"'{path}' exists; move it away or name another file by --out")
    return out, card
