"""`SHA256SUMS`: the hashes of the files and folders beside it, as sha256sum writes them.

A folder's hash, which sha256sum does not know, is over its files in the order of their relative
names: each name, a zero byte, the length of the content as 8 bytes (big-endian), and the content.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from benchmark.data.get.download import hash_of
from benchmark.data.get.regular import regular_files
from benchmark.errors import UserError
from benchmark.records.files import write_atomically

NAME = "SHA256SUMS"
ACCEPTED = ".accepted"
"""Ending of a file named by an archive: the hashes of other data that were accepted in its place."""
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/]+)")


def read_sums(folder: Path) -> dict[str, str] | None:
    """Hashes by name, None if there is no such file. Raises `UserError` if it is not of this form."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        lines = [_LINE.fullmatch(line) for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        lines = [None]
    if None in lines:
        raise UserError(f"'{path}' is not a list of sha256 hashes and names; delete it or restore it")
    return {line[2]: line[1] for line in lines if line is not None}


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Write the hashes by name, sorted, in one rename."""
    lines = (f"{sums[name]}  {name}\n" for name in sorted(sums))
    write_atomically(folder / NAME, "".join(lines).encode())


def sha256_of(path: Path) -> str:
    """Hash of the file or folder `path`, read now; files whose name begins with a dot do not count.

    Raises `UserError` if something in it cannot be read.
    """
    try:
        return _folder_sha256(path) if path.is_dir() else hash_of(path, "sha256")
    except OSError as error:
        raise UserError(f"cannot read '{error.filename or path}' ({error.strerror})") from error


def known_sha256(path: Path) -> str:
    """`sha256_of(path)`, once per process, and again for a file that has been replaced or changed."""
    about = path.stat()
    return _known(path.resolve(), about.st_ino, about.st_size, about.st_mtime_ns)


@functools.cache
def _known(path: Path, _inode: int, _size: int, _changed: int) -> str:
    return sha256_of(path)


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for name, path in regular_files(folder).items():
        digest.update(name.encode() + b"\0" + path.stat().st_size.to_bytes(8, "big"))
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
