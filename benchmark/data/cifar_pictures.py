"""CIFAR as others pass it on: PNG files in a folder per class, or parquet files of PNG pictures.

Both hold the published pixels without loss. They are written as batches; whether they are the published
ones is for the content hash to say, so nothing here has to be believed. Pictures are ordered by the
first number in their name, then by name; parquet keeps its rows in the published order.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from benchmark.data.get.regular import read_regular, refuse_larger, regular_files
from benchmark.data.info import DatasetInfo
from benchmark.data.jpegs import Pixels, decode_all
from benchmark.errors import UserError, installing, reason

Labelled = tuple[Pixels, NDArray[np.int64]]
PARTS = ("train", "test")


def pictures(info: DatasetInfo, source: Path) -> dict[str, Labelled] | None:
    """Images uint8 (N, side, side, 3) and labels (N,) of `train` and `test` under the folder `source`.

    A file belongs to the part whose name prefixes a folder on its path, or its own name. None unless
    both parts have PNG, or both have parquet files. Raises `UserError` for pictures that are damaged or
    of another size, and for folders that are not one per class.
    """
    files = regular_files(source)
    for suffix, read in ((".parquet", _parquet), (".png", _tree)):
        pictured = [name for name in files if name.endswith(suffix)]
        parts = {part: {n: files[n] for n in pictured if _part(n) == part} for part in PARTS}
        if all(parts.values()):
            return {part: read(info, found) for part, found in parts.items()}
    return None


def write_batches(labelled: Labelled, paths: Sequence[Path], key: str) -> None:
    """Write images and labels as CIFAR's batch files `paths`, in equal shares; labels under `key`."""
    images, labels = labelled
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    shares = (np.array_split(part, len(paths)) for part in (rows, labels))
    for path, pixels, numbers in zip(paths, *shares, strict=True):
        path.write_bytes(pickle.dumps({"data": pixels, key: numbers.tolist()}, protocol=4))


def _part(name: str) -> str | None:
    """By the first name that begins so: one of the classes of CIFAR-100 is called train, too."""
    begun = (part for each in PurePosixPath(name).parts for part in PARTS if each.startswith(part))
    return next(begun, None)


def _tree(info: DatasetInfo, files: Mapping[str, Path]) -> Labelled:
    folders = {name: path.parent.name for name, path in files.items()}
    found = set(folders.values())
    numbered = all(folder.isdecimal() for folder in found)
    classes = sorted(found, key=int if numbered else str)
    if len(classes) != info.classes:
        raise UserError(
            f"a part of {info.label} as PNG files has {len(classes)} folders with pictures; "
            f"{info.classes}, one for each class, are right"
        )

    def place(name: str) -> tuple[int, str]:
        digits = re.search(r"[0-9]{1,9}", files[name].stem)
        return int(digits[0]) if digits else 0, name

    names = sorted(files, key=place)
    images = decode_all(names, lambda name: read_regular(files[name]), info.side, 1, "PNG")
    return images, np.array([classes.index(folders[name]) for name in names], np.int64)


def _parquet(info: DatasetInfo, files: Mapping[str, Path]) -> Labelled:
    rows = [row for path in files.values() for row in _rows(path)]
    pictured = {f"{next(iter(files))}, picture {row}": rows[row][0] for row in range(len(rows))}
    images = decode_all([*pictured], pictured.__getitem__, info.side, 1, "PNG")
    return images, np.array([label for _, label in rows], np.int64)


def _rows(path: Path) -> list[tuple[bytes, int]]:
    """Picture, undecoded, and label of each row of a file, whose unpacked size is looked at first."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"'{path}' needs pyarrow; {installing('parquet')}") from error
    try:
        with parquet.ParquetFile(path) as file:
            known, about = file.schema_arrow.names, file.metadata
            image = next(name for name in ("img", "image") if name in known)
            label = next(name for name in ("fine_label", "label") if name in known)
            sizes = [about.row_group(group).total_byte_size for group in range(about.num_row_groups)]
            refuse_larger(sum(sizes), f"'{path}', unpacked,", most=2**30)
            found = file.read([image, label], use_threads=False).to_pydict()
        rows = zip(found[image], found[label], strict=True)
        return [(bytes(row["bytes"]), int(number)) for row, number in rows]
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise UserError(
            f"'{path}' is damaged, or has no columns of pictures (img or image) and labels "
            f"(fine_label or label): {reason(error)}"
        ) from error
