"""Files: written whole or not at all, locked, read where they may be missing, parsed by a schema."""

import logging
import os
import platform
import re
import secrets
import shutil
import stat
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from benchmark.errors import UserError, line, problems


class Frozen(BaseModel):
    """A schema: no undeclared fields, immutable, and every text, keys of mappings included, is one line
    without terminal controls."""

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
        if isinstance(part, str):
            # Nearly every string is printable, which is cheap to ask, and then it is a line.
            if not part.isprintable() and (shown := line(part)) != part:
                raise ValueError(f"{name}: '{shown}' has control characters; write a line without")
        elif isinstance(part, Mapping):
            waiting += [(name, each) for each in (*part, *part.values())]
        elif isinstance(part, list | tuple):
            waiting += [(name, each) for each in part]


M = TypeVar("M", bound=BaseModel)
_LARGEST = 10 * 2**20
"""Bytes of a TOML file that people write, at most."""
_LOG = logging.getLogger(__name__)  # a line on standard error, from workers too
_HOST = re.sub(r"[^A-Za-z0-9.]+", "-", platform.node())[:64]
_DAY, _DEPTH = 86_400, 8  # seconds; folders below the root of a tree, such as a journal's


# --- written ----------------------------------------------------------------------------------------


def temporary(folder: Path) -> Path:
    """A new name in `folder` for what is not finished; `sweep` removes it once this process is dead."""
    return folder / f".{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part"


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A new folder in `root` to prepare files in; removed at the end."""
    folder = temporary(root)
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """A whole temporary file of `content` in the folder of `path`, with the rights of the umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path.parent)
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


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
    with _written(path, content) as part:
        os.replace(part, path)


def write_once(path: Path, content: bytes, root: Path) -> bool:
    """Write `content` to `path` likewise, unless something is there; whether it was written.

    The first of several writers wins, on whatever machines they are.
    """
    with _written(inside(path, root), content) as part:
        return link_once(part, path)


def link_once(part: Path, path: Path) -> bool:
    """Give the file `part` the name `path` too, unless that is taken; whether it was given."""
    try:
        os.link(part, path)
    except FileExistsError:
        return part.stat().st_nlink > 1  # NFS may lose the answer to a link that was made
    except OSError:  # a file system without links
        if path.exists():
            return False
        os.replace(part, path)
    return True


def sweep(root: Path, depth: int = _DEPTH) -> None:
    """Remove unfinished files of dead processes from the tree `root`.

    Those are the `temporary` ones of this host whose process has ended, and any that is older than a
    day: whether a process of another host lives cannot be told. What may not be removed stays.
    """
    with suppress(OSError):
        for entry in list(os.scandir(root)):
            path = Path(entry.path)
            if entry.name.startswith(".") and entry.name.endswith(".part"):
                with suppress(OSError):
                    if _is_abandoned(path):
                        remove(path)
            elif depth and entry.is_dir(follow_symlinks=False):
                sweep(path, depth - 1)


def _is_abandoned(part: Path) -> bool:
    found = re.fullmatch(rf"\.{re.escape(_HOST)}-(\d+)-[0-9a-f]{{8}}\.part", part.name)
    if found is not None:
        from psutil import pid_exists

        if not pid_exists(int(found[1])):
            return True
    return time.time() - part.lstat().st_mtime > _DAY


def remove(path: Path) -> None:
    """Remove the file or folder at `path`; another process may be doing it too."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def drop(path: Path, why: str) -> None:
    """Remove unfinished work that cannot be used, and say so: it is work not done."""
    remove(path)
    _LOG.warning("'%s' %s; it is dropped and its work done again", path, why)


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock file `path`, which is made for all who may write its folder.

    `timeout` is in seconds (negative: no limit). Locks may not hold between machines; hence results
    rely on `write_once`. Raises `filelock.Timeout` if another process has it, and `UserError` where it
    cannot be had at all.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.parent.stat().st_mode & 0o666 | 0o600
        lock = FileLock(path, timeout, mode, fallback_to_soft=False)
        lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or error
        if not os.path.lexists(path):
            raise UserError(f"cannot write to '{path.parent}' ({why}); name another folder") from error
        raise UserError(
            f"cannot lock '{path}' ({why}); have its owner remove it, or name another folder, on a "
            "file system with locks"
        ) from error
    try:
        yield
    finally:
        lock.release()


# --- read -------------------------------------------------------------------------------------------


def names_in(folder: Path) -> list[str]:
    """The names in `folder`, in order, but for hidden ones, which are nobody's results.

    Raises `UserError` for a folder that is there and cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"cannot read '{folder}' ({error.strerror}); mend its permissions") from error


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
        raise UserError(f"'{path}' {wrong}: {problems(error)[0]}; {remedy}") from error


def read_model(kind: type[M], path: Path, wrong: str, remedy: str) -> M | None:
    """The JSON file at `path` as a `kind`, as `parse_model` does it; None if nothing is there."""
    content = read_if_there(path)
    return None if content is None else parse_model(kind, content, path, wrong, remedy)
