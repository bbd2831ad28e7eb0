"""Getting the file of a registered checkpoint: downloaded or taken from a copy, checked, put in place.

Nothing is interpreted before its sha256 has been compared. Where the registry knows none, a file stays
unread until its hash is accepted, which is written to `SHA256SUMS` beside it.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmark.checkpoints.entry import CheckpointEntry, FileSource
from benchmark.checkpoints.load import refuse_other_content
from benchmark.checkpoints.registry import expected_sha256, path_of, verified_file
from benchmark.checkpoints.robustbench import download_from_drive, drive_id
from benchmark.data.get.archives import of_folder
from benchmark.data.get.download import fetch, staging, writing
from benchmark.data.get.sha256sums import NAME as SUMS
from benchmark.data.get.sha256sums import read_sums, sha256_of, write_sums
from benchmark.errors import UserError
from benchmark.progress import Progress, silent
from benchmark.records.files import locked


def get_checkpoint(
    checkpoint: CheckpointEntry,
    directory: Path,
    *,
    copy: Path | None = None,
    accepted: Sequence[str] = (),
    progress: Progress = silent,
) -> Path:
    """The verified file of `checkpoint`, got if it is not there; `directory` is the data directory.

    `copy` is a file of the user's to take instead of a download, and stays where it is. `accepted` are
    sha256 of files to take where the registry knows none. Raises `UserError` for another file, a web
    page, a hash that is neither known nor accepted, and a failed download. A download whose hash is not
    yet accepted is kept, so that it need not come twice, until a `copy` takes its place; a copy of such
    a hash is not put in place.
    """
    if accepted and checkpoint.sha256 is not None:
        raise UserError(f"{checkpoint.name} has sha256 {checkpoint.sha256}; no other is accepted")
    if checkpoint.kind is FileSource.PATH:
        if copy is not None:
            raise UserError(f"{checkpoint.name} comes with its registry; leave --file out")
        return verified_file(checkpoint, directory)
    target = path_of(checkpoint, directory)
    in_doubt = copy is not None and expected_sha256(checkpoint, directory) is None
    if in_doubt or not target.exists():
        if copy is not None:
            _take(checkpoint, copy, target, accepted)
        elif checkpoint.urls:
            fetch(checkpoint, target.parent, progress=progress)
        else:
            _download_zoo_file(checkpoint, target)
    if accepted:
        _accept(target, accepted)
    return verified_file(checkpoint, directory)


def _take(checkpoint: CheckpointEntry, copy: Path, target: Path, accepted: Sequence[str]) -> None:
    """Copy the user's file to its place, if it is the right one."""
    if not copy.is_file():
        raise UserError(f"there is no file '{copy}'; name the file of {checkpoint.name} by --file")
    refuse_other_content(copy)
    found, known = sha256_of(copy), expected_sha256(checkpoint, target.parents[1])
    if checkpoint.sha256 is None and found not in (known, *accepted):
        other = f"{known} was accepted" if known else "none is on record"
        raise UserError(
            f"'{copy}' has sha256 {found}, and {other} for {checkpoint.name}; if its "
            f"publisher, or someone you trust, states that one, add --accept-checksum {found}"
        )
    if checkpoint.sha256 not in (None, found):
        raise UserError(
            f"'{copy}' is not {checkpoint.name}: expected sha256 {checkpoint.sha256}, found {found}"
        )
    with _placed(target) as path:
        shutil.copyfile(copy, path)


def _download_zoo_file(checkpoint: CheckpointEntry, target: Path) -> None:
    """Download a file of RobustBench's zoo as RobustBench would; it must look like a checkpoint."""
    there = of_folder(target.parents[1])
    by_hand = f"`checkpoints get {checkpoint.name} --file PATH{there}` takes a copy of yours"
    try:
        drive = drive_id(checkpoint.source, checkpoint.dataset)
    except UserError as error:
        raise UserError(f"{checkpoint.name} is of RobustBench's zoo: {error}; {by_hand}") from error
    with _placed(target) as path:
        if target.exists():  # another process may just have got it
            return
        try:
            download_from_drive(drive, path, quiet=not sys.stderr.isatty())
            refuse_other_content(path)
        except UserError as error:
            reason = str(error).replace(f"'{path}'", "what Google Drive sent")
            raise UserError(
                f"{checkpoint.name}: {reason}; open https://drive.google.com/file/d/{drive}/view "
                f"in a browser, save the file, and {by_hand}"
            ) from error


@contextmanager
def _placed(target: Path) -> Iterator[Path]:
    """A path to write to under a lock; what stands there afterwards becomes `target` in one rename."""
    with staging(target.parent, target.name) as part:
        yield (path := part / target.name)
        if path.exists():
            path.replace(target)


def _accept(target: Path, accepted: Sequence[str]) -> None:
    """Note the hash of the file at `target` as accepted, if it is one of these."""
    found = sha256_of(target)
    if found in accepted:
        with writing(target.parent), locked(target.with_name(f".{SUMS}.lock")):
            write_sums(target.parent, (read_sums(target.parent) or {}) | {target.name: found})
