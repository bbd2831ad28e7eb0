"""The embedded dataset: scikit-learn's 1,797 handwritten digits of 8x8 grey values 0 to 16."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmark.data.images import Dataset, Split
from benchmark.data.info import DIGITS

TEST_IMAGES = 500


def load() -> Dataset:
    """1,297 training and 500 test images, stratified by class with a fixed seed, scaled to 0..255."""
    digits = load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
    train, test = train_test_split(
        np.arange(len(images)), test_size=TEST_IMAGES, stratify=digits.target, random_state=0
    )

    def split(rows: np.ndarray) -> Split:
        return Split(
            torch.from_numpy(images[rows]), torch.from_numpy(digits.target[rows].astype(np.int64))
        )

    return Dataset(DIGITS, split(train), split(test))
