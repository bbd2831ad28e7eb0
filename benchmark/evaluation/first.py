"""An evaluation on the first images of the test split only: named so, and never taken for the whole."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.evaluation.protocol import Evaluation, Outcome
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.records import Count
from benchmark.records.specs import Spec
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset

FIRST = "-first-"


def whole_name(name: str) -> str:
    """`name` without `-first-N`: the evaluation on all test images."""
    return name.partition(FIRST)[0]


@dataclass(frozen=True)
class First(Evaluation):
    """`whole` on the first `images` test images.

    What is drawn image by image (PGD's starts, corruptions) is the same as among all images. What
    is drawn by batch (AutoAttack) is so for every full chunk of `whole`: 250 images, or 500, ...
    """

    type_name: ClassVar[str] = "first"
    version: ClassVar[int] = 1
    whole: Evaluation
    images: int

    def answers(self, images: int) -> int:
        return self.whole.answers(min(self.images, images))

    def passes(self, info: DatasetInfo) -> int:
        return self.whole.passes(info)

    def recount(self, bits: Mapping[str, NDArray[np.bool_]]) -> dict[str, Count]:
        return self.whole.recount(bits)

    @property
    def label(self) -> str:
        label, mark = self.whole.label, f"first {self.images}"
        return f"{label[:-1]}, {mark})" if label.endswith(")") else f"{label} ({mark})"

    @property
    def summary(self) -> str:
        return f"{self.whole.summary}; first {self.images} test images"

    def spec(self, info: DatasetInfo) -> Spec | None:
        whole = self.whole.spec(info)
        if whole is None:
            return None
        return {"type": self.type_name, "version": self.version, "images": self.images, "whole": whole}

    def note(self, info: DatasetInfo) -> str | None:
        note = self.whole.note(info)
        said = f"{self.label} is of the first {self.images} test images"
        return said if note is None else f"{said} ({note})"

    def check(self, data: "Dataset") -> None:
        if self.images >= len(data.test):
            raise UserError(
                f"{data.info.label} has {len(data.test)} test images; to evaluate the first "
                f"{self.images} is to evaluate all: leave the limit out"
            )
        self.whole.check(replace(data, limit=self.images))

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        found = self.whole.run(model, replace(data, limit=self.images), base, journal, progress)
        if (most := max(map(len, found.bits.values()), default=0)) > self.images:
            raise UserError(
                f"{type(self.whole).__name__} has answers to {most} images instead of the first "
                f"{self.images}; its `run` is to look at `data.judged`"
            )
        return found

    def per_image(self, bits: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
        return self.whole.per_image(bits)


for _name, _asked in vars(Evaluation).items():
    if isinstance(_asked, property) and _name not in vars(First):  # the same as of the whole
        setattr(First, _name, property(attrgetter(f"whole.{_name}")))


def first_images(evaluation: Evaluation) -> int | None:
    """How many of the first test images `evaluation` is on; None for all."""
    return evaluation.images if isinstance(evaluation, First) else None


def limited(name: str, images: int | None) -> str:
    """The name of evaluation `name` on the first `images` images (None: all), unless it is on fewer."""
    whole, first, own = name.partition(FIRST)
    if images is None or (first and (not own.isdecimal() or int(own) <= images)):
        return name
    return f"{whole}{FIRST}{images}"
