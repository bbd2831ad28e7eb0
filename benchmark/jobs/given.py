"""RiFT on a network that somebody brings, by the steps that the suite's cells take."""

import copy
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines import METHODS
from benchmark.algorithm.criticality import criticality_modules
from benchmark.algorithm.selection import NamedModules
from benchmark.algorithm.tunings import Finetune, finetune
from benchmark.data.given import Streamed, as_split, below
from benchmark.data.images import Dataset, Split, pixels
from benchmark.data.info import Augmentation, DatasetInfo, LinfAttack
from benchmark.engine.device import TO_A_CALLER, torch_device
from benchmark.engine.folded_copy import foldable
from benchmark.engine.recipes import FINETUNE_RECIPE, Criticality, Recipe, shortened
from benchmark.engine.weights import Weights, network_sha256, save_tensors
from benchmark.errors import UserError, line
from benchmark.jobs.aside import own_draws, own_precision
from benchmark.jobs.soundness import in_order, refuse_coarse, refuse_model, refuse_modules, usable
from benchmark.jobs.trainable import refuse_training
from benchmark.models import Arch
from benchmark.plans.plan import BasePlan, Plan
from benchmark.plans.running import Run, candidates
from benchmark.progress import Progress, silent
from benchmark.records.cells import BASE, OWN, Cell, base_name
from benchmark.records.files import at_home, write_atomically
from benchmark.records.specs import Spec, spec_hash
from benchmark.records.store import WEIGHTS, Store

UNCHANGED = Augmentation(pad=0, mode="zero", flip=False)
SAME = object()
"""In place of the images that choose: those of training."""
FEWEST = 10
"""Fewest images that may choose alpha*. Below 1,000 the 0.1-point rule lets no image be lost."""


@dataclass(frozen=True)
class GivenBase(BasePlan):
    """A trained network: a hash of all that it says of itself is what is known of its making.

    `data_sha256` are the hashes of the images that it is given.
    """

    network_sha256: str = ""
    data_sha256: tuple[str, ...] = ()

    @cached_property
    def spec(self) -> Spec:
        return {
            "type": "given",
            "version": 1,
            "key": self.cell.key,
            "dataset": self.info.spec,
            "network_sha256": self.network_sha256,
            "data_sha256": list(self.data_sha256),
        }


@dataclass(frozen=True, kw_only=True)
class GivenRun(Run):
    """A run whose network is `model`, of which every step takes a copy; `clean` is a mix's second."""

    model: nn.Module
    clean: nn.Module | None = None

    def bare(self) -> nn.Module:
        return _copied(self.model)

    def bare_second(self) -> nn.Module:
        assert self.clean is not None
        return _copied(self.clean)

    @property
    def partner(self) -> Weights | None:
        return None if self.clean is None else Weights.of(dict(self.clean.state_dict()))


def _copied(model: nn.Module) -> nn.Module:
    return prepared(model).requires_grad_(True)


def prepared(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode, in the memory order that it works in.

    Networks of this suite run channels-last; others may call `view`, so a hook makes their inputs
    contiguous.
    """
    copied = copy.deepcopy(model).eval()
    if foldable(copied):
        return copied.to(memory_format=torch.channels_last)
    copied.register_forward_pre_hook(_contiguous, prepend=True)
    return copied


def _contiguous(_model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(in_order(each) if isinstance(each, Tensor) else each for each in inputs)


@dataclass(frozen=True)
class Question:
    """The inputs of RiFT's steps: a model, its images and settings.

    `selection` SAME: there is a single set of images; `chooses`: it chooses alpha*. `measures`:
    criticality may be measured. `clean` is the second network of a mix.
    """

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
    measures: bool = True
    chooses: bool = False
    clean: nn.Module | None = None

    def __post_init__(self) -> None:
        refuse_model(self.model, self.modules if self.measures else ())
        if self.clean is not None:
            refuse_model(self.clean, ())
        if not isinstance(self.attack, LinfAttack):
            raise UserError(f"attack is {self.attack!r}; say LinfAttack(eps=8/255, step_size=2/255)")
        shortened(self.attack, {}, "attack")
        if not isinstance(self.augmentation, Augmentation | None):
            raise UserError(f"augmentation is {self.augmentation!r}; say Augmentation(4, 'zero', True)")
        shortened(self.augmentation or UNCHANGED, {}, "augmentation")
        number = isinstance(self.seed, int) and 0 <= self.seed < 10**18
        if not (number or isinstance(self.seed, Cell)):
            raise UserError(f"seed is {self.seed!r}; a whole number of at most 18 digits, or a cell")

    @cached_property
    def place(self) -> torch.device:
        if self.device is not None:
            return torch_device(self.device, TO_A_CALLER)
        tensors = (x for x in self.model.state_dict().values() if isinstance(x, Tensor))
        return next((x.device for x in tensors), torch.device("cpu"))

    @cached_property
    def splits(self) -> tuple[Split, Split]:
        """Training and selection images; of a training DataLoader, those that criticality needs."""
        name = "images" if self.selection is SAME else "train"
        train = selection = as_split(self.train, name, self.place, self._settings.images)
        if self.selection is not SAME:
            selection = as_split(self.selection, "judge", self.place)
        if len(selection) < FEWEST and (self.chooses or self.selection is not SAME):
            raise UserError(
                f"judge: {len(selection)} images are too few to choose by; give 1,000 or more, of "
                f"which one is at most 0.1 points (at least {FEWEST})"
            )
        return train, selection

    @cached_property
    def weights(self) -> Weights:
        refuse_coarse(self.model)
        return Weights.of(
            {name: x.to(self.place, copy=True) for name, x in self.model.state_dict().items()}
        )

    @cached_property
    def cell(self) -> Cell:
        """The cell that names seeds and files."""
        if isinstance(self.seed, Cell):
            return replace(self.seed, finetune=self.protocol)
        named = re.sub(r"[^a-z0-9]+", "-", type(self.model).__name__.lower()).strip("-")
        return Cell(OWN, OWN, named or OWN, OWN, self.protocol, self.seed)

    @cached_property
    def plan(self) -> Plan:
        """The plan of these steps. Raises `UserError` for unknown names and fields, and bad labels."""
        given = GivenBase(
            replace(self.cell, finetune=base_name(self.protocol)),
            self.info,
            Arch(self.cell.arch, OWN, (), 0),
            METHODS["pgd-at"],  # for what goes on with adversarial training
            FINETUNE_RECIPE,
            network_sha256=network_sha256(self.model, self.weights.state),
            data_sha256=tuple(split.sha256() for split in self.splits),
        )
        own = self.recipe or {}
        whole, changes = (own, {}) if isinstance(own, Recipe) else (FINETUNE_RECIPE, own)
        recipe = shortened(whole, changes, "recipe")
        plan = Plan(self.cell, given, self.chosen, recipe, self._settings)
        if self.clean is None:
            return plan
        sha256 = network_sha256(self.clean, self.clean.state_dict())
        return replace(plan, partner=replace(given, network_sha256=sha256))

    @cached_property
    def chosen(self) -> Finetune:
        chosen = finetune(self.protocol)
        if self.modules is None:
            return chosen
        return replace(chosen, selector=NamedModules(tuple(refuse_modules(self.modules))))

    @cached_property
    def _settings(self) -> Criticality:
        published = self.chosen.protocol.criticality(self.cell.dataset)
        return shortened(published, self.mrc or {}, "mrc")

    @cached_property
    def info(self) -> DatasetInfo:
        """What is known of the images, once `model` has answered some of them."""
        train, selection = self.splits
        trained = self.chosen.trained
        measured = self.measures and trained is not None and trained.selector.needs_criticality
        classes = usable(self.model, pixels(train.images[:8]), self.place, measured=measured)
        usable(self.model, pixels(selection.images[:8]), self.place, measured=False)
        below(train, classes, "train" if self.selection is not SAME else "images")
        below(selection, classes, "judge")
        height, _, channels = train.images.shape[1:]
        augmentation = self.augmentation or UNCHANGED
        return DatasetInfo(
            OWN, "own images", classes, channels, height, (0.0,), (1.0,), augmentation, self.attack
        )

    def _refuse_frozen(self) -> None:
        """Raise `UserError` if a parameter that may be chosen does not ask for gradients."""
        frozen = [name for name, x in self.model.named_parameters() if not x.requires_grad]
        movable = self._movable() if frozen else ()
        for name in frozen:
            if any(f"{name}.".startswith(f"{each}.") for each in movable):
                raise UserError(
                    f"'{name}' is frozen and may be chosen; call requires_grad_(True) or name others "
                    "in modules"
                )

    def _movable(self) -> Sequence[str]:
        """What the protocol may choose: each module by criticality, else the names that it chooses."""
        if self.modules is not None or (trained := self.chosen.trained) is None:
            return self.modules or ()
        if trained.selector.everything:
            return [name for name, _ in self.model.named_parameters()]
        if trained.selector.needs_criticality:
            return criticality_modules(self.model)
        plan = replace(self.plan, finetune=trained)
        return trained.selector.select(candidates(plan, self.model, None))

    def run(self, stack: ExitStack, workdir: Path | str | None, progress: Progress) -> GivenRun:
        """The run of these steps, with files in `workdir` (None: a folder that goes with `stack`).

        Until `stack` is closed, what draws from torch's own generator, such as dropout and a
        DataLoader that shuffles, draws by the cell's seed; afterwards that generator is as it was.
        Raises `UserError` if `workdir` holds work on another model, images or settings.
        """
        own_draws(stack, replace(self.cell, finetune=BASE).seed_for("first pass"), self.place)
        if self.selection is not SAME:
            self._refuse_frozen()
        folder = at_home(workdir or stack.enter_context(tempfile.TemporaryDirectory()))
        store, (train, selection) = Store(folder / "results", folder / "artifacts"), self.splits
        if self.selection is not SAME and (trained := self.chosen.trained) is not None:
            refuse_training(self.model, train, replace(self.plan, finetune=trained))
        settings, mark = spec_hash(self.plan.spec), store.work(self.cell) / "spec.sha256"
        store.sweep()
        if mark.is_file() and mark.read_text() != settings:
            raise UserError(
                f"'{folder}' holds work on another network, images or settings; name another workdir"
            )
        write_atomically(mark, settings.encode())
        if workdir:  # a finished call reads its point between these weights and the fine-tuned ones
            save_tensors(store.work(self.cell.base) / WEIGHTS, self.weights.state, {})
        if isinstance(train, Streamed):
            train = replace(train, classes=self.info.classes)
        if not foldable(self.model):
            kind = type(self.model).__name__
            progress("general path", 1, 1, f"{kind} is no network of this suite: exact, slower")
        own_precision(stack, self.model, pixels(train.images[:8]), progress)
        data = Dataset(self.info, train, selection)
        model = copy.deepcopy(self.model).to(self.place)
        clean = None if self.clean is None else copy.deepcopy(self.clean).to(self.place)
        return GivenRun(self.plan, data, store, progress, model=model, clean=clean)


def shown(progress: bool | Progress) -> Progress:
    """What takes progress: a function of the caller's, a line on standard error, or nothing."""
    if not isinstance(progress, bool):
        return progress
    return _line if progress else silent


def _line(stage: str, done: int, total: int, note: str = "") -> None:
    end = "\n" if done >= total else ""
    told = line(f"{stage} {done}/{total} {note}")
    sys.stderr.write("\r" + told[:99].ljust(99) + end)
