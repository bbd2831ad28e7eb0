"""Files of the repository that the suite reads, in a checkout or in an installed wheel."""

from pathlib import Path

from benchmark.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """The file `name` of the repository, a path from its root. Raises `UserError` if it is not here.

    A wheel holds such files under `benchmark/_shipped/` (pyproject.toml, force-include).
    """
    for root in (_PACKAGE.parent, _PACKAGE / "_shipped"):
        if (path := root / name).exists():
            return path
    raise UserError(f"'{name}' of the repository is not here; work from a checkout, or install again")
