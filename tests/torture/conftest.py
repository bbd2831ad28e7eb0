"""What the torture tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the store that is tortured."""
    return tmp_path_factory.mktemp("tortured")


@pytest.fixture(scope="session")
def some(digits):
    """A few images of the embedded dataset."""
    from benchmark.data.images import Dataset, Split

    parts = (digits.train, 256), (digits.test, 40)
    return Dataset(digits.info, *(Split(s.images[:n], s.labels[:n]) for s, n in parts))
