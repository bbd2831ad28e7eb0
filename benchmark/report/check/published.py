"""Reader of `results/published.toml`: the published numbers that records are compared with."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.records.checkout import shipped
from benchmark.records.files import read_toml
from benchmark.report.check.published_schema import Published

FILE = "results/published.toml"


@cache
def published(path: Path | None = None) -> Published:
    """The published numbers in the file `path` (None: that of the repository), checked; read once.

    Raises `UserError` in one line with the file, the entry and what is wrong.
    """
    path = shipped(FILE) if path is None else path
    flat = _flat(read_toml(path, "file of published numbers"), path)
    try:
        return Published.model_validate(flat)
    except ValidationError as error:
        wrong = [
            f"{_place(flat, each['loc'])}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        ]
        raise UserError(f"'{path}': {'; '.join(wrong)}") from error


def _flat(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return `content` with its `groups` resolved: the fields of a group hold for each of its rows,
    which may override them, and its source and place for each of its changes."""
    flat: dict[str, Any] = {"rows": [], "changes": [], **content}
    groups = flat.pop("groups", [])
    if not (isinstance(groups, list) and all(isinstance(group, dict) for group in groups)):
        raise UserError(f"'{path}': groups: write them as [[groups]]")
    for number, group in enumerate(groups, start=1):
        shared = {name: value for name, value in group.items() if name not in ("rows", "changes")}
        place = {name: shared[name] for name in ("source", "where") if name in shared}
        for kind, fields in (("rows", shared), ("changes", place)):
            entries = group.get(kind, [])
            if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
                raise UserError(f"'{path}': group {number}: {kind}: write a list of tables")
            flat[kind] = [*flat[kind], *({**fields, **entry} for entry in entries)]
    return flat


def _place(flat: Mapping[str, Any], loc: tuple[str | int, ...]) -> str:
    """Return the place of an error: the kind of entry, its id (else its number), and the field."""
    if not loc:
        return "the whole file"
    kind, *rest = loc
    entries = flat.get(str(kind))
    if rest and isinstance(entries, list) and isinstance(rest[0], int):
        entry = entries[rest[0]]
        name = entry.get("id") or entry.get("module") if isinstance(entry, Mapping) else None
        rest[0] = f"'{name}'" if name else f"number {rest[0] + 1}"
    if rest and rest[-1] == "[key]":
        rest.pop()
    return " ".join([str(kind), *(str(part) for part in rest)])
