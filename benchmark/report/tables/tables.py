"""Tables 1 to 4 of the paper as declarations over records (no torch; what is computed from records is
computed in `benchmark/report/estimates.py`).

A number is the mean over all seeds that its scale has of the model, or it is missing: never a mean over
some of them. Models of different seeds that are taken together, as in an average of networks, are taken
at the seeds that all of them have: pairs of one seed have an interval, five seeds beside one have none.
"""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from baselines import method
from benchmark.algorithm.protocols import ALPHA_1, PROTOCOLS, finetune
from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.evaluation import evaluation, sanity
from benchmark.models import arch
from benchmark.plans.scales import Scale, of_recipe
from benchmark.records.cells import BASE, HELD_OUT, Cell, base_name
from benchmark.records.records import flagged, not_valid
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate, Records, average_accuracy, average_change
from benchmark.report.intervals import RESAMPLES, Interval, PValues
from benchmark.report.view import Missing, View

AVERAGE = "average"


Entry = Estimate | Interval | PValues | None
Models = Sequence[Records | Missing]  # of one evaluation
SeedsByModel = Mapping[tuple[str, str, str], tuple[int, ...]]  # by dataset, network and method
DEFAULT_PROTOCOLS = ("rift",)


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
class TableSpec:
    """What a table is called, which cells it needs, and how it is laid out, for some fine-tunings.

    Tables 1 and 2 put any of them side by side, Tables 3 and 4 protocols (`rift`, `rift-held-out`).
    Columns are the scale's evaluations, or those of its audit if `audited`.
    """

    name: str
    summary: str
    cells: Callable[[Scale, Sequence[str]], list[Cell]]
    build: Callable[[View, Sequence[str]], Table]
    defaults: tuple[str, ...] = DEFAULT_PROTOCOLS
    audited: bool = False

    @property
    def heading(self) -> str:
        return (
            f"The paper's Table {self.name[-1]}" if self.name.startswith("table") else self.name.title()
        )


def average(store: Store, models: Models) -> Estimate | None:
    """Mean accuracy over models, seed by seed; None if any is missing or no seed is of all."""
    known = _all_of(models)
    return None if known is None else average_accuracy(store, known)


def average_of_changes(store: Store, ours: Models, theirs: Models) -> Estimate | None:
    """The mean accuracy of `ours` minus that of `theirs`, seed by seed; None as for `average`."""
    minuends, subtrahends = _all_of(ours), _all_of(theirs)
    if minuends is None or subtrahends is None:
        return None
    return average_change(store, minuends, subtrahends)


def _all_of(models: Models) -> Sequence[Records] | None:
    """The records of the seeds that all models have; None if a model is missing or there is no such
    seed."""
    known = [records for records in models if not isinstance(records, Missing)]
    if len(known) < len(models):
        return None
    by_seed = [{record.cell.seed: record for record in records} for records in known]
    shared = [seed for seed in by_seed[0] if all(seed in own for own in by_seed)]
    return [[own[seed] for seed in shared] for own in by_seed] if shared else None


def seeds_by_model(cells: Iterable[Cell]) -> SeedsByModel:
    """The seeds of each model among `cells`."""
    found: dict[tuple[str, str, str], dict[int, None]] = {}
    for cell in cells:
        found.setdefault((cell.dataset, cell.arch, cell.method), {})[cell.seed] = None
    return {model: tuple(seeds) for model, seeds in found.items()}


def _differ(seeds: SeedsByModel) -> bool:
    return len(set(seeds.values())) > 1


def _counted(seeds: SeedsByModel, *models: tuple[str, str, str]) -> tuple[str, ...]:
    """The label that says at how many seeds `models` are taken, in a table whose rows differ in it."""
    if not _differ(seeds):
        return ()
    return (str(len(set.intersection(*(set(seeds[model]) for model in models)))),)


def columns(scale: Scale) -> tuple[str, ...]:
    """Heads of the columns: one per evaluation of the scale."""
    return tuple(evaluation(name).label for name in scale.evaluations)


# --- Tables 1 and 2: with and without RiFT ---------------------------------------------------------


def table_1_cells(scale: Scale, finetunes: Sequence[str]) -> list[Cell]:
    """Every dataset and network without and with each of `finetunes`, under the first method."""
    return scale.cells(scale.datasets, scale.archs, with_bases(finetunes))


def table_1(view: View, finetunes: Sequence[str]) -> Table:
    """Rows: network x (AT, AT+RiFT, difference), then their average, for each dataset."""
    scale, rows = view.scale, []
    used = scale.methods[0]
    names, cells = with_bases(finetunes), table_1_cells(scale, finetunes)
    seeds = seeds_by_model(cells)
    for dataset in scale.datasets:
        label = dataset_info(dataset).label
        networks = [_by_finetune(view, dataset, name, used, names) for name in scale.archs]
        for name, models in zip(scale.archs, networks, strict=True):
            place = (label, arch(name).label, *_counted(seeds, (dataset, name, used)))
            rows += _without_and_with(view, place, used, finetunes, models)
        if len(networks) > 1:
            together = {
                name: [list(chain(*m)) for m in zip(*(n[name] for n in networks), strict=True)]
                for name in names
            }
            place = (label, AVERAGE, *_counted(seeds, *((dataset, name, used) for name in scale.archs)))
            rows += _without_and_with(view, place, used, finetunes, together)
    picks = [note for name in finetunes for note in chosen(view, cells, name, _with_label(used, name))]
    return Table(
        "table1",
        f"Table 1: adversarial training with and without RiFT{chosen_on(scale, finetunes)}",
        ("dataset", "network", *(("seeds",) if _differ(seeds) else ()), "method"),
        columns(scale),
        tuple(rows),
        (
            *notes(view, cells, differences=True),
            *(["averages are over the seeds that all networks have"] if _differ(seeds) else []),
            *picks,
        ),
    )


def table_2_cells(scale: Scale, finetunes: Sequence[str]) -> list[Cell]:
    """Every further method without and with `finetunes`: first two datasets, first network."""
    others = scale.methods[1:]
    cells = scale.cells(scale.datasets[:2], scale.archs[:1], with_bases(finetunes), others or ["-"])
    return cells if others else []


def table_2(view: View, finetunes: Sequence[str]) -> Table:
    """Rows: method x (without, with RiFT, difference) for each dataset."""
    scale, rows = view.scale, []
    network, names = scale.archs[0], with_bases(finetunes)
    cells, picks = table_2_cells(scale, finetunes), []
    seeds = seeds_by_model(cells)
    for dataset in scale.datasets[:2]:
        label = dataset_info(dataset).label
        for used in scale.methods[1:]:
            models = _by_finetune(view, dataset, network, used, names)
            place = (label, *_counted(seeds, (dataset, network, used)))
            rows += _without_and_with(view, place, used, finetunes, models)
            own = [cell for cell in cells if (cell.dataset, cell.method) == (dataset, used)]
            for name in finetunes:
                picks += chosen(view, own, name, f"{label}, {_with_label(used, name)}")
    return Table(
        "table2",
        f"Table 2: other adversarial training methods with and without RiFT, {arch(network).label}"
        f"{chosen_on(scale, finetunes)}",
        ("dataset", *(("seeds",) if _differ(seeds) else ()), "method"),
        columns(scale),
        tuple(rows),
        (*notes(view, cells, differences=True), *picks),
    )


def with_bases(finetunes: Iterable[str]) -> list[str]:
    """Each base model that `finetunes` start from, before the first of them."""
    return list(dict.fromkeys(part for name in finetunes for part in (base_name(name), name)))


def _by_finetune(
    view: View, dataset: str, network: str, used: str, finetunes: Sequence[str]
) -> dict[str, list[Models]]:
    """Records by fine-tuning: for each evaluation of the scale those of the one network."""
    cells = {name: view.scale.cells([dataset], [network], [name], [used]) for name in finetunes}
    return {
        name: [[view.records(cells[name], wanted)] for wanted in view.scale.evaluations]
        for name in finetunes
    }


def _without_and_with(
    view: View,
    place: tuple[str, ...],
    used: str,
    finetunes: Sequence[str],
    models: Mapping[str, Sequence[Models]],
) -> list[Row]:
    """A base model, and each fine-tuning of it with its difference; then the next base model.

    Of several networks it is the average that is shown.
    """

    def shown(name: str) -> tuple[Entry, ...]:
        return tuple(average(view.store, networks) for networks in models[name])

    rows = []
    for base in dict.fromkeys(base_name(name) for name in finetunes):
        rows.append(Row((*place, method(used).label + _ON[base]), shown(base)))
        for name in (name for name in finetunes if base_name(name) == base):
            pairs = zip(models[name], models[base], strict=True)
            changes = tuple(average_of_changes(view.store, ours, theirs) for ours, theirs in pairs)
            rows.append(Row((*place, _with_label(used, name)), shown(name)))
            rows.append(Row((*place, "difference"), changes, signed=True, ends_block=True))
    return rows


_ON = {BASE: "", BASE + HELD_OUT: " (held-out)"}
_RIFT = {
    "rift": "RiFT",
    "rift-official-code": "RiFT (official code)",
    "rift-held-out": "RiFT (held-out)",
}


def _with_label(used: str, finetune: str) -> str:
    return f"{method(used).label}+{_RIFT.get(finetune, finetune)}"


def chosen_on(scale: Scale, finetunes: Sequence[str]) -> str:
    """For a title: what sets `scale` apart, and which data chose epochs and alpha*."""
    data = {name: finetune(name).selects_on for name in finetunes}
    if len(set(data.values())) == 1:
        return f"{scale.apart} (epochs and alpha* chosen on {_SELECTS_ON[data[finetunes[0]]]})"
    said = (
        f"on {label}: {', '.join(name for name in finetunes if data[name] == key)}"
        for key, label in _SELECTS_ON.items()
    )
    return f"{scale.apart} (epochs and alpha* chosen {'; '.join(said)})"


_SELECTS_ON = {"test": "test images", "hold-out": "a hold-out"}


# --- Tables 3 and 4: which and how many modules are fine-tuned ------------------------------------

_TABLE_3 = {
    "all-layers": "all layers",
    "last-layer": "last layer",
    "robust-critical": "robust-critical",
    "rift": "non-robust-critical",
}
_TABLE_4 = {"rift": "top 1", "top-2": "top 2", "top-3": "top 3", "top-5": "top 5"}


def _suffixes(protocols: Sequence[str]) -> dict[str, str]:
    """Suffix of the fine-tunings of each protocol. Raises `UserError` for what is none."""
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise UserError(
            f"'{unknown[0]}' is a fine-tuning, not a protocol, and Tables 3 and 4 are of all "
            f"fine-tunings of a protocol; choose among {', '.join(PROTOCOLS)}"
        )
    return {name: PROTOCOLS[name].suffix for name in protocols}


def _ablation_cells(scale: Scale, tunings: Iterable[str], protocols: Sequence[str]) -> list[Cell]:
    names = []
    for suffix in _suffixes(protocols).values():
        own = [tuning + suffix + end for tuning in tunings for end in (ALPHA_1, "")]
        names += with_bases(own)
    return scale.cells(scale.datasets[:1], scale.archs[:1], names)


def _ablation(
    view: View, name: str, title: str, tunings: dict[str, str], protocols: Sequence[str]
) -> Table:
    """Rows: the base model, then each tuning as fine-tuned and at its own alpha*; by protocol."""
    scale, rows, picks = view.scale, [], []
    dataset, network = scale.datasets[0], scale.archs[0]
    cells = _ablation_cells(scale, tunings, protocols)
    for protocol, suffix in _suffixes(protocols).items():
        place = (protocol,) if len(protocols) > 1 else ()
        base = _numbers(view, dataset, network, base_name(protocol))
        rows.append(Row((*place, "none (AT)", ""), base, ends_block=True))
        for tuning, label in tunings.items():
            for chosen_name in (tuning + suffix + ALPHA_1, tuning + suffix):
                numbers = _numbers(view, dataset, network, chosen_name)
                own = chosen_name.endswith(ALPHA_1)
                alpha = "1" if own else _alpha(view, dataset, network, chosen_name)
                rows.append(Row((*place, label, alpha), numbers))
            rows[-1] = replace(rows[-1], ends_block=True)
            picks += chosen(view, cells, tuning + suffix, label + (f" ({protocol})" if place else ""))
    where = f"{arch(network).label} on {dataset_info(dataset).label}"
    both = "each tuning as fine-tuned (alpha 1) and at its own alpha* (mean over seeds); the paper "
    return Table(
        name,
        f"{title}, {where}{chosen_on(scale, protocols)}",
        (*(("protocol",) if len(protocols) > 1 else ()), "fine-tuned modules", "alpha"),
        columns(scale),
        tuple(rows),
        (*notes(view, cells), both + "does not say which of the two it shows", *picks),
    )


def _numbers(view: View, dataset: str, network: str, finetune: str) -> tuple[Entry, ...]:
    cells = view.scale.cells([dataset], [network], [finetune])
    return tuple(
        average(view.store, [view.records(cells, wanted)]) for wanted in view.scale.evaluations
    )


def _alpha(view: View, dataset: str, network: str, tuning: str) -> str:
    cells = view.scale.cells([dataset], [network], [tuning])
    known = [making.alpha for cell in cells if (making := view.finetuning(cell)) is not None]
    return f"alpha* {statistics.fmean(known):.2f}" if len(known) == len(cells) else "alpha*"


def table_3_cells(scale: Scale, protocols: Sequence[str]) -> list[Cell]:
    """The first network under each tuning of Table 3."""
    return _ablation_cells(scale, _TABLE_3, protocols)


def table_3(view: View, protocols: Sequence[str]) -> Table:
    """All layers, last layer, most and least critical module."""
    title = "Table 3: fine-tuning different modules"
    return _ablation(view, "table3", title, _TABLE_3, protocols)


def table_4_cells(scale: Scale, protocols: Sequence[str]) -> list[Cell]:
    """The first network under each tuning of Table 4."""
    return _ablation_cells(scale, _TABLE_4, protocols)


def table_4(view: View, protocols: Sequence[str]) -> Table:
    """The 1, 2, 3 and 5 least critical modules."""
    title = "Table 4: fine-tuning several non-robust-critical modules"
    return _ablation(view, "table4", title, _TABLE_4, protocols)


# --- notes under a table ----------------------------------------------------------------------------


def notes(view: View, cells: Sequence[Cell], *, differences: bool = False) -> list[str]:
    """What a reader of a table of `cells` has to know; `differences`: it has rows of them."""
    scale, seeds = view.scale, seeds_by_model(cells)
    several = {len(own) > 1 for own in seeds.values()}
    lines = [
        f"scale {scale.name}: {scale.summary}",
        *_shortened(scale, {cell.method for cell in cells}),
        f"accuracy in percent; {_seeds(seeds)}",
        *_brackets(several),
        *([_paired(several)] if differences else []),
        *_readings(cells),
    ]
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        info = dataset_info(dataset)
        said = (evaluation(name).note(info) for name in scale.evaluations if _has(info, name))
        if parts := [note for note in said if note]:
            lines.append(f"{info.label}: {'; '.join(parts)}")
        if missing := [name for name in scale.evaluations if not _has(info, name)]:
            lines.append(f"{info.label} has no {', '.join(missing)}")
    if stale := view.stale(cells):
        lines.append(f"stale records left out: {stale}; `status` lists them")
    if zeros := sanity.zeros(record for cell in cells for record in view.fresh(cell)):
        lines.append("; ".join(zeros))
    return [*lines, *_remarks(view, cells)]


def _seeds(seeds: SeedsByModel) -> str:
    """Of which seeds numbers are, and where these differ, which models have them."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for (dataset, network, used), own in seeds.items():
        label = f"{method(used).label}, {arch(network).label} on {dataset_info(dataset).label}"
        by_seeds.setdefault(own, []).append(label)
    *few, most = sorted(by_seeds, key=lambda own: len(by_seeds[own]))
    said = [f"{_spread(own)} ({'; '.join(by_seeds[own])})" for own in few]
    return "; ".join([*said, _spread(most) + (" (all others)" if few else "")])


def _spread(seeds: Sequence[int]) -> str:
    how = "mean ± standard deviation over seeds" if len(seeds) > 1 else "one seed, no spread"
    return f"seeds {', '.join(str(seed) for seed in seeds)}: {how}"


def _brackets(several: Collection[bool]) -> list[str]:
    """What the intervals of accuracies are over, and what they do not say; `several`: of several seeds,
    of one, or of both kinds."""
    said = {
        True: "95 % t interval of the mean over seeds (ddof = 1, cut at 0 and 100): what training "
        "again changes, on the same test images; none where all seeds agree exactly",
        False: "95 % interval over test images (Wilson's where an image is right or wrong, else a "
        f"percentile bootstrap, {RESAMPLES:,} resamples) for the weights as they are: what training "
        "again changes is not in it",
    }
    where = {True: ", several seeds", False: ", one seed"} if len(several) > 1 else {}
    return [f"in brackets{where.get(each, '')}: {said[each]}" for each in said if each in several]


def _paired(several: Collection[bool]) -> str:
    """How the intervals of differences are taken, and what they are for."""
    said = {True: "seed by seed", False: "image by image, by a bootstrap over images"}
    how = ", or of one seed ".join(said[each] for each in said if each in several)
    return (
        f"intervals of differences are paired, {how}: compare two rows by their difference, not by "
        "whether their own intervals overlap"
    )


def _remarks(view: View, cells: Sequence[Cell]) -> list[str]:
    """Remarks of records; of those that differ in numbers only the first stands for all."""
    alike: dict[str, list[str]] = {}
    for cell in cells:
        for remark in dict.fromkeys(said for record in view.fresh(cell) for said in record.remarks):
            alike.setdefault(re.sub(r"\d+", "#", remark), []).append(remark)
    return [
        f"{said[0]} ({len(said)} of {len(cells)} models"
        + ("; numbers of the first)" if len(set(said)) > 1 else ")")
        for said in alike.values()
    ]


def _readings(cells: Iterable[Cell]) -> list[str]:
    """Who chose what on which data, for each protocol among `cells`."""
    used = {finetune(cell.finetune).protocol.suffix for cell in cells if not cell.is_base}
    return [f"{name}: {p.summary}" for name, p in PROTOCOLS.items() if p.suffix in used]


def _shortened(scale: Scale, methods: Collection[str]) -> list[str]:
    """What the scale changes against the published recipes of `methods`."""
    parts = {
        "training": scale.training,
        "fine-tuning": scale.finetuning,
        "criticality": scale.criticality,
    }
    parts |= {f"training of {name}": of_recipe(own) for name, own in scale.networks.items()}
    own = {name: of_recipe(own) for name, own in scale.recipes.items() if name in methods}
    parts |= {f"training by {method(name).label}": overrides for name, overrides in own.items()}
    changes = [
        f"{part} {', '.join(f'{name} {value}' for name, value in overrides.items())}"
        for part, overrides in parts.items()
        if overrides
    ]
    return [f"unlike the paper: {'; '.join(changes)}"] if changes else []


def _has(info: DatasetInfo, name: str) -> bool:
    return evaluation(name).spec(info) is not None


def chosen(view: View, cells: Sequence[Cell], tuning: str, label: str) -> list[str]:
    """Which modules the row `label` fine-tuned on each network, and its alpha* by seed.

    Also how many modules have no valid MRC, and in how many modules' ascent the constraint was never
    reached: their MRC is a lower estimate.
    """
    lines = []
    for name in dict.fromkeys(cell.arch for cell in cells):
        picked = [c for c in cells if c.arch == name and c.finetune == tuning]
        makings = [making for cell in picked if (making := view.finetuning(cell)) is not None]
        if not makings or finetune(tuning).selector.everything:
            continue
        modules = Counter(", ".join(sorted(making.modules)) or "no module" for making in makings)
        which = "; ".join(f"{m} ({n} of {len(makings)} seeds)" for m, n in modules.most_common())
        alphas = ", ".join(f"{making.alpha:.2f}" for making in makings)
        lines.append(f"{label}, {arch(name).label}: {which}; alpha* by seed {alphas}")
        released = finetune(tuning).protocol.released_order
        remarks = {
            "MRC a lower estimate for {} modules (constraint not reached)": flagged,
            "no valid MRC for {} modules (ascent diverged or ended lower than it began), "
            + ("ranked as the released code does" if released else "not ranked"): not_valid,
        }
        total = len(makings[0].criticality or [])
        for remark, of in remarks.items():
            found = [of(making.criticality or []) for making in makings]
            if any(found):
                counts = ", ".join(str(len(modules)) for modules in found)
                lines[-1] += "; " + remark.format(f"{counts} of {total}")
    return lines
