"""Files: written whole or not at all, read where they may be missing, parsed by a schema."""

import os
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator

from benchmark.errors import UserError, first_problem
from benchmark.text import line


class Frozen(BaseModel):
    """A schema: no fields but those declared, none that changes once it is read, and no text, names of
    a mapping included, that is more than a line or controls what shows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _lines_only(self) -> Self:
        check_lines(vars(self))
        return self


def check_lines(fields: Mapping[str, Any]) -> None:
    """Raise `ValueError` if a string in `fields`, however deep, is not a `line`."""
    waiting = [(name, value) for name, value in fields.items()]
    while waiting:
        name, part = waiting.pop()
        if isinstance(part, str) and (shown := line(part)) != part:
            raise ValueError(f"{name}: '{shown}' has control characters; write a line without")
        if isinstance(part, Mapping):
            waiting += [(name, each) for each in (*part, *part.values())]
        elif isinstance(part, list | tuple):
            waiting += [(name, each) for each in part]


class Sparse(Frozen):
    """A schema whose files hold the field `sparse` only where it is neither 0 nor empty."""

    sparse: ClassVar[str]

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = serialize(self)
        return {name: value for name, value in fields.items() if value or name != self.sparse}


M = TypeVar("M", bound=BaseModel)
_LARGEST = 10 * 2**20
"""Bytes of a TOML file that people write, at most."""


def inside(path: Path, root: Path) -> Path:
    """`path`, which is to be written, once no link between `root` and it leads elsewhere.

    `root` itself may be a link. Raises `UserError` otherwise.
    """
    if path.resolve() != root.resolve() / path.relative_to(root):
        raise UserError(
            f"'{path}' is not in '{root}' but where a symbolic link leads, '{path.resolve()}'; put a "
            "folder or a file in the place of the link"
        )
    return path


def write_atomically(path: Path, content: bytes, root: Path | None = None) -> None:
    """Write `content` to `path` through a temporary file in the same folder and a rename.

    A killed process leaves the old file, the new one, or none. `root` is the folder that `path` must be
    `inside` of (None: any).
    """
    if root is not None:
        inside(path, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_if_there(path: Path) -> bytes | None:
    """The bytes of `path`, None if nothing is there.

    Raises `UserError` for what is there and cannot be read, such as a folder.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read '{path}' ({error.strerror}); move it away or mend it") from error


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The TOML file at `path`, in UTF-8 with a byte-order mark or without.

    Raises `UserError` for anything else: `what` says which file it would be, as in "scale file".
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise UserError(f"cannot read the {what} '{path}': it is no file of text, or a huge one")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read the {what} '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read the {what} '{path}': it is not UTF-8; save it as that") from error
    except (ValueError, RecursionError) as error:  # of tomllib, or a number or nesting beyond Python's
        raise UserError(f"'{path}' is not TOML: {error}") from error


def at_home(path: Path | str) -> Path:
    """`path` with a leading `~` or `~USER` as the home folder. Raises `UserError` if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"'{path}': there is no such home folder; write the path in full") from error


def parse_model(kind: type[M], content: str | bytes, path: object, wrong: str, remedy: str) -> M:
    """The JSON `content` of `path` as a `kind`.

    Raises `UserError` otherwise, in one line: the path is what `wrong` calls it, because of the first
    problem, and `remedy` is what to do.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"'{path}' {wrong}: {first_problem(error)}; {remedy}") from error


def read_model(kind: type[M], path: Path, wrong: str, remedy: str) -> M | None:
    """The JSON file at `path` as a `kind`, as `parse_model` does it; None if nothing is there."""
    content = read_if_there(path)
    return None if content is None else parse_model(kind, content, path, wrong, remedy)
