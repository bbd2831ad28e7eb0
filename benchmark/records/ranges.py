"""Numbers that people type, in files, flags and Python: the interval of each kind."""

from typing import Annotated

from pydantic import Field

MOST_THREADS = 1024

Positive = Annotated[int, Field(strict=True, ge=1, le=10**9)]
"""Epochs, steps, images, images per batch."""

Natural = Annotated[int, Field(strict=True, ge=0, le=10**9)]
"""The same where none is something, too: the epoch of a milestone."""

Seed = Annotated[int, Field(strict=True, ge=0, lt=10**18)]
"""A seed; `records.cells.Cell.parse` reads as many digits."""

Threads = Annotated[int, Field(strict=True, ge=0, le=MOST_THREADS)]
"""Threads of a process; 0 where it stands for all cores."""

Size = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""Learning rates, and lengths relative to a ball or to a norm."""

Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
"""Weight decay, momentum, radii of pixels in [0,1]."""
