"""What all figures share: the cells that one needs, what it shows of them, its caption and its files.

A line, bar or dot shows all seeds that the scale has of its model, or it is left out and named as
missing: never a mean over some of them. Accuracies are fractions, drawn as percents and points.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from benchmark.data import dataset_info
from benchmark.errors import UserError
from benchmark.models import arch
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning
from benchmark.report.figures import draw
from benchmark.report.tables.render import as_csv
from benchmark.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN = "mean"
Rows = list[dict[str, object]]
T = TypeVar("T")


@dataclass(frozen=True)
class Picture(ABC):
    """What a figure shows: the numbers (in subclasses), what they are of, and notes for its caption.

    `model` names network and dataset for a view.
    """

    name: str
    title: str
    model: str
    seeds: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def caption(self) -> str:
        return "\n".join([f"{self.title}, {self.model}", "", *(f"  {note}" for note in self.notes), ""])

    def files(self) -> dict[str, bytes]:
        return {**draw.draw(self), "csv": self.csv().encode()}

    @abstractmethod
    def figure(self) -> "Figure":
        """The picture as a figure of matplotlib."""

    @abstractmethod
    def rows(self) -> Rows:
        """The numbers behind the picture, accuracies as fractions; `seed` is `mean` for a mean."""

    def csv(self) -> str:
        """`rows` as CSV with a head, numbers to ten places, None left blank."""
        rows = self.rows()
        return as_csv(
            [{k: round(v, 10) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        )

    def by_seed(self, values: Iterable[T], mean: T) -> list[tuple[object, T]]:
        """`values` by seed, and their `mean` if there are several."""
        pairs: list[tuple[object, T]] = [*zip(self.seeds, values, strict=True)]
        return [*pairs, (MEAN, mean)] if len(self.seeds) > 1 else pairs


@dataclass(frozen=True)
class PlaceInScale:
    """A dataset and a network by their place in a scale; the last one where a scale has fewer."""

    dataset: int = 0
    network: int = 0

    def names(self, scale: Scale) -> tuple[str, str]:
        dataset = scale.datasets[min(self.dataset, len(scale.datasets) - 1)]
        return dataset, scale.archs[min(self.network, len(scale.archs) - 1)]

    def cells(self, scale: Scale, finetunes: Sequence[str]) -> list[Cell]:
        dataset, network = self.names(scale)
        return scale.cells([dataset], [network], finetunes)

    def seeds(self, scale: Scale) -> tuple[int, ...]:
        return scale.seeds_of(*self.names(scale), scale.methods[0])

    def label(self, scale: Scale) -> str:
        dataset, network = self.names(scale)
        return f"{arch(network).label} on {dataset_info(dataset).label}{scale.apart}"

    def stand_ins(self, scale: Scale) -> list[str]:
        """Notes on the stand-ins for what the scale lacks."""
        dataset, network = self.names(scale)
        order = ("first", "second", "third")
        return [
            f"the scale has no {order[wanted]} {what}: {label}, its last, stands in"
            for wanted, there, what, label in (
                (self.dataset, scale.datasets, "dataset", dataset_info(dataset).label),
                (self.network, scale.archs, "network", arch(network).label),
            )
            if wanted >= len(there)
        ]


@dataclass(frozen=True)
class FigureSpec(ABC):
    """Name of a figure, the cells and evaluations that it needs, and what it shows.

    Cells come with their makings; `evaluations` are the records that a figure needs besides, or those
    of the scale's audit if `audited`. If `of_posthoc`, the scale is its `for_posthoc`.
    """

    evaluations: ClassVar[tuple[str, ...]] = ()
    audited: ClassVar[bool] = False
    of_posthoc: ClassVar[bool] = False
    name: str
    summary: str
    subject: PlaceInScale = PlaceInScale()

    @abstractmethod
    def cells(self, scale: Scale) -> list[Cell]:
        """The cells that the figure needs at `scale`."""

    def wanted(self, scale: Scale) -> tuple[str, ...]:
        return scale.evaluations if self.audited else self.evaluations

    @abstractmethod
    def build(self, view: View) -> Picture:
        """The picture of the records. Raises `UserError` if no part of the figure is complete."""

    @property
    def number(self) -> str:
        """`Figure 1` for `figure1`, `Figure C.5` for `figure-c5`."""
        number = self.name.removeprefix("figure").removeprefix("-").removesuffix("-official").upper()
        return f"Figure {number.replace('C', 'C.')}"

    def head(
        self, scale: Scale, title: str, how: str, notes: Iterable[str]
    ) -> tuple[str, str, str, tuple[int, ...], tuple[str, ...]]:
        """The fields of a `Picture`; `how` tells what shows the seeds if there are several."""
        seeds = self.subject.seeds(scale)
        text = ", ".join(str(seed) for seed in seeds)
        note = f"seeds {text}: {how}" if len(seeds) > 1 else f"seed {text}: one seed, no spread"
        first = (f"scale {scale.name}: {scale.summary}", note)
        return self.name, title, self.subject.label(scale), seeds, (*first, *notes)

    def nothing(self, missing: Sequence[Cell]) -> UserError:
        return UserError(
            f"{self.name} has nothing complete to show: missing or stale {_listed(missing)}; "
            "the same command without --collect makes what is missing"
        )


def complete(cells: Iterable[Cell], read: Callable[[Cell], T | None]) -> tuple[list[T], list[Cell]]:
    """Results of `read`, empty unless every cell has one, and the cells that have none."""
    found = {cell: read(cell) for cell in cells}
    missing = [cell for cell, value in found.items() if value is None]
    return [value for value in found.values() if value is not None and not missing], missing


def left_out(missing: Sequence[Cell]) -> list[str]:
    """The note on cells that are missing, if any are."""
    return [f"left out, because cells are missing or stale: {_listed(missing)}"] if missing else []


def _listed(cells: Sequence[Cell]) -> str:
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return ", ".join(cell.key for cell in cells[:3]) + more


def tuned_modules(finetunings: Sequence[Finetuning]) -> str:
    """Which modules were fine-tuned, and on how many of the seeds."""
    counts = Counter(", ".join(finetuning.modules) for finetuning in finetunings).most_common()
    if len(finetunings) == 1:
        return counts[0][0]
    return "; ".join(f"{modules} ({n} of {len(finetunings)} seeds)" for modules, n in counts)
