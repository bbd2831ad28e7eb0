"""Facts about datasets: shape, normalisation, augmentation, threat model (no torch)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from benchmark.errors import UserError, unknown
from benchmark.records.ranges import Natural, Positive, Share
from benchmark.records.specs import Spec, spec_of


@dataclass(frozen=True)
class LinfAttack:
    """An L-infinity PGD attack in pixel units of [0,1]; uniform random start in the ball.

    `step_size` is the length of one signed-gradient step, `steps` their number. The paper's
    evaluation attack is PGD-10 at eps = 8/255 (Section 5.1); its step size is not stated, 2/255 is
    the field's usual value (locuslab/robust_overfitting, train_cifar.py).
    """

    version: ClassVar[int] = 1
    eps: Share
    step_size: Share
    steps: Positive = 10

    @property
    def passes(self) -> int:
        """Passes to attack and judge an image, forward and back in each step and forward once after."""
        return 2 * self.steps + 1


MODES = ("reflect", "zero", "edge")


@dataclass(frozen=True)
class Augmentation:
    """Random shift by up to `pad` pixels and, if `flip`, mirroring.

    Edges are filled by `mode`: `reflect`, `zero`, or `edge`, the nearest pixel. Raises `UserError` for
    another.
    """

    version: ClassVar[int] = 1
    pad: Natural
    mode: str
    flip: bool

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("augmentation mode", self.mode, MODES)


@dataclass(frozen=True)
class DatasetInfo:
    """What is fixed about a dataset: shape, normalisation, augmentation and threat model.

    `mean` and `std` are per channel of pixels in [0,1]. `corruptions` names the published corrupted
    copies of the test set, None where there are none.
    """

    version: ClassVar[int] = 1
    name: str
    label: str
    classes: int
    channels: int
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    threat: LinfAttack
    corruptions: str | None = None

    def __post_init__(self) -> None:
        """Raise `UserError` for an augmentation that cannot be: torch reflects no wider pad either."""
        if self.augmentation.mode == "reflect" and self.augmentation.pad >= self.side:
            raise UserError(f"{self.augmentation}: images of {self.side} pixels cannot be reflected so")

    @property
    def spec(self) -> Spec:
        """What weights and PGD accuracies depend on; not the label, nor which OOD set there is."""
        spec: Spec = spec_of(self)
        return {name: spec[name] for name in spec if name not in ("label", "corruptions")}


DIGITS = DatasetInfo(
    name="digits",
    label="Digits",
    classes=10,
    channels=1,
    side=8,
    mean=(0.3053,),
    std=(0.3758,),
    augmentation=Augmentation(pad=1, mode="zero", flip=False),
    threat=LinfAttack(eps=0.08, step_size=0.02, steps=10),
)
"""scikit-learn's 8x8 handwritten digits (UCI optical recognition test set), shipped with it."""

CIFAR10 = DatasetInfo(
    name="cifar10",
    label="CIFAR-10",
    classes=10,
    channels=3,
    side=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2471, 0.2435, 0.2616),
    augmentation=Augmentation(pad=4, mode="reflect", flip=True),
    threat=LinfAttack(eps=8 / 255, step_size=2 / 255, steps=10),
    corruptions="CIFAR-10-C",
)
"""Constants, reflection padding and flip as P2333/Bag-of-Tricks-for-AT, train_cifar.py, utils.py."""

CIFAR100 = replace(CIFAR10, name="cifar100", label="CIFAR-100", classes=100, corruptions="CIFAR-100-C")
"""All but the classes is as of CIFAR-10, mean and std too. That is how RiFT's code (Immortalise/RiFT,
dataloader.py) and SCORE's (P2333/SCORE, without_DDPM/utils.py) normalise CIFAR-100; the AT codes of
Rice et al. and Wu et al. use CIFAR-100's own."""

TINY_IMAGENET = DatasetInfo(
    name="tiny-imagenet",
    label="Tiny-ImageNet",
    classes=200,
    channels=3,
    side=64,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augmentation=Augmentation(pad=8, mode="reflect", flip=True),
    threat=LinfAttack(eps=8 / 255, step_size=2 / 255, steps=10),
    corruptions="Tiny-ImageNet-C",
)
"""ImageNet's mean and std, reflection padding of 8 and flip as Immortalise/RiFT, main.py."""
