"""Errors that a user can mend: printed as one line, exit code 2."""

from typing import TYPE_CHECKING

from benchmark.text import line

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """What is wrong and what would be right, in one line; what it quotes controls no terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(line(message))


def system_problem(error: OSError) -> str:
    """What the system refused and where, such as `No space left on device: 'results/x.json'`."""
    where = "" if error.filename is None else f": '{error.filename}'"
    return f"{error.strerror or error}{where}"


def first_problem(error: "ValidationError", whole: str = "file") -> str:
    """The first thing that does not fit and its place, such as `cell.seed: Field required`.

    `whole` stands for the place of what is wrong with all of it.
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    message = first["msg"].removeprefix("Value error, ").replace("\n", " ")
    return f"{where}: {message}"
