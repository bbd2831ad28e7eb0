"""Training batches: crops and flips of uint8 tensors against torchvision on PIL pictures.

Both sides shuffle, crop with reflection padding, flip and scale to [0, 1]; normalisation is inside the
networks here and left out there. A DataLoader without workers is one thread, hence the ratio asked
for is that of one thread; training gathers its batches with all of them.
"""

import functools
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional

from benchmark.data.images import Split, augment
from benchmark.data.info import CIFAR10
from race import Lane, Race, computing_with
from report import PLAIN

COUNT, CHECKED, BATCH = 4096, 1500, 128
HOW = CIFAR10.augmentation
ONE, ALL = "one thread", "all threads"


class Pictures(Dataset[tuple[Tensor, int]]):
    """A split as torchvision's own datasets hold it: one PIL picture per item, transformed."""

    def __init__(self, split: Split) -> None:
        self._images, self._labels = split.images.numpy(), split.labels.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(CIFAR10.side, padding=HOW.pad, padding_mode=HOW.mode),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def split_of(count: int) -> Split:
    """Noise pictures, no two alike."""
    generator = torch.Generator().manual_seed(0)
    side = CIFAR10.side
    images = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 10, (count,), generator=generator))


def plain_epoch(split: Split) -> list[Tensor]:
    """Batches of one epoch by a DataLoader in this process."""
    loader = DataLoader(Pictures(split), BATCH, shuffle=True, num_workers=0)
    return [x for x, _ in loader]


def batched_epoch(split: Split, generator: torch.Generator) -> list[Tensor]:
    """Batches of one epoch as `benchmark.engine.training` makes them."""
    order = torch.randperm(len(split), generator=generator)
    return [augment(split.at(rows).images, HOW, generator) for rows in order.split(BATCH)]


def crops(split: Split) -> list[Tensor]:
    """Every crop that torchvision makes of padded pictures, mirrored or not: 162 of (N, C, S, S)."""
    pictures = [
        functional.pad(Image.fromarray(image), HOW.pad, padding_mode=HOW.mode)
        for image in split.images.numpy()
    ]
    large = torch.stack([functional.to_tensor(picture) for picture in pictures])
    starts, side = range(2 * HOW.pad + 1), CIFAR10.side
    straight = [large[:, :, r : r + side, c : c + side] for r, c in itertools.product(starts, starts)]
    return [*straight, *(crop.flip(3) for crop in straight)]


def frequencies(out: Tensor, possible: list[Tensor]) -> np.ndarray:
    """How often each crop occurs; asserts that every picture of `out` is exactly one of them."""
    hits = torch.stack([(out == crop).flatten(1).all(1) for crop in possible])
    assert (hits.sum(0) == 1).all()
    return hits.sum(1).numpy()


def same_distribution() -> str:
    """Both sides make torchvision's crops, pixel for pixel, and all of them equally often."""
    split = split_of(CHECKED)
    possible, pictures = crops(split), Pictures(split)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = torch.stack([pictures[index][0] for index in range(CHECKED)])
    batched = augment(split.images, HOW, torch.Generator().manual_seed(0))
    chances = [stats.chisquare(frequencies(out, possible)).pvalue for out in (plain, batched)]
    assert min(chances) > 0.001
    return (
        f"{CHECKED:,} images of each: all are among torchvision's {len(possible)} crops, bit for bit; "
        f"uniform over them in both (chi-square p {chances[0]:.2f}, {chances[1]:.2f})"
    )


@functools.cache
def data_pipeline() -> Race:
    """One epoch."""
    split, generator = split_of(COUNT), torch.Generator().manual_seed(0)
    race = Race("data pipeline", f"32x32, {COUNT:,} images, batch {BATCH}", asked={ONE: 10})

    def one_thread() -> None:
        with computing_with(1):
            batched_epoch(split, generator)

    race.variant(PLAIN, lambda: plain_epoch(split))
    race.variant(ONE, one_thread)
    if torch.get_num_threads() > 1:
        race.variant(ALL, lambda: batched_epoch(split, generator))
    else:
        race.leave_out(ALL, "one thread was asked for")
    race.check(same_distribution)
    return race


@pytest.mark.parametrize("variant", [PLAIN, ONE, ALL])
def test_data_pipeline(variant: str, lane: Lane) -> None:
    """Crop, flip, scale."""
    lane(data_pipeline(), variant)
