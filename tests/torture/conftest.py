"""Prints the table of what was tried; what the torture tests share."""

from pathlib import Path

import pytest

from torturing import TALLY

COLUMNS = ("tries", "lost", "executed", "tracebacks")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write a row for each class of torture that ran in this process."""
    if not TALLY:
        return
    terminalreporter.section("torture")
    width = max(map(len, TALLY))
    terminalreporter.line(f"{'class':{width}}  {'  '.join(f'{name:>10}' for name in COLUMNS)}")
    for title, row in TALLY.items():
        counts = "  ".join(f"{row[name]:>10}" for name in COLUMNS)
        terminalreporter.line(f"{title:{width}}  {counts}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the store that is tortured."""
    return tmp_path_factory.mktemp("tortured")


@pytest.fixture(scope="session")
def some(digits):
    """A few images of the embedded dataset."""
    from benchmark.data.images import Dataset, Split

    parts = (digits.train, 256), (digits.test, 40)
    return Dataset(digits.info, *(Split(s.images[:n], s.labels[:n]) for s, n in parts))
