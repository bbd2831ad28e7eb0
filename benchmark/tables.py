"""Tables 1 to 4 of the paper as declarations over records (no torch; nothing is computed here
but means and differences over seeds).

A number is the mean over all seeds of its scale or it is missing: never a mean over some of them.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from baselines import method
from benchmark.cells import BASE, Cell
from benchmark.data import DatasetInfo, dataset_info
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.intervals import Interval, PValues
from benchmark.models import arch
from benchmark.plans import Plan
from benchmark.records import Finetuning
from benchmark.rift.presets import ALPHA_1, FINETUNES
from benchmark.scales import Scale
from benchmark.states import State, is_of, record_state
from benchmark.store import Store

AVERAGE = "average"


@dataclass(frozen=True)
class Number:
    """Fractions by seed: their mean, and their standard deviation (ddof = 1) if there are several.

    `sources` are the keys of the cells behind the number.
    """

    values: tuple[float, ...]
    sources: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None


Entry = Number | Interval | PValues | None


@dataclass(frozen=True)
class Row:
    """One line: labels, then an entry (None: missing) per column. `signed` marks differences."""

    labels: tuple[str, ...]
    numbers: tuple[Entry, ...]
    signed: bool = False
    ends_block: bool = False


@dataclass(frozen=True)
class Table:
    """A table before rendering."""

    name: str
    title: str
    label_heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Reader:
    """Fresh records of one scale; everything a table shows comes through here."""

    store: Store
    scale: Scale

    def number(self, cells: Sequence[Cell], name: str) -> Number | None:
        """The number of evaluation `name` over `cells` (one per seed); None if any is not fresh."""
        values = []
        for cell in cells:
            if record_state(self.store, Plan.of(cell, self.scale), name) is not State.DONE:
                return None
            record = self.store.record(cell, name)
            assert record is not None
            values.append(record.value)
        return Number(tuple(values), tuple(cell.key for cell in cells))

    def making(self, cell: Cell) -> Finetuning | None:
        """How a fine-tuned cell was made, if that is on disk."""
        making = self.store.making(cell)
        if making is None or not is_of(making, Plan.of(cell, self.scale)):
            return None
        details = making.details
        return details if isinstance(details, Finetuning) else None

    def stale(self, cells: Iterable[Cell]) -> int:
        """How many records of `cells` are stale."""
        return sum(
            record_state(self.store, Plan.of(cell, self.scale), name) is State.STALE
            for cell in cells
            for name in self.scale.evaluations
        )


@dataclass(frozen=True)
class TableSpec:
    """What a table is called, which cells it needs, and how it is laid out."""

    name: str
    summary: str
    cells: Callable[[Scale], list[Cell]]
    build: Callable[[Reader], Table]


def grid(
    scale: Scale,
    datasets: Sequence[str],
    archs: Sequence[str],
    finetunes: Sequence[str],
    methods: Sequence[str] | None = None,
) -> list[Cell]:
    """Cells of `methods` (None: the scale's first), all seeds."""
    return [
        Cell(scale.name, dataset, name, chosen, finetune, seed)
        for dataset in datasets
        for name in archs
        for chosen in methods or scale.methods[:1]
        for finetune in finetunes
        for seed in scale.seeds
    ]


def difference(minuend: Number | None, subtrahend: Number | None) -> Number | None:
    """Seed by seed."""
    if minuend is None or subtrahend is None:
        return None
    pairs = zip(minuend.values, subtrahend.values, strict=True)
    return Number(tuple(a - b for a, b in pairs), minuend.sources + subtrahend.sources)


def average(numbers: Sequence[Number | None]) -> Number | None:
    """Mean over rows, seed by seed; None if any row is missing."""
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return None
    values = zip(*(number.values for number in known), strict=True)
    sources = tuple(source for number in known for source in number.sources)
    return Number(tuple(statistics.fmean(column) for column in values), sources)


def columns(scale: Scale) -> tuple[str, ...]:
    """Heads of the columns: one per evaluation of the scale."""
    return tuple(evaluation(name).label for name in scale.evaluations)


# --- Tables 1 and 2: with and without RiFT ---------------------------------------------------------

_WITHOUT_AND_WITH = (BASE, "rift")


def table_1_cells(scale: Scale) -> list[Cell]:
    """Every dataset and network with and without RiFT, under the first method."""
    return grid(scale, scale.datasets, scale.archs, _WITHOUT_AND_WITH)


def table_1(reader: Reader) -> Table:
    """Rows: network x (AT, AT+RiFT, difference), then their average, for each dataset."""
    scale, rows = reader.scale, []
    used = scale.methods[0]
    for dataset in scale.datasets:
        label = dataset_info(dataset).label
        blocks = []
        for name in scale.archs:
            numbers = _without_and_with(reader, dataset, name, used)
            blocks.append(numbers)
            rows += _three_rows((label, arch(name).label), used, *numbers)
        if len(blocks) > 1:
            base, rift = (
                [average(c) for c in zip(*part, strict=True)] for part in zip(*blocks, strict=True)
            )
            rows += _three_rows((label, AVERAGE), used, base, rift)
    cells = table_1_cells(scale)
    return Table(
        "table1",
        "Table 1: adversarial training with and without RiFT",
        ("dataset", "network", "method"),
        columns(scale),
        tuple(rows),
        (*_notes(reader, cells), *_chosen(reader, cells, "rift", f"{method(used).label}+RiFT")),
    )


def table_2_cells(scale: Scale) -> list[Cell]:
    """Every further method with and without RiFT: first two datasets, first network."""
    others = scale.methods[1:]
    cells = grid(scale, scale.datasets[:2], scale.archs[:1], _WITHOUT_AND_WITH, others or ["-"])
    return cells if others else []


def table_2(reader: Reader) -> Table:
    """Rows: method x (without, with RiFT, difference) for each dataset."""
    scale, rows = reader.scale, []
    network = scale.archs[0]
    cells, picks = table_2_cells(scale), []
    for dataset in scale.datasets[:2]:
        label = dataset_info(dataset).label
        for name in scale.methods[1:]:
            numbers = _without_and_with(reader, dataset, network, name)
            rows += _three_rows((label,), name, *numbers)
            own = [cell for cell in cells if (cell.dataset, cell.method) == (dataset, name)]
            picks += _chosen(reader, own, "rift", f"{label}, {method(name).label}+RiFT")
    return Table(
        "table2",
        f"Table 2: other adversarial training methods with and without RiFT, {arch(network).label}",
        ("dataset", "method"),
        columns(scale),
        tuple(rows),
        (*_notes(reader, cells), *picks),
    )


def _numbers(
    reader: Reader, dataset: str, name: str, finetune: str, used: str | None = None
) -> list[Number | None]:
    cells = grid(reader.scale, [dataset], [name], [finetune], used and [used])
    return [reader.number(cells, wanted) for wanted in reader.scale.evaluations]


def _without_and_with(
    reader: Reader, dataset: str, name: str, used: str
) -> tuple[list[Number | None], list[Number | None]]:
    base, rift = (_numbers(reader, dataset, name, finetune, used) for finetune in _WITHOUT_AND_WITH)
    return base, rift


def _three_rows(
    place: tuple[str, ...],
    used: str,
    base: Sequence[Number | None],
    rift: Sequence[Number | None],
) -> list[Row]:
    change = tuple(difference(b, a) for a, b in zip(base, rift, strict=True))
    label = method(used).label
    return [
        Row((*place, label), tuple(base)),
        Row((*place, f"{label}+RiFT"), tuple(rift)),
        Row((*place, "difference"), change, signed=True, ends_block=True),
    ]


# --- Tables 3 and 4: which and how many modules are fine-tuned ------------------------------------

_TABLE_3 = {
    "all-layers": "all layers",
    "last-layer": "last layer",
    "robust-critical": "robust-critical",
    "rift": "non-robust-critical",
}
_TABLE_4 = {"rift": "top 1", "top-2": "top 2", "top-3": "top 3", "top-5": "top 5"}


def _ablation_cells(scale: Scale, tunings: Iterable[str]) -> list[Cell]:
    names = [BASE, *(name for tuning in tunings for name in (tuning + ALPHA_1, tuning))]
    return grid(scale, scale.datasets[:1], scale.archs[:1], names)


def _ablation(reader: Reader, name: str, title: str, tunings: dict[str, str]) -> Table:
    """Rows: the base model, then each tuning as fine-tuned and at its own alpha*."""
    scale = reader.scale
    dataset, network = scale.datasets[0], scale.archs[0]
    rows = [Row(("none (AT)", ""), tuple(_numbers(reader, dataset, network, BASE)), ends_block=True)]
    for tuning, label in tunings.items():
        for finetune in (tuning + ALPHA_1, tuning):
            numbers = tuple(_numbers(reader, dataset, network, finetune))
            alpha = "1" if finetune.endswith(ALPHA_1) else _alpha(reader, dataset, network, tuning)
            rows.append(Row((label, alpha), numbers))
        rows[-1] = replace(rows[-1], ends_block=True)
    cells = _ablation_cells(scale, tunings)
    where = f"{arch(network).label} on {dataset_info(dataset).label}"
    picks = [note for item in tunings.items() for note in _chosen(reader, cells, *item)]
    both = "each tuning as fine-tuned (alpha 1) and at its own alpha* (mean over seeds); the paper "
    return Table(
        name,
        f"{title}, {where}",
        ("fine-tuned modules", "alpha"),
        columns(scale),
        tuple(rows),
        (*_notes(reader, cells), both + "does not say which of the two it shows", *picks),
    )


def _alpha(reader: Reader, dataset: str, network: str, tuning: str) -> str:
    cells = grid(reader.scale, [dataset], [network], [tuning])
    known = [making.alpha for cell in cells if (making := reader.making(cell)) is not None]
    return f"alpha* {statistics.fmean(known):.2f}" if len(known) == len(cells) else "alpha*"


def table_3_cells(scale: Scale) -> list[Cell]:
    """The first network under each tuning of Table 3."""
    return _ablation_cells(scale, _TABLE_3)


def table_3(reader: Reader) -> Table:
    """All layers, last layer, most and least critical module."""
    return _ablation(reader, "table3", "Table 3: fine-tuning different modules", _TABLE_3)


def table_4_cells(scale: Scale) -> list[Cell]:
    """The first network under each tuning of Table 4."""
    return _ablation_cells(scale, _TABLE_4)


def table_4(reader: Reader) -> Table:
    """The 1, 2, 3 and 5 least critical modules."""
    return _ablation(
        reader, "table4", "Table 4: fine-tuning several non-robust-critical modules", _TABLE_4
    )


# --- notes under a table ----------------------------------------------------------------------------


def _notes(reader: Reader, cells: Sequence[Cell]) -> list[str]:
    scale = reader.scale
    seeds = ", ".join(str(seed) for seed in scale.seeds)
    spread = "mean ± standard deviation over seeds" if len(scale.seeds) > 1 else "one seed, no spread"
    notes = [
        f"scale {scale.name}: {scale.summary}",
        *_shortened(scale, {cell.method for cell in cells}),
        f"accuracy in percent; seeds {seeds}: {spread}",
        "epochs and alpha* are chosen on test images, as the paper does",
    ]
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        info = dataset_info(dataset)
        said = (evaluation(name).note(info) for name in scale.evaluations if _has(info, name))
        if parts := [note for note in said if note]:
            notes.append(f"{info.label}: {'; '.join(parts)}")
        if missing := [name for name in scale.evaluations if not _has(info, name)]:
            notes.append(f"{info.label} has no {', '.join(missing)}")
    if stale := reader.stale(cells):
        notes.append(f"stale records left out: {stale}; `status` lists them")
    return notes


def _shortened(scale: Scale, methods: Collection[str]) -> list[str]:
    """What the scale changes against the published recipes of `methods`."""
    parts = {
        "training": scale.training,
        "fine-tuning": scale.finetuning,
        "criticality": scale.criticality,
    }
    parts |= {f"training of {name}": overrides for name, overrides in scale.networks.items()}
    own = {name: overrides for name, overrides in scale.recipes.items() if name in methods}
    parts |= {f"training by {method(name).label}": overrides for name, overrides in own.items()}
    changes = [
        f"{part} {', '.join(f'{name} {value}' for name, value in overrides.items())}"
        for part, overrides in parts.items()
        if overrides
    ]
    return [f"unlike the paper: {'; '.join(changes)}"] if changes else []


def _has(info: DatasetInfo, name: str) -> bool:
    return evaluation(name).spec(info) is not None


def _chosen(reader: Reader, cells: Sequence[Cell], tuning: str, label: str) -> list[str]:
    """Which modules the row `label` fine-tuned on each network, and its alpha* by seed."""
    lines = []
    for name in dict.fromkeys(cell.arch for cell in cells):
        picked = [c for c in cells if c.arch == name and c.finetune == tuning]
        makings = [making for cell in picked if (making := reader.making(cell)) is not None]
        if not makings or FINETUNES[tuning].selector.everything:
            continue
        modules = Counter(", ".join(sorted(making.modules)) for making in makings)
        which = "; ".join(f"{m} ({n} of {len(makings)} seeds)" for m, n in modules.most_common())
        alphas = ", ".join(f"{making.alpha:.2f}" for making in makings)
        lines.append(f"{label}, {arch(name).label}: {which}; alpha* by seed {alphas}")
    return lines


TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        TableSpec(
            "table1", "AT with and without RiFT, every dataset and network", table_1_cells, table_1
        ),
        TableSpec("table2", "TRADES, MART, AWP, SCORE with and without RiFT", table_2_cells, table_2),
        TableSpec("table3", "which modules are fine-tuned", table_3_cells, table_3),
        TableSpec("table4", "how many modules are fine-tuned", table_4_cells, table_4),
    )
}


def table_spec(name: str) -> TableSpec:
    """The table called `name`. Raises `UserError` if there is none."""
    if name not in TABLES:
        raise UserError(f"unknown table '{name}'; known: {', '.join(TABLES)}")
    return TABLES[name]
