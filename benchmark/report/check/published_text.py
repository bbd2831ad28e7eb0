"""Every published number, claim and note as text for a terminal, the paper's tables first."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from benchmark.evaluation import EVALUATIONS
from benchmark.report.check.published_schema import (
    OTHER,
    OTHERS_EVALUATIONS,
    PrintedChange,
    Published,
    PublishedRow,
)
from benchmark.report.tables.render import points
from benchmark.report.wrapping import width, wrapped

_COLUMNS = {"clean": "Std", "corruptions-15": "OOD", "pgd10x3": "Adv", "autoattack": "AA"}
_LABELS = (32, 24, 20, 16, 12, 8)  # widths of a label, of which the first that fits is taken
_NARROW = 24  # a label of fewer columns breaks words


def published_text(published: Published) -> str:
    """Return rows by place and source, then modules, claims, notes and sources."""
    lines = ["Published accuracies, in percent", ""]
    for title, rows in _groups(published).items():
        lines += [title, "", _table_that_fits(rows, published), "", *_items(_behind(rows, published))]
    if published.changes:
        lines += ["Printed differences, in points", "", _changes(published.changes), ""]
    claims = [
        " ".join(filter(None, (f"{c.id} ({c.where}): {c.statement}", c.numbers, c.note)))
        for c in published.claims
    ]
    notes = [f"{note.where}: {note.text}" for note in published.notes]
    sources = [f"{name} ({s.kind}): {s.title}, {s.url}" for name, s in published.sources.items()]
    lines += ["Criticality and modules", "", *_items(_modules(published))]
    lines += ["Claims", "", *_items(claims)]
    lines += ["Where the paper disagrees with itself or with its code", "", *_items(notes)]
    return "\n".join([*lines, "Sources", "", *_items(sources)])


def _items(texts: Iterable[str]) -> list[str]:
    return [*(line for text in texts for line in wrapped(text, "  ", "    ")), ""]


def _groups(published: Published) -> dict[str, list[PublishedRow]]:
    """Return the rows by table of the paper, and those of others by source."""
    groups: dict[str, list[PublishedRow]] = {}
    for row in published.rows:
        source = f"{row.source} ({published.sources[row.source].kind})"
        groups.setdefault(row.where if row.tolerance == "seeds" else source, []).append(row)
    return groups


def _behind(rows: Sequence[PublishedRow], published: Published) -> list[str]:
    """List what is behind the numbers of a table: protocols, seeds, tolerances, and notes."""
    labels: dict[str, dict[str, None]] = {}
    for row in rows:
        seeds = "not said" if row.seeds is None else row.seeds
        protocol = f"{row.protocol} (seeds or runs: {seeds}; tolerance: {row.tolerance})"
        labels.setdefault(protocol, {})[_label(row, published)] = None
    return [
        *(
            f"{'all rows' if len(labels) == 1 else ', '.join(of)}: {protocol}"
            for protocol, of in labels.items()
        ),
        *(
            f"{row.dataset}, {row.arch.removeprefix(OTHER)}, {_label(row, published)}: {row.note}"
            for row in rows
            if row.note
        ),
    ]


def _table_that_fits(rows: Sequence[PublishedRow], published: Published) -> str:
    tables = [_table(rows, label, published) for label in _LABELS]
    fitting = (each for each in tables if max(map(len, each.splitlines())) <= width())
    return next(fitting, tables[-1])


def _table(rows: Sequence[PublishedRow], label: int, published: Published) -> str:
    """Return datasets, networks and labels, a column per evaluation, and remarks if there are any."""
    names = _names(rows)
    heads = ["dataset", "network", "row", *map(_head, names), "remarks"]
    lines = []
    for row in rows:
        remarks = [f"eps {row.eps}"] * (row.eps != "8/255") + ["extra data"] * row.extra_data
        broken = [
            textwrap.fill(text, label, break_long_words=label < _NARROW, break_on_hyphens=False)
            for text in (row.arch.removeprefix(OTHER), _label(row, published), ", ".join(remarks))
        ]
        lines.append([row.dataset, *broken[:2], *_numbers(row.values, names, signed=False), broken[2]])
    if not any(line[-1] for line in lines):
        heads, lines = heads[:-1], [line[:-1] for line in lines]
    return tabulate(lines, heads, tablefmt="simple", disable_numparse=True)


def _names(rows: Sequence[PublishedRow]) -> list[str]:
    """List the evaluations of `rows`, those of the paper first."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    return [*(name for name in _COLUMNS if name in names), *(n for n in names if n not in _COLUMNS)]


def _head(name: str) -> str:
    labels = {known: evaluation.label for known, evaluation in EVALUATIONS.items()}
    return (labels | OTHERS_EVALUATIONS | _COLUMNS)[name]


def _label(row: PublishedRow, published: Published) -> str:
    """Return the label of the row; an entry of a leaderboard with its name there."""
    if published.sources[row.source].kind != "leaderboard":
        return row.label
    return f"{row.where.rpartition('/')[2]}: {row.label}"


def _numbers(values: Mapping[str, float], names: Iterable[str], *, signed: bool) -> list[str]:
    return [points(values[name], signed=signed) if name in values else "" for name in names]


def _changes(changes: Sequence[PrintedChange]) -> str:
    names = list(dict.fromkeys(name for change in changes for name in change.values))
    rows = [[each.where, each.id, *_numbers(each.values, names, signed=True)] for each in changes]
    heads = ["place", "difference", *(_COLUMNS.get(name, name) for name in names)]
    return tabulate(rows, heads, tablefmt="simple", disable_numparse=True)


def _modules(published: Published) -> list[str]:
    lines = []
    for each in published.criticality:
        mrc = "" if each.mrc is None else f", MRC {each.mrc:g}"
        drop = "" if each.accuracy_drop is None else f", drop {points(each.accuracy_drop)} points"
        note = f" ({each.note})" if each.note else ""
        lines.append(f"{each.dataset}, {each.arch}: {each.module}{mrc}{drop}{note}")
    lines += [f"{m.dataset}, {m.arch}: {m.module} ({m.source})" for m in published.modules]
    a = published.alpha
    return [*lines, f"alpha* {a.low:g} to {a.high:g} at learning rate {a.lr:g} ({a.where})"]
