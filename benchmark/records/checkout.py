"""The repository that this code is in: its git history, and the files of it that the suite reads."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE.parent


def git(*arguments: str, root: Path = ROOT, given: str = "") -> str | None:
    """Run `git` on the repository at `root` with the input `given`, and return its output.

    None without git, outside a checkout, or where the command fails.
    """
    try:
        return _asked(arguments, root, given)
    except (OSError, subprocess.CalledProcessError):
        return None


def unnamed(root: Path = ROOT) -> str | None:
    """Why what is made here names no commit, and what helps; None if it names one."""
    try:
        _asked(("rev-parse", "HEAD"), root)
    except subprocess.CalledProcessError as error:
        if "safe.directory" in error.stderr:
            return (
                f"git refuses to read '{root}', which is another user's; `git config --global --add "
                f"safe.directory {root}` lets it"
            )
        return f"git says of '{root}': {error.stderr.strip().splitlines()[0]}"
    except FileNotFoundError:
        if (root / ".git").exists():
            return "there is no git; install it"
        return f"'{root}' is no git checkout; work from a clone"
    except OSError as error:
        return f"git cannot be run ({error.strerror})"
    return None


def _asked(arguments: Sequence[str], root: Path, given: str = "") -> str:
    """What git answers. Raises `FileNotFoundError` without a checkout or git, else as `subprocess`."""
    (root / ".git").lstat()
    command = ["git", "-C", str(root), *arguments]
    asked = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return asked.stdout


def shipped(name: str) -> Path:
    """The file `name` of the repository, a path from its root. Raises `UserError` if it is not here.

    A wheel holds such files under `benchmark/_shipped/` (pyproject.toml, force-include).
    """
    for root in (ROOT, _PACKAGE / "_shipped"):
        if (path := root / name).exists():
            return path
    raise UserError(f"'{name}' of the repository is not here; work from a checkout, or install again")
