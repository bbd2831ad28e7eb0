"""Accuracy under 15 common corruptions at five severities (column OOD; paper, Section 5.1)."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmark.cells import Cell, derive_seed
from benchmark.data import DatasetInfo
from benchmark.evaluation.evaluation import Evaluation, Outcome, counted
from benchmark.progress import Progress
from benchmark.records import Count
from benchmark.specs import Spec, spec_of
from benchmark.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Split


@dataclass(frozen=True)
class Corruptions15(Evaluation):
    """Mean accuracy over the 75 corrupted copies of the test split.

    The copies are made on the spot by the dataset's generator from a seed that depends on the
    dataset alone: every model of a dataset meets the same images.
    """

    type_name: ClassVar[str] = "corruptions-15"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "OOD"
    summary: ClassVar[str] = "mean accuracy over 15 corruptions at 5 severities"

    def spec(self, info: DatasetInfo) -> Spec | None:
        if info.corruptions is None:
            return None
        spec: Spec = spec_of(self)
        return spec | {"source": info.corruptions}

    def run(
        self,
        model: "nn.Module",
        split: "Split",
        info: DatasetInfo,
        base: Cell,
        journal: Journal,
        progress: Progress,
    ) -> Outcome:
        from benchmark.data.corruptions import CORRUPTIONS_15, SEVERITY_LEVELS
        from benchmark.evaluation.counting import clean_bits

        seed = derive_seed(info.name, "corruptions", info.corruptions)
        names = [(name, severity) for name in CORRUPTIONS_15 for severity in SEVERITY_LEVELS]
        bits = {}
        for done, (name, severity) in enumerate(names, start=1):
            part = f"{name}-{severity}"
            if (kept := journal.get(part)) is None:
                copy = corrupted(split, name, severity, seed)
                kept = {"bits": clean_bits(model, copy).numpy()}
                journal.put(part, **kept)
            bits[part] = kept["bits"]
            progress("corruptions-15", done, len(names), part)
        parts = {name: counted(part_bits) for name, part_bits in bits.items()}
        total = Count(k=sum(c.k for c in parts.values()), n=sum(c.n for c in parts.values()))
        return Outcome(total, parts, bits)


@functools.lru_cache(maxsize=75)
def corrupted(split: "Split", name: str, severity: int, seed: int) -> "Split":
    """`split` under one corruption; the copies of one test set are kept for the next model."""
    import torch

    from benchmark.data.corruptions import corrupt
    from benchmark.data.images import Split

    ids = np.arange(len(split), dtype=np.int64)
    copies = corrupt(split.images.cpu().numpy(), name, severity, seed=seed, ids=ids)
    return Split(torch.from_numpy(copies).to(split.images.device), split.labels)
