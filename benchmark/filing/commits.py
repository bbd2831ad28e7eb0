"""Commits that records name and the repository does not have (no torch)."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import benchmark

ROOT = Path(benchmark.__file__).resolve().parent.parent


def missing_commits(commits: Iterable[str], root: Path = ROOT) -> frozenset[str]:
    """Those of `commits` (40 hex digits) that the git repository at `root` does not have.

    None where that cannot be told: without git, outside a checkout, or in a shallow one.
    """
    asked = sorted(set(commits))
    if not asked or not (root / ".git").exists():
        return frozenset()
    try:
        if _git(root, "rev-parse", "--is-shallow-repository").strip() != "false":
            return frozenset()
        said = _git(root, "cat-file", "--batch-check", given="".join(f"{each}\n" for each in asked))
    except (OSError, subprocess.CalledProcessError):
        return frozenset()
    kinds = dict(line.split(maxsplit=1) for line in said.splitlines())
    return frozenset(each for each in asked if not kinds.get(each, "").startswith("commit"))


def _git(root: Path, *arguments: str, given: str = "") -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
