"""Every published number, claim and note as text, Markdown and CSV (no torch)."""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from benchmark.estimates import Estimate
from benchmark.evaluation import EVALUATIONS
from benchmark.published import OTHER, OTHERS_EVALUATIONS, Change, Published, Row
from benchmark.render import percent

WIDTH = 118
_COLUMNS = {"clean": "Std", "corruptions-15": "OOD", "pgd10x3": "Adv", "autoattack": "AA"}
_LABEL = 32  # width of a label in text


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
        width = None if style == "pipe" else _LABEL
        parts += [_table(rows, style, width, published), ""]
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


def _table(rows: Sequence[Row], style: str, width: int | None, published: Published) -> str:
    """Datasets, networks and labels, a column per evaluation, and what sets a row apart."""
    others = list(dict.fromkeys(n for row in rows for n in row.values if n not in _COLUMNS))
    names = [name for name in _COLUMNS if any(name in row.values for row in rows)] + others
    heads = ["dataset", "network", "row", *(_COLUMNS.get(n, _head(n)) for n in names), "remarks"]
    lines = [
        [
            row.dataset,
            row.arch.removeprefix(OTHER),
            _label(row, published) if width is None else _broken(_label(row, published), width),
            *(_value(row.values, name) for name in names),
            ", ".join(_remarks(row)),
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


def _broken(said: str, width: int) -> str:
    return textwrap.fill(said, width, break_long_words=False, break_on_hyphens=False)


def _remarks(row: Row) -> list[str]:
    said: list[str] = [] if row.tolerance == "seeds" else [row.tolerance]
    said += [f"eps {row.eps}"] if row.eps != "8/255" else []
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
    return textwrap.wrap(said, WIDTH, initial_indent="  ", subsequent_indent="    ")


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
