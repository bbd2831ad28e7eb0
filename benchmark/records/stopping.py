"""When unfinished work is saved: once a minute, and when this process is asked to end.

A signal's handler may call `ask`: it only sets a flag. A step of training is finished and its state
written; of other work, what is finished has been journaled. Then `StopRequested` is raised, and the
same command continues there.
"""

import time

EVERY = 60.0
"""Seconds of work from one state to the next: what a killed process loses at most."""

_asked = False


class StopRequested(BaseException):
    """Work was ended at a safe point because that was asked for.

    Like `KeyboardInterrupt` it is no failure of a cell, which `except Exception` would take it for.
    """


def ask() -> None:
    """Ask this process to end its work at the next safe point."""
    global _asked
    _asked = True


def asked() -> bool:
    """Whether that was asked for."""
    return _asked


def stop_if_asked() -> None:
    """Raise `StopRequested` if that was asked for; called where nothing would be lost."""
    if _asked:
        raise StopRequested


def due(since: float) -> bool:
    """Whether work that was saved at `since`, of `time.monotonic`, is to be saved now."""
    return asked() or time.monotonic() - since >= EVERY
