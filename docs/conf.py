"""Sphinx builds the site from this, without network: `tox -e docs`, docs/_build/html/index.html."""

import contextlib
import posixpath
import re
import shutil
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, get_type_hints

import typer
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

from benchmark.cli.app import app as command_line

DOCS = Path(__file__).parent
MADE = DOCS / "made"
ELSEWHERE = {
    "CONTRIBUTING.md": "made/contributing.md",
    "checkpoints/README.md": "made/checkpoints.md",
    "examples/rift_in_ten_lines.ipynb": "made/notebook.ipynb",
}
"""Pages that lie outside of this folder, and where their copies are made."""
EXTRA = ("results", "checkpoints")
"""Folders that lie on the site as they are: the leaderboard is one file, and links to others."""
OF_ONE_MACHINE = ("demo*", "quick*", "*-demo*", "*-quick*", "superseded", "*.npz")

project = "RiFT benchmark"
author = "The RiFT benchmark maintainers"
version = release = installed("rift-benchmark")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "made/extra"]
templates_path = ["_templates"]
highlight_language = "none"

html_theme = "pydata_sphinx_theme"
html_title = project
html_context = {"default_mode": "auto"}
html_sidebars = {"**": ["pages"]}
html_extra_path = ["made/extra"]
html_copy_source = False
html_show_search_summary = False  # it is fetched, which a page from disk must not do
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "logo": {"text": project},
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
}

myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "site": "{{path}}"}
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from a CDN

default_role = "literal"  # one backtick in a docstring
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "model_config",
}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
nitpick_ignore_regex = [
    ("py:class", r"(torch|nn|numpy|np|pandas|pydantic|collections|pathlib|contextlib)\..*"),
    ("py:class", r"Tensor|Path|Figure|Images|benchmark\.(progress|engine|plans|records|algorithm)\..*"),
]
"""Types in signatures that no page is about; text names no class in a way that could be a reference."""


def make_commands() -> str:
    """Every command and option, as the command line describes itself."""
    group = typer.main.get_command(command_line)
    groups = [group]
    for each in groups:
        for command in getattr(each, "commands", {}).values():
            summary = (command.help or "").partition("\n\n")[0]
            command.short_help = " ".join(summary.split())  # click would cut it to 45 letters
            groups.append(command)
    name = "python -m benchmark"
    return get_docs_for_click(
        obj=group, ctx=typer.Context(group), name=name, title="Every command and option"
    )


def make_pages() -> None:
    """Write what the site takes from elsewhere."""
    shutil.rmtree(MADE / "extra", ignore_errors=True)
    for folder in EXTRA:
        without = shutil.ignore_patterns(*OF_ONE_MACHINE)
        shutil.copytree(DOCS.parent / folder, MADE / "extra" / folder, ignore=without)
    for there, here in ELSEWHERE.items():
        shutil.copy2(DOCS.parent / there, DOCS / here)
    (MADE / "options.md").write_text(make_commands(), encoding="utf-8")


def lead_to_pages(_app: Sphinx, page: str, source: list[str]) -> None:
    """Let the links of a page, which are right in the repository, lead to pages of the site."""
    here = {copy.partition(".")[0]: original for original, copy in ELSEWHERE.items()}.get(page)
    folder = posixpath.dirname(here or f"docs/{page}")
    on_site = {original: f"docs/{copy}" for original, copy in ELSEWHERE.items()}

    def link(found: re.Match[str]) -> str:
        shown, target, anchor = found[1] or "", found[2], found[3] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.endswith(".html"):
            return f"](site:{posixpath.relpath(path, posixpath.dirname(page) or '.')})"
        path = on_site.get(path, path)
        if not path.startswith("docs/"):
            scheme = "" if shown else "path:"  # a picture, or a file to download
            return f"{shown}]({scheme}{posixpath.relpath(path, posixpath.dirname(f'docs/{page}'))})"
        return f"{shown}]({posixpath.relpath(path, posixpath.dirname(f'docs/{page}'))}{anchor})"

    source[0] = re.sub(r"(!\[[^\]]*)?\]\(([\w./-]+)(#[\w-]+)?\)", link, source[0])


def drop_ranges(_app: Sphinx, of: Any, _bound: bool) -> None:
    """Types without the ranges that pydantic finds in them (`Annotated`)."""
    with contextlib.suppress(NameError, AttributeError, TypeError):  # names for the type checker alone
        of.__annotations__ = get_type_hints(of)


def drop_signature(
    _app: Sphinx, _what: str, _name: str, of: Any, *_rest: object
) -> tuple[str, None] | None:
    """None of interfaces, which nobody calls, nor of what is read from files, whose fields follow."""
    if hasattr(of, "model_fields"):
        types = {name: field.annotation for name, field in of.model_fields.items()}
        bare = type("Bare", (), {"__annotations__": types, "__module__": of.__module__})
        of.__annotations__ = get_type_hints(bare)
        return "", None
    return ("", None) if getattr(of, "_is_protocol", False) else None


def keep_lines(
    _app: Sphinx, what: str, _name: str, _of: object, _options: object, lines: list[str]
) -> None:
    """Show what is indented in the docstring of a module as it is."""
    if what == "module":
        lines[:] = re.sub(r"\n\n(?= {4}\S)", "\n\n::\n\n", "\n".join(lines)).split("\n")


def setup(app: Sphinx) -> None:
    """Called by Sphinx before it looks for pages."""
    make_pages()
    app.connect("source-read", lead_to_pages)
    app.connect("autodoc-process-docstring", keep_lines)
    app.connect("autodoc-before-process-signature", drop_ranges)
    app.connect("autodoc-process-signature", drop_signature)
