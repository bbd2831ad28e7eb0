"""What the bits of a record say that its counts must be, by the rule of its evaluation (no torch)."""

from collections.abc import Iterable

import numpy as np

from benchmark.evaluation.autoattack import CLEAN, SurvivedAttacks
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.corruptions import Corruptions
from benchmark.evaluation.first import First
from benchmark.evaluation.pgd import Pgd10x3
from benchmark.evaluation.protocol import NOT_FINITE, Evaluation
from benchmark.records.records import VANISHING, ZERO_GRADIENTS, ZERO_LOSSES, Count, Record
from benchmark.records.store import Bits
from benchmark.submission.findings import Wrong

SURVIVORS = "per-image-worst"
"""The part of `Pgd10x3` that is of no run of its own."""


def whole(chosen: Evaluation) -> Evaluation:
    """`chosen`, or what it is the first images of."""
    return chosen.whole if isinstance(chosen, First) else chosen


def arrays(chosen: Evaluation) -> list[str] | None:
    """Names of the arrays of bits of `chosen`, in any order; None for an evaluation unknown here."""
    match whole(chosen):
        case Clean():
            return ["clean"]
        case Pgd10x3(runs=runs):
            return [f"run{run}" for run in range(runs)]
        case SurvivedAttacks(attacks=attacks):
            return [CLEAN, *attacks]
        case Corruptions() as corruptions:
            return [f"{name}-{level}" for name in corruptions.names for level in corruptions.severities]
    return None


def has_arrays(chosen: Evaluation, bits: Bits) -> bool:
    """Whether `bits` are what `chosen` makes, as far as is known here."""
    expected = arrays(chosen)
    return expected is None or set(expected) == set(bits)


def wrong_counts(record: Record, chosen: Evaluation, bits: Bits, images: int | None) -> Wrong:
    """Where `bits` or counts of `record` are not those of `chosen`, or not of `images` (None: any).

    `bits` are of one length, and empty if they could not be read: then counts are compared among
    each other only.
    """
    expected = arrays(chosen)
    if bits and expected is not None and (off := _not_the_same(bits, expected)):
        yield "bits", f"do not have the arrays of {record.evaluation}: {off}"
        return
    if bits:
        images_there = len(next(iter(bits.values())))
        if images is not None and images_there != images:
            yield "bits", f"are of {images_there} images, but {record.evaluation} is of {images}"
    elif images is None:
        return
    else:
        images_there = images
    trials = [images_there * len(expected or bits) if _pooled(chosen) else images_there]
    if expected is None:
        trials.append(images_there * len(bits))
    if record.n not in trials:
        yield "n", f"is {record.n}, but {record.evaluation} is of {trials[0]} answers"
    yield from _wrong_parts(record, chosen, bits, images_there)
    if not bits:
        return
    share = float(chosen.per_image(bits).mean())
    if abs(share * record.n - record.k) > 1e-6 * record.n:
        yield "k", f"is {record.k} of {record.n}, but the bits say {share * record.n:g}"
    if isinstance(whole(chosen), SurvivedAttacks):
        yield from _resurrected(bits, expected or [])


def _pooled(chosen: Evaluation) -> bool:
    """Whether every array counts, so that an image has several answers."""
    return isinstance(whole(chosen), Corruptions)


def _not_the_same(there: Iterable[str], expected: Iterable[str]) -> str:
    lacking = sorted(set(expected) - set(there))
    extra = sorted(set(there) - set(expected))
    parts = [f"{lacking[0]} is missing"] if lacking else []
    return ", ".join([*parts, f"{extra[0]} is none of them"] if extra else parts)


def _wrong_parts(record: Record, chosen: Evaluation, bits: Bits, images: int) -> Wrong:
    known = {name: Count.of(array) for name, array in bits.items()}
    names: list[str] | None = None
    optional = {NOT_FINITE}  # where there are any; and what earlier versions did not count
    match whole(chosen):
        case Clean():
            names = []
        case Pgd10x3():
            names = [*(arrays(chosen) or ()), SURVIVORS]
            optional |= {*VANISHING}
            if bits:
                known[SURVIVORS] = Count.of(np.logical_and.reduce(list(bits.values())))
        case SurvivedAttacks():
            names = [*(arrays(chosen) or ()), ZERO_GRADIENTS]
            optional |= {ZERO_LOSSES}
        case Corruptions():
            names = arrays(chosen)
    if names is not None and (off := _not_the_same(record.parts.keys() - optional, names)):
        yield "parts", f"are not those of {record.evaluation}: {off}"
    for name, count in record.parts.items():
        right = known.get(name)
        if right is not None and count != right:
            yield f"parts.{name}", f"is {_said(count)}, but the bits say {_said(right)}"
        elif count.n != images:
            yield f"parts.{name}", f"is of n = {count.n}, but {record.evaluation} is of {images} images"
    lost = record.parts.get(NOT_FINITE)
    if bits and lost and lost.k > (wrong := int((~np.logical_and.reduce(list(bits.values()))).sum())):
        yield (
            f"parts.{NOT_FINITE}",
            f"is {_said(lost)}, but the bits say that {wrong} have a wrong answer",
        )
    if _pooled(chosen) and record.parts:
        total = sum(count.k for name, count in record.parts.items() if name != NOT_FINITE)
        if total != record.k:
            yield "k", f"is {record.k}, but its parts sum to {total}"


def _resurrected(bits: Bits, order: list[str]) -> Wrong:
    """Images that one attack broke and that survive the next."""
    for before, after in zip(order[:-1], order[1:], strict=True):
        if count := int((bits[after] & ~bits[before]).sum()):
            yield "bits", f"of {after} hold {count} images that {before} had broken already"


def _said(count: Count) -> str:
    return f"{count.k} of {count.n}"
