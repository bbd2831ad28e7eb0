"""Mean accuracy under common corruptions (column OOD; paper, Section 5.1).

Two sources that are never mixed: the published corrupted test sets (CIFAR-10-C, CIFAR-100-C,
Tiny-ImageNet-C), and copies made on the spot by this suite's generator `gen-v2` for those who do not
have them. What the generator makes is another distribution, so that it has names of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.evaluation.protocol import Evaluation, Kind, Outcome, not_finite, right
from benchmark.progress import Progress
from benchmark.records.cells import Cell, derive_seed
from benchmark.records.records import Count
from benchmark.records.specs import Spec, spec_of
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset, Split

SEVERITIES = (1, 2, 3, 4, 5)
KEPT_VALUES = 2**26
"""Copies of test sets of up to so many pixel values are kept in memory for the next model."""


@dataclass(frozen=True)
class Copies:
    """Corrupted copies of one test set: `make(name, severity)`; `sources()` hashes what was read."""

    make: Callable[[str, int], "Split"]
    sources: Callable[[], dict[str, str]] = dict
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corruptions(Evaluation):
    """Mean accuracy over corruptions and severities.

    `suite` is 15 (the paper's, with glass_blur) or 18 (the released code's, Immortalise/RiFT,
    utils.py: four extra corruptions, no glass_blur).
    """

    type_name: ClassVar[str] = "corruptions"
    version: ClassVar[int] = 1
    kind: ClassVar[Kind] = "corruptions"
    pooled: ClassVar[bool] = True
    suite: Literal[15, 18] = 15
    severities: tuple[int, ...] = SEVERITIES

    @property
    def role(self) -> str | None:
        """OOD for the paper's 15 corruptions at all severities."""
        return "OOD" if (self.suite, self.severities) == (15, SEVERITIES) else None

    @property
    def arrays(self) -> tuple[str, ...]:
        return tuple(f"{name}-{severity}" for name in self.names for severity in self.severities)

    @property
    def parts(self) -> tuple[str, ...]:
        return self.arrays

    @property
    def label(self) -> str:
        marks = [] if self.suite == 15 else [str(self.suite)]
        return f"OOD{self._marks(marks)}"

    @property
    def _what(self) -> str:
        at = "5 severities" if self.severities == SEVERITIES else f"severity {self.severities[0]} only"
        return f"{self.suite} corruptions at {at}"

    def _marks(self, marks: list[str]) -> str:
        if self.severities != SEVERITIES:
            marks = [*marks, f"severity {self.severities[0]}"]
        return f" ({', '.join(marks)})" if marks else ""

    @property
    def names(self) -> tuple[str, ...]:
        from benchmark.data.corruptions.generator import CORRUPTIONS_15, CORRUPTIONS_18

        return CORRUPTIONS_15 if self.suite == 15 else CORRUPTIONS_18

    def copies(self, data: "Dataset") -> Copies:
        """Where the corrupted copies of the test split of `data` come from."""
        raise NotImplementedError

    def check(self, data: "Dataset") -> None:
        self.copies(data)

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        from benchmark.engine.counting import clean_answers

        wanted = [(name, severity) for name in self.names for severity in self.severities]
        copies, answers = self.copies(data), {}
        read = copies.sources()
        for done, (name, severity) in enumerate(wanted, start=1):
            part = f"{name}-{severity}"
            chunk = f"answers-{part}" + (f"-of-{read[name][:12]}" if name in read else "")
            if (kept := journal.get(chunk)) is None:
                made = copies.make(name, severity).first(data.limit)
                kept = {"answers": clean_answers(model, made).numpy()}
                journal.put(chunk, **kept)
            answers[part] = kept["answers"]
            progress("corruptions", done, len(wanted), part)
        bits = right(answers)
        parts = self.recount(bits)
        total = Count(k=sum(c.k for c in parts.values()), n=sum(c.n for c in parts.values()))
        parts |= not_finite(answers.values())
        return Outcome(total, parts, bits, read, copies.remarks)


@dataclass(frozen=True)
class OfficialCorruptions(Corruptions):
    """On the published corrupted copies of the test set, read from the data folder.

    The labels are those of the published files.
    """

    type_name: ClassVar[str] = "official-corruptions"

    @property
    def sources(self) -> tuple[str, ...]:
        return self.names

    @property
    def summary(self) -> str:
        return f"mean accuracy over {self._what} of the published test set"

    def spec(self, info: DatasetInfo) -> Spec | None:
        if info.corruptions is None:
            return None
        spec: Spec = spec_of(self)
        return spec | {"source": info.corruptions}

    def note(self, info: DatasetInfo) -> str | None:
        return f"{self.label} is the mean over {self._what} of the published {info.corruptions}"

    def copies(self, data: "Dataset") -> Copies:
        import torch

        from benchmark.data.corruptions.published import SUFFIX, official
        from benchmark.data.images import Split

        if data.directory is None:
            raise UserError(f"{data.info.label} was loaded from no folder; name one by --data-dir")
        labels, images = data.test.labels.cpu().numpy(), len(data.test)
        files = official(data.info, data.directory, labels, images=images)
        if data.limit is not None and not SUFFIX[files.folder.name]:  # a folder for each class
            raise UserError(
                f"{data.info.corruptions} is in the order of its classes, and its first {data.limit} "
                "images are of few of them; leave the limit out"
            )
        device = data.test.images.device

        if missing := [name for name in self.names if name not in files.names]:
            files.sha256(missing[0])  # says what is missing and how to get it

        def make(name: str, severity: int) -> Split:
            images, labels = files.copy(name, severity, threads=torch.get_num_threads())
            return Split(torch.from_numpy(images), torch.from_numpy(labels)).to(device)

        title = data.info.corruptions
        unknown = f"{title}: files of the user's own, not from an archive whose hash was checked"
        return Copies(
            make,
            lambda: {name: files.sha256(name) for name in self.names},
            () if files.verified else (unknown,),
        )


@dataclass(frozen=True)
class GeneratedCorruptions(Corruptions):
    """On copies made by this suite's generator, seeded by the dataset alone: every model of a dataset
    meets the same images. Files written by `data generate` are read instead where they are there;
    they hold the same bytes.

    `frost` is `procedural`, or `pictures` for the user's own in the folder `frost` of the data.
    """

    type_name: ClassVar[str] = "generated-corruptions"
    frost: Literal["procedural", "pictures"] = "procedural"

    @property
    def sources(self) -> tuple[str, ...]:
        return ("frost",) if self.frost == "pictures" else ()

    @property
    def role(self) -> str | None:
        return super().role if self.frost == "procedural" else None

    @property
    def label(self) -> str:
        marks = ["gen-v2"] if self.suite == 15 else [str(self.suite), "gen-v2"]
        return f"OOD{self._marks(marks if self.frost == 'procedural' else [*marks, 'frost pictures'])}"

    @property
    def summary(self) -> str:
        frost = "procedural frost" if self.frost == "procedural" else "frost from pictures"
        return f"mean accuracy over {self._what} made by generator gen-v2 ({frost})"

    def spec(self, info: DatasetInfo) -> Spec | None:
        spec: Spec = spec_of(self)
        return spec | {"source": {"type": "gen-v2", "version": 1}}

    def note(self, info: DatasetInfo) -> str | None:
        official = f", not the published {info.corruptions}" if info.corruptions else ""
        frost = "procedural frost" if self.frost == "procedural" else "frost from the user's pictures"
        return (
            f"{self.label} is the mean over {self._what}, made by this suite's generator gen-v2 with "
            f"{frost}{official}"
        )

    def copies(self, data: "Dataset") -> Copies:
        from benchmark.data.corruptions.frost import load_frost
        from benchmark.data.corruptions.generator import unfit

        if (why := unfit(data.test.images.shape, str(data.test.images.dtype))) is not None:
            raise UserError(why)
        values = data.judged.images.numel() * 19 * len(SEVERITIES)
        copy = _kept_copy if values <= KEPT_VALUES else generated_copy
        sources = {}
        if self.frost == "pictures":
            _, sources["frost"] = load_frost(frost_folder(data), data.info.side)
        tested = replace(data, train=data.test)  # what is kept does not keep the training images
        return Copies(partial(copy, tested, self.frost), lambda: sources)


def corruption_seed(info: DatasetInfo) -> int:
    """Seed of the generated copies of a dataset's test split."""
    return derive_seed(info.name, "corruptions", "gen-v2")


def generated_folder(directory: Path, info: DatasetInfo) -> Path:
    """Where `data generate` keeps the copies of a dataset under the data folder."""
    return directory / "gen-v2" / info.name


def frost_folder(data: "Dataset") -> Path:
    """Where the user's frost pictures are. Raises `UserError` without a data folder."""
    if data.directory is None:
        raise UserError("frost pictures are read from the folder 'frost' of --data-dir; name one")
    return data.directory / "frost"


def generated_copy(data: "Dataset", frost: str, name: str, severity: int) -> "Split":
    """The test split of `data` under one corruption, from disk where it was written, else made."""
    import torch

    from benchmark.data.corruptions.files import images_sha256, read_file
    from benchmark.data.corruptions.frost import load_frost
    from benchmark.data.corruptions.generator import corrupt
    from benchmark.data.images import Split

    test, seed = data.judged, corruption_seed(data.info)
    pictures, copies = None, None
    if frost == "pictures" and name == "frost":
        pictures, _ = load_frost(frost_folder(data), data.info.side)
    elif data.directory and (folder := generated_folder(data.directory, data.info)).is_dir():
        source = images_sha256(data.test.images.cpu().numpy())
        whole = read_file(folder, name, severity, seed=seed, source_sha256=source)
        copies = None if whole is None else whole[: len(test)]
    if copies is None:
        copies = corrupt(
            test.images.cpu().numpy(),
            name,
            severity,
            seed=seed,
            ids=np.arange(len(test), dtype=np.int64),
            frost=pictures,
            threads=torch.get_num_threads(),
        )
    return Split(torch.from_numpy(copies).to(test.images.device), test.labels)


_kept_copy = lru_cache(maxsize=19 * len(SEVERITIES))(generated_copy)
