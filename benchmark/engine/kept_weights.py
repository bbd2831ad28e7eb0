"""Weights on disk, each tensor once: a base model in full, a fine-tuning as what it changed.

RiFT changes one module of its base model and the statistics of batch normalisation: some percent. A
point between both (Equation 9) follows from them and alpha, so its file names the fine-tuning and alpha
and holds no tensor. Files of earlier versions hold all and are read alike.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from benchmark.engine.weights import MODULE, Weights, interpolate, load_tensors, weights_sha256
from benchmark.records.cells import Cell
from benchmark.records.store import WEIGHTS, Store

FINETUNED = "finetuned.safetensors"
TUNING, ALPHA = "tuning", "alpha"  # in the metadata of a point: the fine-tuning that made its end


def moved(state: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `state` that do not have the very bytes of those of `start`."""
    return {
        name: tensor
        for name, tensor in state.items()
        if name not in start or weights_sha256({name: tensor}) != weights_sha256({name: start[name]})
    }


def read_weights(store: Store, cell: Cell) -> tuple[Weights, dict[str, str]] | None:
    """The weights of `cell`, with the spec of their module, and the metadata of its file.

    None if a file is missing. Raises `UserError` for a damaged one.
    """
    path, start = store.work(cell) / WEIGHTS, store.work(cell.base) / WEIGHTS
    if not path.exists():
        return None
    state, metadata = load_tensors(path)
    if (tuning := metadata.get(TUNING)) is None:
        return Weights.of(state, json.loads(metadata.get(MODULE, "null"))), metadata
    end = store.work(replace(cell, finetune=tuning)) / FINETUNED
    if not (start.exists() and end.exists()):
        return None
    theta_at, delta = load_tensors(start)[0], load_tensors(end, sealed=True)[0]
    return Weights.of(interpolate(theta_at, theta_at | delta, float(metadata[ALPHA]))), metadata
