"""Committed records to be copied, tampered with and handed in."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.corruptions.generator import CORRUPTIONS_15, SEVERITY_LEVELS
from benchmark.records.bits import pack_bits
from benchmark.records.cells import Cell
from benchmark.records.specs import spec_hash
from benchmark.records.store import Bits
from benchmark.submission.examine import Examination, examine
from benchmark.submission.expected import Expected
from benchmark.submission.read import Reading, read

RESULTS = Path(__file__).parents[2] / "results"
BASE = "narrow/cifar10/resnet18-w16/pgd-at/none/seed0"
RIFT = BASE.replace("none", "rift")
ALL = BASE.replace("none", "all-layers")
PGD, ATTACK, OOD = "pgd10x3-first-2000", "autoattack-first-100", "corruptions-15-gen-v2-first-1000"
DROP = object()
"""A value that is not there."""


def copied(
    root: Path,
    keys: Sequence[str] = (BASE, RIFT, ALL),
    names: Sequence[str] = ("making", "clean", PGD, ATTACK),
) -> Path:
    """A results tree at `root`, or what is added to it: committed files `names` of the cells `keys`."""
    for key in keys:
        (root / "records" / key).mkdir(parents=True, exist_ok=True)
        for file in (RESULTS / "records" / key).iterdir():
            if file.stem in names:
                shutil.copyfile(file, root / "records" / key / file.name)
    return root


def looked_at(root: Path) -> tuple[Reading, Examination]:
    """What is read from `root`, and what is found in it."""
    reading = read([root])
    return reading, examine(reading.entries, (), Expected())


def lines(root: Path) -> list[str]:
    """What is wrong in `root`, a line each, with paths from there."""
    reading, examined = looked_at(root)
    found = (*reading.problems, *examined.problems)
    return [problem.line.replace(f"{root}/records/", "") for problem in found]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the JSON at `path`, without making anything else fit."""
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def put(raw: Any, place: str, value: Any) -> None:
    """Set what is at `place` of `raw`, such as `parts/run0/k`, or drop it; `spec_hash` fits then."""
    *names, last = (int(part) if part.isdigit() else part for part in place.split("/"))
    inner = raw
    for name in names:
        inner = inner[name]
    if value is DROP:
        del inner[last]
    else:
        inner[last] = value
    if place.startswith("spec/"):
        raw["spec_hash"] = spec_hash(raw["spec"])


def change(path: Path, place: str, value: Any = DROP) -> None:
    """Put `value` at `place` of the JSON at `path`."""
    edit(path, lambda raw: put(raw, place, value))


def bits_of(path: Path) -> Bits:
    """The arrays beside the record at `path`."""
    (entry,) = (each for each in read([path]).entries if each.path == path)
    return entry.bits


def put_bits(path: Path, bits: Bits, k: int | None = None) -> None:
    """Other bits for the record at `path`, with parts and hash that fit, and `k` (None: as it was)."""
    packed, sha256 = pack_bits(bits)
    path.with_suffix(".npz").write_bytes(packed)

    def fit(raw: Any) -> None:
        raw["bits_sha256"], raw["same_as"] = sha256, None
        for name, array in bits.items():
            if name in raw["parts"]:
                raw["parts"][name] = {"k": int(array.sum()), "n": array.size}
        if "per-image-worst" in raw["parts"]:
            raw["parts"]["per-image-worst"]["k"] = int(np.logical_and.reduce(list(bits.values())).sum())
        if k is not None:
            raw["k"], raw["value"] = k, k / raw["n"]

    edit(path, fit)


def total(bits: Bits) -> int:
    """How many answers are right."""
    return sum(int(array.sum()) for array in bits.values())


def add_corruptions(tree: Path, key: str) -> None:
    """A record `OOD` of the cell `key`, whose copies are all answered as the clean images are."""
    clean = tree / "records" / key / "clean.json"
    path = clean.with_stem(OOD)
    spec = Expected().plan(Cell.parse(key)).evaluation_spec(OOD)
    names = [f"{name}-{severity}" for name in CORRUPTIONS_15 for severity in SEVERITY_LEVELS]
    bits = dict.fromkeys(names, bits_of(clean)["clean"][:1000])
    shutil.copyfile(clean, path)
    changed = {"evaluation": OOD, "spec": spec, "n": 75_000, "parts": dict.fromkeys(names)}
    edit(path, lambda raw: raw.update(changed, spec_hash=spec_hash(spec)))
    put_bits(path, bits, total(bits))


def contents(root: Path) -> dict[str, str]:
    """Hashes of all files below `root`, by path; of bits, by the name that they have in older trees."""
    found = {
        re.sub(r"\.[0-9a-f]{12}\.npz$", ".npz", path.relative_to(root).as_posix()): path
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
