"""The corruption generator: determinism, severity order, and each operation against an oracle."""

import colorsys
import io
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from benchmark.data.corruptions.filters import convolve, gaussian_blur, sample, trail_blur, zoom
from benchmark.data.corruptions.frost import TEXTURES
from benchmark.data.corruptions.generator import (
    CONSTANTS,
    CORRUPTIONS_15,
    CORRUPTIONS_18,
    FROST,
    GENERATOR,
    OPERATIONS,
    SEVERITY_LEVELS,
    corrupt,
    generator_spec,
)
from benchmark.data.corruptions.weather import plasma, plasma_noise_side

COUNT = 200
DIGITS = np.rint(load_digits().images[:COUNT] * 255 / 16).astype(np.uint8)[..., None]
IDS = np.arange(COUNT, dtype=np.int64)
EXACT = {
    *("defocus_blur", "gaussian_blur", "zoom_blur", "brightness", "contrast", "saturate"),
    *("pixelate", "jpeg_compression"),
}
RANDOM = [name for name in OPERATIONS if name not in EXACT]

every_corruption = pytest.mark.parametrize("name", OPERATIONS)
every_severity = pytest.mark.parametrize("severity", SEVERITY_LEVELS)


def flat(level: int, count: int = 1) -> NDArray[np.uint8]:
    """Return ``count`` constant 8x8 one-channel images."""
    return np.full((count, 8, 8, 1), level, dtype=np.uint8)


def differences(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the differences of two 8-bit arrays in levels."""
    return a.astype(np.int64) - b.astype(np.int64)


def mean_psnr(out: NDArray[np.uint8], images: NDArray[np.uint8]) -> float:
    """Return the mean over images of the PSNR in dB, an unchanged image counting as 60 dB."""
    error = (differences(out, images) ** 2).mean(axis=(1, 2, 3)) / 255**2
    return float(np.mean(-10 * np.log10(np.maximum(error, 1e-6))))


def test_names_are_the_fifteen_in_the_paper_order_and_four_more() -> None:
    """The 15 are the paper's, the 18 those of RiFT's code: no glass_blur, but four extra ones."""
    paper = (
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    )
    extras = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert paper == CORRUPTIONS_15
    assert tuple(OPERATIONS) == tuple(CONSTANTS) == (*paper, *extras)
    assert len(CORRUPTIONS_18) == 18
    assert set(CORRUPTIONS_18) == {*paper, *extras} - {"glass_blur"}


@every_corruption
def test_constants_are_given_for_every_side_and_severity(name: str) -> None:
    """Three sides with five rows each, and one corruption has always the same number of constants."""
    assert sorted(CONSTANTS[name]) == [8, 32, 64]
    rows = [row for column in CONSTANTS[name].values() for row in column]
    assert len(rows) == 3 * len(SEVERITY_LEVELS)
    assert len({len(row) for row in rows}) == 1


def test_generator_names_itself_for_records() -> None:
    """The specification is plain data with a type and a version, and says which frost it was."""
    assert (GENERATOR, FROST, SEVERITY_LEVELS) == ("gen-v2", "procedural", (1, 2, 3, 4, 5))
    assert generator_spec() == {"type": "gen-v2", "version": 1, "frost": "procedural"}
    assert generator_spec("ab" * 32)["frost"] == "ab" * 32


@every_corruption
@every_severity
def test_result_does_not_depend_on_the_batch(name: str, severity: int) -> None:
    """An image alone, in a batch and in a reversed batch comes out the same bit for bit."""
    images, ids = DIGITS[:99], IDS[:99]
    together = corrupt(images, name, severity, seed=3, ids=ids)
    for index in (0, 7, 98):
        one = slice(index, index + 1)
        alone = corrupt(images[one], name, severity, seed=3, ids=ids[one])
        np.testing.assert_array_equal(alone, together[one])
    reverse = corrupt(images[::-1], name, severity, seed=3, ids=ids[::-1])
    np.testing.assert_array_equal(reverse[::-1], together)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(tuple(OPERATIONS)),
    severity=st.sampled_from(SEVERITY_LEVELS),
    chosen=st.lists(st.integers(0, 19), min_size=1, max_size=12),
)
def test_any_selection_of_images_agrees(name: str, severity: int, chosen: list[int]) -> None:
    """Any selection, with repetitions and in any order, equals the same rows of the whole."""
    whole = corrupt(DIGITS[:20], name, severity, seed=0, ids=IDS[:20])
    part = corrupt(DIGITS[chosen], name, severity, seed=0, ids=IDS[chosen])
    np.testing.assert_array_equal(part, whole[chosen])


@pytest.mark.parametrize("name", RANDOM)
def test_random_corruptions_vary_with_seed_and_id(name: str) -> None:
    """Another seed, or another id for the same picture, gives another result."""
    same = np.repeat(DIGITS[:1], 20, axis=0)
    first = corrupt(same, name, 4, seed=0, ids=IDS[:20])
    assert len(np.unique(first, axis=0)) > 10
    assert (corrupt(same, name, 4, seed=1, ids=IDS[:20]) != first).any(axis=(1, 2, 3)).sum() > 10


@pytest.mark.parametrize("name", sorted(EXACT))
def test_exact_corruptions_ignore_seed_and_id(name: str) -> None:
    """The corruptions without a draw depend on the picture and the severity only."""
    first = corrupt(DIGITS[:5], name, 3, seed=0, ids=IDS[:5])
    np.testing.assert_array_equal(corrupt(DIGITS[:5], name, 3, seed=9, ids=IDS[5:10]), first)


@every_corruption
@pytest.mark.parametrize("channels", [1, 3])
def test_output_is_a_new_array_like_the_input(name: str, channels: int) -> None:
    """The result has the input's shape and dtype and shares no memory; the input is unchanged."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, channels), dtype=np.uint8)
    before = images.copy()
    for batch in (images, images[:0]):
        out = corrupt(batch, name, 5, seed=0, ids=IDS[: len(batch)])
        assert out.dtype == np.uint8
        assert out.shape == batch.shape
        assert not np.shares_memory(out, images)
    np.testing.assert_array_equal(images, before)


@every_corruption
def test_memory_layout_does_not_matter(name: str) -> None:
    """A Fortran-ordered batch gives the same bits as a C-ordered one."""
    images = np.asfortranarray(DIGITS[:30])
    np.testing.assert_array_equal(
        corrupt(images, name, 3, seed=0, ids=IDS[:30]),
        corrupt(DIGITS[:30], name, 3, seed=0, ids=IDS[:30]),
    )


@every_corruption
def test_severity_lowers_the_mean_psnr(name: str) -> None:
    """Each severity damages the digits more than the one before, and none is a no-op."""
    scores = [
        mean_psnr(corrupt(DIGITS, name, severity, seed=0, ids=IDS), DIGITS)
        for severity in SEVERITY_LEVELS
    ]
    assert scores == sorted(scores, reverse=True)
    assert 16 < scores[0] < 40
    assert 8 < scores[-1] < 20


@every_corruption
@every_severity
def test_operations_take_other_sides(name: str, severity: int) -> None:
    """An operation keeps the shape of colour images of a side that is no power of two."""
    x = np.random.default_rng(0).random((2, 12, 12, 3))
    streams = [np.random.default_rng(index) for index in range(2)]
    out = OPERATIONS[name](x.copy(), streams, CONSTANTS[name][8][severity - 1])
    assert out.shape == x.shape
    assert np.isfinite(out).all()


FROZEN_MEANS = {
    "gaussian_noise": 83.20,
    "shot_noise": 73.09,
    "impulse_noise": 80.72,
    "defocus_blur": 78.11,
    "glass_blur": 78.82,
    "motion_blur": 76.10,
    "zoom_blur": 81.67,
    "snow": 101.97,
    "frost": 127.32,
    "fog": 93.84,
    "brightness": 129.77,
    "contrast": 76.31,
    "elastic_transform": 77.73,
    "pixelate": 76.90,
}


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS_15 if name != "jpeg_compression"])
def test_generator_is_frozen(name: str) -> None:
    """The mean level of 20 digits is that of gen-v2; a change of results needs a new version."""
    out = corrupt(DIGITS[:20], name, 3, seed=0, ids=IDS[:20])
    assert out.mean() == pytest.approx(FROZEN_MEANS[name], abs=0.02)


def test_gaussian_noise_has_the_tabled_deviation() -> None:
    """On mid-grey images the noise is centred and has the constant as standard deviation."""
    (sigma,) = CONSTANTS["gaussian_noise"][8][1]
    noise = differences(corrupt(flat(128, COUNT), "gaussian_noise", 2, seed=0, ids=IDS), flat(128))
    assert noise.std() / 255 == pytest.approx(sigma, rel=0.03)
    assert noise.mean() == pytest.approx(-0.5, abs=0.7)  # truncation costs half a level


def test_shot_noise_has_poisson_mean_and_variance() -> None:
    """Counts keep the mean, vary as sqrt(x / lambda), and leave black black."""
    (photons,) = CONSTANTS["shot_noise"][8][0]
    out = corrupt(flat(128, COUNT), "shot_noise", 1, seed=0, ids=IDS) / 255
    assert out.mean() == pytest.approx(128 / 255, abs=0.005)
    assert out.std() == pytest.approx(math.sqrt(128 / 255 / photons), rel=0.03)
    assert not corrupt(flat(0), "shot_noise", 5, seed=0, ids=IDS[:1]).any()


@every_severity
def test_impulse_noise_replaces_the_tabled_share(severity: int) -> None:
    """The share of replaced values is the constant, half of them black and half white."""
    (amount,) = CONSTANTS["impulse_noise"][8][severity - 1]
    out = corrupt(flat(100, COUNT), "impulse_noise", severity, seed=0, ids=IDS)
    assert (out != 100).mean() == pytest.approx(amount, abs=0.01)
    assert set(np.unique(out)) == {0, 100, 255}
    assert (out[out != 100] == 255).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "name",
    [
        *("defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"),
        "elastic_transform",
    ],
)
@every_severity
@pytest.mark.parametrize("level", [0, 77, 255])
def test_blurs_keep_a_constant_image(name: str, severity: int, level: int) -> None:
    """A constant image stays constant up to one level of truncation."""
    out = corrupt(flat(level, 5), name, severity, seed=0, ids=IDS[:5])
    change = differences(out, flat(level))
    assert change.min() >= -1
    assert change.max() <= 0


@every_severity
def test_pixelate_keeps_a_constant_image(severity: int) -> None:
    """Box averages of a constant are that constant."""
    images = flat(93, 2)
    out = corrupt(images, "pixelate", severity, seed=0, ids=IDS[:2])
    np.testing.assert_array_equal(out, images)


def test_pixelate_by_half_averages_two_by_two() -> None:
    """At half the size every 2x2 block becomes its mean, up to Pillow's own rounding."""
    blocks = DIGITS.reshape(COUNT, 4, 2, 4, 2).mean(axis=(2, 4))
    expected = np.kron(blocks, np.ones((1, 2, 2)))[..., None]
    out = OPERATIONS["pixelate"](DIGITS / 255, [], (0.5, 0.5)) * 255
    assert np.abs(out - expected).max() <= 1.5


def test_brightness_adds_and_clips() -> None:
    """With one channel, brightness is an addition that stops at white."""
    (rise,) = CONSTANTS["brightness"][8][4]
    images = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * 4
    expected = np.minimum(images / 255 + rise, 1) * 255
    out = corrupt(images, "brightness", 5, seed=0, ids=IDS[:1])
    np.testing.assert_array_equal(out, expected.astype(np.uint8))


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


def test_contrast_shrinks_about_the_channel_mean() -> None:
    """Half black and half white, an image ends at mean -+ half the constant."""
    (kept,) = CONSTANTS["contrast"][8][2]
    images = flat(0)
    images[:, 4:] = 255
    out = corrupt(images, "contrast", 3, seed=0, ids=IDS[:1])
    assert set(np.unique(out)) == {int(255 * (0.5 - kept / 2)), int(255 * (0.5 + kept / 2))}


@every_severity
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_equals_a_pillow_round_trip(severity: int, channels: int) -> None:
    """The result is what Pillow decodes from its own JPEG of that quality."""
    (quality,) = CONSTANTS["jpeg_compression"][8][severity - 1]
    images = np.repeat(DIGITS[:4], channels, axis=3)
    out = corrupt(images, "jpeg_compression", severity, seed=0, ids=IDS[:4])
    for image, result in zip(images, out, strict=True):
        stream = io.BytesIO()
        Image.fromarray(image.squeeze()).save(stream, "JPEG", quality=int(quality))
        expected = np.asarray(Image.open(stream)).reshape(image.shape)
        np.testing.assert_allclose(result, expected, atol=0)


def test_fog_keeps_the_maximum_and_black_images() -> None:
    """Fog never exceeds the image's old maximum, and an all-black image stays black."""
    out = corrupt(DIGITS, "fog", 5, seed=0, ids=IDS)
    assert (out.max(axis=(1, 2, 3)) <= DIGITS.max(axis=(1, 2, 3))).all()
    assert not corrupt(flat(0), "fog", 5, seed=0, ids=IDS[:1]).any()


@pytest.mark.parametrize("name", ["snow", "frost"])
@every_severity
def test_snow_and_frost_brighten_a_black_image(name: str, severity: int) -> None:
    """On black, snow leaves at least its pale veil and frost at least its grey veil."""
    constants = CONSTANTS[name][8][severity - 1]
    darkest = min(ground for _, _, ground, _ in TEXTURES)
    veil = (1 - constants[-1]) * 0.5 if name == "snow" else constants[-1] * darkest
    out = corrupt(flat(0, 20), name, severity, seed=0, ids=IDS[:20])
    assert out.min() >= int(veil * 255 + 1e-9) - 1
    assert out.max() > out.min()


def test_motion_trail_runs_along_the_angle() -> None:
    """A bright pixel leaves a decaying trail: leftwards at 0 degrees, upwards at 90."""
    x = np.zeros((2, 7, 7, 1))
    x[:, 4, 4] = 1
    weights = np.exp([0, -0.5, -2])
    expected = np.zeros((2, 7, 7))
    expected[0, 4, [4, 3, 2]] = weights / weights.sum()
    expected[1, [4, 3, 2], 4] = weights / weights.sum()
    out = trail_blur(x, np.array([0.0, 90.0]), 1, 1.0)
    np.testing.assert_allclose(out[..., 0], expected, atol=1e-12)


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


def test_zoom_by_two_by_hand() -> None:
    """Of a ramp the four middle columns are stretched onto eight, the first and the last staying."""
    x = np.broadcast_to(np.arange(8.0)[None, None, :, None], (1, 8, 8, 1))
    expected = np.broadcast_to(2 + np.arange(8) * 3 / 7, (8, 8))
    np.testing.assert_allclose(zoom(x, 2.0)[0, :, :, 0], expected)


def test_elastic_transform_without_displacement_is_the_identity() -> None:
    """With all three constants 0 the affine map is the identity."""
    x = DIGITS[:3] / 255
    streams = [np.random.default_rng(index) for index in range(3)]
    np.testing.assert_allclose(OPERATIONS["elastic_transform"](x, streams, (0, 0, 0)), x)


def test_filters_agree_with_scipy() -> None:
    """Convolution, Gaussian blur and bilinear sampling equal scipy's on a random image."""
    rng = np.random.default_rng(0)
    x, kernel = rng.random((1, 9, 9, 1)), rng.random((3, 5))
    plane = x[0, :, :, 0]
    np.testing.assert_allclose(
        convolve(x, kernel, "reflect")[0, :, :, 0], ndimage.correlate(plane, kernel, mode="mirror")
    )
    np.testing.assert_allclose(
        gaussian_blur(x, 0.7, "edge", 4)[0, :, :, 0],
        ndimage.gaussian_filter(plane, 0.7, mode="nearest", truncate=4),
    )
    rows, columns = rng.uniform(-12, 20, (2, 1, 9, 9))
    np.testing.assert_allclose(
        sample(x, rows, columns)[0, :, :, 0],
        ndimage.map_coordinates(plane, [rows[0], columns[0]], order=1, mode="mirror"),
    )


def test_plasma_of_side_two_by_hand() -> None:
    """On two pixels: corner 0, centre its noise, edges half the centre plus theirs, rescaled."""
    noise = np.array([[[0.9, 0.2], [-0.5, 0.4]]])
    raw = np.array([[0, 0.2 + 0.2], [0.2 - 0.5, 0.4]])
    np.testing.assert_allclose(plasma(noise, 3)[0], (raw + 0.3) / 0.7)


@pytest.mark.parametrize(("side", "expected"), [(2, 2), (8, 8), (9, 16), (32, 32), (33, 64)])
def test_plasma_side_is_the_next_power_of_two(side: int, expected: int) -> None:
    """The map is built at the smallest power of two that covers the image."""
    assert plasma_noise_side(side) == expected


def test_plasma_spans_the_unit_range_and_decay_smooths() -> None:
    """Every map spans [0, 1], and a larger decay means smaller steps between neighbours."""
    noise = np.random.default_rng(0).uniform(-1, 1, (50, 32, 32))
    rough, smooth = plasma(noise, 1.5), plasma(noise, 3)
    for maps in (rough, smooth):
        np.testing.assert_array_equal(maps.min(axis=(1, 2)), 0)
        np.testing.assert_array_equal(maps.max(axis=(1, 2)), 1)
    assert np.abs(np.diff(smooth, axis=2)).mean() < 0.7 * np.abs(np.diff(rough, axis=2)).mean()


def test_unknown_name_is_refused() -> None:
    """An unknown name raises one line that lists the known ones."""
    with pytest.raises(ValueError, match=r"unknown corruption 'rain'; known: gaussian_noise, .*"):
        corrupt(DIGITS, "rain", 1, seed=0, ids=IDS)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_severity_out_of_range_is_refused(severity: int) -> None:
    """Only severities 1 to 5 exist."""
    with pytest.raises(ValueError, match=rf"severity {severity} is not one of"):
        corrupt(DIGITS, "fog", severity, seed=0, ids=IDS)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (DIGITS / 255, "images must be uint8, got float64"),
        (DIGITS[..., 0], "got shape (200, 8, 8)"),
        (np.zeros((200, 8, 8, 2), np.uint8), "got shape (200, 8, 8, 2)"),
        (np.zeros((200, 8, 7, 1), np.uint8), "got shape (200, 8, 7, 1)"),
        (
            np.zeros((200, 9, 9, 1), np.uint8),
            "no fog constants for image side 9; known sides: 8, 32, 64",
        ),
    ],
)
def test_bad_images_are_refused(images: NDArray[np.uint8], message: str) -> None:
    """Wrong dtype, shape or side raises one line that says what was given."""
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        corrupt(images, "fog", 1, seed=0, ids=IDS)
    assert "\n" not in str(error.value)


def test_no_thread_is_refused() -> None:
    """At least one thread is needed."""
    with pytest.raises(ValueError, match="threads must be 1 or more, got 0"):
        corrupt(DIGITS, "fog", 1, seed=0, ids=IDS, threads=0)


@pytest.mark.parametrize("ids", [IDS[:5], IDS.astype(np.int32), IDS[:, None]])
def test_bad_ids_are_refused(ids: NDArray[np.int64]) -> None:
    """The ids are one int64 per image."""
    with pytest.raises(ValueError, match=r"ids must be int64 of shape \(200,\), got int"):
        corrupt(DIGITS, "fog", 1, seed=0, ids=ids)
