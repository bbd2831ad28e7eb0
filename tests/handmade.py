"""Records and makings with chosen counts, for tests of what reads them (no torch, no training)."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.cells import Cell
from benchmark.plans import Plan
from benchmark.records import (
    CellName,
    Count,
    EpochLog,
    Finetuning,
    Making,
    Provenance,
    Record,
    Training,
    hashed,
)
from benchmark.scales import Scale
from benchmark.store import Store, pack_bits

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


def record_and_bits(plan: Plan, evaluation: str, k: int, n: int) -> tuple[Record, bytes]:
    """A fresh record of `k` correct of `n`: the first k images are right."""
    spec = plan.evaluation_spec(evaluation)
    assert spec is not None
    packed, bits_sha256 = pack_bits({evaluation: np.arange(n) < k})
    record = Record(
        cell=CellName.of(plan.cell),
        evaluation=evaluation,
        value=k / n,
        k=k,
        n=n,
        parts={"whole": Count(k=k, n=n)},
        bits_sha256=bits_sha256,
        provenance=PROVENANCE,
        **hashed(spec),
    )
    return record, packed


def write_record(
    store: Store, cell: Cell, evaluation: str, k: int, n: int = 1000, scale: Scale = BY_HAND
) -> Record:
    """Put a fresh record of `k` of `n` into `store`."""
    record, bits = record_and_bits(Plan.of(cell, scale), evaluation, k, n)
    store.write_record(record, bits)
    return record


def write_records(store: Store, cell: Cell, counts: Mapping[str, int], scale: Scale = BY_HAND) -> None:
    """Put fresh records of so many of 1000 into `store`, by evaluation."""
    for evaluation, k in counts.items():
        write_record(store, cell, evaluation, k, scale=scale)


def write_making(
    store: Store,
    cell: Cell,
    alpha: float = 0.5,
    modules: Sequence[str] = ("layer4.1.conv2",),
    scale: Scale = BY_HAND,
) -> Making:
    """Put a fresh making into `store`: a training for a base model, else a fine-tuning."""
    best = Count(k=400, n=500)
    log = [EpochLog(epoch=1, loss=0.5, lr=0.1, selection=best)]
    details: Training | Finetuning = Training(epochs=log, best_epoch=1, best=best)
    if not cell.is_base:
        details = Finetuning(
            criticality=None,
            modules=list(modules),
            epochs=log,
            best_epoch=1,
            best=best,
            alpha=alpha,
            reference=best,
            curve=[],
        )
    spec = hashed(Plan.of(cell, scale).spec)
    making = Making(cell=CellName.of(cell), provenance=PROVENANCE, details=details, **spec)
    store.write_making(making)
    return making


# Counts of 1000 by seed, chosen so that the numbers of Table 1 can be checked by hand.
TABLE_1 = {
    ("resnet18-w8", "none"): {
        "clean": (900, 910, 920),
        "corruptions-15-gen-v1": (700, 720, 740),
        "pgd10x3": (500, 510, 520),
    },
    ("resnet18-w8", "rift"): {
        "clean": (904, 916, 922),
        "corruptions-15-gen-v1": (690, 710, 730),
        "pgd10x3": (500, 510, 520),
    },
    ("resnet34-w8", "none"): {
        "clean": (800, 800, 800),
        "corruptions-15-gen-v1": (500, 600, 700),
        "pgd10x3": (100, 200, 300),
    },
    ("resnet34-w8", "rift"): {
        "clean": (802, 801, 803),
        "corruptions-15-gen-v1": (510, 600, 690),
        "pgd10x3": (99, 199, 299),
    },
}
# Further methods on the first network, for Table 2.
TABLE_2 = {
    ("trades", "none"): {
        "clean": (880, 890, 900),
        "corruptions-15-gen-v1": (700, 700, 700),
        "pgd10x3": (520, 525, 530),
    },
    ("trades", "rift"): {
        "clean": (885, 890, 910),
        "corruptions-15-gen-v1": (703, 705, 707),
        "pgd10x3": (519, 524, 529),
    },
    ("mart", "none"): {
        "clean": (850, 850, 850),
        "corruptions-15-gen-v1": (650, 660, 670),
        "pgd10x3": (540, 560, 580),
    },
    ("mart", "rift"): {
        "clean": (850, 850, 850),
        "corruptions-15-gen-v1": (650, 660, 670),
        "pgd10x3": (540, 560, 580),
    },
}
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


def write_every_table(store: Store) -> None:
    """Put every record and making of `BY_HAND` into `store`."""
    counts = dict(TABLE_1)
    base = TABLE_1["resnet18-w8", "none"]
    for finetune, changes in CHANGES.items():
        counts["resnet18-w8", finetune] = {
            name: (ks[0] + change, ks[1] + change, ks[2] + change)
            for (name, ks), change in zip(base.items(), changes, strict=True)
        }
    for (arch, finetune), evaluations in counts.items():
        for seed in BY_HAND.seeds:
            cell = cell_at(finetune, seed, arch)
            write_records(store, cell, {name: ks[seed] for name, ks in evaluations.items()})
            tuning = finetune.removesuffix("-alpha-1")
            alpha = ALPHAS[tuning][seed] if finetune in ALPHAS else 1.0
            modules = MODULES[tuning][seed] if tuning in MODULES else [DEEP, SHALLOW, SHORTCUT, "conv1"]
            write_making(store, cell, alpha, modules)
    for (method, finetune), evaluations in TABLE_2.items():
        for seed in BY_HAND.seeds:
            cell = cell_at(finetune, seed, method=method)
            write_records(store, cell, {name: ks[seed] for name, ks in evaluations.items()})
            write_making(store, cell, 0.0 if method == "mart" else ALPHAS["rift"][seed], [DEEP])
