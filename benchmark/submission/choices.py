"""Whether records repeat the counts by which their making chose (no torch).

Where test images choose, a making holds counts on the first of them of weights that have records: clean
and robust accuracy at alpha*, and of the base model at alpha = 0. Evaluations take the same images from
the same random starts, so that the counts are the same.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from benchmark.evaluation import evaluation
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.pgd import Pgd10x3
from benchmark.plans.plan import Plan
from benchmark.records.cells import BASE, Cell
from benchmark.records.records import Count, CurvePoint, Finetuning, Making
from benchmark.submission.entries import Entry
from benchmark.submission.expected import Today
from benchmark.submission.findings import Finding
from benchmark.submission.library import Library
from benchmark.submission.origin import same_machine
from benchmark.submission.plausible import DRIFT
from benchmark.submission.recount import whole

CLEAN, ROBUST = "clean", "run0"
"""Arrays of bits that are of the same images and random starts as the counts of a making."""


@dataclass(frozen=True)
class Counted:
    """A `count` at `place` of a making, which is of the array `bits` of records of `cell`."""

    place: str
    count: Count
    cell: Cell
    bits: str


def unlike_choices(entries: Collection[Entry], library: Library, today: Today) -> Iterator[Finding]:
    """Records and makings, one of `entries` at least, that count the same images differently."""
    handed = set(entries)
    for making in library.entries.values():
        details = making.file.details if isinstance(making.file, Making) else None
        if not isinstance(details, Finetuning) or making.cell.base.finetune != BASE:
            continue
        plan = today.plan(making.cell)
        for counted in _counted(making.cell, details):
            for record in library.by_cell.get(counted.cell, ()):
                if {making, record}.isdisjoint(handed) or not _is_of(record, counted, plan):
                    continue
                place, count = counted.place, counted.count
                right = int(record.bits[counted.bits][: count.n].sum())
                if abs(right - count.k) <= _allowed(count.n, making, record):
                    continue
                if record in handed:
                    yield Finding(
                        record.path,
                        "bits",
                        f"of {counted.bits} make {right} of the first {count.n} images right, but by "
                        f"{place} of {making.cell.key} it is {count.k}",
                    )
                else:
                    yield Finding(
                        making.path,
                        place,
                        f"is {count.k} of {count.n}, but {record.cell.key} {record.name} has {right}",
                    )


def _counted(cell: Cell, details: Finetuning) -> Iterator[Counted]:
    """Counts of `details` that are of weights which `cell`, or its base model, may have records of."""
    for at, point in enumerate(details.curve):
        for of in _cells_at(cell, details, point):
            yield Counted(f"details.curve.{at}.clean", point.clean, of, CLEAN)
            if point.robust is not None:
                yield Counted(f"details.curve.{at}.robust", point.robust, of, ROBUST)
    if details.reference is not None:
        yield Counted("details.reference", details.reference, cell.base, ROBUST)
    if details.alpha == 1:
        yield Counted("details.best", details.best, cell, CLEAN)


def _cells_at(cell: Cell, details: Finetuning, point: CurvePoint) -> Iterator[Cell]:
    if point.alpha == details.alpha:
        yield cell
    if point.alpha == 0:
        yield cell.base


def _is_of(record: Entry, counted: Counted, plan: Plan) -> bool:
    """Whether a record has the bits that `counted` is of, from the attack that alpha* is judged by."""
    if counted.bits not in record.bits or len(record.bits[counted.bits]) < counted.count.n:
        return False
    chosen = whole(evaluation(record.name))
    if counted.bits == CLEAN:
        return isinstance(chosen, Clean)
    return isinstance(chosen, Pgd10x3) and chosen.attack(plan.base.info) == plan.attack


def _allowed(images: int, making: Entry, record: Entry) -> int:
    """By how many images two counts may differ: rounding is another on other machines."""
    made, evaluated = making.file.provenance, record.file.provenance
    exact = same_machine(made, evaluated) and not (made.resumed or evaluated.resumed)
    return 0 if exact else math.ceil(DRIFT * images)
