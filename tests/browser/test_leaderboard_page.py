"""The leaderboard's page in a real headless Chromium, opened from disk: `tox -e browser`."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from benchmark.report.leaderboard.page import html
from benchmark.report.leaderboard.schema import Board, Leaderboard
from handmade import store_in
from handmade_boards import several_boards

pytestmark = pytest.mark.browser

ROWS = """
const shown = (all) => [...all].filter((one) => !one.hidden);
return shown(document.querySelectorAll(".board")).map((board) => ({
  id: board.id,
  rows: shown(board.querySelectorAll("tbody tr")).map((row) => [...row.cells].map((c) => c.innerText)),
}));
"""
"""What is visible, board by board, as texts of cells."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """Five boards with gaps."""
    return several_boards(store_in(tmp_path_factory.mktemp("several")))


@pytest.fixture(scope="module")
def address(shown: Leaderboard, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the page is, on disk."""
    path = tmp_path_factory.mktemp("page") / "leaderboard.html"
    path.write_text(html(shown), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """A headless Chromium that logs its console and every request."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    browser, chromedriver = next(filter(None, found), None), shutil.which("chromedriver")
    if browser is None or chromedriver is None:
        pytest.skip("no browser: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield started
    started.quit()


@pytest.fixture
def page(driver: Any, address: str) -> Any:
    """The page, freshly opened in a window of 1280 pixels and light colours."""
    emulate(driver, 1280, "light")
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)
    driver.get(address)
    return driver


def emulate(driver: Any, width: int, colours: str) -> None:
    """A window of `width` pixels, and what the user prefers."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferred = [{"name": "prefers-color-scheme", "value": colours}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})


def visible(page: Any) -> dict[str, list[list[str]]]:
    """Texts of the visible cells, row by row, by board."""
    return {board["id"]: board["rows"] for board in page.execute_script(ROWS)}


def press(page: Any, board: str, key: str) -> Any:
    """Press the button in the head of a column; the head."""
    head = page.find_element("css selector", f"[id='{board}'] th[data-key='{key}']")
    page.execute_script("arguments[0].scrollIntoView({inline: 'center', block: 'center'})", head)
    head.find_element("css selector", "button").click()
    return head


def values(page: Any, board: Board, key: str) -> list[float | None]:
    """The visible numbers of a column from above, None for a dash."""
    place = 2 + [column.evaluation for column in board.columns].index(key)
    texts = [row[place].splitlines()[0] for row in visible(page)[board.id]]
    return [None if text == "—" else float(text) for text in texts]


def choose(page: Any, name: str, value: str) -> None:
    """Set a control as a user does."""
    script = """
    const control = document.querySelector(`[name=${arguments[0]}]`);
    control.value = arguments[1];
    control.dispatchEvent(new Event("input", {bubbles: true}));
    """
    page.execute_script(script, name, value)


def gappy(shown: Leaderboard) -> tuple[Board, str]:
    """A board with a column in which two ranked numbers or more are there and one is missing."""
    for board in shown.boards:
        for name in (column.evaluation for column in board.columns):
            ranks = [entry.numbers[name].rank for entry in board.entries if name in entry.numbers]
            if 2 <= len(ranks) < len(board.entries) and all(ranks):
                return board, name
    raise AssertionError


def test_columns_sort_by_number_with_missing_ones_last(page: Any, shown: Leaderboard) -> None:
    """A press sorts downwards, a second one upwards; a dash stays last, aria-sort follows."""
    board, key = gappy(shown)
    known = sorted(entry.numbers[key].mean * 100 for entry in board.entries if key in entry.numbers)
    gaps = [None] * (len(board.entries) - len(known))
    head = press(page, board.id, key)
    assert head.get_attribute("aria-sort") == "descending"
    assert values(page, board, key) == [*(pytest.approx(value) for value in known[::-1]), *gaps]
    press(page, board.id, key)
    assert head.get_attribute("aria-sort") == "ascending"
    assert values(page, board, key) == [*(pytest.approx(value) for value in known), *gaps]
    others = page.find_elements(
        "css selector", f"[id='{board.id}'] th[aria-sort]:not([aria-sort=none])"
    )
    assert others == [head]


def test_ranks_follow_the_sorted_column(page: Any, shown: Leaderboard) -> None:
    """The column of ranks is of the evaluation that is sorted by, and says so."""
    board, key = gappy(shown)
    press(page, board.id, key)
    label = next(column.label for column in board.columns if column.evaluation == key)
    assert label in page.find_element("css selector", f"[id='{board.id}'] th.rank").text
    ranks = [row[0].splitlines()[0] for row in visible(page)[board.id]]
    wanted = sorted(entry.numbers[key].rank or 0 for entry in board.entries if key in entry.numbers)
    assert ranks == [str(rank) for rank in wanted] + ["—"] * (len(ranks) - len(wanted))


def test_columns_sort_by_the_keyboard(page: Any, shown: Leaderboard) -> None:
    """The head of a column is a button that takes the focus and answers to Enter."""
    board = shown.boards[0]
    button = page.find_element("css selector", f"[id='{board.id}'] th[data-key=model] button")
    page.execute_script("arguments[0].focus()", button)
    assert page.switch_to.active_element == button
    button.send_keys("\n")
    labels = [row[1].splitlines()[0] for row in visible(page)[board.id]]
    assert labels == sorted(labels, key=str.lower)


def test_columns_sort_by_difference(page: Any, shown: Leaderboard) -> None:
    """Sorted by differences, a base model, which has none, comes last."""
    board = next(
        board
        for board in shown.boards
        if sum(
            entry.numbers["clean"].change is not None
            for entry in board.entries
            if "clean" in entry.numbers
        )
        >= 2
    )
    choose(page, "by", "change")
    press(page, board.id, "clean")
    known = {
        entry.label: entry.numbers["clean"].change.mean
        for entry in board.entries
        if "clean" in entry.numbers and entry.numbers["clean"].change
    }
    labels = [row[1].splitlines()[0] for row in visible(page)[board.id]]
    assert labels[: len(known)] == sorted(known, key=lambda label: -known[label])


def test_filters_leave_what_fits(page: Any, shown: Leaderboard) -> None:
    """A filter hides rows, and boards without any; together they narrow down; reset shows all."""
    everything = visible(page)
    assert set(everything) == {board.id for board in shown.boards}
    choose(page, "scale", "other-hand")
    assert set(visible(page)) == {board.id for board in shown.boards if board.scale == "other-hand"}
    choose(page, "protocol", "rift (test)")
    (rows,) = visible(page).values()
    assert [row[1].splitlines()[0] for row in rows] == ["AT + rift"]
    assert page.find_element("id", "shown").text.startswith("1 of ")
    page.find_element("css selector", "button[type=reset]").click()
    assert visible(page) == everything


def test_search_finds_words_in_any_order(page: Any) -> None:
    """All words must occur, whatever their case; nothing found is said."""
    choose(page, "q", "OFFICIAL-code at")
    found = visible(page)
    assert found
    assert all("rift-official-code" in row[1] for rows in found.values() for row in rows)
    choose(page, "q", "no such model")
    assert visible(page) == {}
    assert page.find_element("id", "nothing").is_displayed()


def test_the_address_keeps_the_state(page: Any, shown: Leaderboard) -> None:
    """A copied address shows the same rows in the same order, also in a fresh window."""
    board, key = gappy(shown)
    choose(page, "scale", board.scale)
    press(page, board.id, key)
    press(page, board.id, key)
    before, address = visible(page), page.current_url
    assert "#" in address
    page.get("about:blank")
    page.get(address)
    assert visible(page) == before
    head = page.find_element("css selector", f"[id='{board.id}'] th[data-key='{key}']")
    assert head.get_attribute("aria-sort") == "ascending"


WIDTHS = pytest.mark.parametrize("width", [390, 800, 1280])
COLOURS = pytest.mark.parametrize("colours", ["light", "dark"])


@WIDTHS
@COLOURS
def test_nothing_is_cut(page: Any, width: int, colours: str) -> None:
    """Neither the page nor a table is wider than its frame, and no cell sticks out of its table."""
    emulate(page, width, colours)
    script = """
    const frames = [document.documentElement, ...document.querySelectorAll(".scroll")];
    const out = (cell) => cell.getBoundingClientRect().right > innerWidth;
    return [frames.map((one) => one.scrollWidth - one.clientWidth),
            [...document.querySelectorAll("tbody tr > *")].filter(out).length]
    """
    over, outside = page.execute_script(script)
    assert set(over) == {0}
    assert outside == 0


@COLOURS
def test_a_phone_shows_cards(page: Any, colours: str) -> None:
    """Below 600 pixels an entry is a card, and the first one's accuracy is on the first screen."""
    emulate(page, 390, colours)
    page.refresh()
    value = page.find_element("css selector", "tbody td.number .value")
    assert value.rect["y"] + value.rect["height"] <= 800
    first, second = page.find_elements("css selector", "tbody tr")[:2]
    assert first.value_of_css_property("display") == "grid"
    assert second.rect["y"] > first.rect["y"] + first.rect["height"]
    label = "return getComputedStyle(arguments[0].parentElement, '::before').content"
    assert "Adv" in page.execute_script(label, value)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2.1)."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_text_has_contrast(page: Any, colours: str) -> None:
    """All kinds of text stand out from the page by 4.5 to 1 (WCAG 2.1, AA)."""
    emulate(page, 1280, colours)
    paper = luminance(
        page.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    )
    assert (paper < 0.1) == (colours == "dark")
    for selector in (
        "body",
        "td .interval",
        "tbody th small",
        "td.about a",
        ".label",
        ".tick",
        "h2 small",
        ".notes",
    ):
        element = page.find_element("css selector", selector)
        drawn = "fill" if selector in (".label", ".tick") else "color"
        script = f"return getComputedStyle(arguments[0]).{drawn}"
        text = luminance(page.execute_script(script, element))
        light, dark = max(text, paper), min(text, paper)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def test_nothing_is_fetched_and_nothing_fails(page: Any) -> None:
    """The only request is the page itself, and the console stays empty."""
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [
        m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"
    ]
    assert sent
    assert all(
        url.split("#")[0].endswith("/leaderboard.html") or url.startswith("data:") for url in sent
    )
    assert all(url.startswith(("file:", "data:")) for url in sent)
    assert page.get_log("browser") == []


def test_without_script_it_is_a_plain_table(driver: Any, address: str, shown: Leaderboard) -> None:
    """With scripts switched off every entry is there and no dead control is."""
    emulate(driver, 1280, "light")
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(address)
        rows = driver.find_elements("css selector", "tbody tr")
        assert len(rows) == sum(len(board.entries) for board in shown.boards)
        assert all(row.is_displayed() for row in rows)
        assert not driver.find_element("id", "tools").is_displayed()
        assert not driver.find_elements("css selector", "thead button")
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
