"""The command line: `python -m benchmark COMMAND`. Nothing else here writes to standard output.

Results go to standard output, progress and messages to standard error. Exit codes: 0 all is well, 1 a
cell or a check failed, 2 the input or the data are wrong or the system refused, 128 + N stopped by
signal N.
"""

import io
import os
import signal
import sys
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What asks to stop: a person, a batch system, a terminal that closes."""


class Stopped(BaseException):
    """The process was asked to stop. Nobody but `main` catches it; what is on disk is whole."""


def main() -> None:
    """Entry point of `python -m benchmark`."""
    asking = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]  # as by nohup

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in asking:
            signal.signal(each, signal.SIG_IGN)  # once is enough
        raise Stopped(number)

    for each in asking:
        signal.signal(each, stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a table is read without its dashes, too
    try:
        from benchmark.cli.app import app

        app()
    except Stopped as stopped:
        sys.stderr.write("stopped; the same command continues where this one was\n")
        sys.exit(128 + stopped.args[0])
    finally:
        if sys.stdout is not None:  # it is None where it was closed, as by `>&-`
            _forget_unwritten()


def _forget_unwritten() -> None:
    """Drop what standard output refuses, as on a full disk, which has been reported."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
