"""The data that archives bring: how they are recognised, checked and put in place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shlex import quote

from benchmark.data.corruptions import published
from benchmark.data.get import sha256sums
from benchmark.data.get.archives import ARCHIVES, Archive, of_folder
from benchmark.data.get.download import hash_of, settle, staging
from benchmark.data.get.regular import copy_folder, regular_files
from benchmark.data.get.unpack import unpack
from benchmark.data.info import CIFAR10, CIFAR100, DatasetInfo
from benchmark.errors import UserError, unknown
from benchmark.progress import Progress
from benchmark.records.files import locked

NOT_DECODED = "not decoded yet; the first use does that"


class Availability(StrEnum):
    """Whether data can be used."""

    PRESENT = "present"
    MISSING = "missing"
    UNVERIFIED = "unverified"
    EMBEDDED = "embedded"


@dataclass(frozen=True)
class Status:
    """The state of data, a note on it, and the folder it is in or would be in."""

    state: Availability
    note: str
    folder: Path


@dataclass(frozen=True)
class ArchivedData:
    """Data that may be in a data directory, and come in the archive called `name`.

    `status` says what is there: damage is no error, and images are read for CIFAR only. `verify` says
    how the data are known to be right (None: not there); it raises `UserError` on damage. `place` puts
    an archive file, of known or accepted md5, or a folder in place and reports images decoded to
    `progress`; unless the content is known to be right or its hash is in `accepted`, it raises
    `UserError` and puts nothing in place.
    """

    name: str

    @property
    def archive(self) -> Archive:
        return ARCHIVES[self.name]


@dataclass(frozen=True)
class Cifar(ArchivedData):
    """CIFAR-10 or CIFAR-100: known by its content, whatever its files are like."""

    info: DatasetInfo

    def status(self, directory: Path) -> Status:
        folder = directory / self.archive.gives
        try:
            note = self.verify(directory)
        except UserError:
            note = f"`data verify {self.name}{of_folder(directory)}` says what is wrong"
            return Status(Availability.UNVERIFIED, note, folder)
        return Status(Availability.PRESENT if note else Availability.MISSING, note or "", folder)

    def verify(self, directory: Path) -> str | None:
        from benchmark.data import cifar

        return cifar.verify(self.info, directory) if cifar.present(self.info, directory) else None

    def place(
        self, source: Path, directory: Path, accepted: Sequence[str], _progress: Progress
    ) -> None:
        from benchmark.data import cifar
        from benchmark.data.cifar_pictures import PARTS, pictures, write_batches

        self.verify(directory)  # what is there and wrong is not overwritten
        with _staged(self.archive, source, directory) as part:
            folder, inner = part / self.archive.gives, _inner(source, self.archive)
            if not source.is_dir():
                unpack(self.archive, source, part)
            elif (parts := pictures(self.info, inner)) is None:
                copy_folder(inner, folder)
            else:
                folder.mkdir()
                *batches, key = cifar.BATCHES[self.info.name]
                for split, names in zip(PARTS, batches, strict=True):
                    write_batches(parts[split], [folder / name for name in names], key)
            if not cifar.present(self.info, part):
                raise UserError(f"'{source}' does not hold every batch of {self.info.label}")
            (folder / cifar.ACCEPTED).unlink(missing_ok=True)
            found, known = cifar.content(self.info, part), cifar.known_content(self.info)
            if found != known:
                refuse_unless(accepted, found, known, "content hash", self.archive, source, directory)
                cifar.accept(self.info, part, found)
            settle(folder, directory / self.archive.gives)


@dataclass(frozen=True)
class TinyImageNet(ArchivedData):
    """Tiny-ImageNet: decoded into a cache, which is what is used."""

    def status(self, directory: Path) -> Status:
        from benchmark.data import tiny_imagenet

        cache = directory / tiny_imagenet.CACHE
        if tiny_imagenet.decoded(directory):
            return Status(Availability.PRESENT, "decoded; every use checks the hashes", cache)
        if tiny_imagenet.present(directory):
            return Status(Availability.UNVERIFIED, NOT_DECODED, directory)
        return Status(Availability.MISSING, "", cache)

    def verify(self, directory: Path) -> str | None:
        from benchmark.data import tiny_imagenet

        if not tiny_imagenet.decoded(directory):
            return NOT_DECODED if tiny_imagenet.present(directory) else None
        tiny_imagenet.load(directory)
        return "decoded images as their manifest says"

    def place(self, source: Path, directory: Path, accepted: Sequence[str], progress: Progress) -> None:
        from benchmark.data import tiny_imagenet

        inner = _inner(source, self.archive)
        tiny_imagenet.prepare(inner, directory, progress=progress, accepted=accepted)


@dataclass(frozen=True)
class PublishedCorruptions(ArchivedData):
    """A published corrupted test set, or a part of it that has an archive of its own.

    `witness` is a file or folder of the set that is in this archive only.
    """

    witness: str

    def status(self, directory: Path) -> Status:
        folder = directory / self.archive.gives
        note = published.describe(self.archive.gives, directory)
        if note is None or not (folder / self.witness).exists():
            return Status(Availability.MISSING, "", folder)
        try:
            sums = sha256sums.read_sums(folder) or {}
        except UserError:
            sums = {}
        listed = self.witness in sums and all((folder / name).exists() for name in sums)
        return Status(Availability.PRESENT if listed else Availability.UNVERIFIED, note, folder)

    def verify(self, directory: Path) -> str | None:
        folder = directory / self.archive.gives
        listed = sha256sums.read_sums(folder) or {}
        if not (folder / self.witness).exists() and self.witness not in listed:
            return None
        published.verify(self.archive.gives, directory)
        return "files as they were unpacked"

    def place(
        self, source: Path, directory: Path, accepted: Sequence[str], _progress: Progress
    ) -> None:
        with _staged(self.archive, source, directory) as part:
            copy = part / self.archive.gives
            if source.is_dir():
                copy_folder(_inner(source, self.archive), copy)
                (copy / sha256sums.NAME).unlink(missing_ok=True)
                published.check(self.archive.gives, part)
                found = sha256sums.sha256_of(copy)
                refuse_unless(
                    accepted, found, None, "hash of all its files", self.archive, source, directory
                )
            else:
                unpack(self.archive, source, part)
                if accepted:  # else it is the published archive
                    published.check(self.archive.gives, part)
            if source.is_dir() or (accepted and hash_of(source, "md5") != self.archive.md5):
                (copy / f"{self.name}{sha256sums.ACCEPTED}").write_text("\n".join(accepted) + "\n")
            with locked(directory / f".{self.archive.gives}.lock"):  # two archives share the folder
                _refuse_mixing(copy, directory / self.archive.gives)
                published.record_hashes(copy, directory / self.archive.gives)
                settle(copy, directory / self.archive.gives)


Archived = Cifar | TinyImageNet | PublishedCorruptions
INVENTORY: dict[str, Archived] = {
    data.name: data
    for data in (
        Cifar("cifar10", CIFAR10),
        Cifar("cifar100", CIFAR100),
        TinyImageNet("tiny-imagenet"),
        PublishedCorruptions("cifar10-c", "labels.npy"),
        PublishedCorruptions("cifar100-c", "labels.npy"),
        PublishedCorruptions("tiny-imagenet-c", "brightness"),
        PublishedCorruptions("tiny-imagenet-c-extra", "saturate"),
    )
}
"""By the archive's name."""


def archived(name: str) -> Archived:
    """The data called `name`. Raises `UserError` if there is nothing of that name to get or check."""
    if name == "digits":
        raise UserError("digits is embedded (scikit-learn ships it): nothing to get, import or check")
    if name not in INVENTORY:
        raise unknown("data", name, INVENTORY)
    return INVENTORY[name]


def refuse_unless(
    accepted: Sequence[str],
    found: str,
    expected: str | None,
    kind: str,
    archive: Archive,
    source: Path,
    directory: Path,
) -> None:
    """Raise `UserError` with the command that takes `source` all the same, unless `found` is accepted.

    `kind` names the hash, `expected` is the official one (None: there is none), `directory` the data
    folder.
    """
    if found not in accepted:
        flags = " ".join(f"--accept-checksum {each}" for each in (*accepted, found))
        raise UserError(
            f"'{source}' is not known to be right: {kind} found {found}, expected "
            f"{expected or 'a published one, and there is none'}; to take it all the same: python -m "
            f"benchmark data import {archive.name} {quote(str(source))}{of_folder(directory)} {flags}"
        )


def _refuse_mixing(copy: Path, folder: Path) -> None:
    """Raise `UserError` if a folder in `folder` has files that its like in `copy` has not."""
    for new in copy.iterdir():
        there = folder / new.name
        both = new.is_dir() and there.is_dir()
        if both and (odd := regular_files(there).keys() - regular_files(new).keys()):
            raise UserError(
                f"'{there / min(odd)}' is not of the archive; move '{there}' away and try again"
            )


def _inner(source: Path, archive: Archive) -> Path:
    """The folder that `archive` gives, where `source` is the one around it; else `source`."""
    inner = source / archive.gives
    return inner if inner.is_dir() else source


@contextmanager
def _staged(archive: Archive, source: Path, directory: Path) -> Iterator[Path]:
    """A folder to copy `source` into that no other process works in.

    Errors about the copy, which is gone in a moment, name `source` instead.
    """
    with staging(directory, f"{archive.name}-import") as part:
        try:
            yield part
        except UserError as error:
            text = str(error).replace(str(part / archive.gives), str(source))
            raise UserError(text.replace(of_folder(part), of_folder(directory))) from error
