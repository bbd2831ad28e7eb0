"""A request to end this process's work at the next safe point, where all that is made has been saved.

A signal's handler may call `ask`: it only sets a flag. A step of training is finished and its state
written, a chunk of other work is finished and journaled; then `StopRequested` is raised, and the same
command continues there.
"""

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
