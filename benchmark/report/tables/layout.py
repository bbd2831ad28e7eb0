"""What a table is before it is rendered: labels, entries, heads, notes, and what is shown of them."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from benchmark.evaluation import evaluation
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell, base_name
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import Interval, PValues
from benchmark.report.view import Models, View

Part = tuple[Sequence[Cell], Scale]  # cells, and the evaluations that are made of them
DEFAULT_PROTOCOLS = ("rift",)
NOTES = 6
"""Lines below a table, those on rows and notes that are not shown included."""


@dataclass(frozen=True)
class Beside:
    """A number on record, or None, and the paper's: fractions, or differences of fractions."""

    ours: Estimate | None
    paper: float


Number = Estimate | Interval | PValues | None
Entry = Number | Beside


def on_record(entry: Entry) -> bool:
    """Whether there is a number, and not the paper's alone."""
    return (entry.ours if isinstance(entry, Beside) else entry) is not None


@dataclass(frozen=True)
class Row:
    """One line: labels, then an entry (None: missing) per column.

    `signed` marks differences; `better`, by column, entries significantly better than what they are
    compared with.
    """

    labels: tuple[str, ...]
    numbers: tuple[Entry, ...]
    signed: bool = False
    ends_block: bool = False
    better: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table before rendering; its notes stand in the order of what a reader has to know first."""

    name: str
    title: str
    label_heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def _whole(cells: Sequence[Cell], scale: Scale) -> list[Part]:
    return [(cells, scale)]


@dataclass(frozen=True)
class TableSpec:
    """What a table is called, which cells it needs, and how it is laid out, for some fine-tunings.

    Tables 1 and 2 put any of them side by side, Tables 3 and 4 protocols (`rift`, `rift-held-out`).
    Columns are the scale's evaluations, those of its audit if `audited`, or of its `posthoc` if
    `of_posthoc`. A table that is `beyond_first` shows all methods but the first of the scale. `parts`
    says which of the cells are made with all evaluations, and which with fewer.
    """

    name: str
    heading: str
    summary: str
    cells: Callable[[Scale, Sequence[str]], list[Cell]]
    build: Callable[[View, Sequence[str]], Table]
    defaults: tuple[str, ...] = DEFAULT_PROTOCOLS
    audited: bool = False
    of_posthoc: bool = False
    beyond_first: bool = False
    parts: Callable[[Sequence[Cell], Scale], list[Part]] = _whole

    @property
    def of_tables(self) -> bool:
        """Whether its columns are the scale's own evaluations."""
        return not (self.audited or self.of_posthoc)

    def scale(self, scale: Scale) -> Scale:
        """`scale` with the evaluations, and the seeds, that the table shows by itself."""
        if self.of_posthoc:
            return scale.for_posthoc
        return replace(scale, evaluations=scale.for_audit) if self.audited else scale


def brief(table: Table, *, every_note: bool = False) -> Table:
    """What a reader is shown of `table`: rows with a number, and the first of its notes or all."""
    rows: list[Row] = []
    for row in table.rows:
        if any(map(on_record, row.numbers)):
            rows.append(row)
        elif row.ends_block and rows:
            rows[-1] = replace(rows[-1], ends_block=True)
    notes = table.notes
    if hidden := len(table.rows) - len(rows):
        notes = (
            f"rows without any number, not shown: {hidden}; `--dry-run` lists what is missing",
            *notes,
        )
    if len(notes) > NOTES and not every_note:
        notes = (*notes[: NOTES - 1], f"{len(notes) - NOTES + 1} more notes: --notes prints all")
    return replace(table, rows=tuple(rows), notes=notes)


def columns(scale: Scale) -> tuple[str, ...]:
    """Heads of the columns: one per evaluation of the scale."""
    return tuple(evaluation(name).label for name in scale.evaluations)


def with_bases(finetunes: Iterable[str]) -> list[str]:
    """Each base model that `finetunes` start from, before the first of them."""
    return list(dict.fromkeys(part for name in finetunes for part in (base_name(name), name)))


def by_finetune(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """`cells` by fine-tuning, in their order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.finetune, []).append(cell)
    return found


def accuracies(view: View, models: Models) -> tuple[Estimate | None, ...]:
    """The mean accuracy of `models` under each evaluation of the scale; None where it is missing."""
    return tuple(view.accuracy(models, name).estimate for name in view.scale.evaluations)


def changes(view: View, ours: Models, theirs: Models) -> tuple[Estimate | None, ...]:
    """The same of the change from `theirs` to `ours`."""
    return tuple(view.difference(ours, theirs, name).estimate for name in view.scale.evaluations)


def mean_alpha(view: View, cells: Sequence[Cell]) -> str:
    """Mean alpha* over the fine-tuned `cells`, such as `0.60`; empty unless all are known."""
    known = [made.alpha for cell in cells if (made := view.finetuning(cell)) is not None]
    return f"{statistics.fmean(known):.2f}" if len(known) == len(cells) else ""
