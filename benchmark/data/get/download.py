"""Getting files: downloaded from one of several mirrors, verified, and put in place whole or not.

Everything is first made in a hidden folder beside its destination and then renamed, so that a killed
process leaves at most that folder, which the next call removes.
"""

import errno
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmark.errors import UserError, reason
from benchmark.progress import Progress, silent
from benchmark.records.files import locked

CHUNK = 1 << 20  # bytes
AGAIN = "delete it and get it again"


class Remote(Protocol):
    """A file that may be downloaded, such as an `Archive`.

    `file` is its name, `size` its length in bytes (None: not known), `checksum` its hash as
    `md5:HEX` or `sha256:HEX`, and `urls` where it may be had, best first.
    """

    @property
    def file(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def checksum(self) -> str: ...
    @property
    def urls(self) -> tuple[str, ...]: ...


def fetch(remote: Remote, directory: Path, *, progress: Progress = silent) -> Path:
    """The verified file of `remote` in `directory`, downloaded from the first mirror that has it.

    `progress` is told bytes done, their total (0: unknown) and the mirror. A file that is there already
    is verified and used. Processes that want the same file take turns. Raises `UserError` for a file of
    another content, a full disk, and when no mirror serves the file: then with every mirror's reason,
    the hash expected and where to put the file by hand.
    """
    target = directory / remote.file
    if not target.exists():
        with staging(directory, remote.file) as part:
            if not target.exists():
                check_space(directory, remote.size or 0, remote.file)
                _download(remote, part, target, progress)
                return target
    verify_archive(remote, target)
    return target


def verify_archive(remote: Remote, path: Path) -> None:
    """Raise `UserError` unless the file at `path` has the size and the hash of `remote`."""
    if not path.is_file():
        raise UserError(f"'{path}' is not there; {remote.file} was expected")
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        what = "truncated" if size < remote.size else "another file"
        raise UserError(f"'{path}' is {what}: expected {remote.size} bytes, found {size}; {AGAIN}")
    kind, _, expected = remote.checksum.partition(":")
    if (found := hash_of(path, kind)) != expected:
        raise UserError(f"'{path}' is another file: expected {kind} {expected}, found {found}; {AGAIN}")


def hash_of(path: Path, kind: str) -> str:
    """The hash of the file at `path`, in hexadecimal; `kind` is md5 or sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def settle(source: Path, target: Path) -> None:
    """Move the file or folder `source` to `target`, into what is there: files replace their like.

    Both are on one file system. Where `target` is new, this is a single rename.
    """
    if source.is_dir() and target.is_dir():
        for child in source.iterdir():
            settle(child, target / child.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


@contextmanager
def staging(directory: Path, name: str) -> Iterator[Path]:
    """An empty folder in `directory` to make `name` in, under a lock for it; removed at the end.

    One that a killed process left is removed first. Errors of the file system are those of `writing`.
    """
    part = directory / f".{name}.part"
    with writing(directory), locked(directory / f".{name}.lock"):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Make `directory`; errors of the file system within are the user's to mend."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        place = Path(error.filename2 or error.filename or directory)
        if not (place.is_relative_to(directory) or directory.is_relative_to(place)):
            raise UserError(f"cannot read '{place}' ({error.strerror})") from error
        what = f"cannot write to '{directory}' ({error.strerror or error})"
        raise UserError(f"{what}; make room or name another folder by --data-dir") from error


def check_space(directory: Path, size: int, what: str) -> None:
    """Raise `UserError` unless `size` bytes, of what the message calls `what`, are free."""
    free = shutil.disk_usage(directory).free
    if size > free:
        there = f"'{directory}' has {free / 1e9:.1f} GB free; make room or name another by --data-dir"
        raise UserError(f"{what} needs {size / 1e9:.1f} GB and {there}")


class _Meter:
    """What pooch takes for a progress bar; the total it states is checked against the free space."""

    def __init__(self, remote: Remote, part: Path, progress: Progress, host: str) -> None:
        self.remote, self.part, self.progress, self.host = remote, part, progress, host
        self.size, self.done = 0, 0

    @property
    def total(self) -> int:
        return self.size

    @total.setter
    def total(self, size: int) -> None:
        check_space(self.part, size, self.remote.file)
        self.size = size

    def update(self, count: int) -> None:
        self.done += count
        shown = min(self.done, self.size) if self.size else self.done
        self.progress(self.remote.file, shown, self.size, self.host)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        """Nothing is open."""


def _download(remote: Remote, part: Path, target: Path, progress: Progress) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # progress is the caller's to show
    reasons = []
    for url in remote.urls:
        meter = _Meter(remote, part, progress, url.split("/")[2])
        whole = {"Accept-Encoding": "identity"}
        downloader = pooch.HTTPDownloader(progressbar=meter, chunk_size=CHUNK, headers=whole)
        try:
            pooch.retrieve(url, remote.checksum, remote.file, part, downloader=downloader)
        except (OSError, ValueError) as error:  # those of requests are of OSError, a hash of ValueError
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reasons.append(f"{url}: {reason(error)}")
        else:
            (part / remote.file).replace(target)
            return
    kind, _, expected = remote.checksum.partition(":")
    raise UserError(
        f"{remote.file} cannot be downloaded: {'; '.join(reasons)}; put a file of {kind} {expected} "
        f"at '{target}' by hand"
    )
