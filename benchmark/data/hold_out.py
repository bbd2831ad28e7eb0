"""What the making of a model may look at: images to train on, and images that choose.

The paper chooses epochs and alpha on test images. A hold-out is cut from the training split instead,
so that the test images are read once, by the evaluations, when everything has been chosen.
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
class Material:
    """`train` is trained on; `judge` chooses epochs and alpha."""

    train: "Split"
    judge: "Split"


def material(data: "Dataset", hold_out: HoldOut | None) -> Material:
    """The whole training split, judged on the test split; or both parts of the training split."""
    import torch

    if hold_out is None:
        return Material(data.train, data.test)
    inside = held_out_places(data.train.labels.cpu().numpy(), hold_out.share, data.info.name)
    kept, held = (torch.from_numpy(np.flatnonzero(part)) for part in (~inside, inside))
    return Material(data.train.at(kept), data.train.at(held))


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
