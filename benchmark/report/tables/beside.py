"""Tables 1 to 4 as the paper lays them out, with its numbers beside those on record."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from benchmark.algorithm.tunings import ALPHA_1
from benchmark.data import dataset_info
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.models import arch
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.records import WARNING
from benchmark.report.check.published import published
from benchmark.report.check.published_schema import PrintedChange, PublishedRow
from benchmark.report.estimates import Estimate
from benchmark.report.tables.layout import Beside, Row, Table, on_record
from benchmark.report.view import Setting, View

Printed = PublishedRow | PrintedChange
_KEPT = (WARNING, "stale records", "records left out", "scale ", "unlike the paper")
"""Beginnings of notes that hold in this layout, too, which has no intervals or bold entries."""
_WIDTH = re.compile(r"-w?\d+$")


def printed_in(name: str, scale: Scale) -> list[PublishedRow]:
    """The rows of the paper's table `name` on datasets of `scale`.

    Raises `UserError` if there are none.
    """
    where = f"Table {name.removeprefix('table')}"
    rows = [row for row in published().rows if (row.source, row.where) == ("rift", where)]
    if not rows:
        raise UserError(f"--style paper is for table1 to table4; the paper has no {name}")
    if own := [row for row in rows if row.dataset in scale.datasets]:
        return own
    known = ", ".join(dict.fromkeys(row.dataset for row in rows))
    raise UserError(
        f"--style paper: the paper's {where} is on {known}, and scale '{scale.name}' is not; "
        "`--scale narrow` is"
    )


def beside_paper(view: View, table: Table) -> Table:
    """`table` with the paper's rows, its columns for each dataset, and `ours / paper` as entries.

    A network that the scale lacks is represented by its own of the same depth, and an evaluation by the
    one for the same column; a note says so.
    """
    scale, rows = view.scale, printed_in(table.name, view.scale)
    by_id = {row.id: row for row in rows}
    roles = {str(evaluation(name).role): name for name in rows[0].values}
    lines: dict[tuple[str, ...], dict[str, list[Beside]]] = {}
    for row in rows:
        all_of_row: list[Printed] = [row]
        all_of_row += [each for each in published().changes if each.after[-1] == row.id]
        for printed in all_of_row:
            key = printed.id.replace(f"/{row.dataset}/", "/"), *_labels(printed, row, scale)
            lines.setdefault(key, {})[row.dataset] = [
                Beside(_ours(view, printed, by_id, role), printed.values[name])
                for role, name in roles.items()
            ]
    named = list(dict.fromkeys(row.dataset for row in rows))
    found = {each: [entry for line in lines.values() for entry in line[each]] for each in named}
    known = [each for each in named if any(map(on_record, found[each]))]
    kept = known or named
    out = ", ".join(dataset_info(each).label for each in named if each not in kept)
    shown = []
    for (_, *labels), line in lines.items():
        numbers = tuple(entry for dataset in kept for entry in line[dataset])
        signed = labels[-1] == "difference"
        shown.append(Row(tuple(labels), numbers, signed, ends_block=signed))
    heads = {each: f"{dataset_info(each).label} " if len(kept) > 1 else "" for each in kept}
    return replace(
        table,
        title=f"{table.title}: ours / paper",
        label_heads=("network", "method"),
        columns=tuple(head + role for head in heads.values() for role in roles),
        rows=tuple(shown),
        notes=(
            *_apart(rows, roles, scale),
            *([f"without any number, not shown: {out}"] if out else []),
            *(note for note in table.notes if note.startswith(_KEPT)),
        ),
    )


def _labels(printed: Printed, row: PublishedRow, scale: Scale) -> tuple[str, str]:
    if isinstance(printed, PrintedChange) and len(printed.after) > 1:
        return "average", "difference"
    ours = _counterpart(row, scale).arch
    label = arch(row.arch).label if ours == row.arch else f"{arch(ours).label} / {arch(row.arch).label}"
    return label, "difference" if isinstance(printed, PrintedChange) else row.label


def _counterpart(row: PublishedRow, scale: Scale) -> Setting:
    """The setting of `row`, on the scale's network of the same family and depth if it has one."""
    same = [name for name in scale.archs if _WIDTH.sub("", name) == _WIDTH.sub("", row.arch)]
    own = row.arch if row.arch in same or not same else same[0]
    return Setting(row.dataset, own, row.method)


def _standing_for(scale: Scale, role: str) -> str | None:
    return next((name for name in scale.evaluations if evaluation(name).role == role), None)


def _ours(view: View, printed: Printed, rows: Mapping[str, PublishedRow], role: str) -> Estimate | None:
    if (name := _standing_for(view.scale, role)) is None:
        return None

    def models(*ids: str) -> list[list[Cell]]:
        of = (rows[each] for each in ids)
        return [view.cells(_counterpart(row, view.scale), row.finetunes[0]) for row in of]

    if isinstance(printed, PublishedRow):
        return view.accuracy(models(printed.id), name).estimate
    return view.difference(models(*printed.after), models(*printed.before), name).estimate


def _apart(rows: Sequence[PublishedRow], roles: Iterable[str], scale: Scale) -> list[str]:
    """What is beside the paper's numbers without being the same number."""
    apart = [
        f"{role} of ours is {evaluation(name).label}"
        for role in roles
        if (name := _standing_for(scale, role)) and evaluation(name).label != role
    ]
    if any(_counterpart(row, scale).arch != row.arch for row in rows):
        apart.append("networks of ours are narrower")
    if tuned := dict.fromkeys(row.label for row in rows if row.finetunes[0].endswith(ALPHA_1)):
        apart.append(
            f"{', '.join(tuned)} of ours as fine-tuned (alpha 1), of the paper's at an alpha not said"
        )
    return [f"side by side, but not the same number: {'; '.join(apart)}"] if apart else []
