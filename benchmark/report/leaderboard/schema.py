"""What `results/leaderboard.json` holds, schema 1: accuracies are fractions, rounded to ten digits.

A leaderboard has boards, a board has columns (one per evaluation) and entries (one per model, all its
seeds together), an entry has a number per column. Only what is comparable shares a board: scale,
dataset, threat model, and the data that chose epochs and alpha*. Only numbers of one evaluation on the
same images share a ranking.
"""

from functools import cached_property
from typing import Literal

from benchmark.records.files import Frozen
from benchmark.report.intervals import LEVEL, Interval

SCHEMA_VERSION: Literal[1] = 1
ChosenOn = Literal["test", "hold-out", "unknown"]
WhyLeftOut = Literal["stale", "unknown-name", "unknown-scale", "plug-in"]
FlagKind = Literal[
    "warning",
    "other-images",
    "seeds",
    "changed-checkout",
    "chosen-on-test",
    "same-weights",
    "ascent",
    "zero-gradients",
    "constraint",
    "subset",
    "extra-data",
    "other-eps",
    "other-dataset",
    "made-elsewhere",
]


class Flag(Frozen):
    """Something that a reader of an entry should know, in one sentence."""

    kind: FlagKind
    text: str


class _Estimated(Frozen):
    """A mean over `seeds` of `values`, which are fractions.

    `low` and `high` are the ends of the 95 % interval of the mean, null where there is none. It is
    `over` seeds, or over the test `images` that one seed was evaluated on.
    """

    mean: float
    low: float | None
    high: float | None
    over: Literal["seeds", "images"]
    seeds: tuple[int, ...]
    values: tuple[float, ...]


class ChangeFromBase(_Estimated):
    """Accuracy minus that of the base model, seed by seed, on the same images."""

    @property
    def sign(self) -> int:
        """+1 if the interval lies above zero, -1 if below, 0 if it contains zero or there is none."""
        if self.low is None or self.high is None:
            return 0
        return Interval(self.low, self.high).sign


class Number(_Estimated):
    """Accuracy of an entry under one evaluation.

    `rank` is by the mean among the numbers of the column on the same images, `rank_best` and
    `rank_worst` are the range that the intervals allow; all are null on other images than the rest or
    without a seed of the base model, `rank` also on too few images. `change` is null for a base model,
    and without its record on the same images; so is `mce`, the mean corruption error relative to the
    base model (1.0: as many errors), which only corruptions have.
    """

    rank: int | None
    rank_best: int | None
    rank_worst: int | None
    change: ChangeFromBase | None
    mce: float | None = None


class Cost(Frozen):
    """Wall-clock seconds, means over the seeds whose makings are on disk, and on what.

    `base_seconds` took adversarial training, null where it was done elsewhere; `finetune_seconds` of
    everything from criticality to alpha*, or of making a module, null for a base model. Work that
    several fine-tunings share is in the one that did it first.
    """

    base_seconds: float | None
    finetune_seconds: float | None
    devices: tuple[str, ...]

    @property
    def total(self) -> float | None:
        """The sum, without an unknown fine-tuning; None without `base_seconds`."""
        if self.base_seconds is None:
            return None
        return self.base_seconds + (self.finetune_seconds or 0.0)


class EntryProtocol(Frozen):
    """Under which reading of the paper, and which data chose epochs and alpha*."""

    name: str
    summary: str
    chosen_on: ChosenOn


class CheckpointLink(Frozen):
    """Weights of the registry: of the entry itself, or those that it starts from."""

    name: str
    what: str
    link: str | None
    starts_from: bool


class Paper(Frozen):
    """Who published what an entry is made by, and where."""

    authors: str
    link: str


class BoardEntry(Frozen):
    """One model. `id` is its cell's key without the seed; `method` is null where it is none of ours.

    `alphas` are alpha* and `modules` what was fine-tuned, by seed; both are empty for a base model.
    `numbers` are by evaluation, `records` is the folder of the records, from the folder of this file.
    `scale_seeds` are the seeds of it that the scale asks for. `extra_data` says whether it was trained
    with data beside the training set, null where that is not known.
    """

    id: str
    label: str
    dataset: str
    arch: str
    arch_label: str
    method: str | None
    method_label: str
    finetune: str
    protocol: EntryProtocol
    papers: tuple[Paper, ...]
    extra_data: bool | None
    scale_seeds: tuple[int, ...]
    alphas: dict[int, float]
    modules: dict[int, tuple[str, ...]]
    numbers: dict[str, Number]
    cost: Cost
    commits: tuple[str, ...]
    flags: tuple[Flag, ...]
    records: str
    checkpoint: CheckpointLink | None

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({seed for number in self.numbers.values() for seed in number.seeds}))

    @property
    def devices(self) -> tuple[str, ...]:
        """What it was trained on, without the number of threads."""
        return tuple(sorted({name.rpartition(", ")[0] for name in self.cost.devices}))


class Column(Frozen):
    """One evaluation. `images` is null for the whole test set, else only so many first images."""

    evaluation: str
    label: str
    kind: Literal["attack", "clean", "corruptions", "other"]
    attack: str | None
    images: int | None
    note: str | None


class Threat(Frozen):
    """What the attacks of a board may do to pixels in [0,1]."""

    norm: Literal["Linf"]
    eps: float
    label: str


class Board(Frozen):
    """Comparable entries, in the order of the ranking by `ranked_by`.

    That is null where no attack is on enough images.
    """

    id: str
    scale: str
    scale_summary: str
    dataset: str
    dataset_label: str
    threat: Threat
    chosen_on: ChosenOn
    ranked_by: str | None
    columns: tuple[Column, ...]
    entries: tuple[BoardEntry, ...]

    @cached_property
    def devices(self) -> list[tuple[str, ...]]:
        """What the entries were trained on, each combination once, where that is known."""
        return sorted({entry.devices for entry in self.entries} - {()})

    @cached_property
    def common_flags(self) -> list[Flag]:
        """Flags that all of several entries have, in order: shown once, below the rows.

        Warnings are never among them: they come from an entry's own counts and stay in its row.
        """
        if len(self.entries) < 2:
            return []
        first = (flag for flag in self.entries[0].flags if flag.kind != "warning")
        return [flag for flag in first if all(flag in entry.flags for entry in self.entries)]


class LeftOut(Frozen):
    """Records on disk that are not shown, and why; `evaluation` null: the whole folder."""

    key: str
    evaluation: str | None
    why: WhyLeftOut
    text: str


class Leaderboard(Frozen):
    """The file. `level` is that of all intervals."""

    schema_version: Literal[1] = SCHEMA_VERSION
    level: float = LEVEL
    boards: tuple[Board, ...]
    left_out: tuple[LeftOut, ...]
