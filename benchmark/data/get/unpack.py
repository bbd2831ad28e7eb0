"""Archives to folders, whole or not at all: members and sizes are checked before any is written."""

import lzma
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

from benchmark.data.get.archives import Archive
from benchmark.data.get.download import check_space, settle, staging
from benchmark.errors import UserError, reason

DAMAGE = (
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged archive may raise, beside `OSError` without a number."""


def unpack(archive: Archive, path: Path, directory: Path) -> None:
    """Unpack the tar file `path`, compressed or not, to the folder `archive.gives` in `directory`.

    Other files in that folder stay. Members that would land outside it, links and special files, and an
    archive larger than the free space are refused before anything is written. Raises `UserError` for
    these and for what is not a whole tar file.
    """
    if not path.is_file():
        raise UserError(f"'{path}' is not there; {archive.file} was expected")
    with staging(directory, archive.file) as part:
        try:
            _untar(path, part)
        except (*DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk, not of the archive's content
            raise UserError(
                f"'{path}' is not a whole tar file ({reason(error)}); get it again"
            ) from error
        settle(_top(part, archive), directory / archive.gives)


def _untar(path: Path, part: Path) -> None:
    with tarfile.open(path) as tar:
        try:
            members = []
            for member in tar:
                if not (member.isfile() or member.isdir()):
                    raise _unsafe(path, member.name)
                members.append(tarfile.data_filter(member, str(part)))
        except tarfile.FilterError as error:
            raise _unsafe(path, error.tarinfo.name) from error
        check_space(part, sum(member.size for member in members), f"'{path.name}' unpacked")
        tar.extractall(part, members, filter="data")


def _unsafe(path: Path, member: str) -> UserError:
    return UserError(
        f"'{path}' is not unpacked: its member {member!a} is a link or lies outside of the "
        "archive's own folder"
    )


def _top(part: Path, archive: Archive) -> Path:
    """The folder in `part` that is to become `archive.gives`, whether or not it has that name."""
    if (part / archive.gives).is_dir():
        return part / archive.gives
    children = list(part.iterdir())
    if not children:
        raise UserError(f"{archive.file} holds no files; get it again")
    return children[0] if len(children) == 1 and children[0].is_dir() else part
