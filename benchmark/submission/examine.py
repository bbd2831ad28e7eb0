"""All that is checked of records and makings, in one call."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.corruptions import OfficialCorruptions
from benchmark.evaluation.first import First
from benchmark.evaluation.protocol import Evaluation
from benchmark.plans.start import caveats
from benchmark.records.cells import OWN
from benchmark.records.records import Making, Record
from benchmark.submission.choices import unlike_choices
from benchmark.submission.commits import missing_commits
from benchmark.submission.copies import copied
from benchmark.submission.entries import Entry
from benchmark.submission.expected import Today, first_difference
from benchmark.submission.findings import Finding, Wrong, shown
from benchmark.submission.known import KNOWN_DATA
from benchmark.submission.library import Library
from benchmark.submission.making import wrong_making
from benchmark.submission.origin import named_commits, unknown_commit, wrong_data, wrong_provenance
from benchmark.submission.recount import has_arrays, whole, wrong_counts
from benchmark.submission.together import wrong_together


@dataclass(frozen=True)
class Examined:
    """What is wrong, and what a reader should know although it is not."""

    findings: tuple[Finding, ...]
    remarks: tuple[Finding, ...]


def examine(
    entries: Collection[Entry],
    on_file: Collection[Entry],
    today: Today,
    *,
    allow_dirty: bool = False,
    now: datetime | None = None,
) -> Examined:
    """Check `entries` alone, among each other, and against what is `on_file` already.

    `now` is the present time (None: the clock's). Entries on file count as they are.
    """
    present = datetime.now(UTC) if now is None else now
    findings: list[Finding] = []
    for entry in entries:
        findings += [
            Finding(entry.path, *wrong) for wrong in _alone(entry, today, allow_dirty, present)
        ]
    findings += _twice(entries)
    understood = [known for entry in entries if (known := _understood(entry, today)) is not None]
    others = [known for entry in on_file if (known := _understood(entry, today)) is not None]
    library = Library.of(understood, others)
    findings += wrong_together(understood, library)
    findings += copied(understood, library)
    findings += unlike_choices(understood, library, today)
    missing = missing_commits(named_commits(entry.file for entry in entries))
    said = ((entry, unknown_commit(entry.file, missing)) for entry in entries)
    remarks = [Finding(entry.path, "provenance.commit", text) for entry, text in said if text]
    return Examined(tuple(dict.fromkeys(findings)), tuple(remarks))


def _alone(entry: Entry, today: Today, allow_dirty: bool, now: datetime) -> Wrong:
    """What is wrong with an entry by itself."""
    file, plan = entry.file, None
    yield from wrong_provenance(file.provenance, allow_dirty=allow_dirty, now=now)
    if entry.cell.scale != OWN:
        try:
            today.scale(entry.cell.scale)
        except UserError as error:
            yield "cell.scale", f"is {entry.cell.scale}: {error}"
            return
    try:
        spec = today.spec(file)
        if file.cell.scale != OWN:
            plan = today.plan(entry.cell)
    except UserError as error:
        yield "cell", f"is {entry.cell.key} {entry.name}: {error}"
        return
    yield from wrong_data(file, plan)
    if spec is None:
        yield "evaluation", f"is {entry.name}, and there are no such data of {entry.cell.dataset}"
        return
    difference = first_difference(file.spec, spec)
    if difference is not None:
        place, there, here = difference
        yield place, f"is {shown(there)}, but this checkout would make it with {shown(here)} (stale)"
    if isinstance(file, Making):
        if difference is None and plan is not None:
            yield from wrong_making(file, plan)
        return
    chosen = evaluation(entry.name)
    every = KNOWN_DATA[entry.cell.dataset].test if entry.cell.dataset in KNOWN_DATA else None
    images = chosen.images if isinstance(chosen, First) else every
    if isinstance(chosen, First) and every is not None and chosen.images >= every:
        yield "evaluation", f"is {entry.name}, but there are {every} test images: leave its limit out"
    yield from wrong_counts(file, chosen, entry.bits, images)
    yield from _without_sources(file, chosen)
    if plan is not None and plan.base.checkpoint is not None:
        yield from _not_said(file, caveats(plan.base.checkpoint))


def _understood(entry: Entry, today: Today) -> Entry | None:
    """`entry` as it can be held against others: None if its cell has names that are not known, and
    without bits that its evaluation does not make."""
    try:
        if today.spec(entry.file) is None:
            return None
    except UserError:
        return None
    fits = not entry.bits or has_arrays(evaluation(entry.name), entry.bits)
    return entry if fits else replace(entry, bits={})


def _without_sources(record: Record, chosen: Evaluation) -> Wrong:
    """Files that were read beside the dataset and whose hashes a record must have."""
    all_of_them = whole(chosen)
    if isinstance(all_of_them, OfficialCorruptions):
        for name in all_of_them.names:
            if name not in record.sources:
                yield "sources", f"lack {name}: the sha256 of the file that was read"


def _not_said(record: Record, caveats: Collection[str]) -> Wrong:
    for caveat in caveats:
        if caveat not in record.remarks:
            yield "remarks", f"lack: {caveat}"


def _twice(entries: Collection[Entry]) -> Iterator[Finding]:
    """Different files for one place."""
    first: dict[str, Entry] = {}
    for entry in entries:
        for place, content in entry.files.items():
            other = first.setdefault(place, entry)
            if other.files[place] != content:
                yield Finding(entry.path, "file", f"differs from {other.path}, which is of {place} too")
