"""All that is checked of records and makings, in one call."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from benchmark.engine.precision import BF16, FP32
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import first_images
from benchmark.plans.plan import Plan
from benchmark.plans.start import caveats
from benchmark.records.cells import OWN
from benchmark.records.plugins import named_in, not_loaded
from benchmark.records.records import Record
from benchmark.submission.expected import KNOWN_DATA, Expected, first_difference
from benchmark.submission.making import check_making
from benchmark.submission.plausible import check_plausible
from benchmark.submission.read import Problem, Problems, ResultEntry, shown
from benchmark.submission.single import (
    check_counts,
    check_data,
    check_provenance,
    missing_commits,
    remark_on_commit,
)
from benchmark.submission.together import Library, check_copies, check_together


@dataclass(frozen=True)
class Examination:
    """What is wrong, and what a reader should know although it is not.

    `foreign` are files of plug-ins that are not loaded, of which nothing else is checked: a tree may
    hold them, and none is handed in.
    """

    problems: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    foreign: tuple[Problem, ...] = ()


def examine(
    every: Collection[ResultEntry],
    on_file: Collection[ResultEntry],
    expected: Expected,
    *,
    allow_dirty: bool = False,
) -> Examination:
    """Check `every` entry alone, among each other, and against what is `on_file` already.

    `every` is what was handed in, or all of a results tree. What the tree holds that they go to counts
    as it is. `allow_dirty` accepts what was made from a checkout with uncommitted changes. Returns
    problems, each once, and remarks, in the order of `every`.
    """
    foreign = [
        Problem(entry.path, "file", f"is {text}; read it, and name it by --plugin")
        for entry in every
        if (text := not_loaded(entry.file.spec))
    ]
    entries, on_file = (
        [entry for entry in group if not_loaded(entry.file.spec) is None] for group in (every, on_file)
    )
    problems: list[Problem] = []
    for entry in entries:
        wrong = _check_alone(entry, expected, allow_dirty)
        problems += [Problem(entry.path, *each) for each in wrong]
    problems += _twice(entries)
    understood, others = (
        [known for entry in group if (known := _understood(entry, expected))]
        for group in (entries, on_file)
    )
    library = Library((*understood, *others))
    for entry in understood:
        wrong = chain(check_together(entry, library), check_plausible(entry, library))
        problems += [Problem(entry.path, *each) for each in wrong]
    problems += check_copies(understood, library)
    missing = missing_commits(entry.file.provenance.commit for entry in entries)
    remarks = [
        Problem(entry.path, "provenance.commit", text)
        for entry in entries
        if (text := remark_on_commit(entry.file, missing))
    ]
    return Examination(tuple(dict.fromkeys(problems)), tuple(remarks), tuple(foreign))


def _check_alone(entry: ResultEntry, expected: Expected, allow_dirty: bool) -> Problems:
    """What is wrong with an entry by itself."""
    file, plan, fixed = entry.file, None, None
    yield from check_provenance(file.provenance, allow_dirty=allow_dirty)
    if entry.cell.scale != OWN:
        try:
            fixed = expected.scale(entry.cell.scale).precision
        except UserError as error:
            yield "cell.scale", f"is {entry.cell.scale}: {error}"
            return
    made_in = file.provenance.precision
    if fixed in (FP32, BF16) and not made_in.startswith(fixed):
        yield "provenance.precision", f"is {shown(made_in)}, but {entry.cell.scale} is in {fixed}"
    try:
        spec = expected.spec(file)
        if entry.cell.scale != OWN:
            plan = expected.plan(entry.cell)
    except UserError as error:
        yield "cell", f"is {entry.cell.key} {entry.name}: {error}"
        return
    yield from check_data(file, plan)
    if spec is None:
        yield "evaluation", f"is {entry.name}, and there are no such data of {entry.cell.dataset}"
        return
    for name, sha256 in named_in(file.spec).items():
        if file.provenance.plugins.get(name) != sha256:
            yield "provenance.plugins", f"lack {name}, which its spec names, with {sha256}"
    difference = first_difference(file.spec, spec)
    if difference is not None:
        place, there, here = difference
        yield place, f"is {shown(there)}, but this checkout would make it with {shown(here)} (stale)"
    if isinstance(file, Record):
        yield from _check_record(entry, file, plan)
    elif difference is None and plan is not None:
        yield from check_making(file, plan)


def _check_record(entry: ResultEntry, record: Record, plan: Plan | None) -> Problems:
    """Counts, the files that were read beside the dataset, and what must be remarked."""
    chosen, name = evaluation(entry.name), entry.name
    known = KNOWN_DATA.get(entry.cell.dataset)
    every, first = None if known is None else known.test, first_images(chosen)
    if first is not None and every is not None and first >= every:
        yield "evaluation", f"is {name}, but there are {every} test images: leave its limit out"
    yield from check_counts(record, chosen, entry.bits, every if first is None else first)
    for source in chosen.sources:
        if source not in record.sources:
            yield "sources", f"lack {source}: the sha256 of the file that was read"
    if plan is not None and plan.base.checkpoint is not None:
        for caveat in caveats(plan.base.checkpoint):
            if caveat not in record.remarks:
                yield "remarks", f"lack: {caveat}"


def _understood(entry: ResultEntry, expected: Expected) -> ResultEntry | None:
    """`entry` for comparison with others: None if its cell has an unknown name or its dataset no such
    evaluation; without bits that are not the evaluation's."""
    try:
        if expected.spec(entry.file) is None:
            return None
    except UserError:
        return None
    names = evaluation(entry.name).arrays if entry.bits else None
    return entry if names is None or set(names) == set(entry.bits) else replace(entry, bits={})


def _twice(entries: Collection[ResultEntry]) -> Iterator[Problem]:
    """Different files for one place."""
    first: dict[str, ResultEntry] = {}
    for entry in entries:
        for place, content in entry.files.items():
            other = first.setdefault(place, entry)
            if other.files[place] != content:
                yield Problem(entry.path, "file", f"differs from {other.path}, which is of {place} too")
