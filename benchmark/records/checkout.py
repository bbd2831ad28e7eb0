"""The repository that this code is in: its git history, and the files of it that the suite reads."""

import subprocess
from pathlib import Path

from benchmark.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE.parent


def git(*arguments: str, root: Path = ROOT, given: str = "") -> str | None:
    """Run `git` on the repository at `root` with the input `given`, and return its output.

    None without git, outside a checkout, or where the command fails.
    """
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def shipped(name: str) -> Path:
    """The file `name` of the repository, a path from its root. Raises `UserError` if it is not here.

    A wheel holds such files under `benchmark/_shipped/` (pyproject.toml, force-include).
    """
    for root in (ROOT, _PACKAGE / "_shipped"):
        if (path := root / name).exists():
            return path
    raise UserError(f"'{name}' of the repository is not here; work from a checkout, or install again")
