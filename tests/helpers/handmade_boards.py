"""A leaderboard of several boards, for tests of what is ranked with what and of how it is shown."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.data.info import DIGITS
from benchmark.models import arch
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.records.cells import OWN, Cell
from benchmark.records.store import Store
from benchmark.report.leaderboard.boards import leaderboard
from benchmark.report.leaderboard.schema import Leaderboard
from handmade import BY_HAND, cell_at, record_and_bits, write_record
from registering import ENTRY

ONE_SEED = replace(BY_HAND, seeds=(0,))


def several_boards(store: Store) -> Leaderboard:
    """Five boards with gaps, of records that are put into `store`."""
    scales = write_everything(store)
    return leaderboard(store, scales, {"someones": someones(selects_on="unknown")})


def write_everything(store: Store) -> dict[str, Any]:
    """Records of two scales, two protocols and several variants of each evaluation; the scales."""
    other = replace(ONE_SEED, name="other-hand")
    names = ("autoattack", "autoattack-first-100", "pgd10x3", "pgd10-official-code", "clean")
    names += ("corruptions-15-gen-v2", "corruptions-18-gen-v2")
    tunings = ("none", "rift", "rift-official-code", "none-held-out", "rift-held-out")
    for place, (known, tuning, name) in enumerate(product((ONE_SEED, other), tunings, names)):
        if place % 4:  # nobody has everything
            cell, k = cell_at(tuning, scale=known), 100 + 17 * place % 800
            bits = {"square": np.arange(1000) < k} if name.startswith("autoattack") else None
            write_record(store, cell, name, k, scale=known, bits=bits)
    return {ONE_SEED.name: ONE_SEED, other.name: other} | write_own(store)


def write_own(store: Store, evaluation: str = "pgd10x3") -> dict[str, None]:
    """A record of a model that was made elsewhere; what stands for the scale of such."""
    cell = Cell(OWN, "digits", "resnet18-w8", "someones", "none", 0)
    plan = CheckpointPlan(cell, DIGITS, arch("resnet18-w8"), "c" * 64)
    store.write_record(*record_and_bits(plan, evaluation, 999, 1000))
    return {OWN: None}


def someones(**changes: Any) -> CheckpointEntry:
    """An entry of the registry for the network of `write_everything` that was made elsewhere."""
    fields: dict[str, Any] = {
        "name": "someones",
        "arch": "resnet18-w8",
        "method": "trades",
        "source": "https://example.org/someones.safetensors",
        "file": "someones.safetensors",
        "what": "TRADES of somebody's",
        "selects_on": "hold-out",
        "link": "https://example.org/paper",
    }
    return CheckpointEntry(**ENTRY | fields | changes)
