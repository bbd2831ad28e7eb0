"""A hash of what a dataset says, not of how it is stored."""

import hashlib

import numpy as np
from numpy.typing import ArrayLike


def content_sha256(images: ArrayLike, labels: ArrayLike) -> str:
    """A hash of labelled images that does not depend on the order of the rows.

    `images` uint8 (N, ...), `labels` integers (N,). SHA-256 over the shape of one image and the sorted
    SHA-256 digests of the rows; a row is the bytes of its pixels, in C order, and of its label, as
    little-endian int64. So a changed pixel, a swapped label, a missing or a doubled row show; another
    order or another file format does not. Raises `ValueError` where the arrays do not fit together.
    """
    pixels = np.asarray(images)
    numbers = np.asarray(labels)
    if pixels.dtype != np.uint8 or numbers.dtype.kind not in "iu" or numbers.shape != pixels.shape[:1]:
        raise ValueError(
            f"images {pixels.dtype}{pixels.shape} and labels {numbers.dtype}{numbers.shape}: not "
            "uint8 (N, ...) and integers (N,)"
        )
    digests = []
    for row, label in zip(pixels, numbers.astype("<i8"), strict=True):
        digest = hashlib.sha256(np.ascontiguousarray(row).data)
        digest.update(label.tobytes())
        digests.append(digest.digest())
    digests.sort()
    return hashlib.sha256(str(pixels.shape[1:]).encode() + b"".join(digests)).hexdigest()
