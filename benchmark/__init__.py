"""Benchmark and reproduction suite for Robust Critical Fine-Tuning (RiFT, ICCV 2023).

Read `run.py` first: it is the paper from top to bottom for one cell. The packages, from the top down;
none imports what stands above it (docs/architecture.md):

    cli          what a person types; all that prints
    jobs         who calls run.py: one cell, many processes, a checkpoint of others, an export
    submission   records that somebody else made: read without trust, checked, filed
    report       what only reads records: tables, figures, checks, the leaderboard
    plans        what there is to make: scales, plans of cells, what of them is made; plug-ins
    checkpoints  weights from files: the registry, safe loading, RobustBench
    algorithm    RiFT: criticality, selection, fine-tuning, interpolation, readings of the paper
    posthoc      its rivals: other forward passes, second networks
    evaluation   clean, PGD, AutoAttack, corruptions
    engine       the one training loop, the one attack loop, and the numbers they compute in
    models       ResNet, Wide ResNet, ViT
    data         datasets in memory, getting them, corrupting them
    records      cells, records, specs, the store

Adversarial-training methods are in the package `baselines`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import (
        MethodResult,
        RiftResult,
        apply_method,
        criticality,
        evaluate,
        finetune,
        interpolate,
        load_checkpoint,
        rift,
        save_checkpoint,
    )
    from benchmark.data.info import Augmentation, LinfAttack
    from benchmark.errors import UserError
    from benchmark.plans.plugins import add, load_plugin

__all__ = [
    "Augmentation",
    "LinfAttack",
    "MethodResult",
    "RiftResult",
    "UserError",
    "add",
    "apply_method",
    "criticality",
    "evaluate",
    "finetune",
    "interpolate",
    "load_checkpoint",
    "load_plugin",
    "rift",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    """The Python door, loaded when it is first used: `import benchmark` loads no torch."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
    facts, plugins = dict.fromkeys(("Augmentation", "LinfAttack"), "data.info"), "plans.plugins"
    homes = {**facts, "UserError": "errors", "add": plugins, "load_plugin": plugins}
    return getattr(import_module(f"benchmark.{homes.get(name, 'api')}"), name)
