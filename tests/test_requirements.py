"""`requirements.lock`: the versions of `constraints.txt`, each with the hashes of its files."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_lock_has_the_same_versions_and_a_hash_for_each():
    """Line by line what `constraints.txt` pins, markers included, with at least one sha256."""
    locked = (ROOT / "requirements.lock").read_text().replace(" \\\n", "").splitlines()
    pins = [re.sub(r"\s+--hash=\S+", "", line) for line in locked]
    assert pins == (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line) for line in locked)


def test_the_lock_has_the_build_backend():
    """`--no-build-isolation` takes it from what has been installed."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert pinned > {re.match(r"[\w-]+", need)[0] for need in build["requires"]}
