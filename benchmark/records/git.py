"""The git repository that this code is in (no torch)."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def git(*arguments: str, root: Path = ROOT, given: str = "") -> str | None:
    """What `git` says in the repository at `root` when it reads `given`; None where it cannot say."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
