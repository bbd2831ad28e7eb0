"""RiFT on a network that somebody brings, by the steps that the suite's cells take."""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.algorithm.criticality import criticality_modules
from benchmark.algorithm.finetune import CleanTraining
from benchmark.algorithm.protocols import finetune
from benchmark.algorithm.selection import NamedModules
from benchmark.data.given import as_split
from benchmark.data.images import Dataset, Split, pixels
from benchmark.data.info import Augmentation, DatasetInfo, LinfAttack
from benchmark.engine.recipes import FINETUNE_RECIPE, Recipe, shortened
from benchmark.engine.weights import Weights
from benchmark.errors import UserError
from benchmark.models import Arch
from benchmark.plans.plan import BasePlan, Plan
from benchmark.plans.running import Run
from benchmark.progress import Progress
from benchmark.records.cells import OWN, Cell, base_name
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import Store

UNCHANGED = Augmentation(pad=0, mode="zero", flip=False)


@dataclass(frozen=True)
class GivenBase(BasePlan):
    """A trained network: the hash of its weights is all that is known of its making."""

    weights_sha256: str = ""

    @cached_property
    def spec(self) -> Spec:
        return {
            "type": "given",
            "version": 1,
            "key": self.cell.key,
            "dataset": self.info.spec,
            "weights_sha256": self.weights_sha256,
        }


@dataclass(frozen=True)
class GivenRun(Run):
    """A run whose network is `model`, of which every step takes a copy."""

    model: nn.Module | None = None

    def network(self, weights: Weights) -> nn.Module:
        assert self.model is not None
        model = copy.deepcopy(self.model).to(memory_format=torch.channels_last)
        model.load_state_dict(weights.state)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model.eval()


@dataclass(frozen=True)
class Question:
    """What the steps of RiFT are asked of: a model, its images, and how."""

    model: nn.Module
    train: Any
    selection: Any
    attack: LinfAttack
    protocol: str = "rift"
    modules: Sequence[str] | None = None
    recipe: Mapping[str, Any] | Recipe | None = None
    mrc: Mapping[str, Any] | None = None
    augmentation: Augmentation | None = None
    seed: int | Cell = 0
    device: torch.device | str | None = None

    def __post_init__(self) -> None:
        devices = {tensor.device for tensor in self.model.state_dict().values()}
        if len(devices) > 1:
            raise UserError(
                f"the model lies on several devices ({', '.join(map(str, devices))}); use .to"
            )
        if not criticality_modules(self.model):
            raise UserError("the model has no Conv2d or Linear module, and so nothing to choose among")
        frozen = [name for name, p in self.model.named_parameters() if not p.requires_grad]
        for module in self.modules or ():
            if hit := [name for name in frozen if name.startswith(f"{module}.")]:
                raise UserError(
                    f"'{hit[0]}' is frozen; call requires_grad_(True), or leave it out of modules"
                )

    @cached_property
    def place(self) -> torch.device:
        if self.device is not None:
            return torch.device(self.device)
        first: Tensor = next(iter(self.model.state_dict().values()))
        return first.device

    @cached_property
    def splits(self) -> tuple[Split, Split]:
        """Training and selection images."""
        return as_split(self.train, "train", self.place), as_split(self.selection, "judge", self.place)

    @cached_property
    def weights(self) -> Weights:
        return Weights.of({name: tensor.clone() for name, tensor in self.model.state_dict().items()})

    @cached_property
    def plan(self) -> Plan:
        """The plan of these steps. Raises `UserError` for unknown names and fields, and bad labels."""
        chosen = finetune(self.protocol)
        if self.modules is not None:
            chosen = replace(chosen, selector=NamedModules(tuple(self.modules)))
        name = type(self.model).__name__.lower()
        if isinstance(self.seed, Cell):
            cell = replace(self.seed, finetune=self.protocol)
        else:
            cell = Cell(OWN, OWN, name, OWN, self.protocol, self.seed)
        base = replace(cell, finetune=base_name(self.protocol))
        given = GivenBase(
            base,
            self._info,
            Arch(name, OWN, (), 0),
            CleanTraining(),  # nothing is trained adversarially
            FINETUNE_RECIPE,
            weights_sha256=self.weights.sha256,
        )
        recipe = self.recipe
        if not isinstance(recipe, Recipe):
            recipe = shortened(FINETUNE_RECIPE, recipe or {}, "recipe")
        mrc = shortened(chosen.protocol.criticality(cell.dataset), self.mrc or {}, "mrc")
        return Plan(cell, given, chosen, recipe, mrc)

    @cached_property
    def _info(self) -> DatasetInfo:
        train, selection = self.splits
        classes = self._classes(train)
        for name, split in (("train", train), ("judge", selection)):
            if (most := int(split.labels.max())) >= classes:
                raise UserError(f"{name}: a label is {most} and the model has {classes} classes")
        height, width, channels = train.images.shape[1:]
        if self.augmentation is not None and height != width:
            raise UserError(f"augmentation is of square images, not {height}x{width}; leave it out")
        augmentation = self.augmentation or UNCHANGED
        return DatasetInfo(
            OWN, "own images", classes, channels, height, (0.0,), (1.0,), augmentation, self.attack
        )

    def _classes(self, split: Split) -> int:
        model = copy.deepcopy(self.model).to(self.place).eval()
        with torch.no_grad():
            logits = model(pixels(split.images[:8]))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise UserError("the model returns no logits (N, classes) for images (N, C, H, W)")
        if not bool(logits.isfinite().all()):
            raise UserError("the model's logits are NaN or infinite for the first images")
        return int(logits.shape[1])

    def run(self, stack: ExitStack, workdir: Path | str | None, progress: Progress) -> GivenRun:
        """The run of these steps, with files in `workdir` (None: a folder that goes with `stack`).

        Raises `UserError` if `workdir` holds another model's or other settings' results.
        """
        folder = Path(workdir or stack.enter_context(tempfile.TemporaryDirectory()))
        store, (train, selection) = Store(folder / "results", folder / "artifacts"), self.splits
        making = store.making(self.plan.cell)
        if making is not None and making.spec_hash != spec_hash(self.plan.spec):
            raise UserError(
                f"'{folder}' holds results of other weights or settings; name another workdir"
            )
        data = Dataset(self._info, train, selection)
        model = copy.deepcopy(self.model).to(self.place)
        return GivenRun(self.plan, data, store, progress, model=model)
