"""Tables 1 and 2 as README and docs/findings.md print them, against a fresh run: slow."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {"table1": "README.md", "table2": "docs/findings.md"}
PRINTED = re.compile(
    r"<!-- (?P<name>table\d), made on (?P<device>[^\n]+?) with torch (?P<torch>\S+) -->\n"
    r"```\n(?P<text>.+?)```",
    re.DOTALL,
)
POINT = 1.0
"""How far a mean of three seeds may be away on another kind of processor, in points."""


def means(text: str) -> list[float]:
    """Every mean over seeds in a table, in reading order, in percent or points."""
    return [float(mean) for mean in re.findall(r"([+-]?\d+\.\d\d) ± ", text)]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_pages_print_what_a_fresh_run_prints(command, name):
    """Byte by byte on the kind of processor that it names, within a point of every mean elsewhere."""
    import torch

    from benchmark.engine.provenance import device_name, machine_versions

    pages = PRINTED.finditer((ROOT / PAGES[name]).read_text())
    (printed,) = [each for each in pages if each["name"] == name]
    answer = command(name, "--jobs", "2").good()
    expected, fresh = means(printed["text"]), means(answer.stdout)
    assert len(fresh) == len(expected) > 0
    assert max(abs(one - other) for one, other in zip(fresh, expected, strict=True)) < POINT
    here = device_name(torch.device("cpu")), machine_versions()["torch"]
    if (printed["device"], printed["torch"]) == here:
        assert answer.stdout.startswith(printed["text"])
