"""Networks and images that the benchmarks of attacks run on.

Width 16 is the committed adversarially trained network, width 64 has random weights; the images are
noise, of which cost does not depend on what they show, and their labels are the network's own answers,
so that there is something to attack.
"""

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from race import Race
from torch import Tensor, nn

from benchmark import precision
from benchmark.data import DatasetInfo, dataset_info
from benchmark.models import build
from benchmark.precision import Precision
from benchmark.weights import load_tensors

INFO: DatasetInfo = dataset_info("cifar10")
COMMITTED = (
    Path(__file__).parents[2] / "checkpoints/narrow-cifar10-resnet18-w16-pgd-at-seed0.safetensors"
)
WIDTHS = {16: "resnet18-w16", 64: "resnet18"}


@dataclass(frozen=True)
class Subject:
    """The same network and images twice: as `plain` code has them, and as this suite has them."""

    plain: nn.Module
    ours: nn.Module
    x: Tensor
    labels: Tensor

    @property
    def x_ours(self) -> Tensor:
        """`x` in the memory order in which the suite keeps images."""
        return self.x.contiguous(memory_format=torch.channels_last)


def size(width: int, images: int) -> str:
    """How a race says what it runs on."""
    return f"ResNet18, width {width}, {images} images 32x32"


def subject(width: int, images: int) -> Subject:
    """ResNet18 of `width` and so many images."""
    torch.manual_seed(0)
    plain = build(WIDTHS[width], INFO).eval()
    if width == 16:
        plain.load_state_dict(load_tensors(COMMITTED)[0])
    x = torch.rand(images, 3, 32, 32)
    with torch.no_grad():
        labels = plain(x).argmax(1)
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    return Subject(plain, ours, x, labels)


def label() -> str:
    """What "fast" means on this machine."""
    return Precision().label(torch.device("cpu"))


def enter(race: Race, run: Callable[[nn.Module], object], model: nn.Module) -> Callable[[], object]:
    """Enter `run` on `model` as "eager" and, where there is a compiler, on a copy as "compiled".

    Returns the eager one.
    """
    eager = in_precision(Precision(), partial(run, model))
    race.variant("eager", eager)
    if shutil.which("c++"):
        own = copy.deepcopy(model)  # a network has one attack copy at a time
        race.variant("compiled", in_precision(Precision(compiled=True), partial(run, own)))
    else:
        race.leave_out("compiled", "no C++ compiler here")
    return eager


def in_precision(chosen: Precision, run):
    """`run` with the process computing in `chosen`."""

    def running():
        before = precision.used()
        precision.use(chosen)
        try:
            return run()
        finally:
            precision.use(before)

    return running
