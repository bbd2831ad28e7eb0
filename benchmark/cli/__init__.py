"""The command line: `python -m benchmark COMMAND`. This and its sub-commands are all that prints.

Results go to standard output, progress and messages to standard error. Exit codes: 0 all is well, 1 a
cell failed or a check found something worse than before, 2 the input was wrong.
"""


def main() -> None:
    """Entry point of `python -m benchmark`."""
    from benchmark.cli.app import app

    app()
