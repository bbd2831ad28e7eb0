"""Plain files in plain folders, of a size that is looked at before anything is read.

Links, devices, pipes and sockets are refused: a link may lead anywhere, a device never ends.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from benchmark.data.get.download import check_space
from benchmark.errors import UserError

LARGEST = 2**24
"""Bytes of a picture or a list of names, at most; the largest of the published sets has 0.5 MB."""


def regular_files(root: Path) -> dict[str, Path]:
    """Every file under the folder `root` by its relative name, sorted; not those that begin with a dot.

    Raises `UserError` if there is a link or a special file, `OSError` for a folder that cannot be read.
    `root` itself may be a link.
    """
    return dict(sorted((path.relative_to(root).as_posix(), path) for path in _walk(root)))


def _walk(root: Path) -> Iterator[Path]:
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise UserError(
                        f"{entry.path!r} is a link or a special file; a plain file is right"
                    )
                elif not entry.name.startswith("."):
                    yield Path(entry.path)


def copy_folder(source: Path, target: Path) -> None:
    """Copy the files of the folder `source` to the new folder `target`. Raises as `regular_files`.

    Raises `UserError` if they are larger than what is free there.
    """
    files = regular_files(source)
    check_space(target.parent, sum(path.stat().st_size for path in files.values()), f"'{source}'")
    for name, path in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)


def read_regular(path: Path) -> bytes:
    """The content of the file `path`. Raises `UserError` if it is none or larger than `LARGEST`."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"'{path}' is not a plain file; one is right")
        refuse_larger(about.st_size, f"'{path}'")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{path}' ({error.strerror})") from error


def refuse_larger(size: int, what: str, most: int = LARGEST) -> None:
    """Raise `UserError`, which names `what`, if `size` bytes are more than `most`."""
    if size > most:
        raise UserError(f"{what} has {size:,} bytes; at most {most:,} are right")
