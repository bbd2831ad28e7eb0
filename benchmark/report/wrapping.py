"""Lines of text as wide as the terminal allows."""

import shutil
import textwrap

WIDEST = 118
"""Columns of a line where the terminal is wider, or where there is none."""


def width() -> int:
    """Columns that a line may have: those of the terminal (or `COLUMNS`), at most `WIDEST`."""
    return min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)


def wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """`text` in lines of at most `width()` columns, indented by `first` and then by `rest`.

    Words such as names and commands are not broken; one that is longer makes a longer line.
    """
    return textwrap.wrap(
        text,
        width(),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
