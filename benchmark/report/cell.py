"""All that is on record of one cell, as text: how it was made, modules, curve, accuracies."""

from collections.abc import Iterator

from tabulate import tabulate

from benchmark.errors import UserError, close_to
from benchmark.evaluation import evaluation
from benchmark.records.cells import OWN, Cell
from benchmark.records.plugins import not_loaded
from benchmark.records.records import Count, Finetuning, Making, Record, Training
from benchmark.records.store import Store
from benchmark.report.model_card import how_made
from benchmark.report.tables.render import MISSING, points, summary

ROWS = 21
"""Most rows shown of a table; a longer one is sampled evenly, its first and last rows included."""


def cell_as_text(store: Store, cell: Cell) -> str:
    """What is on record of `cell`. Raises `UserError`, with keys close to it, if nothing is."""
    found = list(store.of(cell))
    records = [each for each in found if isinstance(each, Record)]
    making = next((each for each in found if isinstance(each, Making)), None)
    if not found:
        make = "evaluate" if cell.scale == OWN else f"run {cell.key}"
        hint = close_to(cell.key, store.keys_on_disk()) or f"`{make}` makes it"
        raise UserError(f"nothing is on record of {cell.key}; {hint}")
    parts = [cell.key]
    if making is None:
        parts.append("how it was made is not on record")
    else:
        parts += _making(making)
    if records:
        parts.append("records")
        for record in records:
            parts.append(f"  {_in_a_line(store, record)}")
            parts += [f"    {remark}" for remark in record.remarks]
    return "\n".join(parts)


def _in_a_line(store: Store, record: Record) -> str:
    """`summary`; without the interval if the evaluation, which reads the bits, is not known here."""
    try:
        evaluation(record.evaluation)
    except UserError:
        why = not_loaded(record.spec) or "an evaluation that this version does not know"
        return f"{record.evaluation}  {points(record.value)} % ({record.k} of {record.n}; {why})"
    return summary(store, record)


def _making(making: Making) -> Iterator[str]:
    made, details = making.provenance, making.details
    yield "making"
    yield from (f"  {line.replace('`', '')}" for line in how_made(making))
    threads = f"{made.threads} thread{'s' * (made.threads != 1)}"
    yield f"  {made.seconds:.0f} s on {made.device}, {threads}, at commit {made.commit or 'unknown'}"
    if isinstance(details, Training | Finetuning):
        epochs = [
            [str(e.epoch), f"{e.loss:.4f}", f"{e.lr:.4g}", _share(e.selection)] for e in details.epochs
        ]
        yield from _table("epochs", ["epoch", "loss", "rate", "selected on"], epochs)
    if not isinstance(details, Finetuning):
        return
    found = sorted(details.criticality or (), key=lambda each: (not each.valid, each.mrc or 0))
    rows = [
        [each.module, MISSING if each.mrc is None else f"{each.mrc:.4f}", each.remark or ""]
        for each in found
    ]
    yield from _table("criticality, least critical first", ["module", "MRC", ""], rows)
    curve = [[f"{each.alpha:g}", _share(each.clean), _share(each.robust)] for each in details.curve]
    yield from _table("curve, on the images that chose alpha", ["alpha", "Std", "Adv"], curve)


def _share(count: Count | None) -> str:
    return MISSING if count is None else points(count.fraction)


def _table(title: str, heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    if not rows:
        return
    if len(rows) > ROWS:
        title += f" ({ROWS} of {len(rows)})"
        rows = [rows[round(k * (len(rows) - 1) / (ROWS - 1))] for k in range(ROWS)]
    yield title
    table = tabulate(rows, heads, "plain", disable_numparse=True)
    yield from (f"  {line.rstrip()}" for line in table.splitlines())
