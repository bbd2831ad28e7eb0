"""The generator at 32 and 64 pixels: nothing but the image and its id matters; grey as colour."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.data.corruptions import generator
from benchmark.data.corruptions.blur import overwriting
from benchmark.data.corruptions.digital import luma
from benchmark.data.corruptions.generator import OPERATIONS, SEVERITY_LEVELS, corrupt

every_corruption = pytest.mark.parametrize("name", OPERATIONS)
every_side = pytest.mark.parametrize("side", [32, 64])

PER_VALUE = {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"}  # draw for each channel


def pictures(count: int, side: int, channels: int = 3) -> NDArray[np.uint8]:
    """Smooth random images with some noise, levels 10..100: detail, but far from white."""
    rng = np.random.default_rng(side + channels)
    coarse = rng.uniform(10, 80, (count, side // 8, side // 8, channels))
    fine = np.kron(coarse, np.ones((1, 8, 8, 1))) + rng.uniform(0, 20, (count, side, side, channels))
    return fine.astype(np.uint8)


def ids(count: int) -> NDArray[np.int64]:
    """Ids that are not positions."""
    return np.arange(count, dtype=np.int64) * 7 + 3


@every_side
@every_corruption
def test_result_does_not_depend_on_the_batch(name: str, side: int) -> None:
    """An image alone and in a reversed batch comes out as in the batch, and so does it again."""
    images, names = pictures(3, side), ids(3)
    for severity in (2, 5):
        together = corrupt(images, name, severity, seed=3, ids=names)
        reverse = corrupt(images[::-1], name, severity, seed=3, ids=names[::-1])
        alone = corrupt(images[1:2], name, severity, seed=3, ids=names[1:2])
        np.testing.assert_array_equal(reverse[::-1], together)
        np.testing.assert_array_equal(alone, together[1:2])


@every_corruption
def test_threads_and_pieces_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three threads on pieces of two images give the same bits as one thread on the whole."""
    images, names = pictures(11, 32), ids(11)
    monkeypatch.setattr(generator, "_CHUNK", images.size)
    whole = corrupt(images, name, 4, seed=0, ids=names)
    monkeypatch.setattr(generator, "_CHUNK", 2 * images[0].size)
    np.testing.assert_array_equal(corrupt(images, name, 4, seed=0, ids=names, threads=3), whole)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_thread_reaches_the_caller(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong with one piece is raised, whatever the threads: no image stays unwritten."""

    def broken(x, streams, constants):
        raise ArithmeticError("broken")

    monkeypatch.setitem(OPERATIONS, "fog", broken)
    with pytest.raises(ArithmeticError, match="broken"):
        corrupt(pictures(2, 32), "fog", 1, seed=0, ids=ids(2), threads=threads)


@pytest.mark.parametrize("name", ["elastic_transform", "zoom_blur", "snow", "spatter"])
def test_memory_does_not_grow_with_the_number_of_images(name: str) -> None:
    """What is held at once, beside the result, is the same for 60 and for 20 images of 64 pixels."""
    extra = []
    for count in (20, 60):
        images, names = pictures(count, 64), ids(count)
        tracemalloc.start()
        corrupt(images, name, 5, seed=0, ids=names)
        extra.append(tracemalloc.get_traced_memory()[1] - images.nbytes)
        tracemalloc.stop()
    assert extra[1] < 1.1 * extra[0] < 100e6


@every_side
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in PER_VALUE])
def test_grey_is_the_luma_of_colour(name: str, side: int) -> None:
    """A grey image comes out as the luma of what three equal channels become.

    Up to two levels of truncation and rounding; JPEG stores no colour for grey and may differ by more.
    """
    grey = pictures(2, side, 1)
    for severity in SEVERITY_LEVELS:
        out = corrupt(grey, name, severity, seed=0, ids=ids(2))
        colour = corrupt(np.repeat(grey, 3, axis=3), name, severity, seed=0, ids=ids(2))
        assert out.shape == grey.shape
        change = np.abs(out - luma(colour.astype(np.float64)))
        assert change.max() <= 2 if name != "jpeg_compression" else change.mean() <= 1


@every_side
@pytest.mark.parametrize("name", sorted(PER_VALUE))
def test_noise_on_grey_is_as_strong_as_on_colour(name: str, side: int) -> None:
    """The deviation from the image is the same per value with one channel as with three."""
    spread = []
    for channels in (1, 3):
        images = np.full((12, side, side, channels), 100, dtype=np.uint8)
        out = corrupt(images, name, 3, seed=0, ids=ids(12))
        assert out.shape == images.shape
        spread.append(out.std())
    assert spread[0] == pytest.approx(spread[1], rel=0.1)


@pytest.mark.parametrize("margin", [1, 2, 3])
def test_overwriting_is_the_loop_over_pixels(margin: int) -> None:
    """Chains of overwritten pixels end where a plain loop, last pixel first, ends."""
    rng = np.random.default_rng(margin)
    side = 12
    offsets = rng.integers(-margin, margin, (4, 2, side, side))
    image = np.arange(4 * side * side).reshape(4, side, side)
    expected = image.copy()
    for n in range(4):
        for row in range(side - margin, margin, -1):
            for column in range(side - margin, margin, -1):
                down, right = offsets[n, :, row, column]
                expected[n, row, column] = expected[n, row + down, column + right]
    source = overwriting(offsets[:, 0] * side + offsets[:, 1], margin)
    got = np.stack([image[n].reshape(-1)[source[n]] for n in range(4)])
    np.testing.assert_array_equal(got, expected)
    assert (got != image).any()
