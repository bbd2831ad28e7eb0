"""What may come from elsewhere, without a meaning in Markdown and LaTeX; HTML has jinja's own.

`benchmark.report.leaderboard.page` switches that on.
"""

import re

from benchmark.errors import line

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


def markdown(text: str, *, marks: bool = False) -> str:
    """`text` on one line, without a meaning for Markdown or HTML.

    With `marks`, emphasis, code and brackets stay as they are; links, tags and column separators
    never do.
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
