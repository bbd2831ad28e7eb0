"""Frost from pictures: which crops, at which scale and weight, and what is refused."""

import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmark.data.corruptions.frost import SCALES, PhotographedFrost, least_picture_side, load_frost
from benchmark.data.corruptions.generator import CONSTANTS, corrupt
from invoking import refused

RNG = np.random.default_rng(0)
IDS = np.arange(40, dtype=np.int64)
BLACK = np.zeros((40, 32, 32, 3), dtype=np.uint8)

every_side = pytest.mark.parametrize("side", SCALES)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Colour noise."""
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


@every_side
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", [1, 5])
def test_plain_pictures_are_added_at_their_weight(side: int, channels: int, severity: int) -> None:
    """With a picture of one colour the result is the weighted sum; grey images take its luma."""
    kept, added = CONSTANTS["frost"][side][severity - 1]
    size = least_picture_side(side)
    colour = np.array([60, 90, 120], dtype=np.uint8)
    plain = np.broadcast_to(colour, (size, size, 3))
    images = RNG.integers(0, 180, (3, side, side, channels), dtype=np.uint8)
    out = corrupt(images, "frost", severity, seed=0, ids=IDS[:3], frost=[plain])
    layer = colour if channels == 3 else colour @ np.array([0.299, 0.587, 0.114])
    expected = np.minimum(kept * images + added * layer, 255)
    assert np.abs(out - np.floor(expected)).max() <= 1


def crops(pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.float64]]:
    """What is laid over black 32-pixel images at full weight."""
    operation = PhotographedFrost(pictures, 32)
    streams = [np.random.default_rng(index) for index in range(40)]
    return list(operation(BLACK / 255, streams, (1, 1)))


def test_every_image_gets_its_own_crop_of_some_picture() -> None:
    """Each layer is one exact window of one scaled picture; all pictures and many windows occur.

    At scale 0.2 the centres of the new pixels are every fifth pixel, from the third on.
    """
    pictures = [picture(200, 260), picture(180, 170)]
    small = [full[2::5, 2::5] / 255 for full in pictures]
    windows = [
        {
            scaled[row : row + 32, column : column + 32].round(9).tobytes(): (row, column)
            for row in range(scaled.shape[0] - 31)
            for column in range(scaled.shape[1] - 31)
        }
        for scaled in small
    ]
    found = [
        (number, places[layer.round(9).tobytes()])
        for layer in crops(pictures)
        for number, places in enumerate(windows)
        if layer.round(9).tobytes() in places
    ]
    assert len(found) == 40
    assert {number for number, _ in found} == {0, 1}
    assert len({place for _, place in found}) > 10


def test_scaling_is_bilinear_at_the_new_centres() -> None:
    """At scale 0.3 a picture is read between pixels, as scipy does at the same positions."""
    size = least_picture_side(64)
    full = picture(size, size)
    centres = (np.arange(64) + 0.5) / SCALES[64] - 0.5
    expected = np.stack(
        [
            ndimage.map_coordinates(
                full[..., channel] / 255, np.meshgrid(centres, centres, indexing="ij"), order=1
            )
            for channel in range(3)
        ],
        axis=-1,
    )
    operation = PhotographedFrost([full], 64)
    layer = operation(np.zeros((1, 64, 64, 3)), [np.random.default_rng(0)], (1, 1))
    np.testing.assert_allclose(layer[0], expected, atol=1e-12)


@every_side
def test_the_least_picture_fits_exactly(side: int, tmp_path: Path) -> None:
    """A picture of the least size serves; one pixel less in either direction does not."""

    def load(height: int, width: int) -> list[NDArray[np.uint8]]:
        Image.fromarray(picture(height, width)).save(tmp_path / "a.png")
        return load_frost(tmp_path, side)[0]

    least = least_picture_side(side)
    PhotographedFrost(load(least, least), side)
    for height, width in ((least - 1, least), (least, least - 1)):
        message = rf"is {width}x{height} pixels; images of side {side} need"
        refused(partial(load, height, width), message)


def test_result_does_not_depend_on_batch_or_threads() -> None:
    """The same crop whatever the batch and the threads; seeds differ."""
    pictures = [picture(200, 200), picture(220, 180)]
    images = RNG.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    whole = corrupt(images, "frost", 3, seed=0, ids=IDS, frost=pictures)
    one = corrupt(images[7:8], "frost", 3, seed=0, ids=IDS[7:8], frost=pictures)
    np.testing.assert_array_equal(one, whole[7:8])
    again = corrupt(images, "frost", 3, seed=0, ids=IDS, frost=pictures, threads=2)
    np.testing.assert_array_equal(again, whole)
    assert (corrupt(images, "frost", 3, seed=1, ids=IDS, frost=pictures) != whole).any()
    fog = corrupt(BLACK, "fog", 3, seed=0, ids=IDS)  # other corruptions ignore the pictures
    np.testing.assert_array_equal(corrupt(BLACK, "fog", 3, seed=0, ids=IDS, frost=[]), fog)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """The first five pictures by name come as RGB, other files are left; the hash is of the pixels."""
    first, second = picture(220, 230), picture(240, 220)
    Image.fromarray(second).save(tmp_path / "b.PNG")
    Image.fromarray(first).save(tmp_path / "a.png")
    Image.fromarray(first[..., 0]).save(tmp_path / "c.jpg", quality=95)
    (tmp_path / "notes.txt").write_text("frost")
    pictures, digest = load_frost(tmp_path)
    assert [each.shape for each in pictures] == [(220, 230, 3), (240, 220, 3), (220, 230, 3)]
    np.testing.assert_array_equal(pictures[0], first)
    np.testing.assert_array_equal(pictures[1], second)
    assert load_frost(tmp_path)[1] == digest
    Image.fromarray(first[::-1]).save(tmp_path / "a.png")
    assert load_frost(tmp_path)[1] != digest
    for name in "de":
        Image.fromarray(second).save(tmp_path / f"{name}.png")
    five = load_frost(tmp_path)
    (tmp_path / "f.png").write_bytes(b"no picture")
    assert load_frost(tmp_path)[1] == five[1]
    assert len(load_frost(tmp_path)[0]) == 5


def test_unfit_folders_are_refused(tmp_path: Path) -> None:
    """No folder, no picture, a broken one and a small one are each named in one line."""
    load, path = partial(load_frost, tmp_path), tmp_path / "a.png"
    refused(partial(load_frost, tmp_path / "none"), "there is no folder")
    refused(load, r"has no \.jpg, \.jpeg or \.png file")
    path.write_bytes(b"no picture")
    refused(load, r"a\.png' cannot be read as a picture")
    Image.fromarray(picture(240, 240)).save(path)
    before, chunk, after = path.read_bytes().rpartition(b"IDAT")
    profile = bytes(4) + b"iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")  # an empty one
    end = len(after) - 12
    for broken in (chunk.replace(b"D", b"\0") + after, chunk + after[:end] + profile + after[end:]):
        path.write_bytes(before + broken)
        refused(load, r"a\.png' cannot be read as a picture")
    Image.fromarray(picture(170, 170)).save(path)
    refused(load, r"a\.png' is 170x170 pixels; images of side 64 need at least")
    assert len(load_frost(tmp_path, side=32)[0]) == 1
