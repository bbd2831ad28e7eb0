"""The images that training and model selection may see.

The paper selects epochs and alpha on test images. A hold-out is cut from the training split instead,
so that the test images are read once, by the evaluations, after the selection.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.records.cells import derive_seed

if TYPE_CHECKING:
    from benchmark.data.images import Dataset, Split


@dataclass(frozen=True)
class HoldOut:
    """A share of every class of the training split, the same for every model of a dataset.

    A tenth, as the 5,000 of 50,000 images that are usual on CIFAR.
    """

    version: ClassVar[int] = 1
    share: float = 0.1


@dataclass(frozen=True)
class Splits:
    """Images to train on, and images that select epochs and alpha."""

    train: "Split"
    selection: "Split"


def splits(data: "Dataset", hold_out: HoldOut | None) -> Splits:
    """Train on the whole training split and select on the test split; or cut the former in two."""
    import torch

    if hold_out is None:
        return Splits(data.train, data.test)
    inside = held_out_places(data.train.labels.cpu().numpy(), hold_out.share, data.info.name)
    rest, chosen = (torch.from_numpy(np.flatnonzero(part)) for part in (~inside, inside))
    return Splits(data.train.at(rest), data.train.at(chosen))


def held_out_places(labels: NDArray[np.int64], share: float, dataset: str) -> NDArray[np.bool_]:
    """Which of `labels` (N,) are held out: of each class `share` of its images, rounded; bool (N,).

    Drawn class by class from a seed of the dataset's name.
    """
    inside = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        seed = derive_seed(dataset, "hold-out", int(label))
        draw = np.random.Generator(np.random.Philox(seed)).permutation(places)
        inside[draw[: round(share * len(places))]] = True
    return inside
