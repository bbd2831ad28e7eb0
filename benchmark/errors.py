"""Errors that a user can fix: one printed line without terminal controls, and exit code 2."""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


JOINERS = "\u200c\u200d"
"""The invisible characters that writing Persian, Hindi and some symbols takes."""
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def controls(character: str) -> bool:
    """Whether `character` steers what shows it: a control character such as ESC, NUL or a line end, a
    mark that turns or hides text, half a surrogate pair."""
    return unicodedata.category(character) in _CATEGORIES and character not in JOINERS


def printable(text: str, kept: str = "\n\t") -> str:
    r"""`text` with every character that `controls` as its escape, such as `\x1b`; but for `kept`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(ascii(each)[1:-1] if controls(each) and each not in kept else each for each in text)


def line(text: str) -> str:
    """`text` as one line that controls nothing."""
    return printable(text, kept="")


class UserError(Exception):
    """What is wrong and what would be right, in one line; what it quotes controls no terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(line(message))


def system_problem(error: OSError) -> str:
    """What the system refused and where, such as `No space left on device: 'results/x.json'`."""
    where = "" if error.filename is None else f": '{error.filename}'"
    return f"{error.strerror or error}{where}"


def reason(error: BaseException) -> str:
    """The first line of what `error` says, or its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")[:160] or type(error).__name__


def installing(extra: str) -> str:
    """What installs an `extra` of pyproject.toml, in a checkout and beside a wheel, in any folder."""
    return f"`pip install 'rift-benchmark[{extra}]'` installs it"


def close_to(name: str, known: Iterable[str]) -> str:
    """`close to it: narrow` of a name that is mistyped; empty where no known name is close."""
    by_case = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_case)
    return f"close to it: {', '.join(by_case[each] for each in near)}" if near else ""


def unknown(
    what: str, name: str, known: Iterable[str], listed: str = "", typed: str | None = None
) -> UserError:
    """The refusal of a name that is none of `known`, which `listed` says in other words.

    `typed` is the part of the name that is compared with them, if that is not all of it.
    """
    names = list(known)
    part = name if typed is None else typed
    hint = "" if part in names else close_to(part, names)
    said = f"known: {listed or ', '.join(names)}"
    return UserError(f"unknown {what} '{name}'; {'; '.join(filter(None, (hint, said)))}")


def problems(error: "ValidationError", whole: str = "file") -> list[str]:
    """All that does not fit, each with its place, such as `cell.seed: Field required`.

    `whole` stands for the place of what is wrong with all of it.
    """
    return [
        f"{'.'.join(str(part) for part in each['loc']) or whole}: "
        + each["msg"].removeprefix("Value error, ").replace("\n", " ")
        for each in error.errors()
    ]
