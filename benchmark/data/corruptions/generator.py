"""Generator `gen-v2`: 15 + 4 common corruptions at 5 severities, for images of 8, 32 and 64 pixels.

The operations and their order follow Hendrycks & Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations" (ICLR 2019) and its published scripts
(hendrycks/robustness). The output is NOT CIFAR-10-C, CIFAR-100-C or Tiny-ImageNet-C nor official:
the scripts record no seed, call image libraries whose results depend on their version, and have no
constants for 8-pixel images (those here are ours). Where the published files are at hand, use them.
Numbers made with this module are to be labelled with `GENERATOR` and the kind of frost.

Known differences from the scripts: motion blur and snow use whole-pixel shifts in place of
ImageMagick, frost is procedural unless pictures are given (`load_frost`), spatter has no OpenCV in
it, warps mirror at the edge pixel throughout, and at 8 pixels glass blur disturbs a share of the
pixels only and pixelate may shrink one side more than the other. On CIFAR-10 the PSNR of every
corruption at every severity is the scripts' to 0.3 dB in the mean over images and to 0.5 dB in the
standard deviation. Tiny-ImageNet-C was made from ImageNet's validation images cut to their bounding
box, and every picture was written as a JPEG of quality 85: nothing of that happens here.

Pipeline: images / 255 -> operation -> clip to [0, 1] -> * 255 -> truncation to uint8.
All draws for an image come from (seed, name, severity, id), so a result depends neither on the
batch nor on its order, nor on threads. Another version of numpy or Pillow, or another processor, may
still change last bits, which truncation turns into a level here and there.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from benchmark.data.corruptions import blur, digital, noise, weather
from benchmark.data.corruptions.constants import CONSTANTS, SEVERITY_LEVELS, SIDES, Constants
from benchmark.data.corruptions.filters import FloatArray
from benchmark.data.corruptions.frost import PhotographedFrost, frost
from benchmark.data.corruptions.streams import ImageStreams, Streams
from benchmark.data.jpegs import Pixels
from benchmark.errors import UserError

GENERATOR = "gen-v2"
SPEC = {"type": GENERATOR, "version": 1, "frost": "procedural"}
"""What images of this generator depend on besides seed and ids, as plain data for records."""

Operation = Callable[[FloatArray, Streams, Constants], FloatArray]

OPERATIONS: dict[str, Operation] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
CORRUPTIONS_15: tuple[str, ...] = tuple(OPERATIONS)[:15]
"""The paper's 15 types in its order."""

CORRUPTIONS_18: tuple[str, ...] = tuple(name for name in OPERATIONS if name != "glass_blur")
"""What RiFT's released code averages over (Immortalise/RiFT, utils.py): all 19 but glass_blur."""

_CHUNK = 2**16  # values worked on at a time by one thread: its few float64 copies stay in the cache


def unfit(shape: Sequence[int], kind: str) -> str | None:
    """Why images (N, H, W, C) of this `shape` and type cannot be corrupted; None if they can."""
    square = len(shape) == 4 and shape[1] == shape[2] and shape[3] in (1, 3)
    if not square or not kind.endswith("uint8"):
        return f"only square images of uint8, grey or RGB, are corrupted, not {kind} {tuple(shape)}"
    if shape[1] not in SIDES:
        return f"corruptions are defined for the sides {SIDES}, not for {shape[1]} pixels"
    return None


def corrupt(
    images: NDArray[np.uint8],
    name: str,
    severity: int,
    *,
    seed: int,
    ids: NDArray[np.int64],
    frost: Sequence[Pixels] | None = None,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """`images` under corruption `name` at `severity` 1..5, in a new array.

    `images` is (N, side, side, 1 or 3) uint8 with side 8, 32 or 64; `ids`, (N,) int64, names each image
    for the random draws: the same image, id, seed, name and severity give the same result in any
    batch and with any number of `threads`. `frost` are pictures to use for "frost" in place of the
    procedural stand-in (see `PhotographedFrost`); other corruptions ignore them.

    Raises `ValueError` on wrong arguments, `UserError` on images that are `unfit`.
    """
    if name not in OPERATIONS:
        raise ValueError(f"unknown corruption {name!r}; known: {', '.join(OPERATIONS)}")
    if severity not in SEVERITY_LEVELS:
        raise ValueError(f"severity {severity!r} is not one of {SEVERITY_LEVELS}")
    if (why := unfit(images.shape, str(images.dtype))) is not None:
        raise UserError(why)
    constants = CONSTANTS[name][images.shape[1]][severity - 1]
    if ids.dtype != np.int64 or ids.shape != images.shape[:1]:
        raise ValueError(f"ids must be int64 of shape ({len(images)},), got {ids.dtype} {ids.shape}")
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    operation = OPERATIONS[name]
    if name == "frost" and frost is not None:
        operation = PhotographedFrost(frost, images.shape[1])
    out = np.empty(images.shape, dtype=np.uint8)

    def work(part: slice) -> None:
        x = np.ascontiguousarray(images[part]) / 255
        streams = ImageStreams(f"{GENERATOR}/{seed}/{name}/{severity}", ids[part])
        levels = np.clip(operation(x, streams, constants), 0, 1)
        levels *= 255
        out[part] = levels  # truncates

    size = max(1, _CHUNK // math.prod(images.shape[1:]))
    parts = [slice(start, start + size) for start in range(0, len(images), size)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))  # raises what a piece raised
    return out
