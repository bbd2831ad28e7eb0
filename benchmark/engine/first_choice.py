"""In which numbers a base model is made: chosen when the first work on it begins, and kept."""

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmark.engine.precision import AUTO, BF16, COMPILED, FP32, Precision, has_compiler
from benchmark.errors import UserError
from benchmark.records.cells import Cell
from benchmark.records.files import read_if_there, write_atomically
from benchmark.records.store import Store

_KNOWN = {
    f"{name}{end}".encode(): (name == BF16, bool(end))
    for name in (FP32, BF16)
    for end in ("", COMPILED)
}


def first_choice(
    precision: Precision,
    store: Store,
    base: Cell,
    device: torch.device,
    repays: Callable[[], bool] = lambda: False,
) -> Precision:
    """`precision` with `auto` as resolved when work on `base` first began, or now by `device`.

    So a base model keeps its precision when moved between kinds of devices, as in a queue. Compilation,
    if left open, is fixed then, too: as on record, else if it `repays`. Raises `UserError` if
    the file with the choice is damaged, and for compiled work without a compiler.
    """
    if precision.name != AUTO and precision.compiled is not None:
        return precision
    path = store.work(base) / "precision"
    if (kept := read_if_there(path)) is None:
        begun = _new(precision, store, base, repays).label(device)
        kept = f"{begun[:4]}{COMPILED * begun.endswith(COMPILED)}".encode()
        write_atomically(path, kept)
    if kept not in _KNOWN:
        raise UserError(f"'{path}' says neither fp32 nor bf16; delete it to choose again")
    units, compiled = _KNOWN[kept]
    if precision.name == AUTO:
        precision = replace(precision, units=units)
    if precision.compiled is not None:
        return precision
    if compiled and not has_compiler():
        raise UserError(
            f"{base.key} was begun compiled, which needs a C++ compiler such as g++ on the path, and "
            "Python's headers (python3-dev); install what is missing"
        )
    return replace(precision, compiled=compiled)


def _new(precision: Precision, store: Store, base: Cell, repays: Callable[[], bool]) -> Precision:
    """`precision` for work on `base` that begins; compiled as its weights on record are, if any."""
    if precision.compiled is not None:
        return precision
    if (making := store.making(base)) is None:
        return replace(precision, compiled=repays())
    return replace(precision, compiled=making.provenance.precision.endswith(COMPILED))
