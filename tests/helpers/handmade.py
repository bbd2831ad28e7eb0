"""Records and makings with chosen counts, for tests of what reads them (no torch, no training)."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.evaluation.sanity import attack_of
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.records.bits import pack_bits
from benchmark.records.cells import Cell
from benchmark.records.records import (
    VANISHING,
    CellName,
    Count,
    CurvePoint,
    EpochLog,
    Finetuning,
    Making,
    ModuleCriticality,
    Provenance,
    Record,
    Training,
    hashed,
)
from benchmark.records.store import Bits, Store

BY_HAND = Scale(
    name="by-hand",
    summary="numbers written by hand",
    datasets=("digits",),
    archs=("resnet18-w8", "resnet34-w8"),
    seeds=(0, 1, 2),
    methods=("pgd-at", "trades", "mart"),
    threads=1,
)
PROVENANCE = Provenance(
    commit="0" * 40,
    dirty=False,
    versions={"python": "3.11.0"},
    device="cpu, by hand",
    threads=1,
    precision="fp32",
    started="2026-01-01T00:00:00+00:00",
    seconds=1.5,
    resumed=False,
    weights_sha256="a" * 64,
    data_sha256="b" * 64,
)


def store_in(root: Path) -> Store:
    """The store in `root`, which need not exist."""
    return Store(root / "results", root / "artifacts")


def copied_to(store: Store, source: Store) -> Store:
    """`store` with copies of both trees of `source`."""
    shutil.copytree(source.results, store.results)
    shutil.copytree(source.artifacts, store.artifacts)
    return store


def cell_at(
    finetune: str = "none",
    seed: int = 0,
    arch: str = "resnet18-w8",
    scale: Scale = BY_HAND,
    dataset: str = "digits",
    method: str = "pgd-at",
) -> Cell:
    """A cell of `scale`; without arguments its first base model."""
    return Cell(scale.name, dataset, arch, method, finetune, seed)


def record_and_bits(
    plan: Plan, evaluation: str, k: int, n: int, bits: Bits | None = None
) -> tuple[Record, bytes]:
    """A fresh record of `k` correct of `n`: the first k images are right unless `bits` say which.

    An attack met no zero gradient and no zero loss.
    """
    spec = plan.evaluation_spec(evaluation)
    assert spec is not None
    packed, bits_sha256 = pack_bits({evaluation: np.arange(n) < k} if bits is None else bits)
    record = Record(
        cell=CellName.of(plan.cell),
        evaluation=evaluation,
        value=k / n,
        k=k,
        n=n,
        parts={"whole": Count(k=k, n=n)}
        | {name: Count(k=0, n=n) for name in VANISHING if attack_of(evaluation)},
        bits_sha256=bits_sha256,
        provenance=PROVENANCE,
        **hashed(spec),
    )
    return record, packed


def write_record(
    store: Store,
    cell: Cell,
    evaluation: str,
    k: int,
    n: int = 1000,
    scale: Scale = BY_HAND,
    bits: Bits | None = None,
) -> Record:
    """Put a fresh record of `k` of `n` into `store`."""
    record, packed = record_and_bits(Plan.of(cell, scale), evaluation, k, n, bits)
    store.write_record(record, packed)
    return record


def write_records(store: Store, cell: Cell, counts: Mapping[str, int], scale: Scale = BY_HAND) -> None:
    """Put fresh records of so many of 1000 into `store`, by evaluation."""
    for evaluation, k in counts.items():
        write_record(store, cell, evaluation, k, scale=scale)


def measured(
    module: str, mrc: float | None, drop: float | None = 0.1, constrained: bool = True
) -> ModuleCriticality:
    """Criticality of a module; an MRC of None is an ascent that diverged."""
    drop, ratio = (None, None) if mrc is None else (drop, 0.1)
    return ModuleCriticality(
        module=module, mrc=mrc, accuracy_drop=drop, norm_ratio=ratio, epochs=1, constrained=constrained
    )


def write_making(
    store: Store,
    cell: Cell,
    alpha: float = 0.5,
    modules: Sequence[str] = ("layer4.1.conv2",),
    scale: Scale = BY_HAND,
    criticality: list[ModuleCriticality] | None = None,
    curve: Sequence[CurvePoint] = (),
    log: list[EpochLog] | None = None,
) -> Making:
    """Put a fresh making into `store`: a training for a base model, else a fine-tuning."""
    best = Count(k=400, n=500)
    log = log or [EpochLog(epoch=1, loss=0.5, lr=0.1, selection=best)]
    details: Training | Finetuning = Training(epochs=log, best_epoch=1, best=best)
    if not cell.is_base:
        details = Finetuning(
            criticality=criticality,
            modules=list(modules),
            epochs=log,
            best_epoch=1,
            best=best,
            alpha=alpha,
            reference=best,
            curve=list(curve),
        )
    spec = hashed(Plan.of(cell, scale).spec)
    making = Making(cell=CellName.of(cell), provenance=PROVENANCE, details=details, **spec)
    store.write_making(making)
    return making


# Counts of 1000 of three seeds each: clean, OOD and Adv, so that Table 1 can be checked by hand.
TABLE_1 = """
resnet18-w8 none  900 910 920  700 720 740  500 510 520
resnet18-w8 rift  904 916 922  690 710 730  500 510 520
resnet34-w8 none  800 800 800  500 600 700  100 200 300
resnet34-w8 rift  802 801 803  510 600 690   99 199 299
"""
# The same of further methods on the first network, for Table 2.
TABLE_2 = """
trades none  880 890 900  700 700 700  520 525 530
trades rift  885 890 910  703 705 707  519 524 529
mart   none  850 850 850  650 660 670  540 560 580
mart   rift  850 850 850  650 660 670  540 560 580
"""
# Other fine-tunings of the first network: what they add to the base model's counts, by evaluation.
CHANGES = {
    "rift-alpha-1": (8, 2, -6),
    "all-layers": (6, 0, -1),
    "all-layers-alpha-1": (20, 10, -50),
    "last-layer": (0, 0, 0),
    "last-layer-alpha-1": (2, 2, -20),
    "robust-critical": (1, 0, 0),
    "robust-critical-alpha-1": (5, -4, -30),
    "top-2": (8, 1, -1),
    "top-2-alpha-1": (10, 3, -8),
    "top-3": (9, 1, 0),
    "top-3-alpha-1": (9, 1, 0),
    "top-5": (9, 2, -1),
    "top-5-alpha-1": (11, 4, -20),
}
DEEP, SHALLOW, SHORTCUT = "layer4.1.conv2", "layer2.0.conv1", "layer3.0.shortcut.0"
ALPHAS = {
    "rift": (0.5, 0.6, 0.7),
    "all-layers": (0.1, 0.1, 0.1),
    "last-layer": (0.0, 0.0, 0.0),
    "robust-critical": (0.0, 0.05, 0.1),
    "top-2": (0.6, 0.65, 0.7),
    "top-3": (1.0, 1.0, 1.0),
    "top-5": (0.95, 1.0, 0.9),
}
MODULES = {
    "rift": ([DEEP], [DEEP], [SHORTCUT]),
    "robust-critical": (["conv1"],) * 3,
    "last-layer": (["linear"],) * 3,
    "top-2": ([DEEP, SHORTCUT], [DEEP, SHORTCUT], [SHORTCUT, DEEP]),
    "top-3": ([DEEP, SHORTCUT, SHALLOW],) * 3,
}


def counts_in(text: str) -> dict[tuple[str, str], list[tuple[int, ...]]]:
    """Two names and the counts of three seeds, one triple for each evaluation of `BY_HAND`."""
    found = {}
    for one, two, *counts in (line.split() for line in text.strip().splitlines()):
        numbers = [int(count) for count in counts]
        found[one, two] = [tuple(numbers[place : place + 3]) for place in (0, 3, 6)]
    return found


def write_every_table(store: Store) -> None:
    """Put every record and making of `BY_HAND` into `store`."""

    def write(cell: Cell, counts: list[tuple[int, ...]], alpha: float, modules: Sequence[str]) -> None:
        by_name = zip(BY_HAND.evaluations, counts, strict=True)
        write_records(store, cell, {name: ks[cell.seed] for name, ks in by_name})
        write_making(store, cell, alpha, modules)

    counts = counts_in(TABLE_1)
    base = counts["resnet18-w8", "none"]
    for finetune, changes in CHANGES.items():
        counts["resnet18-w8", finetune] = [
            tuple(k + change for k in ks) for ks, change in zip(base, changes, strict=True)
        ]
    for (arch, finetune), found in counts.items():
        for seed in BY_HAND.seeds:
            tuning = finetune.removesuffix("-alpha-1")
            alpha = ALPHAS[tuning][seed] if finetune in ALPHAS else 1.0
            modules = MODULES[tuning][seed] if tuning in MODULES else [DEEP, SHALLOW, SHORTCUT, "conv1"]
            write(cell_at(finetune, seed, arch), found, alpha, modules)
    for (method, finetune), found in counts_in(TABLE_2).items():
        for seed in BY_HAND.seeds:
            alpha = 0.0 if method == "mart" else ALPHAS["rift"][seed]
            write(cell_at(finetune, seed, method=method), found, alpha, [DEEP])


AUDIT_BY_HAND = replace(BY_HAND, archs=("resnet18-w8",), methods=("pgd-at",))
CLEAN, OOD, ADV = AUDIT_BY_HAND.evaluations
# Which of 1000 images are right, from the first to the one behind the last, of three seeds each: clean,
# OOD and Adv; see `audit_bits`.
AUDIT = """
none                0-900 0-910 0-920    0-700  0-720  0-740   0-500 0-510 0-520
rift                4-916 4-924 4-934    0-690  0-710  0-730   3-506 0-510 5-522
rift-official-code  0-900 0-910 0-920    0-700  0-720  0-740   0-500 0-510 0-520
bn-only             0-908 0-918 0-926    0-704  0-724  0-744   0-494 0-510 0-514
rift-bn-frozen      0-902 0-910 0-921    0-700  0-721  0-740   0-500 0-510 0-519
random-layer        6-916 6-926 6-936   10-700 10-720 10-740   0-480 0-500 0-510
all-layers          0-940 0-950 0-960    0-720  0-740  0-760   0-460 0-470 0-480
none-held-out       0-880 0-890 0-900    0-690  0-710  0-730   0-490 0-500 0-510
rift-held-out       4-887 4-893 4-906    0-690  0-710  0-730   0-492 0-500 0-509
"""
AUDIT_MADE = {
    "rift": ((0.5, 0.6, 0.7), ([DEEP], [DEEP], [SHORTCUT])),
    "rift-official-code": ((0.0, 0.0, 0.0), ([SHALLOW],) * 3),
    "bn-only": ((0.25, 0.3, 0.35), ([],) * 3),
    "rift-bn-frozen": ((1.0, 0.95, 1.0), ([DEEP], [DEEP], [SHORTCUT])),
    "random-layer": ((0.4, 0.5, 0.1), ([SHALLOW], ["conv1"], [DEEP])),
    "all-layers": ((0.1, 0.1, 0.1), ([DEEP, SHALLOW, SHORTCUT, "conv1"],) * 3),
    "rift-held-out": ((0.3, 0.2, 0.25), ([DEEP],) * 3),
}


def audit_bits(evaluation: str, start: int, stop: int) -> tuple[Bits, int, int]:
    """Bits of 1000 images, `start` to `stop` right, and the k and n of their record.

    OOD has two corruptions, the second with 100 images less, so that its value is of 2000 trials. Adv
    has three runs of which the second, with the band as given, has the fewest right.
    """
    images = np.arange(1000)
    band = (start <= images) & (images < stop)
    if evaluation == OOD:
        worse = (start <= images) & (images < stop - 100)
        return {"fog-1": band, "fog-5": worse}, int(band.sum() + worse.sum()), 2000
    if evaluation == ADV:
        runs = {"run0": band | (images == stop), "run1": band, "run2": band | (images == 999)}
        return runs, int(band.sum()), 1000
    return {evaluation: band}, int(band.sum()), 1000


def write_audit(store: Store) -> None:
    """Put every record and making of `AUDIT` into `store`."""
    for finetune, *bands in (line.split() for line in AUDIT.strip().splitlines()):
        for seed in AUDIT_BY_HAND.seeds:
            cell = cell_at(finetune, seed)
            for evaluation, band in zip((CLEAN, OOD, ADV), bands[seed::3], strict=True):
                bits, k, n = audit_bits(evaluation, *map(int, band.split("-")))
                write_record(store, cell, evaluation, k, n, AUDIT_BY_HAND, bits)
            alphas, modules = AUDIT_MADE.get(finetune, ((0.0,) * 3, ([],) * 3))
            write_making(store, cell, alphas[seed], modules[seed], AUDIT_BY_HAND)
