"""One random stream per image, so that no result depends on the batch or on its order."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.data.corruptions.filters import FloatArray

Streams = Sequence[np.random.Generator]


class ImageStreams(Streams):
    """The streams of `ids`, each a Philox keyed by a hash of `prefix` and the id.

    They are made when one is first used: a corruption that draws nothing does not pay for them.
    """

    def __init__(self, prefix: str, ids: NDArray[np.int64]) -> None:
        self._prefix = prefix
        self._ids = ids

    @cached_property
    def _made(self) -> list[np.random.Generator]:
        keys = (hashlib.sha256(f"{self._prefix}/{id_}".encode()).digest()[:16] for id_ in self._ids)
        return [np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big"))) for key in keys]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Any:
        return self._made[index]


def per_image(streams: Streams, draw: Callable[[np.random.Generator], ArrayLike]) -> FloatArray:
    """Stack one `draw` per image along a new first axis."""
    return np.array([draw(stream) for stream in streams], dtype=np.float64)
