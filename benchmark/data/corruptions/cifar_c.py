"""CIFAR-10-C and CIFAR-100-C as published: one .npy file per corruption, and `labels.npy`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.corruptions.published_sets import (
    LABELS,
    SEVERITIES,
    CorruptedSet,
    Labels,
    how_to_mend,
)
from benchmark.data.info import DatasetInfo
from benchmark.data.jpegs import Pixels
from benchmark.data.sealed import mapped_array
from benchmark.errors import UserError


class CifarCorruptions(CorruptedSet):
    """CIFAR-10-C and CIFAR-100-C: the five severities of the whole test set one after the other.

    The labels, those of the test set in its order five times over, are checked at once, against
    `test_labels` too where they are given.
    """

    def __init__(
        self, info: DatasetInfo, folder: Path, images: int, test_labels: NDArray[Any] | None
    ) -> None:
        super().__init__(info, folder, images)
        self._labels = self._read_labels(test_labels)

    def _read_labels(self, test_labels: NDArray[Any] | None) -> Labels:
        path, count = self.folder / LABELS, SEVERITIES * self.images
        if not path.is_file():
            raise UserError(f"'{path}' is missing; {how_to_mend(self.title, self.folder)}")
        self._verify(path)
        stored = mapped_array(
            path, (count,), np.typecodes["AllInteger"], f"integers of shape ({count},) are right"
        )
        if stored.min() < 0 or stored.max() >= self.info.classes:
            raise UserError(
                f"'{path}' has labels from {stored.min()} to {stored.max()}; those of "
                f"{self.info.label} are from 0 to {self.info.classes - 1}"
            )
        five: Labels = stored.astype(np.int64).reshape(SEVERITIES, self.images)
        if (five != five[0]).any():
            raise UserError(
                f"'{path}' is not the same {self.images} labels {SEVERITIES} times over; the published "
                "labels are"
            )
        if test_labels is not None and not np.array_equal(five[0], test_labels):
            raise UserError(
                f"'{path}' does not have the labels of the {self.info.label} test set in its order"
                f"{_first_difference(five[0], test_labels)}; the published labels are the same"
            )
        labels: Labels = five[0]
        return labels

    def _read(
        self,
        path: Path,
        severity: int,
        threads: int,  # noqa: ARG002
    ) -> tuple[Pixels, Labels]:
        shape = (SEVERITIES * self.images, self.info.side, self.info.side, self.info.channels)
        stored = mapped_array(path, shape, "B", f"uint8 of shape {shape} is right")
        first = (severity - 1) * self.images
        return np.array(stored[first : first + self.images], order="C"), self._labels.copy()


def _first_difference(labels: Labels, test_labels: NDArray[Any]) -> str:
    if labels.shape != test_labels.shape:
        return f" ({len(labels)} against {len(test_labels)})"
    row = int(np.argmax(labels != test_labels))
    return f" (image {row} is {labels[row]} and has to be {test_labels[row]})"
