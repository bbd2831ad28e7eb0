"""How long-running work reports its progress; the caller decides what shows it."""

from typing import Protocol


class Progress(Protocol):
    """Called with the stage, the units done so far, their total, and a short note such as the loss."""

    def __call__(self, stage: str, done: int, total: int, note: str = "", /) -> None: ...


SECOND = "second network"


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Report to nobody."""


def second(progress: Progress) -> Progress:
    """Report stages as those of the `SECOND` network of a mix."""

    def told(stage: str, done: int, total: int, note: str = "", /) -> None:
        progress(f"{SECOND}, {stage}", done, total, note)

    return told
