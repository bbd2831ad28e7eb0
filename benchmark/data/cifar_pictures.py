"""CIFAR as others pass it on: PNG files in a folder per class, or parquet files of PNG pictures.

Both hold the published pixels without loss. They are written as batches; whether they are the published
ones is for the content hash to say, so nothing here has to be believed. Pictures are ordered by the
first number in their name, then by name; parquet keeps its rows in the published order.
"""

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.get.regular import read_regular, refuse_larger, regular_files
from benchmark.data.info import DatasetInfo
from benchmark.data.jpegs import Pixels, decode_all
from benchmark.errors import UserError

Labelled = tuple[Pixels, NDArray[np.int64]]
PARTS = ("train", "test")
_IMAGES = ("img", "image")
_LABELS = ("fine_label", "label")


def pictures(info: DatasetInfo, source: Path, threads: int = 1) -> dict[str, Labelled] | None:
    """Images uint8 (N, side, side, 3) and labels (N,) of `train` and `test` under the folder `source`.

    A file belongs to the part whose name a folder of its path, or it, begins with. None if there are
    neither PNG nor parquet files. Raises `UserError` for pictures that are damaged or of another size,
    and for folders that are not one per class.
    """
    files = regular_files(source)
    for suffix, read in ((".parquet", _parquet), (".png", _tree)):
        pictured = [name for name in files if name.endswith(suffix)]
        parts = {part: {n: files[n] for n in pictured if _part(n) == part} for part in PARTS}
        if all(parts.values()):
            return {part: read(info, found, threads) for part, found in parts.items()}
    return None


def write_batches(labelled: Labelled, paths: Iterable[Path], key: str) -> None:
    """Write images and labels as CIFAR's batch files `paths`, in equal shares; labels under `key`."""
    images, labels = labelled
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    files = list(paths)
    shares = zip(
        files, np.array_split(rows, len(files)), np.array_split(labels, len(files)), strict=True
    )
    for path, pixels, numbers in shares:
        path.write_bytes(pickle.dumps({"data": pixels, key: numbers.tolist()}, protocol=4))


def _part(name: str) -> str | None:
    """By the first name that begins so: one of the classes of CIFAR-100 is called train, too."""
    begun = (part for each in PurePosixPath(name).parts for part in PARTS if each.startswith(part))
    return next(begun, None)


def _tree(info: DatasetInfo, files: Mapping[str, Path], threads: int) -> Labelled:
    folders = {name: files[name].parent.name for name in files}
    found = set(folders.values())
    numbered = all(folder.isdecimal() for folder in found)
    classes = sorted(found, key=int if numbered else str)
    if len(classes) != info.classes:
        raise UserError(
            f"a part of {info.label} as PNG files has {len(classes)} folders with pictures; "
            f"{info.classes}, one for each class, are right"
        )
    names = sorted(files, key=lambda name: (_first_number(files[name].stem), name))
    numbers = {folder: number for number, folder in enumerate(classes)}
    images = _decoded(info, names, lambda name: read_regular(files[name]), threads)
    return images, np.array([numbers[folders[name]] for name in names], np.int64)


def _first_number(stem: str) -> int:
    digits = re.search(r"[0-9]{1,9}", stem)
    return int(digits[0]) if digits else 0


def _parquet(info: DatasetInfo, files: Mapping[str, Path], threads: int) -> Labelled:
    read = [_rows(path) for path in files.values()]
    contents = [content for rows, _ in read for content in rows]
    names = [f"{next(iter(files))}, picture {row}" for row in range(len(contents))]
    by_name = dict(zip(names, contents, strict=True))
    labels = np.array([label for _, some in read for label in some], np.int64)
    return _decoded(info, names, by_name.__getitem__, threads), labels


def _rows(path: Path) -> tuple[list[bytes], list[int]]:
    """The pictures, undecoded, and labels of one file, whose size when unpacked is looked at first."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"'{path}' needs pyarrow; pip install -c constraints.txt -e '.[parquet]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            known = file.schema_arrow.names
            image, label = (next(name for name in some if name in known) for some in (_IMAGES, _LABELS))
            about = file.metadata
            sizes = [about.row_group(group).total_byte_size for group in range(about.num_row_groups)]
            refuse_larger(sum(sizes), f"'{path}', unpacked,", most=2**30)
            columns: dict[str, list[Any]] = file.read([image, label], use_threads=False).to_pydict()
        return [row["bytes"] for row in columns[image]], [int(each) for each in columns[label]]
    except (
        pyarrow.ArrowException,
        StopIteration,
        RuntimeError,
        OSError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        reason = ascii(str(error).partition("\n")[0])[1:-1]
        raise UserError(
            f"'{path}' is damaged, or has no columns of pictures ({' or '.join(_IMAGES)}) and labels "
            f"({' or '.join(_LABELS)}): {reason or type(error).__name__}"
        ) from error


def _decoded(info: DatasetInfo, names: list[str], read: Callable[[str], bytes], threads: int) -> Pixels:
    return decode_all(names, read, info.side, threads, kind="PNG")
