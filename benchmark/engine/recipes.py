"""Hyperparameters of an attack, of a training run and of a criticality measurement (no torch)."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

import numpy as np
from pydantic import TypeAdapter, ValidationError

from benchmark.data.info import LinfAttack
from benchmark.errors import UserError, problems, unknown
from benchmark.records.ranges import Natural, Positive, Share, Size

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RELEASED_STEP = 255 / 225
"""RiFT's code (Immortalise/RiFT, main.py and utils.py) writes the step as 2/225 where the field writes
2/255."""


def released_step(threat: LinfAttack) -> LinfAttack:
    """PGD as RiFT's code runs it: the same ball, steps longer by `RELEASED_STEP`."""
    return replace(threat, step_size=threat.step_size * RELEASED_STEP)


def pixel_units(value: float) -> str:
    """`8/255` for a whole number of grey levels, else the number."""
    grey = value * 255
    return f"{grey:.0f}/255" if abs(grey - round(grey)) < 1e-6 else f"{value:g}"


def same_radius(written: str, eps: float) -> bool:
    """Whether `written`, a quotient or a decimal, is `eps`, maybe with fewer digits."""
    above, _, below = written.partition("/")
    return abs(float(above) / float(below or 1) - eps) <= 1e-6


@dataclass(frozen=True)
class Recipe:
    """How weights are trained by `benchmark.engine.training.fit`.

    The defaults are the paper's (Section 5.1, Appendix C.2): 110 epochs, learning rate 0.1 divided
    by 10 at epochs 100 and 105; batch size 128, momentum 0.9 and weight decay 5e-4 as in the code
    that the authors name as their AT code (P2333/Bag-of-Tricks-for-AT, train_cifar.py).

    `schedule` is `piecewise` (divide by 10 at each of `milestones`) or `one-cycle` (linear from 0
    to `lr` over the first 30 % of the steps, then linear to 0). `attack_steps` steps of
    `attack_path * eps / attack_steps` craft the training examples: PGD-10 at the field's eps/4 (the
    paper states no step) has a path of 2.5 eps.

    Weights are those of the best epoch among the last `select_last`, judged on the first
    `select_images` selection images (None: all): robust accuracy for adversarial training, clean
    accuracy for fine-tuning, as the paper does on test images.
    """

    version: ClassVar[int] = 1
    epochs: Positive = 110
    batch_size: Positive = 128
    lr: Size = 0.1
    schedule: Literal["piecewise", "one-cycle"] = "piecewise"
    milestones: tuple[Natural, ...] = (100, 105)
    momentum: Share = 0.9
    weight_decay: Share = 5e-4
    attack_steps: Positive = 10
    attack_path: Size = 2.5
    select_last: Positive = 110
    select_images: Positive | None = None

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of optimiser step `step` (counted from 0 over the whole run)."""
        if self.schedule == "one-cycle":
            share = (step + 1) / (self.epochs * steps_per_epoch)
            return float(np.interp(share, [0.0, 0.3, 1.0], [0.0, self.lr, 0.0]))
        drops = sum(step // steps_per_epoch >= epoch for epoch in self.milestones)
        return float(self.lr * 0.1**drops)

    def training_attack(self, threat: LinfAttack) -> LinfAttack:
        """The attack that crafts training examples inside `threat`'s ball."""
        step_size = self.attack_path * threat.eps / self.attack_steps
        return LinfAttack(threat.eps, step_size, self.attack_steps)


FINETUNE_RECIPE = Recipe(epochs=10, lr=1e-3, milestones=(5,), select_last=10)
"""The paper's (Section 5.1), 10 epochs from 0.001, divided by 10 after 5 epochs; the rest as the
released code (Immortalise/RiFT, main.py): batch 128, momentum 0.9, weight decay 5e-4."""


@dataclass(frozen=True)
class CriticalitySettings:
    """Module robust criticality as Algorithm 1 reads: T = `steps` epochs of ascent at rate `lr`,
    stopped at the constraint ||dW|| = `radius` ||W||; the numbers are those of Section 3.3 and Appendix
    D. `stage` names its seeds and finished steps: definitions never mix.

    `batch_size` is the batch whose mean gradients are summed over an epoch (512 as the released
    code; the paper does not say). `split` names the data, which the paper calls D_std without saying
    which split that is; `images` takes its first so many images (None: all).
    """

    type_name: ClassVar[str] = "algorithm1"
    stage: ClassVar[str] = "criticality"
    version: ClassVar[int] = 1
    radius: Size = 0.1
    lr: Size = 1.0
    steps: Positive = 10
    batch_size: Positive = 512
    split: Literal["train", "test", "hold-out"] = "train"
    images: Positive | None = None


@dataclass(frozen=True)
class OfficialCriticality:
    """Module robust criticality as the released code measures it (Immortalise/RiFT, main.py):
    `steps` epochs of SGD at rate `lr` on shuffled batches of `batch_size`, the last one smaller.

    Unlike Algorithm 1, every batch's gradient is taken at the current weights and steps them at once;
    an epoch that ends outside ||dW|| = `radius` ||W|| is projected onto that sphere without stopping
    the ascent; and MRC is taken at the epoch with the largest loss rather than at the last. `split`
    names the data: there the test images of CIFAR-10 and CIFAR-100, and the training images of
    Tiny-ImageNet. `images` takes its first so many images (None: all).
    """

    type_name: ClassVar[str] = "official"
    stage: ClassVar[str] = "criticality-official"
    version: ClassVar[int] = 1
    radius: Size = 0.1
    lr: Size = 1.0
    steps: Positive = 10
    batch_size: Positive = 512
    split: Literal["train", "test", "hold-out"] = "test"
    images: Positive | None = None


@dataclass(frozen=True)
class ScaleFreeCriticality:
    """Module robust criticality by an ascent whose steps are shares of ||W||, this suite's own.

    From dW = 0, each of `steps` steps adds `rate` * `radius` * ||W|| g / ||g|| and projects onto ||dW||
    <= `radius` ||W||; g is the gradient of the mean robust loss over all examples at W + dW. MRC is the
    largest rise of that loss on the path, its start included, hence never negative. Multiplying W by a
    factor that the next batch normalisation takes back multiplies g by its inverse and dW by the
    factor: MRC stays. `split` and `images` are those of `CriticalitySettings`.
    """

    type_name: ClassVar[str] = "scale-free"
    version: ClassVar[int] = 1
    batch_size: ClassVar[None] = None  # all examples share a gradient
    radius: Size = 0.1
    rate: Size = 0.5
    steps: Positive = 10
    split: Literal["train", "test", "hold-out"] = "train"
    images: Positive | None = None

    @property
    def stage(self) -> str:
        return f"criticality-scale-free-{self.steps}"


Criticality = CriticalitySettings | OfficialCriticality | ScaleFreeCriticality
"""Settings of a definition of MRC."""


R = TypeVar("R", bound="DataclassInstance")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def shortened(published: R, overrides: Mapping[str, Any], where: str) -> R:
    """`published` with the fields in `overrides` replaced, every number of it inside its range.

    `where` names them in the error: a `UserError` that begins with it and the field.
    """
    known = {f.name for f in dataclasses.fields(published)}
    wrong = [str(unknown("field", name, sorted(known))) for name in sorted(set(overrides) - known)]
    values = dataclasses.asdict(published) | {k: v for k, v in overrides.items() if k in known}
    checked, kind = published, cast("Any", type(published))
    try:
        checked = _adapter(kind).validate_python(values)
    except ValidationError as error:
        wrong += problems(error)
    if wrong:
        raise UserError(f"{where}: {'; '.join(wrong)}")
    if isinstance(checked, Recipe) and checked.epochs < overrides.get("select_last", 0):
        raise UserError(f"{where}: select_last: at most the {checked.epochs} that 'epochs' says")
    return checked
