"""Commits that records name and the repository does not have (no torch)."""

from collections.abc import Iterable
from pathlib import Path

from benchmark.records.checkout import ROOT, git


def missing_commits(commits: Iterable[str], root: Path = ROOT) -> frozenset[str]:
    """Those of `commits` (40 hex digits) that the git repository at `root` does not have.

    None where that cannot be told: without git, outside a checkout, or in a shallow one.
    """
    asked = sorted(set(commits))
    if not asked or git("rev-parse", "--is-shallow-repository", root=root) != "false\n":
        return frozenset()
    said = git("cat-file", "--batch-check", root=root, given="".join(f"{each}\n" for each in asked))
    if said is None:
        return frozenset()
    kinds = dict(line.split(maxsplit=1) for line in said.splitlines())
    return frozenset(each for each in asked if not kinds.get(each, "").startswith("commit"))
