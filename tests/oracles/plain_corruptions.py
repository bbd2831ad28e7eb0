"""The 15 corruptions of `gen-v2` as one would write them for one image, from their definitions.

An oracle for tests and the plain side of a benchmark: no batches, nothing kept from one image for the
next, pixels displaced in a loop as in the published scripts (hendrycks/robustness). Sums are taken in
the order that `benchmark/corruptions` gives them, so that images can be compared byte for byte.

Every operation takes x, (S, S, C) in [0, 1], a random stream and the constants of its severity.
"""

import hashlib
import io

import numpy as np
from PIL import Image

from benchmark.data.corruptions.constants import CONSTANTS
from benchmark.data.corruptions.frost import TEXTURES


def corrupt_one(image, name, severity, *, seed, image_id):
    """One uint8 (S, S, C) `image` under corruption `name`; a new array like it."""
    text = f"gen-v2/{seed}/{name}/{severity}/{image_id}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    stream = np.random.Generator(np.random.Philox(key=key))
    constants = CONSTANTS[name][len(image)][severity - 1]
    out = PLAIN_OPERATIONS[name](image / 255, stream, *constants)
    return (np.clip(out, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(x, stream, sigma):
    """Normal noise of deviation `sigma`."""
    return x + sigma * stream.standard_normal(x.shape)


def shot_noise(x, stream, photons):
    """Poisson counts, `photons` being white."""
    return stream.poisson(x * photons) / photons


def impulse_noise(x, stream, amount):
    """The share `amount` of the values becomes black or white."""
    chance, coin = stream.random((2, *x.shape))
    return np.where(chance < amount, np.where(coin < 0.5, 1.0, 0.0), x)


def defocus_blur(x, stream, radius, smoothing):
    """A disc of `radius`, softened by a 3x3 Gaussian of deviation `smoothing`."""
    reach = int(radius) + 1
    away = np.arange(-reach, reach + 1)
    disc = (away[:, None] ** 2 + away[None, :] ** 2 <= radius**2).astype(np.float64)
    softened = separable(disc[:, :, None] / disc.sum(), gaussian(smoothing, 1), "edge")
    return weighted_sum(x, softened[:, :, 0], "reflect")


def glass_blur(x, stream, sigma, reach, passes, share):
    """Blur; overwrite pixels by neighbours, last pixel first, `passes` times; blur."""
    reach, passes = int(reach), int(passes)
    height, width = x.shape[:2]
    down, right = stream.integers(-reach, reach, (2, passes, height, width))
    moved = stream.random((passes, height, width)) < share
    out = gaussian_blur(x, sigma, "edge", 4)
    for number in range(passes):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                if moved[number, row, column]:
                    from_row = row + down[number, row, column]
                    from_column = column + right[number, row, column]
                    out[row, column] = out[from_row, from_column]
    return gaussian_blur(out, sigma, "edge", 4)


def motion_blur(x, stream, radius, sigma):
    """A smear along an angle of -45 to 45 degrees."""
    return trail(x, stream.uniform(-45, 45), int(radius), sigma)


def zoom_blur(x, stream, end, step):
    """The mean of the picture and of its magnifications by 1, 1 + `step`, ..."""
    factors = np.arange(1, end, step)
    total = x.copy()
    for factor in factors:
        total += zoom(x, factor)
    return total / (len(factors) + 1)


def snow(x, stream, mean, deviation, factor, threshold, radius, sigma, keep):
    """A paler picture, and flakes that fall at an angle, twice."""
    field = stream.normal(mean, deviation, (*x.shape[:2], 1))
    angle = stream.uniform(-135, -45)
    field = zoom(field, factor)
    field = np.where(field < threshold, 0, np.clip(field, 0, 1))
    flakes = trail(field, angle, int(radius), sigma)
    pale = np.maximum(x, luma(x) * 1.5 + 0.5)
    return keep * x + (1 - keep) * pale + flakes + flakes[::-1, ::-1]


def frost(x, stream, kept, added):
    """A veil with the ridges of a cloud map, of one of five textures."""
    decay, sharpness, ground, crest = TEXTURES[stream.integers(5)]
    slopes = sharpness * np.abs(2 * clouds(stream, len(x), decay) - 1)
    return kept * x + added * (ground + (crest - ground) * np.maximum(1 - slopes, 0) ** 2)


def fog(x, stream, thickness, decay):
    """A cloud map, scaled back to the old maximum."""
    peak = x.max()
    return (x + thickness * clouds(stream, len(x), decay)) * peak / (peak + thickness)


def brightness(x, stream, rise):
    """The value of HSV raised at fixed hue and saturation."""
    value = x.max(axis=2, keepdims=True)
    shares = np.where(value == 0, 1, x / np.where(value == 0, 1, value))
    return shares * np.clip(value + rise, 0, 1)


def contrast(x, stream, kept):
    """Every value drawn towards the mean of its channel."""
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * kept + mean


def elastic_transform(x, stream, amplitude, smoothness, shift):
    """A random affine map, then a smooth random displacement."""
    amplitude, smoothness, shift = (len(x) * constant for constant in (amplitude, smoothness, shift))
    height, width = x.shape[:2]
    jitter = stream.uniform(-shift, shift, (3, 2))
    points = height / 2 + height // 3 * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    back = np.linalg.solve(np.column_stack([points + jitter, np.ones(3)]), points)
    rows, columns = np.indices((height, width), dtype=np.float64)
    from_rows = back[0, 0] * rows + back[1, 0] * columns + back[2, 0]
    from_columns = back[0, 1] * rows + back[1, 1] * columns + back[2, 1]
    x = bilinear(x, from_rows, from_columns)
    if amplitude == 0:
        return x
    field = stream.uniform(-1, 1, (height, width, 2))
    field = amplitude * gaussian_blur(field, smoothness, "reflect", 3)
    return bilinear(x, rows + field[:, :, 0], columns + field[:, :, 1])


def pixelate(x, stream, height_kept, width_kept):
    """Shrunk and enlarged by Pillow's box filter."""
    height, width = x.shape[:2]
    small = (int(width * width_kept), int(height * height_kept))
    coarse = picture(x).resize(small, Image.Resampling.BOX)
    return np.asarray(coarse.resize((width, height), Image.Resampling.BOX)).reshape(x.shape) / 255


def jpeg_compression(x, stream, quality):
    """Encoded and decoded by Pillow."""
    file = io.BytesIO()
    picture(x).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file)).reshape(x.shape) / 255


PLAIN_OPERATIONS = {
    operation.__name__: operation
    for operation in (
        *(gaussian_noise, shot_noise, impulse_noise),
        *(defocus_blur, glass_blur, motion_blur, zoom_blur),
        *(snow, frost, fog, brightness),
        *(contrast, elastic_transform, pixelate, jpeg_compression),
    )
}


def picture(x):
    """Grey or RGB, rounded to whole levels."""
    levels = np.rint(x * 255).astype(np.uint8)
    return Image.fromarray(levels[:, :, 0] if x.shape[2] == 1 else levels)


def luma(x):
    """The grey version, (S, S, 1), with the weights of ITU-R BT.601."""
    return x if x.shape[2] == 1 else 0.299 * x[:, :, :1] + 0.587 * x[:, :, 1:2] + 0.114 * x[:, :, 2:]


def gaussian(sigma, radius):
    """2 `radius` + 1 samples that sum to 1."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def weighted_sum(x, kernel, border):
    """Correlation with `kernel`: every pixel is the sum of its neighbours with these weights."""
    height, width = x.shape[:2]
    tall, wide = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(x, ((tall, tall), (wide, wide), (0, 0)), mode=border)
    total = np.zeros(x.shape)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            total += kernel[row, column] * padded[row : row + height, column : column + width]
    return total


def separable(x, taps, border):
    """Correlation with `taps` down the columns, then along the rows."""
    return weighted_sum(weighted_sum(x, taps[:, None], border), taps[None, :], border)


def gaussian_blur(x, sigma, border, reach):
    """Blur with a Gaussian cut off at `reach` sigmas."""
    radius = int(reach * sigma + 0.5)
    return x.copy() if radius == 0 else separable(x, gaussian(sigma, radius), border)


def trail(x, angle, radius, sigma):
    """Sum of copies shifted by 0, 1, ... pixels along `angle` (degrees), fainter and fainter."""
    height, width = x.shape[:2]
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    total = np.zeros(x.shape)
    for step, weight in enumerate(weights):
        down = int(np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5))
        right = int(np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5))
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        total += weight * x[rows[:, None], columns[None, :]]
    return total


def mirrored(index, size):
    """Whole positions folded into 0..size-1 at the first and the last pixel."""
    folded = np.abs(index) % (2 * (size - 1))
    return np.minimum(folded, 2 * (size - 1) - folded)


def bilinear(x, rows, columns):
    """`x` read at real positions (S, S), mirrored at the borders."""
    height, width = x.shape[:2]
    top, left = np.floor(rows), np.floor(columns)
    down, right = (rows - top)[:, :, None], (columns - left)[:, :, None]
    row, column = top.astype(np.int64), left.astype(np.int64)
    above, below = mirrored(row, height), mirrored(row + 1, height)
    before, after = mirrored(column, width), mirrored(column + 1, width)
    upper = x[above, before] * (1 - right) + x[above, after] * right
    lower = x[below, before] * (1 - right) + x[below, after] * right
    return upper * (1 - down) + lower * down


def zoom(x, factor):
    """The middle of the square `x`, cut out, magnified and trimmed, all in whole pixels."""
    side = len(x)
    cut = int(np.ceil(side / factor))
    magnified = round(cut * factor)
    trimmed = (magnified - side) // 2
    steps = np.arange(trimmed, trimmed + side)
    positions = (side - cut) // 2 + steps * (cut - 1) / (magnified - 1)
    return bilinear(x, *np.meshgrid(positions, positions, indexing="ij"))


def clouds(stream, side, decay):
    """A plasma map (side, side, 1) in [0, 1] by diamond-square on the next power of two."""
    size = 1 << (side - 1).bit_length()
    noise = stream.uniform(-1, 1, (size, size))
    heights = np.zeros((size, size))
    amplitude, step = 1.0, size
    while step > 1:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        centres = (pairs + np.roll(pairs, -1, axis=1)) / 4 + amplitude * noise[half::step, half::step]
        ends = corners + np.roll(corners, -1, axis=1)
        above_and_below = centres + np.roll(centres, 1, axis=0)
        across = (ends + above_and_below) / 4 + amplitude * noise[::step, half::step]
        ends = corners + np.roll(corners, -1, axis=0)
        left_and_right = centres + np.roll(centres, 1, axis=1)
        down = (ends + left_and_right) / 4 + amplitude * noise[half::step, ::step]
        heights[half::step, half::step] = centres
        heights[::step, half::step] = across
        heights[half::step, ::step] = down
        amplitude, step = amplitude / decay**2, half
    heights -= heights.min()
    heights /= heights.max()
    return heights[:side, :side, None]
