"""Step 0 of RiFT: the adversarially trained weights of a base model: trained, read back, or read from a
checkpoint of the registry."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.checkpoints.load import load_checkpoint
from benchmark.checkpoints.registry import expected_sha256, held
from benchmark.data.hold_out import Material
from benchmark.engine.counting import batch_starts, pgd_count
from benchmark.engine.precision import used
from benchmark.engine.provenance import device_name, machine_versions, provenance
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.engine.training import fit
from benchmark.engine.weights import load_tensors, save_tensors, weights_sha256
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.plans.plan import BasePlan
from benchmark.progress import Progress
from benchmark.records.records import CellName, Checkpoint, Making, Training, hashed, parse_file
from benchmark.records.specs import spec_hash
from benchmark.records.store import Store

WEIGHTS, AVERAGE = "weights.safetensors", "average.safetensors"
AVERAGED_EPOCHS = 5


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


def base_weights(
    plan: BasePlan,
    material: Material,
    store: Store,
    progress: Progress,
    directory: Path = Path("data"),
    takeover: Takeover = REFUSE,
) -> Weights:
    """The weights that the cells of a base model start from, from disk if they were made by this plan.

    They are a checkpoint's, which is looked for in the data directory `directory`, or those that
    adversarial training ends with. Selection there: the epoch with the highest robust accuracy on the
    images that judge (test images in the paper, Section 5.1), by one PGD-10 run from fixed starts. The
    mean of the last `AVERAGED_EPOCHS` epochs' weights is kept in a file of its own beside them.
    `takeover` is that of `fit`. Raises `UserError` before training if records exist whose weights are
    not here and cannot be made again bit by bit on this machine, and if the checkpoint is not the
    registry's or does not fit.
    """
    path = store.work(plan.cell) / WEIGHTS
    fingerprint = spec_hash(plan.spec)
    if (kept := kept_weights(store, path, fingerprint)) is not None:
        return kept
    started = datetime.now(UTC)
    if plan.checkpoint is not None:
        weights, read = _read(plan, directory)
        data = material.train.sha256()
        cpu = torch.device("cpu")
        made = provenance(started, device=cpu, weights=weights.sha256, data=data, resumed=False)
        making = Making(cell=CellName.of(plan.cell), **hashed(plan.spec), provenance=made, details=read)
        keep_weights(store, path, fingerprint, weights, making)
        return weights
    device = material.train.images.device
    checkpoint = path.with_name("training.safetensors")
    check_repeatable(store.making(plan.cell), device)
    model = new_model(plan, device)
    judged = material.judge.first(plan.recipe.select_images)
    fitted = fit(
        model,
        material.train,
        plan.info,
        plan.method,
        plan.recipe,
        seed=plan.cell.seed_for("train"),
        select=lambda m: pgd_count(m, judged, plan.info.threat, plan.cell.seed_for("select")),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        mixed=True,
        mean_of=AVERAGED_EPOCHS,
        takeover=takeover,
        stage="adversarial training",
        progress=progress,
    )
    weights = Weights.of(fitted.state)
    made = provenance(
        started,
        device=device,
        weights=weights.sha256,
        data=material.train.sha256(),
        resumed=fitted.resumed,
        chunk=batch_starts(judged).step,
        seconds=fitted.seconds,
        begun=fitted.begun,
    )
    details = Training(epochs=fitted.epochs, best_epoch=fitted.best_epoch, best=fitted.best)
    making = Making(cell=CellName.of(plan.cell), **hashed(plan.spec), provenance=made, details=details)
    if fitted.mean:
        beside = {"fingerprint": f"{fingerprint} {weights.sha256}"}
        save_tensors(path.with_name(AVERAGE), fitted.mean, beside)
    keep_weights(store, path, fingerprint, weights, making)
    checkpoint.unlink(missing_ok=True)
    return weights


def _read(plan: BasePlan, directory: Path) -> tuple[Weights, Checkpoint]:
    """The tensors of the plan's checkpoint, and what there is to say of them."""
    found = plan.checkpoint
    assert found is not None
    loaded = load_checkpoint(
        held(found, directory),
        new_model(plan, torch.device("cpu")),
        drop=found.drop,
        entry=found.entry,
        prefix=found.prefix,
        sha256=expected_sha256(found, directory),
    )
    said = Checkpoint(
        name=found.name,
        file_sha256=loaded.file_sha256,
        source=found.source,
        licence=found.licence,
        what=found.what,
        eps=found.eps,
        notes=list(loaded.notes),
    )
    return Weights.of(loaded.state), said


def kept_weights(store: Store, path: Path, fingerprint: str) -> Weights | None:
    """Weights left at `path` by the same plan; their making is restored if it was lost."""
    if not path.exists():
        return None
    state, metadata = load_tensors(path)
    if metadata.get("fingerprint") != fingerprint:
        return None
    weights = Weights.of(state)
    making = parse_file(Making, metadata["making"], path)
    if making.provenance.weights_sha256 != weights.sha256:
        raise UserError(f"the tensors in '{path}' are not those it was written with; delete it")
    _settle(store, making)
    return weights


def keep_weights(store: Store, path: Path, fingerprint: str, weights: Weights, making: Making) -> None:
    """File the making of a cell and its weights, which carry a copy of it."""
    _settle(store, making)
    save_tensors(path, weights.state, {"fingerprint": fingerprint, "making": making.model_dump_json()})


def _settle(store: Store, making: Making) -> None:
    """Write `making`, or make sure that the one on disk is of the same weights."""
    cell = making.cell.cell
    known = store.making(cell)
    if known is None:
        store.write_making(making)
    elif known.provenance.weights_sha256 != making.provenance.weights_sha256:
        raise WeightsDiffer(
            f"the weights just made for {cell.key} are not those behind its records; use another "
            "--results, or move its records away"
        )


def check_repeatable(making: Making | None, device: torch.device) -> None:
    """Raise `UserError` if weights behind records are to be made again where that cannot work."""
    if making is None:
        return
    there, here = making.provenance, (machine_versions(), device_name(device))
    if here != (there.versions, there.device):
        raise UserError(
            f"{making.cell.cell.key} has records made on another machine, with weights that are not "
            "here and that this one would not repeat bit by bit; bring its weights.safetensors to "
            "artifacts/, or use another --results for a run of your own"
        )
    if (threads := torch.get_num_threads()) != there.threads:
        raise UserError(
            f"{making.cell.cell.key} has records made with weights that are not here, and {threads} "
            f"threads would not repeat them bit by bit; they were made with --threads {there.threads}"
        )
    if (precision := used().label(device)) != there.precision:
        raise UserError(
            f"{making.cell.cell.key} has records made with weights that are not here, and {precision} "
            f"would not repeat them bit by bit; they were made in {there.precision} (--precision, "
            "--compile)"
        )
