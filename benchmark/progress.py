"""How long work reports where it is; who shows it is decided by the caller."""

from typing import Protocol


class Progress(Protocol):
    """Called with the stage, the units done so far, their total, and a short note such as the loss."""

    def __call__(self, stage: str, done: int, total: int, note: str = "", /) -> None: ...


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Report to nobody."""
