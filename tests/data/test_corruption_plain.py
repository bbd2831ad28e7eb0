"""The generator against the same corruptions written for one image at a time."""

import numpy as np
import pytest

from benchmark.data.corruptions.generator import CORRUPTIONS_15, SEVERITY_LEVELS, corrupt
from plain_corruptions import PLAIN_OPERATIONS, corrupt_one


def test_all_fifteen_are_written_out() -> None:
    """The oracle has the 15 and no other."""
    assert tuple(PLAIN_OPERATIONS) == CORRUPTIONS_15


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (32, 3), (64, 3)])
@pytest.mark.parametrize("name", CORRUPTIONS_15)
def test_batches_equal_single_images(name: str, side: int, channels: int) -> None:
    """Every severity of three images comes out byte for byte as from code for one image."""
    rng = np.random.default_rng(side)
    images = rng.integers(0, 256, (3, side, side, channels), dtype=np.uint8)
    images[2] = images[2] // 64 * 64  # few levels, flat areas
    ids = np.array([7, 0, 12], dtype=np.int64)
    for severity in SEVERITY_LEVELS:
        expected = [
            corrupt_one(image, name, severity, seed=5, image_id=image_id)
            for image, image_id in zip(images, ids, strict=True)
        ]
        out = corrupt(images, name, severity, seed=5, ids=ids)
        np.testing.assert_array_equal(out, np.stack(expected))
