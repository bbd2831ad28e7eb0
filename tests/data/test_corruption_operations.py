"""Each corruption against an oracle: by hand, by another library, or by a loop over pixels."""

import colorsys
import math

import numpy as np
import pytest
from scipy import ndimage

from benchmark.data.corruptions.filters import convolve, sample, zoom
from benchmark.data.corruptions.generator import CONSTANTS, OPERATIONS, SEVERITY_LEVELS, corrupt
from benchmark.data.corruptions.weather import MUD, WATER, outlines, relief

IDS = np.arange(64, dtype=np.int64)
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
BLACK = np.zeros((64, 32, 32, 3), dtype=np.uint8)
WHITE = np.full((64, 32, 32, 3), 255, dtype=np.uint8)

every_severity = pytest.mark.parametrize("severity", SEVERITY_LEVELS)


def test_brightness_of_colours_raises_the_hsv_value() -> None:
    """With three channels, brightness is a rise of V in the standard library's HSV."""
    (rise,) = CONSTANTS["brightness"][8][2]
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    images[0, 0, 0] = 0
    out = corrupt(images, "brightness", 3, seed=0, ids=IDS[:1])
    for pixel, result in zip(images.reshape(-1, 3), out.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + rise, 1))
        np.testing.assert_allclose(result, np.floor(np.array(expected) * 255), atol=1)


@pytest.mark.parametrize("factor", [1.0, 1.02, 1.07, 1.15, 1.25, 1.75, 2.25])
@pytest.mark.parametrize("side", [8, 32, 64])
def test_zoom_cuts_magnifies_and_trims_whole_pixels(side: int, factor: float) -> None:
    """It is scipy's linear zoom of the middle, its size rounded up, of which the middle is left."""
    x = np.random.default_rng(side).random((1, side, side, 1))
    cut = math.ceil(side / factor)
    top = (side - cut) // 2
    large = ndimage.zoom(x[0, top : top + cut, top : top + cut, 0], factor, order=1)
    trim = (len(large) - side) // 2
    expected = large[trim : trim + side, trim : trim + side]
    np.testing.assert_allclose(zoom(x, factor)[0, :, :, 0], expected, atol=1e-12)


def test_filters_agree_with_scipy() -> None:
    """Convolution and bilinear sampling equal scipy's on a random image."""
    rng = np.random.default_rng(0)
    x, kernel = rng.random((1, 9, 9, 1)), rng.random((3, 5))
    plane = x[0, :, :, 0]
    np.testing.assert_allclose(
        convolve(x, kernel, "reflect")[0, :, :, 0], ndimage.correlate(plane, kernel, mode="mirror")
    )
    rows, columns = rng.uniform(-12, 20, (2, 1, 9, 9))
    np.testing.assert_allclose(
        sample(x, rows, columns)[0, :, :, 0],
        ndimage.map_coordinates(plane, [rows[0], columns[0]], order=1, mode="mirror"),
    )


@pytest.mark.parametrize("level", [50, 128])
@every_severity
def test_speckle_noise_is_proportional_to_the_level(level: int, severity: int) -> None:
    """On a constant image its deviation is constant times level; on black there is none."""
    (sigma,) = CONSTANTS["speckle_noise"][32][severity - 1]
    images = np.full((16, 32, 32, 3), level, dtype=np.uint8)
    out = corrupt(images, "speckle_noise", severity, seed=0, ids=IDS[:16]).astype(np.float64)
    assert out.std() == pytest.approx(sigma * level, rel=0.02)
    assert out.mean() == pytest.approx(level - 0.5, abs=0.5)  # truncation costs half a level
    assert not corrupt(BLACK, "speckle_noise", severity, seed=0, ids=IDS[:64]).any()


@pytest.mark.parametrize("side", [32, 64])
@every_severity
def test_gaussian_blur_is_scipys(side: int, severity: int) -> None:
    """It equals scipy's Gaussian filter with edge pixels repeated and cut at four sigmas."""
    (sigma,) = CONSTANTS["gaussian_blur"][side][severity - 1]
    x = RNG.random((2, side, side, 3))
    expected = ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest", truncate=4)
    np.testing.assert_allclose(OPERATIONS["gaussian_blur"](x, [], (sigma,)), expected)


@pytest.mark.parametrize("side", [32, 64])
@every_severity
def test_saturate_is_the_standard_librarys_hsv(side: int, severity: int) -> None:
    """Each pixel's saturation is mapped at its hue and value; greys turn towards red (hue 0)."""
    factor, rise = CONSTANTS["saturate"][side][severity - 1]
    pixels = RNG.integers(0, 256, (1, 20, 20, 3), dtype=np.uint8)
    pixels[0, 0] = np.arange(20)[:, None]  # greys, black among them
    out = OPERATIONS["saturate"](pixels / 255, [], (factor, rise))
    for pixel, result in zip(pixels.reshape(-1, 3) / 255, out.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        wanted = min(max(saturation * factor + rise, 0), 1)
        np.testing.assert_allclose(result, colorsys.hsv_to_rgb(hue, wanted, value), atol=1e-9)


@every_severity
def test_spatter_is_water_and_then_mud(severity: int) -> None:
    """Severities 1 to 3 add turquoise light to black; 4 and 5 lay brown over white, and cover more."""
    strength, mud = CONSTANTS["spatter"][32][severity - 1][4:]
    assert mud == (severity > 3)
    images = WHITE if mud else BLACK
    out = corrupt(images, "spatter", severity, seed=0, ids=IDS[:64]) / 255
    if mud:
        touched = (out < 1).any(axis=3)
        cover = (1 - out[touched]) / (1 - MUD)
        assert cover.min() > 0.8 - 0.01
        assert cover.max() < 1 + 0.01
    else:
        light = out / WATER
        assert np.abs(light - light[..., :1]).max() < 1.5 / 175  # one tint, up to truncation
        wet = out.any(axis=(1, 2, 3))
        peaks = light.max(axis=(1, 2, 3))[wet]
        np.testing.assert_allclose(peaks, strength, atol=1.5 / 175)
    assert 0.01 < (out != images / 255).any(axis=3).mean() < 0.4


def test_spatter_without_a_drop_changes_nothing() -> None:
    """A field that stays below the threshold leaves every image alone, water or mud."""
    streams = [np.random.default_rng(index) for index in range(2)]
    for mud in (0, 1):
        x = COLOURS / 255
        out = OPERATIONS["spatter"](x, streams, (0.5, 0.01, 0.7, 0.9, 0.5, mud))
        np.testing.assert_array_equal(out, x)


def slow_outlines(levels: np.ndarray) -> np.ndarray:
    """`outlines` of one (H, W) image, pixel by pixel."""
    across = ndimage.sobel(levels, axis=1, mode="nearest")
    down = ndimage.sobel(levels, axis=0, mode="nearest")
    length = np.pad(np.abs(across) + np.abs(down), 1)
    longest = np.zeros(levels.shape, dtype=np.bool_)
    for row, column in np.argwhere(length[1:-1, 1:-1] > 50):
        angle = np.degrees(np.arctan2(down[row, column], across[row, column])) % 180
        step = ((0, 1), (1, 1), (1, 0), (1, -1))[round(angle / 45) % 4]
        before, here, after = (
            length[1 + row + sign * step[0], 1 + column + sign * step[1]] for sign in (-1, 0, 1)
        )
        longest[row, column] = before < here >= after
    edges, strong = set(), np.argwhere(longest & (length[1:-1, 1:-1] > 150))
    waiting = [tuple(place) for place in strong]
    while waiting:
        row, column = waiting.pop()
        edges.add((row, column))
        for place in np.ndindex(*levels.shape):
            if max(abs(place[0] - row), abs(place[1] - column)) == 1 and longest[place]:
                waiting += [place] if place not in edges else []
    found = np.zeros(levels.shape, dtype=np.bool_)
    for place in edges:
        found[place] = True
    return found


def test_outlines_are_those_found_pixel_by_pixel() -> None:
    """Gradients, the thinning and the joining of weak edges to strong ones agree with loops."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(128, 90, (4, 14, 14)), (0, 1, 1))
    levels = np.stack([np.zeros((14, 14)), *np.floor(smooth), *rng.integers(0, 256, (2, 14, 14))])
    expected = np.stack([slow_outlines(image) for image in levels])
    np.testing.assert_array_equal(outlines(levels[..., None])[..., 0], expected)
    assert [bool(image.any()) for image in expected] == [False] + 6 * [True]


def slow_relief(edges: np.ndarray) -> np.ndarray:
    """`relief` of one (H, W) mask, pixel by pixel."""
    away = np.full(edges.shape, 20.0)
    for row, column in np.ndindex(edges.shape):
        for r, c in np.argwhere(edges):
            away[row, column] = min(away[row, column], np.hypot(row - r, column - c))
    levels = np.floor(ndimage.uniform_filter(away, 3, mode="mirror") + 1e-9)
    sorted_levels = np.sort(levels, axis=None)
    lowest = np.searchsorted(sorted_levels, sorted_levels[0], side="right")
    if lowest < levels.size:
        rank = np.searchsorted(sorted_levels, levels, side="right")
        levels = np.rint(255 * (rank - lowest) / (levels.size - lowest))
    embossed = ndimage.correlate(
        levels, np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror"
    )
    return ndimage.uniform_filter(np.clip(embossed, 0, 255), 3, mode="mirror")


def test_relief_is_the_one_made_pixel_by_pixel() -> None:
    """Distances, equalisation and embossing agree with loops over pixels, also without any edge."""
    masks = np.stack(
        [
            np.zeros((14, 14), dtype=np.bool_),
            np.ones((14, 14), dtype=np.bool_),
            np.arange(14)[:, None] + np.arange(14) < 9,
            *(np.random.default_rng(0).random((3, 14, 14)) < 0.2),
        ]
    )
    expected = np.stack([slow_relief(mask) for mask in masks])
    np.testing.assert_allclose(relief(masks[..., None])[..., 0], expected, atol=1e-9)
