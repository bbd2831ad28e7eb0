"""Every published number, claim and note as text, Markdown and CSV (no torch).

Only CSV has which fine-tunings a row may be a reading of, and the checkpoint with its weights.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from benchmark.evaluation import EVALUATIONS
from benchmark.report.check.published import OTHER, OTHERS_EVALUATIONS, Change, Published, Row
from benchmark.report.estimates import Estimate
from benchmark.report.tables.render import percent
from benchmark.report.wrapping import width, wrapped

_COLUMNS = {"clean": "Std", "corruptions-15": "OOD", "pgd10x3": "Adv", "autoattack": "AA"}
_LABELS = (32, 24, 20, 16, 12, 8)  # widths of a label in text, of which the first that fits is taken
_NARROW = 24


def text(published: Published) -> str:
    """For a terminal, the paper's tables first."""
    return _report(published, "simple", _wrapped)


def markdown(published: Published) -> str:
    """With pipe tables."""
    return _report(published, "pipe", lambda said: [f"- {said}"])


def _report(published: Published, style: str, note: Callable[[str], list[str]]) -> str:
    """Rows by place and source, then modules, claims, notes and sources."""
    strong = "**{}**" if style == "pipe" else "{}"
    parts = [strong.format("Published accuracies, in percent"), ""]
    for title, rows in _groups(published).items():
        parts += [strong.format(title), ""]
        parts += [_table_that_fits(rows, style, published), ""]
        parts += [line for said in _behind(rows, published) for line in note(said)] + [""]
    if published.changes:
        parts += [
            strong.format("Printed differences, in points"),
            "",
            _changes(published.changes, style),
            "",
        ]
    parts += [strong.format("Criticality and modules"), ""]
    parts += [line for said in _modules(published) for line in note(said)]
    parts += ["", strong.format("Claims"), ""]
    for claim in published.claims:
        said = f"{claim.id} ({claim.where}): {claim.statement}"
        parts += note(" ".join([said, *(part for part in (claim.numbers, claim.note) if part)]))
    parts += ["", strong.format("Where the paper disagrees with itself or with its code"), ""]
    for each in published.notes:
        parts += note(f"{each.where}: {each.text}")
    parts += ["", strong.format("Sources"), ""]
    for name, each_source in published.sources.items():
        parts += note(f"{name} ({each_source.kind}): {each_source.title}, {each_source.url}")
    return "\n".join([*parts, ""])


def _groups(published: Published) -> dict[str, list[Row]]:
    """Rows by table of the paper, and those of others by source."""
    groups: dict[str, list[Row]] = {}
    for row in published.rows:
        own = row.tolerance == "seeds"
        title = row.where if own else f"{row.source} ({published.sources[row.source].kind})"
        groups.setdefault(title, []).append(row)
    return groups


def _table_that_fits(rows: Sequence[Row], style: str, published: Published) -> str:
    """The table; in text with labels broken as the width of the terminal asks for."""
    if style == "pipe":
        return _table(rows, style, None, published)
    tables = [_table(rows, style, label, published) for label in _LABELS]
    fitting = (each for each in tables if max(map(len, each.splitlines())) <= width())
    return next(fitting, tables[-1])


def _behind(rows: Sequence[Row], published: Published) -> list[str]:
    """What is behind the numbers of a table: protocols, seeds, how they are compared, and notes."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        seeds = "not said" if row.seeds is None else row.seeds
        said = f"{row.protocol} (seeds or runs: {seeds}; tolerance: {row.tolerance})"
        kinds.setdefault(said, []).append(row)
    lines = []
    for said, of in kinds.items():
        labels = dict.fromkeys(_label(row, published) for row in of)
        lines.append(f"{'all rows' if len(kinds) == 1 else ', '.join(labels)}: {said}")
    return lines + [
        f"{row.dataset}, {row.arch.removeprefix(OTHER)}, {_label(row, published)}: {row.note}"
        for row in rows
        if row.note
    ]


def _table(rows: Sequence[Row], style: str, label: int | None, published: Published) -> str:
    """Datasets, networks and labels, a column per evaluation, and what sets a row apart."""
    others = list(dict.fromkeys(n for row in rows for n in row.values if n not in _COLUMNS))
    names = [name for name in _COLUMNS if any(name in row.values for row in rows)] + others
    heads = ["dataset", "network", "row", *(_COLUMNS.get(n, _head(n)) for n in names), "remarks"]
    lines = [
        [
            row.dataset,
            _broken(row.arch.removeprefix(OTHER), label),
            _broken(_label(row, published), label),
            *(_value(row.values, name) for name in names),
            _broken(", ".join(_remarks(row)), label),
        ]
        for row in rows
    ]
    if not any(line[-1] for line in lines):
        heads, lines = heads[:-1], [line[:-1] for line in lines]
    return tabulate(lines, heads, tablefmt=style, disable_numparse=True)


def _head(name: str) -> str:
    return EVALUATIONS[name].label if name in EVALUATIONS else OTHERS_EVALUATIONS.get(name, name)


def _label(row: Row, published: Published) -> str:
    """What the row is called; an entry of a leaderboard with its name there."""
    if published.sources[row.source].kind != "leaderboard":
        return row.label
    return f"{row.where.rpartition('/')[2]}: {row.label}"


def _broken(said: str, label: int | None) -> str:
    """`said` in lines of `label` columns; longer names are broken where nothing else helps."""
    if label is None:
        return said
    return textwrap.fill(said, label, break_long_words=label < _NARROW, break_on_hyphens=False)


def _remarks(row: Row) -> list[str]:
    said = [f"eps {row.eps}"] if row.eps != "8/255" else []
    said += ["extra data"] if row.extra_data else []
    return said


def _value(values: Mapping[str, float], name: str) -> str:
    return percent(Estimate((values[name],)), signed=False) if name in values else ""


def _changes(changes: Sequence[Change], style: str) -> str:
    names = list(dict.fromkeys(name for change in changes for name in change.values))
    rows = [
        [
            change.where,
            change.id,
            *(
                percent(Estimate((change.values[n],)), True) if n in change.values else ""
                for n in names
            ),
        ]
        for change in changes
    ]
    heads = ["place", "difference", *(_COLUMNS.get(name, name) for name in names)]
    return tabulate(rows, heads, tablefmt=style, disable_numparse=True)


def _modules(published: Published) -> list[str]:
    """Measured and named modules and the range of alpha*, a line each."""
    said = []
    for each in published.criticality:
        mrc = "" if each.mrc is None else f", MRC {each.mrc:g}"
        drop = (
            ""
            if each.accuracy_drop is None
            else f", drop {_value({'drop': each.accuracy_drop}, 'drop')}"
        )
        note = f" ({each.note})" if each.note else ""
        said.append(f"{each.dataset}, {each.arch}: {each.module}{mrc}{drop} points{note}")
    said += [
        f"{each.dataset}, {each.arch}: {each.module} ({each.source})" for each in published.modules
    ]
    alpha = published.alpha
    return [
        *said,
        f"alpha* {alpha.low:g} to {alpha.high:g} at learning rate {alpha.lr:g} ({alpha.where})",
    ]


def _wrapped(said: str) -> list[str]:
    return wrapped(said, "  ", "    ")


def csv(published: Published) -> str:
    """One line per published accuracy: the fields of its row, the evaluation, and the fraction."""
    lines = [
        row.model_dump(exclude={"values", "finetunes"})
        | {"finetunes": " ".join(row.finetunes), "evaluation": name, "value": value}
        for row in published.rows
        for name, value in row.values.items()
    ]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


PUBLISHED_FORMATS: dict[str, Callable[[Published], str]] = {
    "text": text,
    "markdown": markdown,
    "csv": csv,
}
