"""Tables 1 to 4 of the paper as declarations over records.

A number is the mean over all seeds that its scale has of the model, or it is missing: never a mean over
some of them. Models with different seeds that are averaged or subtracted are taken at the seeds that
all of them have: a pair at one seed has an interval, five seeds against one would have none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from baselines import method
from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import ALPHA_1
from benchmark.data import dataset_info
from benchmark.errors import UserError
from benchmark.models import arch
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, HELD_OUT, Cell, base_name
from benchmark.report.tables.layout import (
    Row,
    Table,
    TableSpec,
    accuracies,
    changes,
    columns,
    mean_alpha,
    with_bases,
)
from benchmark.report.tables.notes import SeedsBySetting, chosen, chosen_on, notes, seeds_by_setting
from benchmark.report.view import Setting, View

# --- Tables 1 and 2: with and without RiFT ---------------------------------------------------------


def table_1_cells(scale: Scale, finetunes: Sequence[str]) -> list[Cell]:
    """Every dataset and network without and with each of `finetunes`, under the first method."""
    return scale.cells(scale.datasets, scale.archs, with_bases(finetunes))


def table_1(view: View, finetunes: Sequence[str]) -> Table:
    """Rows: network x (AT, AT+RiFT, difference), then their average, for each dataset."""
    scale, rows, cells = view.scale, list[Row](), table_1_cells(view.scale, finetunes)
    used, seeds = scale.methods[0], seeds_by_setting(cells)
    for dataset in scale.datasets:
        label = dataset_info(dataset).label
        networks = [each for each in view.places() if each.dataset == dataset]
        for each in networks:
            place = (label, arch(each.arch).label, *_counted(seeds, [each]))
            rows += _without_and_with(view, place, [each], finetunes)
        if len(networks) > 1:
            place = (label, "average", *_counted(seeds, networks))
            rows += _without_and_with(view, place, networks, finetunes)
    return Table(
        "table1",
        f"Table 1: adversarial training with and without RiFT{chosen_on(scale, finetunes)}",
        ("dataset", "network", *(("seeds",) if _differ(seeds) else ()), "method"),
        columns(scale),
        tuple(rows),
        (
            *notes(view, cells, differences=True),
            *(["averages are over the seeds that all networks have"] if _differ(seeds) else []),
            *(note for name in finetunes for note in chosen(view, cells, name, _label(used, name))),
        ),
    )


def table_2_cells(scale: Scale, finetunes: Sequence[str]) -> list[Cell]:
    """Every further method without and with `finetunes`: first two datasets, first network."""
    others = scale.methods[1:]
    if not others:
        return []
    return scale.cells(scale.datasets[:2], scale.archs[:1], with_bases(finetunes), others)


def table_2(view: View, finetunes: Sequence[str]) -> Table:
    """Rows: method x (without, with RiFT, difference) for each dataset."""
    scale, rows, picks = view.scale, list[Row](), list[str]()
    network, cells = scale.archs[0], table_2_cells(scale, finetunes)
    seeds = seeds_by_setting(cells)
    for model in view.other_methods():
        label = dataset_info(model.dataset).label
        rows += _without_and_with(view, (label, *_counted(seeds, [model])), [model], finetunes)
        own = [cell for cell in cells if (cell.dataset, cell.method) == (model.dataset, model.method)]
        for name in finetunes:
            picks += chosen(view, own, name, f"{label}, {_label(model.method, name)}")
    return Table(
        "table2",
        f"Table 2: other adversarial training methods with and without RiFT, {arch(network).label}"
        f"{chosen_on(scale, finetunes)}",
        ("dataset", *(("seeds",) if _differ(seeds) else ()), "method"),
        columns(scale),
        tuple(rows),
        (*notes(view, cells, differences=True), *picks),
    )


def _without_and_with(
    view: View, place: tuple[str, ...], settings: Sequence[Setting], finetunes: Sequence[str]
) -> list[Row]:
    """A base model, and each fine-tuning of it with its difference; then the next base model.

    Of several networks under one method it is the average that is shown. A fine-tuning is better than
    its base model, or that than each of its fine-tunings, where the interval of the difference says so.
    """
    used = settings[0].method
    names = [*finetunes, *map(base_name, finetunes)]
    models = {name: [view.cells(setting, name) for setting in settings] for name in names}
    rows = []
    for base in dict.fromkeys(base_name(name) for name in finetunes):
        tuned, signs = list[Row](), list[list[int]]()
        for name in (name for name in finetunes if base_name(name) == base):
            gained = changes(view, models[name], models[base])
            signs.append([each.sign if each else 0 for each in gained])
            labels, better = (*place, _label(used, name)), tuple(sign > 0 for sign in signs[-1])
            tuned.append(Row(labels, accuracies(view, models[name]), better=better))
            tuned.append(Row((*place, "difference"), gained, signed=True, ends_block=True))
        best = tuple(max(column) < 0 for column in zip(*signs, strict=True))
        label = method(used).label + _ON[base]
        rows.append(Row((*place, label), accuracies(view, models[base]), better=best))
        rows += tuned
    return rows


_ON = {BASE: "", BASE + HELD_OUT: " (held-out)"}
_RIFT = {
    "rift": "RiFT",
    "rift-official-code": "RiFT (official code)",
    "rift-held-out": "RiFT (held-out)",
}


def _label(used: str, finetune: str) -> str:
    return f"{method(used).label}+{_RIFT.get(finetune, finetune)}"


def _differ(seeds: SeedsBySetting) -> bool:
    return len(set(seeds.values())) > 1


def _counted(seeds: SeedsBySetting, settings: Sequence[Setting]) -> tuple[str, ...]:
    """The number of seeds that all of `settings` have: a label of a table whose rows differ in it."""
    if not _differ(seeds):
        return ()
    return (str(len(set.intersection(*(set(seeds[setting]) for setting in settings)))),)


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


def _ablation_cells(tunings: Iterable[str], scale: Scale, protocols: Sequence[str]) -> list[Cell]:
    """The first network under each of `tunings`, as fine-tuned and at its own alpha*, by protocol."""
    names = []
    for suffix in _suffixes(protocols).values():
        own = [tuning + suffix + end for tuning in tunings for end in (ALPHA_1, "")]
        names += with_bases(own)
    return scale.cells(scale.datasets[:1], scale.archs[:1], names)


def _ablation(
    name: str, title: str, tunings: Mapping[str, str], view: View, protocols: Sequence[str]
) -> Table:
    """Rows: the base model, then each tuning as fine-tuned and at its own alpha*; by protocol."""
    scale, rows, picks = view.scale, list[Row](), list[str]()
    setting = view.first
    cells = _ablation_cells(tunings, scale, protocols)

    def row(finetune: str, *labels: str) -> Row:
        return Row(labels, accuracies(view, [view.cells(setting, finetune)]))

    for protocol, suffix in _suffixes(protocols).items():
        place = (protocol,) if len(protocols) > 1 else ()
        rows.append(replace(row(base_name(protocol), *place, "none (AT)", ""), ends_block=True))
        for tuning, label in tunings.items():
            own = tuning + suffix
            alpha = f"alpha* {mean_alpha(view, view.cells(setting, own))}".rstrip()
            rows.append(row(own + ALPHA_1, *place, label, "1"))
            rows.append(replace(row(own, *place, label, alpha), ends_block=True))
            picks += chosen(view, cells, own, label + (f" ({protocol})" if place else ""))
    where = f"{arch(setting.arch).label} on {dataset_info(setting.dataset).label}"
    return Table(
        name,
        f"{title}, {where}{chosen_on(scale, protocols)}",
        (*(("protocol",) if len(protocols) > 1 else ()), "fine-tuned modules", "alpha"),
        columns(scale),
        tuple(rows),
        (
            *notes(view, cells),
            "each tuning as fine-tuned (alpha 1) and at its own alpha* (mean over seeds); the paper "
            "does not say which of the two it shows",
            *picks,
        ),
    )


def _ablation_spec(name: str, summary: str, title: str, tunings: Mapping[str, str]) -> TableSpec:
    return TableSpec(
        name,
        f"The paper's {title.partition(':')[0]}",
        summary,
        partial(_ablation_cells, tunings),
        partial(_ablation, name, title, tunings),
    )


TABLES = (
    TableSpec(
        "table1",
        "The paper's Table 1",
        "AT with and without RiFT, every dataset and network",
        table_1_cells,
        table_1,
    ),
    TableSpec(
        "table2",
        "The paper's Table 2",
        "TRADES, MART, AWP, SCORE with and without RiFT",
        table_2_cells,
        table_2,
        beyond_first=True,
    ),
    _ablation_spec(
        "table3", "which modules are fine-tuned", "Table 3: fine-tuning different modules", _TABLE_3
    ),
    _ablation_spec(
        "table4",
        "how many modules are fine-tuned",
        "Table 4: fine-tuning several non-robust-critical modules",
        _TABLE_4,
    ),
)
