"""The generator as a whole: what a result depends on, the single-image oracle, refused arguments."""

import re
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmark.data.corruptions import generator
from benchmark.data.corruptions.generator import (
    CONSTANTS,
    CORRUPTIONS_15,
    CORRUPTIONS_18,
    GENERATOR,
    OPERATIONS,
    SEVERITY_LEVELS,
    SPEC,
    corrupt,
)
from benchmark.errors import UserError
from plain_corruptions import PLAIN_OPERATIONS, corrupt_one

COUNT = 200
DIGITS = np.rint(load_digits().images[:COUNT] * 255 / 16).astype(np.uint8)[..., None]
IDS = np.arange(COUNT, dtype=np.int64)

every_corruption = pytest.mark.parametrize("name", OPERATIONS)


def pictures(count: int, side: int) -> NDArray[np.uint8]:
    """Smooth random images with some noise, levels 10..100: detail, but far from white."""
    rng = np.random.default_rng(side)
    coarse = rng.uniform(10, 80, (count, side // 8, side // 8, 3))
    fine = np.kron(coarse, np.ones((1, 8, 8, 1))) + rng.uniform(0, 20, (count, side, side, 3))
    return fine.astype(np.uint8)


def ids(count: int) -> NDArray[np.int64]:
    """Ids that are not positions."""
    return np.arange(count, dtype=np.int64) * 7 + 3


def test_names_are_the_fifteen_in_the_paper_order_and_four_more() -> None:
    """The 15 are the paper's, the 18 those of RiFT's code: no glass_blur, but four extra ones."""
    paper = (
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    )
    extras = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert paper == CORRUPTIONS_15 == tuple(PLAIN_OPERATIONS)
    assert tuple(OPERATIONS) == tuple(CONSTANTS) == (*paper, *extras)
    assert len(CORRUPTIONS_18) == 18
    assert set(CORRUPTIONS_18) == {*paper, *extras} - {"glass_blur"}


def test_generator_names_itself_for_records() -> None:
    """The specification is plain data with a type and a version, and says which frost it was."""
    assert (GENERATOR, SEVERITY_LEVELS) == ("gen-v2", (1, 2, 3, 4, 5))
    assert SPEC == {"type": "gen-v2", "version": 1, "frost": "procedural"}


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


@every_corruption
@pytest.mark.parametrize("side", [8, 32, 64])
def test_result_does_not_depend_on_the_batch(name: str, side: int) -> None:
    """An image alone and in a reversed batch comes out as in the batch."""
    images, names = (DIGITS[:99], IDS[:99]) if side == 8 else (pictures(3, side), ids(3))
    for severity in SEVERITY_LEVELS:
        together = corrupt(images, name, severity, seed=3, ids=names)
        reverse = corrupt(images[::-1], name, severity, seed=3, ids=names[::-1])
        np.testing.assert_array_equal(reverse[::-1], together)
        for one in (slice(1, 2), slice(len(images) - 1, len(images))):
            alone = corrupt(images[one], name, severity, seed=3, ids=names[one])
            np.testing.assert_array_equal(alone, together[one])


@every_corruption
@pytest.mark.parametrize("channels", [1, 3])
def test_output_is_a_new_array_like_the_input(name: str, channels: int) -> None:
    """In shape and dtype, whatever the memory's order; it shares none, and the input is unchanged."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, channels), dtype=np.uint8)
    before = images.copy()
    for batch in (images, images[:0], np.asfortranarray(images)):
        out = corrupt(batch, name, 5, seed=0, ids=IDS[: len(batch)])
        assert out.dtype == np.uint8
        assert out.shape == batch.shape
        assert not np.shares_memory(out, images)
    np.testing.assert_array_equal(out, corrupt(images, name, 5, seed=0, ids=IDS[:6]))
    np.testing.assert_array_equal(images, before)


@every_corruption
def test_threads_and_pieces_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three threads on pieces of two images give the same bits as one thread on the whole."""
    images, names = pictures(11, 32), ids(11)
    monkeypatch.setattr(generator, "_CHUNK", images.size)
    whole = corrupt(images, name, 4, seed=0, ids=names)
    monkeypatch.setattr(generator, "_CHUNK", 2 * images[0].size)
    np.testing.assert_array_equal(corrupt(images, name, 4, seed=0, ids=names, threads=3), whole)


def test_an_error_in_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong with one piece is raised: no image stays unwritten."""

    def broken(x, streams, constants):
        raise ArithmeticError("broken")

    monkeypatch.setitem(OPERATIONS, "fog", broken)
    with pytest.raises(ArithmeticError, match="broken"):
        corrupt(pictures(2, 32), "fog", 1, seed=0, ids=ids(2), threads=2)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rain"}, "unknown corruption 'rain'; known: gaussian_noise, "),
        ({"severity": 6}, "severity 6 is not one of"),
        ({"images": DIGITS / 255}, "of uint8, grey or RGB, are corrupted, not float64 (200, 8, 8, 1)"),
        ({"images": DIGITS[..., 0]}, "not uint8 (200, 8, 8)"),
        ({"images": np.zeros((200, 8, 7, 1), np.uint8)}, "not uint8 (200, 8, 7, 1)"),
        ({"images": np.zeros((200, 8, 8, 2), np.uint8)}, "not uint8 (200, 8, 8, 2)"),
        ({"images": np.zeros((200, 9, 9, 1), np.uint8)}, "for the sides (8, 32, 64), not for 9 pixels"),
        ({"threads": 0}, "threads must be 1 or more, got 0"),
        ({"ids": IDS[:5]}, "ids must be int64 of shape (200,), got int"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict, message: str) -> None:
    """One line says what was given and what is known."""
    arguments = {"images": DIGITS, "name": "fog", "severity": 1, "seed": 0, "ids": IDS} | changes
    kind = UserError if "images" in changes else ValueError
    with pytest.raises(kind, match=re.escape(message)) as error:
        corrupt(**arguments)
    assert "\n" not in str(error.value)
