"""Text that may come from elsewhere: what a line of it is, and one escaping function per output format.

HTML has jinja's own, which `benchmark.report.leaderboard.page` switches on.
"""

import re
import unicodedata

JOINERS = "\u200c\u200d"
"""The invisible characters that writing Persian, Hindi and some symbols takes."""
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_MARKUP = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_LINKED = re.compile(r"(\\*)(\](?=[(\[:])|!(?=\[)|\|)")
_MARKS = re.compile(r"[\\`*_{}\[\]|~#]")
_TEX = str.maketrans(
    {each: rf"\{each}" for each in "#$%&_{}"}
    | {each: f"${each}$" for each in "<>|"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "—": r"\textemdash{}", '"': "''"}
)


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


def markdown(text: str, *, marks: bool = False) -> str:
    """`text` on one line, without a meaning for Markdown or HTML.

    `marks`: emphasis, code and brackets in it are meant, or only look so; a link, a tag and another
    column are never.
    """
    if marks:
        plain = _MARKUP.sub("&lt;", _ENTITY.sub("&amp;", line(text)))
        return _LINKED.sub(r"\1\1\\\2", plain)
    plain = " ".join(line(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\g<0>", plain)


def latex(text: str) -> str:
    """`text` on one line, without a meaning for LaTeX; hyphens in a row stay hyphens."""
    return re.sub("-(?=-)", "-{}", line(text).translate(_TEX))
