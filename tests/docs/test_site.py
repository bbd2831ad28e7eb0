"""The site as built: it opens from disk, and asks no network."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

import benchmark

pytestmark = pytest.mark.site
SITE = Path(__file__).parents[2] / "docs/_build/html"
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=\"([^\"]*)\"")
IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?([^\"')]+)")


def pages() -> list[Path]:
    """Every page."""
    found = [page for page in sorted(SITE.rglob("*.html")) if "_static" not in page.parts]
    assert len(found) > 20, "tox -e docs builds it"
    return found


def test_nothing_comes_from_elsewhere():
    """Scripts, styles, fonts and pictures are files of the site."""
    for page in pages():
        for address in LOADED.findall(page.read_text(encoding="utf-8")):
            local = unquote(address.partition("?")[0].partition("#")[0])
            if local and not local.startswith("data:"):
                assert (page.parent / local).is_file(), f"{address} in {page.name}"
    for style in SITE.rglob("*.css"):
        for address in IN_STYLE.findall(style.read_text(encoding="utf-8")):
            assert not re.match(r"(?:https?:)?//", address), f"{address} in {style.name}"


def test_every_link_leads_to_a_page():
    """What is linked relatively is there, the leaderboard and files to download too."""
    for page in pages():
        for address in re.findall(r"<a\b[^>]*?\bhref=\"([^\"]*)\"", page.read_text(encoding="utf-8")):
            local = unquote(address.partition("#")[0])
            if local and not re.match(r"\w+:", local):
                assert (page.parent / local).exists(), f"{address} in {page.name}"


def test_search_needs_no_server():
    """The index is a script, which a page from disk may load, and finds a page by a word on it."""
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(") and '"interpol' in index
    assert 'src="searchindex.js"' in (SITE / "search.html").read_text(encoding="utf-8")
    options = (SITE / "_static/documentation_options.js").read_text(encoding="utf-8")
    assert "SHOW_SEARCH_SUMMARY: false" in options  # summaries are fetched


def test_the_reference_has_every_public_name():
    """What `benchmark` offers from Python is on the page; `add` by what can be called on it."""
    page = (SITE / "reference/python.html").read_text(encoding="utf-8")
    anchors = re.findall(r'<dt [^>]*\bid="([\w.]+)"', page)
    assert {*benchmark.__all__} - {"add"} <= {anchor.rpartition(".")[2] for anchor in anchors}
