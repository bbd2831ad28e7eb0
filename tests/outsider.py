"""A stranger's plug-in: an AT method, a network and a dataset in one file, and smaller things."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from baselines.pgd_at import PgdAt
from benchmark import add
from benchmark.algorithm.protocols import PAPER
from benchmark.algorithm.selection import NamedModule
from benchmark.algorithm.tunings import Tuning
from benchmark.data.info import DIGITS, Augmentation
from benchmark.engine.pgd import uniform_start
from benchmark.evaluation.clean import Clean
from benchmark.models import Family


@dataclass(frozen=True)
class Noise(PgdAt):
    """Trains on uniform noise of the ball instead of an attack."""

    type_name: ClassVar[str] = "noise"
    label: ClassVar[str] = "Noise"

    def inner(self, model, x, labels, attack, generator):
        return (x + uniform_start(x, attack.eps, generator)).clamp(0, 1)


class Plain(nn.Sequential):
    """Two convolutions and a linear layer."""

    def __init__(self, blocks, width, info):
        super().__init__(
            nn.Conv2d(info.channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(9 * width, info.classes),
        )


def stripes(_directory):
    """Random 8x8 images whose class is their brightest row."""
    random = np.random.default_rng(0)
    labels = np.arange(300) % 8
    images = random.integers(0, 60, (300, 1, 8, 8), dtype=np.uint8)
    images[np.arange(300), 0, labels] += 150
    return (images[:200], labels[:200]), (
        torch.from_numpy(images[200:]),
        torch.from_numpy(labels[200:]),
    )


class Again(Clean):
    """The clean accuracy once more."""

    type_name: ClassVar[str] = "again"
    label: ClassVar[str] = "Again"


add.method(Noise())
add.network(Family("plain", "plain", "Plain", "two convolutions", f"{__name__}:Plain", (), 8))
still = Augmentation(pad=0, mode="zero", flip=False)
add.dataset(replace(DIGITS, name="stripes", label="Stripes", classes=8, augmentation=still), stripes)
add.tuning(Tuning("second", "second convolution", NamedModule("3")))
add.protocol(replace(PAPER, suffix="-mine", summary="as the paper's text"))
add.evaluation("again", Again())
