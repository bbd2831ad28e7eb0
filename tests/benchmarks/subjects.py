"""Networks and images that the benchmarks of attacks run on.

Width 16 is the committed adversarially trained network, width 64 has random weights; the images are
noise, of which cost does not depend on what they show, and their labels are the network's own answers,
so that there is something to attack.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.engine import precision
from benchmark.engine.precision import Precision, has_compiler
from benchmark.models import build
from committed import committed_network
from race import Race

INFO: DatasetInfo = dataset_info("cifar10")


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
        return in_their_order(self.x)


def in_their_order(images: Tensor) -> Tensor:
    """`images` in channels-last order."""
    return images.contiguous(memory_format=torch.channels_last)


def size(width: int, images: int) -> str:
    """How a race says what it runs on."""
    return f"ResNet18, width {width}, {images} images 32x32"


def subject(width: int, images: int) -> Subject:
    """ResNet18 of `width` and so many images."""
    torch.manual_seed(0)
    plain = committed_network() if width == 16 else build("resnet18", INFO).eval()
    x = torch.rand(images, 3, 32, 32)
    with torch.no_grad():
        labels = plain(x).argmax(1)
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    return Subject(plain, ours, x, labels)


def label() -> str:
    """What "fast" means on this machine."""
    return Precision().label(torch.device("cpu"))


def enter(race: Race, fast: Callable[[Precision], Callable[[], object]]) -> None:
    """Enter `fast` in the precision of this machine as "eager" and, with a compiler, as "compiled"."""
    race.variant("eager", fast(Precision()))
    if has_compiler():
        race.variant("compiled", fast(Precision(compiled=True)))
    else:
        race.leave_out("compiled", "no C++ compiler here")


def in_precision(chosen: Precision, run):
    """`run` with the process computing in `chosen`."""

    def running(*given):
        before = precision.used()
        precision.use(chosen)
        try:
            return run(*given)
        finally:
            precision.use(before)

    return running
