"""Eight photographs at 32 and 64 pixels, and pictures of all corruptions of one of them.

The patches are cut from the two photographs that come with scikit-learn. Contact sheets, to look at
after a change of the generator (one row per corruption: original, then severities 1 to 5):

    python tests/helpers/contact_sheet.py FOLDER

writes FOLDER/contact_32.png and FOLDER/contact_64.png; `--frost PICTURES` lays the pictures of that
folder over the row of frost.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmark.data.corruptions.frost import load_frost
from benchmark.data.corruptions.generator import OPERATIONS, SEVERITY_LEVELS, corrupt

# photograph (0 china.jpg, 1 flower.jpg), left, top and side of each patch
CUTS = (
    *((1, 200, 60, 300), (0, 170, 110, 192), (0, 330, 150, 128), (0, 0, 230, 192)),
    *((0, 440, 0, 192), (1, 90, 10, 320), (0, 240, 40, 384), (1, 330, 150, 160)),
)
_PIXELS = 128  # an image's side on the sheets
_NAMES = 130


def patches(side: int) -> NDArray[np.uint8]:
    """Parts of the photographs shrunk to `side` pixels: (8, side, side, 3)."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    size, box = (side, side), Image.Resampling.BOX
    cut = [photographs[i].crop((x, y, x + s, y + s)).resize(size, box) for i, x, y, s in CUTS]
    return np.stack([np.asarray(image) for image in cut])


def sheet(images: NDArray[np.uint8], number: int, frost: list[NDArray[np.uint8]] | None) -> Image.Image:
    """All corruptions of image `number` of `images`, with the draws it has in the goldens."""
    rows, columns = len(OPERATIONS), len(SEVERITY_LEVELS) + 1
    page = Image.new("RGB", (_NAMES + columns * _PIXELS, rows * _PIXELS), "white")
    pen = ImageDraw.Draw(page)
    part, ids = images[number : number + 1], np.array([number], dtype=np.int64)
    for row, name in enumerate(OPERATIONS):
        pen.text((4, row * _PIXELS + _PIXELS // 2), name, fill="black")
        shown = [part] + [
            corrupt(part, name, severity, seed=0, ids=ids, frost=frost) for severity in SEVERITY_LEVELS
        ]
        for column, image in enumerate(shown):
            tile = Image.fromarray(image[0]).resize((_PIXELS, _PIXELS), Image.Resampling.NEAREST)
            page.paste(tile, (_NAMES + column * _PIXELS, row * _PIXELS))
    return page


def main() -> None:
    """Write both sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the sheets go")
    parser.add_argument("--image", type=int, default=0, help="which of the eight patches")
    parser.add_argument("--frost", type=Path, help="a folder of frost pictures")
    options = parser.parse_args()
    frost = list(load_frost(options.frost)[0]) if options.frost else None
    options.folder.mkdir(parents=True, exist_ok=True)
    for side in (32, 64):
        page = sheet(patches(side), options.image, frost)
        page.save(options.folder / f"contact_{side}.png")


if __name__ == "__main__":
    main()
