"""Whether a file says where its number comes from, and could be true (no torch)."""

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from benchmark.data import dataset_info
from benchmark.engine.precision import FP32
from benchmark.plans.plan import Plan
from benchmark.records.records import PACKAGES, Making, Provenance, Record
from benchmark.submission.findings import Wrong, shown
from benchmark.submission.known import KNOWN_DATA

CLOCKS_DIFFER = timedelta(days=1)
"""How far the clocks of two machines may be apart."""

LONGEST = timedelta(days=366)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PRECISION = re.compile(rf"({FP32}|bf16, scored in fp32)(, compiled)?")


def wrong_provenance(made: Provenance, *, allow_dirty: bool, now: datetime) -> Wrong:
    """What is missing or cannot be in `made`; `now` is the present time, in UTC."""
    for name in ("python", *PACKAGES):
        if not re.match(r"\d", made.versions.get(name, "")):
            there = shown(made.versions.get(name, "nothing"))
            yield f"provenance.versions.{name}", f"is {there}, not a version such as 1.2.3"
    if made.commit is not None and not _COMMIT.fullmatch(made.commit):
        yield "provenance.commit", f"is {shown(made.commit)}, not 40 hex digits, nor null for unknown"
    elif made.commit is not None and not made.commit.strip("0"):
        yield "provenance.commit", "is all zeros, which names no commit; null stands for unknown"
    if (made.commit is None) != (made.dirty is None):
        yield (
            "provenance.dirty",
            f"is {made.dirty}, but a commit is {'' if made.commit else 'not '}named",
        )
    if made.dirty and not allow_dirty:
        yield (
            "provenance.dirty",
            "is true: tracked files differed from the commit; commit them and make it again, or "
            "--allow-dirty, and it stays marked",
        )
    if not made.device.strip():
        yield "provenance.device", "is empty; it names the processor or the GPU"
    if not _PRECISION.fullmatch(made.precision):
        yield "provenance.precision", f"is {shown(made.precision)}, not such as {FP32}"
    yield from _wrong_time(made, now)


def _wrong_time(made: Provenance, now: datetime) -> Wrong:
    started = time_of(made)
    if started is None:
        yield "provenance.started", f"is {shown(made.started)}, not a time with its offset from UTC"
        return
    if started > now + CLOCKS_DIFFER:
        yield "provenance.started", f"is {made.started}, which is in the future"
        return
    if made.seconds > LONGEST.total_seconds():
        yield "provenance.seconds", f"is {made.seconds:g}, more than a year"
    elif not made.resumed and started + timedelta(seconds=made.seconds) > now + CLOCKS_DIFFER:
        yield "provenance.seconds", f"is {made.seconds:g}, more than have passed since {made.started}"


def time_of(made: Provenance) -> datetime | None:
    """When `made` says that work began, in UTC; None if it does not say so."""
    try:
        started = datetime.fromisoformat(made.started)
        return None if started.tzinfo is None else started.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def wrong_data(file: Record | Making, plan: Plan | None) -> Wrong:
    """Whether a record is of the known test images, and a making of the known training images."""
    known = KNOWN_DATA.get(file.cell.dataset)
    if known is None:
        return
    if isinstance(file, Record):
        what, right = "test images", known.test_sha256
    elif plan is None:
        return
    else:
        what = "training images" + (" without the hold-out" if plan.base.hold_out else "")
        right = known.kept_sha256 if plan.base.hold_out else known.train_sha256
    there = file.provenance.data_sha256
    if right is not None and there != right:
        label = dataset_info(file.cell.dataset).label
        yield "provenance.data_sha256", f"is {there}, but the {what} of {label} are {right}"


def same_machine(one: Provenance, other: Provenance) -> bool:
    """Whether the same work gives the same bits: on one kind of processor, with the same versions."""
    names = ("versions", "device", "threads", "precision", "chunk", "begun")
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    return same and one.device.startswith("cpu")


def named_commits(files: Iterable[Record | Making]) -> set[str]:
    """Commits that `files` name."""
    named = {file.provenance.commit for file in files}
    return {commit for commit in named if commit is not None and _COMMIT.fullmatch(commit)}


def unknown_commit(file: Record | Making, missing: Collection[str]) -> str | None:
    """A remark where the code behind a file is not known: no commit, or one that is `missing` here."""
    commit = file.provenance.commit
    if commit is None:
        return "is null: it was made outside of a git checkout, and the code behind it is not known"
    if commit in missing:
        return f"is {commit}, which this repository does not have: the code behind it is not known here"
    return None
