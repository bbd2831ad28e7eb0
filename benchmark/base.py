"""Step 0 of RiFT: the adversarially trained weights of a base model, trained or read back."""

from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from benchmark.data.images import Dataset
from benchmark.evaluation.counting import pgd_count
from benchmark.models import build
from benchmark.plans import BasePlan
from benchmark.progress import Progress
from benchmark.provenance import provenance
from benchmark.records import CellName, Making, Training, hashed
from benchmark.specs import spec_hash
from benchmark.store import Store
from benchmark.training import fit
from benchmark.weights import load_tensors, save_tensors, weights_sha256


class WeightsDiffer(RuntimeError):
    """Weights made again do not have the bytes that existing records were made with."""


@dataclass(frozen=True)
class Weights:
    """A state dict and its hash."""

    state: dict[str, Tensor]
    sha256: str

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> "Weights":
        return cls(state, weights_sha256(state))


def new_model(plan: BasePlan, device: torch.device) -> nn.Module:
    """The network of `plan`, initialised from the cell's seed, channels-last, on `device`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.cell.seed_for("initialisation"))
        model = build(plan.arch.name, plan.info)
    return model.to(device).to(memory_format=torch.channels_last)


def base_weights(plan: BasePlan, data: Dataset, store: Store, progress: Progress) -> Weights:
    """The weights that adversarial training ends with, from disk if they were made by this plan.

    Selection: the epoch with the highest test robust accuracy (paper, Section 5.1), by one PGD-10
    run from fixed starts.
    """
    path = store.work(plan.cell) / "weights.safetensors"
    fingerprint = spec_hash(plan.spec)
    if path.exists():
        state, metadata = load_tensors(path)
        if metadata.get("fingerprint") == fingerprint:
            return Weights.of(state)
    started = datetime.now(UTC)
    device = data.train.images.device
    model = new_model(plan, device)
    judged = data.test.first(plan.recipe.select_images)
    checkpoint = path.with_name("training.safetensors")
    resumed = checkpoint.exists()
    fitted = fit(
        model,
        data.train,
        plan.info,
        plan.method,
        plan.recipe,
        seed=plan.cell.seed_for("train"),
        select=lambda m: pgd_count(m, judged, plan.info.threat, plan.cell.seed_for("select")),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        stage="adversarial training",
        progress=progress,
    )
    weights = Weights.of(fitted.state)
    made = provenance(
        started, device=device, weights=weights.sha256, data=data.train.sha256(), resumed=resumed
    )
    details = Training(epochs=fitted.epochs, best_epoch=fitted.best_epoch, best=fitted.best)
    settle_making(
        store,
        Making(cell=CellName.of(plan.cell), **hashed(plan.spec), provenance=made, details=details),
    )
    save_tensors(path, weights.state, {"fingerprint": fingerprint, "sha256": weights.sha256})
    checkpoint.unlink(missing_ok=True)
    return weights


def settle_making(store: Store, making: Making) -> None:
    """Write `making`, or make sure that the one on disk is of the same weights.

    Raises `WeightsDiffer` if other weights stand behind the records of the cell: the same recipe on
    other hardware or library versions need not give the same bits.
    """
    cell = making.cell.cell
    known = store.making(cell)
    if known is None:
        store.write_making(making)
    elif known.provenance.weights_sha256 != making.provenance.weights_sha256:
        raise WeightsDiffer(
            f"the weights just made for {cell.key} are not those behind its records (other hardware "
            "or versions); use another --results, or move its records away"
        )
