"""What is checked of one file alone: where its number comes from, and its counts against its bits."""

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmark.data import dataset_info
from benchmark.engine.precision import FP32
from benchmark.evaluation.protocol import NOT_FINITE, Evaluation
from benchmark.plans.plan import Plan
from benchmark.records.checkout import ROOT, git
from benchmark.records.records import PACKAGES, Count, Making, Provenance, Record
from benchmark.records.store import Bits
from benchmark.submission.expected import KNOWN_DATA
from benchmark.submission.read import Problems, shown

CLOCKS_DIFFER = timedelta(days=1)
"""How far the clocks of two machines may be apart."""

LONGEST = timedelta(days=366)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SCORED = r"fp32|bf16 above margins of [\d.e+-]+, else in fp32"
_PRECISION = re.compile(rf"({FP32}|bf16, scored in ({_SCORED}))(, compiled)?")


# --- provenance -------------------------------------------------------------------------------------


def check_provenance(made: Provenance, *, allow_dirty: bool) -> Problems:
    """What is missing or cannot be in `made`."""
    for name in ("python", *PACKAGES):
        if not re.match(r"\d", version := made.versions.get(name, "")):
            there = shown(version if name in made.versions else "nothing")
            yield f"provenance.versions.{name}", f"is {there}, not a version such as 1.2.3"
    if made.commit is not None and not _COMMIT.fullmatch(made.commit):
        yield "provenance.commit", f"is {shown(made.commit)}, not 40 hex digits, nor null for unknown"
    if (made.commit is None) != (made.dirty is None):
        named = "" if made.commit else "not "
        yield "provenance.dirty", f"is {made.dirty}, but a commit is {named}named"
    if made.dirty and not allow_dirty:
        text = "is true: tracked files differed from the commit; commit them and make it again"
        yield "provenance.dirty", f"{text}, or --allow-dirty, and it stays marked"
    if not made.device.strip():
        yield "provenance.device", "is empty; it names the processor or the GPU"
    if not _PRECISION.fullmatch(made.precision):
        yield "provenance.precision", f"is {shown(made.precision)}, not such as {FP32}"
    started, latest = time_of(made), datetime.now(UTC) + CLOCKS_DIFFER
    if started is None:
        yield "provenance.started", f"is {shown(made.started)}, not a time with its offset from UTC"
    elif started > latest:
        yield "provenance.started", f"is {made.started}, which is in the future"
    elif made.seconds > LONGEST.total_seconds():
        yield "provenance.seconds", f"is {made.seconds:g}, more than a year"
    elif not made.resumed and started + timedelta(seconds=made.seconds) > latest:
        yield "provenance.seconds", f"is {made.seconds:g}, more than have passed since {made.started}"


def time_of(made: Provenance) -> datetime | None:
    """When work began according to `made`, in UTC; None if it names no such time."""
    try:
        started = datetime.fromisoformat(made.started)
        return None if started.tzinfo is None else started.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def check_data(file: Record | Making, plan: Plan | None) -> Problems:
    """Whether a record names the known test images, and a making the known training images."""
    known = KNOWN_DATA.get(file.cell.dataset)
    if known is None:
        return
    if isinstance(file, Record):
        what, right = "test images", known.test_sha256
    elif plan is not None and plan.base.hold_out:
        what, right = "training images without the hold-out", known.kept_sha256
    else:
        what, right = "training images", known.train_sha256
    there = file.provenance.data_sha256
    if right is not None and there != right:
        label = dataset_info(file.cell.dataset).label
        yield "provenance.data_sha256", f"is {there}, but the {what} of {label} are {right}"


def same_machine(one: Provenance, other: Provenance) -> bool:
    """Whether the same work gives the same bits: on one kind of processor, with the same versions."""
    names = ("versions", "device", "threads", "precision", "chunk", "begun")
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    return same and one.device.startswith("cpu")


def missing_commits(commits: Iterable[str | None], root: Path = ROOT) -> frozenset[str]:
    """Those of `commits` that the git repository at `root` does not have.

    Empty where that cannot be told: without git, outside a checkout, or in a shallow one.
    """
    asked = sorted({commit for commit in commits if commit and _COMMIT.fullmatch(commit)})
    if not asked or git("rev-parse", "--is-shallow-repository", root=root) != "false\n":
        return frozenset()
    output = git("cat-file", "--batch-check", root=root, given="".join(f"{each}\n" for each in asked))
    if output is None:
        return frozenset()
    kinds = dict(line.split(maxsplit=1) for line in output.splitlines())
    return frozenset(each for each in asked if not kinds.get(each, "").startswith("commit"))


def remark_on_commit(file: Record | Making, missing: Collection[str]) -> str | None:
    """A remark where the code behind a file is not known: no commit, or one that is `missing` here."""
    commit = file.provenance.commit
    if commit is None:
        return "is null: it was made outside of a git checkout that git reads; its code is not known"
    if commit in missing:
        return f"is {commit}, which this repository does not have: the code behind it is not known here"
    return None


# --- counts and bits --------------------------------------------------------------------------------


def check_counts(record: Record, chosen: Evaluation, bits: Bits, images: int | None) -> Problems:
    """Where `bits` or counts of `record` are not those of `chosen`, or not of `images` (None: any).

    `bits` are of one length, and empty if they could not be read: then counts are compared among
    each other only.
    """
    expected = chosen.arrays
    if bits and expected is not None and (off := _difference(bits, expected)):
        yield "bits", f"do not have the arrays of {record.evaluation}: {off}"
        return
    there = len(next(iter(bits.values()))) if bits else images
    if there is None:
        return
    if images is not None and there != images:
        yield "bits", f"are of {there} images, but {record.evaluation} is of {images}"
    answers = there * len(expected or bits) if chosen.pooled else there
    if record.n != answers:
        yield "n", f"is {shown(record.n)}, but {record.evaluation} is of {answers} answers"
    yield from _check_parts(record, chosen, bits, there)
    if not bits:
        return
    share = float(chosen.per_image(bits).mean())
    # Where n is wrong, which was said, it may even be too large for a float.
    if record.n == answers and abs(share * record.n - record.k) > 1e-6 * record.n:
        yield "k", f"is {record.k} of {record.n}, but the bits say {share * record.n:g}"
    if chosen.nested and expected is not None:
        for before, after in pairwise(expected):
            if count := int((bits[after] & ~bits[before]).sum()):
                yield "bits", f"of {after} hold {count} images that {before} had broken already"


def _difference(there: Iterable[str], expected: Iterable[str]) -> str:
    missing = sorted(set(expected) - set(there))
    extra = sorted(set(there) - set(expected))
    parts = [f"{missing[0]} is missing"] if missing else []
    return ", ".join([*parts, f"{extra[0]} is none of them"] if extra else parts)


def _check_parts(record: Record, chosen: Evaluation, bits: Bits, images: int) -> Problems:
    names, known = chosen.parts, chosen.recount(bits) if bits else {}
    there = record.parts.keys() - chosen.optional_parts
    if names is not None and (off := _difference(there, names)):
        yield "parts", f"are not those of {record.evaluation}: {off}"
    for name, count in record.parts.items():
        right = known.get(name)
        if right is not None and count != right:
            yield f"parts.{name}", f"is {_text(count)}, but the bits say {_text(right)}"
        elif count.n != images:
            yield f"parts.{name}", f"is of n = {count.n}, but {record.evaluation} is of {images} images"
    lost = record.parts.get(NOT_FINITE)
    if bits and lost and lost.k > (wrong := int((~np.logical_and.reduce(list(bits.values()))).sum())):
        text = f"is {_text(lost)}, but the bits say that {wrong} have a wrong answer"
        yield f"parts.{NOT_FINITE}", text
    if chosen.pooled and record.parts:
        total = sum(count.k for name, count in record.parts.items() if name != NOT_FINITE)
        if total != record.k:
            yield "k", f"is {record.k}, but its parts sum to {total}"


def _text(count: Count) -> str:
    return f"{count.k} of {count.n}"
