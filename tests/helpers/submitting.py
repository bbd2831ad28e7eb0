"""Committed records to be copied, tampered with and handed in, and the command that takes them."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer
from typer.testing import CliRunner

from benchmark.cli.submit import submit
from benchmark.data.corruptions.generator import CORRUPTIONS_15, SEVERITY_LEVELS
from benchmark.records.cells import Cell
from benchmark.records.specs import spec_hash
from benchmark.records.store import Bits, pack_bits
from benchmark.submission.entries import Reading, read
from benchmark.submission.examine import Examined, examine
from benchmark.submission.expected import Today
from invoking import Said

RESULTS = Path(__file__).parents[2] / "results"
BASE = "narrow/cifar10/resnet18-w16/pgd-at/none/seed0"
RIFT = "narrow/cifar10/resnet18-w16/pgd-at/rift/seed0"
TWIN = "narrow/cifar10/resnet18-w16/pgd-at/all-layers/seed0"
PGD, ATTACK, OOD = "pgd10x3-first-2000", "autoattack-first-100", "corruptions-15-gen-v2-first-1000"

_app = typer.Typer()
_app.command()(submit)


def said(*arguments: str) -> Said:
    """What `submit` says to `arguments`."""
    result = CliRunner().invoke(_app, list(arguments), catch_exceptions=False)
    return Said(result.exit_code, result.stdout, result.stderr)


def copied(
    root: Path,
    keys: Sequence[str] = (BASE, RIFT, TWIN),
    names: Sequence[str] = ("making", "clean", PGD, ATTACK),
) -> Path:
    """A results tree at `root`, or what is added to it: committed files `names` of the cells `keys`."""
    for key in keys:
        (root / "records" / key).mkdir(parents=True, exist_ok=True)
        for file in (RESULTS / "records" / key).iterdir():
            if file.stem in names:
                shutil.copyfile(file, root / "records" / key / file.name)
    return root


def looked_at(root: Path, **options: Any) -> tuple[Reading, Examined]:
    """What is read from `root`, and what is found in it."""
    reading = read([root])
    return reading, examine(reading.entries, (), Today(), **options)


def lines(root: Path, **options: Any) -> list[str]:
    """What is wrong in `root`, a line each, with paths from there."""
    reading, examined = looked_at(root, **options)
    found = (*reading.findings, *examined.findings)
    return [finding.line.replace(f"{root}/records/", "") for finding in found]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the JSON at `path`, without making anything else fit."""
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def put(place: str, value: Any) -> Callable[[Any], None]:
    """A change that sets what is at `place`, such as `parts/run0/k`; `spec_hash` follows a spec."""

    def change(raw: Any) -> None:
        *names, last = (int(part) if part.isdigit() else part for part in place.split("/"))
        inner = raw
        for name in names:
            inner = inner[name]
        inner[last] = value
        if place.startswith("spec/"):
            raw["spec_hash"] = spec_hash(raw["spec"])

    return change


def drop(place: str) -> Callable[[Any], None]:
    """A change that removes what is at `place`."""

    def change(raw: Any) -> None:
        *names, last = place.split("/")
        inner = raw
        for name in names:
            inner = inner[name]
        del inner[last]

    return change


def bits_of(path: Path) -> Bits:
    """The arrays beside the record at `path`."""
    with np.load(path.with_suffix(".npz")) as packed:
        count = int(packed["n"])
        names = [name for name in packed.files if name != "n"]
        return {name: np.unpackbits(packed[name], count=count).astype(bool) for name in names}


def put_bits(path: Path, bits: Bits, k: int | None = None) -> None:
    """Other bits for the record at `path`, with parts and hash that fit, and `k` (None: as it was)."""
    packed, sha256 = pack_bits(bits)
    path.with_suffix(".npz").write_bytes(packed)

    def change(raw: Any) -> None:
        raw["bits_sha256"], raw["same_as"] = sha256, None
        for name, array in bits.items():
            if name in raw["parts"]:
                raw["parts"][name] = {"k": int(array.sum()), "n": array.size}
        if "per-image-worst" in raw["parts"]:
            raw["parts"]["per-image-worst"]["k"] = int(np.logical_and.reduce(list(bits.values())).sum())
        if k is not None:
            raw["k"], raw["value"] = k, k / raw["n"]

    edit(path, change)


def add_corruptions(tree: Path, key: str) -> None:
    """A record `OOD` of the cell `key`, whose copies are all answered as the clean images are."""
    clean = tree / "records" / key / "clean.json"
    path = clean.with_stem(OOD)
    shutil.copyfile(clean, path)
    spec = Today().plan(Cell.parse(key)).evaluation_spec(OOD)
    names = [f"{name}-{severity}" for name in CORRUPTIONS_15 for severity in SEVERITY_LEVELS]
    bits = dict.fromkeys(names, bits_of(clean)["clean"][:1000])
    changed = {"evaluation": OOD, "spec": spec, "n": 75_000, "parts": dict.fromkeys(names)}
    edit(path, lambda raw: raw.update(changed, spec_hash=spec_hash(spec)))
    put_bits(path, bits, sum(int(array.sum()) for array in bits.values()))


def contents(root: Path) -> dict[str, str]:
    """Hashes of all files below `root`, by path."""
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }
