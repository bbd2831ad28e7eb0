"""Writing files so that a killed process leaves either the old file, the new one, or none; and reading
those that may not be there."""

import os
import tempfile
from pathlib import Path

from benchmark.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary file in the same folder and a rename."""
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
