"""`gen-v2` frozen: hashes of everything at 8, 32 and 64 pixels, and some of the images to compare with.

A failure means another generator: give it another version, look at the contact sheets
(tests/helpers/contact_sheet.py), and write the goldens anew by running this file.
"""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import features
from sklearn.datasets import load_digits

from benchmark.data.corruptions.generator import OPERATIONS, SEVERITY_LEVELS, corrupt

GOLDENS = Path(__file__).parents[1] / "goldens"
HASHES = GOLDENS / "corruptions.json"
KEPT = {32: 4, 64: 1}  # how many of the eight outputs are kept as images
KEPT_SEVERITIES = (1, 3, 5)
SIDES = (32, 64)

# Blurs and warps leave a plain area plain up to a last bit, which truncation can turn into a level.
# The last bits of these come from exp, sin, cos or solve, and so from the processor too.
BY_PROCESSOR = {
    *("defocus_blur", "gaussian_blur", "glass_blur", "motion_blur"),
    *("snow", "elastic_transform", "spatter"),
}

every_side = pytest.mark.parametrize("side", SIDES)
every_corruption = pytest.mark.parametrize("name", OPERATIONS)


def libjpeg() -> str:
    """The version of the JPEG library inside Pillow."""
    return f"libjpeg-turbo {features.version('libjpeg_turbo')}"


def arithmetic() -> str:
    """Names the last bits of numpy's exp, sin, cos and solve, which differ between processors."""
    grid = np.linspace(-10, 10, 5001)
    systems = np.random.default_rng(0).uniform(0, 64, (200, 3, 3))
    solved = np.linalg.solve(systems, systems[::-1])
    found = [np.exp(grid), np.sin(grid), np.cos(grid), solved]
    return hashlib.sha256(b"".join(values.tobytes() for values in found)).hexdigest()[:16]


@functools.cache
def originals(side: int) -> NDArray[np.uint8]:
    """100 digits, or the eight patches as they were cut when the goldens were written."""
    if side == 8:
        digits = np.rint(load_digits().images[:100] * 255 / 16).astype(np.uint8)
        return digits[..., None]
    with np.load(GOLDENS / f"corruptions-{side}.npz", allow_pickle=False) as golden:
        return golden["originals"]


@functools.cache
def corrupted(side: int, name: str, severity: int) -> NDArray[np.uint8]:
    """What the generator makes of `originals` today."""
    images = originals(side)
    return corrupt(images, name, severity, seed=0, ids=np.arange(len(images), dtype=np.int64))


@functools.cache
def hashes() -> dict:
    """The file of hashes."""
    return json.loads(HASHES.read_text())


def sha256s(side: int, name: str) -> list[str]:
    """One hash of the pixels per severity."""
    outs = [corrupted(side, name, severity) for severity in SEVERITY_LEVELS]
    return [hashlib.sha256(out.tobytes()).hexdigest() for out in outs]


@pytest.mark.parametrize("side", [8, *SIDES])
@every_corruption
def test_every_bit_is_as_it_was(name: str, side: int) -> None:
    """The hash of all images is that of the golden, at every severity.

    JPEG is only compared with the same library; what is `BY_PROCESSOR` only on like processors at 32
    and 64 pixels (the digits come out the same on all that were tried).
    """
    if name == "jpeg_compression" and libjpeg() != hashes()["libjpeg"]:
        pytest.skip(f"the golden is of {hashes()['libjpeg']}, here is {libjpeg()}")
    if side != 8 and name in BY_PROCESSOR and arithmetic() != hashes()["arithmetic"]:
        pytest.skip("this processor's exp, sin, cos or solve differ from the golden's in last bits")
    assert sha256s(side, name) == hashes()["sha256"][str(side)][name]


@every_side
@every_corruption
def test_images_are_as_they_were(name: str, side: int) -> None:
    """No value moved by more than one level.

    One level is what truncation makes of a last bit, where another processor or library sums in
    another order. Another libjpeg rounds otherwise, so that its values may move further, on average
    by less than a level.
    """
    with np.load(GOLDENS / f"corruptions-{side}.npz", allow_pickle=False) as golden:
        expected = golden[name].astype(np.int64)
    got = np.stack([corrupted(side, name, level)[: KEPT[side]] for level in KEPT_SEVERITIES])
    change = np.abs(got - expected)
    if name == "jpeg_compression":
        assert change.mean() < 1
    else:
        assert change.max() <= 1


def write() -> None:
    """Write all goldens from what the generator makes today of fresh patches."""
    from contact_sheet import patches

    found: dict = {"libjpeg": libjpeg(), "arithmetic": arithmetic(), "sha256": {}}
    for side in SIDES:
        path = GOLDENS / f"corruptions-{side}.npz"
        np.savez_compressed(path, originals=patches(side))
        arrays = {
            name: np.stack([corrupted(side, name, level)[: KEPT[side]] for level in KEPT_SEVERITIES])
            for name in OPERATIONS
        }
        np.savez_compressed(path, originals=originals(side), **arrays)
    for side in (8, *SIDES):
        found["sha256"][side] = {name: sha256s(side, name) for name in OPERATIONS}
    HASHES.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write()
