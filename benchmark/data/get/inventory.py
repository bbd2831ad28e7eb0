"""What may be in a data directory: how it is recognised, checked and put in place."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from benchmark.data.get.archives import ARCHIVES, Archive
from benchmark.data.get.download import settle, staging, unpack, writing
from benchmark.data.info import CIFAR10, CIFAR100, DatasetInfo
from benchmark.errors import UserError
from benchmark.progress import Progress


class State(StrEnum):
    """Whether something can be used."""

    PRESENT = "present"
    MISSING = "missing"
    UNVERIFIED = "unverified"
    EMBEDDED = "embedded"


@dataclass(frozen=True)
class Status:
    """The state of something, a note on it, and the folder it is in or would be in."""

    state: State
    note: str
    folder: Path


class Holding(Protocol):
    """One thing that may be in a data directory, and the archive it comes in."""

    @property
    def archive(self) -> Archive: ...

    def status(self, directory: Path) -> Status:
        """What is there. Damage is no error here, and large files are not read."""
        ...

    def verify(self, directory: Path) -> str | None:
        """How it is known to be right; None if it is not there. Raises `UserError` on damage."""
        ...

    def place(self, source: Path, directory: Path, accepted: Sequence[str], progress: Progress) -> None:
        """Put what `source` holds in place: an archive file of known or accepted md5, or a folder.

        `progress` is told of images decoded. Raises `UserError` unless what is put in place is known
        to be right or of a hash in `accepted`; nothing is in place then.
        """
        ...


@dataclass(frozen=True)
class Cifar:
    """CIFAR-10 or CIFAR-100: known by its content, whatever its files are like."""

    info: DatasetInfo

    @property
    def archive(self) -> Archive:
        return ARCHIVES[self.info.name]

    def status(self, directory: Path) -> Status:
        folder = directory / self.archive.gives
        try:
            note = self.verify(directory)
        except UserError:
            wrong = f"`data verify {self.info.name}` says what is wrong"
            return Status(State.UNVERIFIED, wrong, folder)
        if note is None:
            return Status(State.MISSING, "", folder)
        return Status(State.PRESENT, note, folder)

    def verify(self, directory: Path) -> str | None:
        from benchmark.data import cifar

        return cifar.verify(self.info, directory) if cifar.present(self.info, directory) else None

    def place(
        self,
        source: Path,
        directory: Path,
        accepted: Sequence[str],
        progress: Progress,  # noqa: ARG002 - nothing is decoded
    ) -> None:
        self.verify(directory)  # what is there and wrong is not overwritten
        with _staged(directory, self.info.name) as part:
            folder = part / self.archive.gives
            if source.is_dir():
                shutil.copytree(_inner(source, self.archive), folder)
            else:
                unpack(self.archive, source, part)
            try:
                self._check(part, accepted, source)
            except UserError as error:  # about a copy that is gone in a moment
                raise UserError(str(error).replace(str(folder), str(source))) from error
            settle(folder, directory / self.archive.gives)

    def _check(self, part: Path, accepted: Sequence[str], source: Path) -> None:
        from benchmark.data import cifar

        if not cifar.present(self.info, part):
            raise UserError(f"'{source}' does not hold every batch of {self.info.label}")
        (part / self.archive.gives / cifar.ACCEPTED).unlink(missing_ok=True)
        found, known = cifar.content(self.info, part), cifar.known_content(self.info)
        if found != known:
            refuse_unless(accepted, found, known, "content hash", self.archive, source)
            cifar.accept(self.info, part, found)


@dataclass(frozen=True)
class TinyImageNet:
    """Tiny-ImageNet: decoded into a cache, which is what is used."""

    @property
    def archive(self) -> Archive:
        return ARCHIVES["tiny-imagenet"]

    def status(self, directory: Path) -> Status:
        from benchmark.data import tiny_imagenet

        if self._decoded(directory):
            note = "decoded; every use checks the hashes"
            return Status(State.PRESENT, note, self._cache(directory))
        if tiny_imagenet.present(directory):
            return Status(State.UNVERIFIED, "not decoded yet; the first use does that", directory)
        return Status(State.MISSING, "", self._cache(directory))

    def verify(self, directory: Path) -> str | None:
        from benchmark.data import tiny_imagenet

        if not self._decoded(directory):
            return None
        tiny_imagenet.load(directory)
        return "decoded images as their manifest says"

    def place(self, source: Path, directory: Path, accepted: Sequence[str], progress: Progress) -> None:
        from benchmark.data import tiny_imagenet

        inner = _inner(source, self.archive)
        tiny_imagenet.prepare(inner, directory, progress=progress, accepted=accepted)

    def _cache(self, directory: Path) -> Path:
        return directory / "tiny-imagenet-cache"

    def _decoded(self, directory: Path) -> bool:
        return (self._cache(directory) / "manifest.json").is_file()


@dataclass(frozen=True)
class Corruptions:
    """A published corrupted test set, or a part of it that has an archive of its own.

    `witness` is a file or folder of the set that is in this archive only.
    """

    archive: Archive
    witness: str

    @property
    def title(self) -> str:
        """The whole set's, as in `DatasetInfo.corruptions`."""
        return self.archive.gives

    def status(self, directory: Path) -> Status:
        from benchmark.data.corruptions import published as official

        folder = directory / self.archive.gives
        note = official.describe(self.title, directory)
        if note is None or not self._there(directory):
            return Status(State.MISSING, "", folder)
        return Status(State.PRESENT if self._listed(folder) else State.UNVERIFIED, note, folder)

    def verify(self, directory: Path) -> str | None:
        from benchmark.data.corruptions import published as official

        if not self._there(directory):
            return None
        official.verify(self.title, directory)
        return "files as they were unpacked"

    def place(
        self,
        source: Path,
        directory: Path,
        accepted: Sequence[str],
        progress: Progress,  # noqa: ARG002 - nothing is decoded
    ) -> None:
        from benchmark.data.corruptions import published as official

        if source.is_dir():
            self._place_folder(source, directory, accepted)
        else:
            unpack(self.archive, source, directory)
        official.record_hashes(self.title, directory)

    def _place_folder(self, source: Path, directory: Path, accepted: Sequence[str]) -> None:
        from benchmark.data.get import sha256sums

        with _staged(directory, self.archive.name) as part:
            copy = shutil.copytree(_inner(source, self.archive), part / self.archive.gives)
            (copy / sha256sums.NAME).unlink(missing_ok=True)
            found = sha256sums.sha256_of(copy)
            refuse_unless(accepted, found, None, "hash of all its files", self.archive, source)
            settle(copy, directory / self.archive.gives)

    def _there(self, directory: Path) -> bool:
        return (directory / self.archive.gives / self.witness).exists()

    def _listed(self, folder: Path) -> bool:
        """Whether there are hashes, this archive's among them, and a file for each."""
        from benchmark.data.get import sha256sums

        try:
            sums = sha256sums.read_sums(folder) or {}
        except UserError:
            return False
        return self.witness in sums and all((folder / name).exists() for name in sums)


HOLDINGS: dict[str, Holding] = {
    "cifar10": Cifar(CIFAR10),
    "cifar100": Cifar(CIFAR100),
    "tiny-imagenet": TinyImageNet(),
    "cifar10-c": Corruptions(ARCHIVES["cifar10-c"], "labels.npy"),
    "cifar100-c": Corruptions(ARCHIVES["cifar100-c"], "labels.npy"),
    "tiny-imagenet-c": Corruptions(ARCHIVES["tiny-imagenet-c"], "brightness"),
    "tiny-imagenet-c-extra": Corruptions(ARCHIVES["tiny-imagenet-c-extra"], "saturate"),
}
"""By the archive's name."""


def holding(name: str) -> Holding:
    """What is called `name`. Raises `UserError` if there is nothing of that name to get or check."""
    if name == "digits":
        raise UserError("digits is embedded (scikit-learn ships it): nothing to get, import or check")
    if name not in HOLDINGS:
        raise UserError(f"unknown data '{name}'; known: {', '.join(HOLDINGS)}")
    return HOLDINGS[name]


def refuse_unless(
    accepted: Sequence[str],
    found: str,
    expected: str | None,
    kind: str,
    archive: Archive,
    source: Path,
) -> None:
    """Raise `UserError` that says how to import `source` all the same, unless `found` is accepted.

    `kind` says which hash this is, `expected` is the official one (None: there is none).
    """
    if found not in accepted:
        raise UserError(
            f"'{source}' is not known to be right: {kind} found {found}, expected "
            f"{expected or 'a published one, and there is none'}; to take it all the same: python -m "
            f"benchmark data import {archive.name} {source} --accept-checksum {found}"
        )


def _inner(source: Path, archive: Archive) -> Path:
    """The folder that `archive` gives, where `source` is the one around it; else `source`."""
    inner = source / archive.gives
    return inner if inner.is_dir() else source


@contextmanager
def _staged(directory: Path, name: str) -> Iterator[Path]:
    """A folder to make `name` in that no other process works in."""
    with (
        writing(directory),
        FileLock(directory / f".{name}-import.lock"),
        staging(directory, f"{name}-import") as part,
    ):
        yield part
