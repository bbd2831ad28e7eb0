"""What in the numbers of an evaluation hints at a mistake, or of an attack at masked gradients (pure
functions, no torch).

Remarks that begin with `records.WARNING`. Evaluations are known by name, also when they are of the
first N images only (`NAME-first-N`).
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.first import FIRST
from benchmark.evaluation.protocol import NOT_FINITE
from benchmark.records.records import VANISHING, WARNING, ZERO_GRADIENTS, ZERO_LOSSES, Count, Record

PGD = ("pgd10x3", "pgd10-official-code")
STRONGER = ("autoattack", "apgd")
"""Evaluations that should break at least as many images as those of `PGD`."""

MASKED_SHARE = 0.01
"""Share of images with a zero gradient or loss above which one is warned."""

Bits = Mapping[str, NDArray[np.bool_]]


def attack_of(evaluation: str) -> str | None:
    """`evaluation` without its `-first-N`; None if it is no attack that is known here."""
    name = evaluation.partition(FIRST)[0]
    return name if name in (*PGD, *STRONGER) else None


def comparable(evaluation: str, other: str) -> bool:
    """Whether one of the two is a PGD evaluation and the other should be stronger."""
    pair = {attack_of(evaluation), attack_of(other)}
    return not (pair.isdisjoint(PGD) or pair.isdisjoint(STRONGER))


def survivors(attack: str, bits: Bits, images: int | None = None) -> Count:
    """How many of the first `images` (None: all) survive: of PGD its worst run, else all attacks."""
    runs = np.stack([array[:images] for array in bits.values()])
    k = runs.sum(1).min() if attack in PGD else runs.all(0).sum()
    return Count(k=int(k), n=runs.shape[1])


def warnings(
    evaluation: str,
    bits: Bits,
    parts: Mapping[str, Count],
    classes: int,
    others: Mapping[str, Bits],
) -> list[str]:
    """Warnings of the outcome of `evaluation`; if it is no attack that is known here, only of answers
    that are not finite.

    `bits` and `parts` are its own, `others` the bits of other evaluations of the same weights on
    images in the same order; of two of unequal length the first images are compared.
    """
    found = [_not_finite(parts.get(NOT_FINITE))]
    if (attack := attack_of(evaluation)) is not None:
        found += _of_attack(evaluation, attack, bits, classes, others)
        found += [_masking(parts.get(ZERO_GRADIENTS)), _flat(parts.get(ZERO_LOSSES))]
    return list(dict.fromkeys(WARNING + text for text in found if text is not None))


def _of_attack(
    evaluation: str, attack: str, bits: Bits, classes: int, others: Mapping[str, Bits]
) -> list[str | None]:
    found = []
    for other, other_bits in others.items():
        if comparable(evaluation, other) and (known := attack_of(other)) is not None:
            pair = ((attack, bits), (known, other_bits))
            pgd, stronger = pair if attack in PGD else pair[::-1]
            found.append(_above_pgd(*stronger, *pgd))
    return [*found, _below_chance(attack, survivors(attack, bits), classes)]


def zeros(records: Iterable[Record], *, at_least: int = 0) -> list[str]:
    """What the attacks among `records` say of zero gradients and losses: the highest count of each, if
    that is `at_least` so many images, and whether there are records without."""
    attacks = [record.parts for record in records if attack_of(record.evaluation)]
    said = []
    for name in VANISHING:
        counts = [parts[name] for parts in attacks if name in parts]
        most = max(counts, key=lambda count: count.fraction, default=None)
        if most is not None and most.k >= at_least:
            said.append(f"{name.replace('-', ' ')} at up to {most.k} of {most.n} images")
    if any(ZERO_GRADIENTS not in parts for parts in attacks):
        said.append("zero gradients not counted in PGD records of earlier versions")
    return said


def _above_pgd(stronger: str, bits: Bits, pgd: str, pgd_bits: Bits) -> str | None:
    images = min(survivors(stronger, bits).n, survivors(pgd, pgd_bits).n)
    left, pgd_left = survivors(stronger, bits, images).k, survivors(pgd, pgd_bits, images).k
    if left <= pgd_left:
        return None
    return (
        f"{left} of the first {images} images survive {stronger} and only {pgd_left} survive {pgd}, "
        f"which should be the weaker attack: gradients may be masked, or something is wrong with "
        f"{stronger}"
    )


def _below_chance(attack: str, left: Count, classes: int) -> str | None:
    if left.k * classes >= left.n:
        return None
    return (
        f"{left.k} of {left.n} images survive {attack}, fewer than one constant answer would get right "
        f"(1 of {classes}): normal for a network without adversarial training; of one with it, the "
        "training failed, or weights, normalisation or eps are not those it was trained with"
    )


def _masking(zero: Count | None) -> str | None:
    if zero is None or zero.fraction <= MASKED_SHARE:
        return None
    return (
        f"the gradient of the loss is exactly zero at {zero.k} of {zero.n} images (masking): attacks "
        "that follow gradients see nothing there, so that robustness may be overstated"
    )


def _flat(zero: Count | None) -> str | None:
    if zero is None or zero.fraction <= MASKED_SHARE:
        return None
    return (
        f"the loss is exactly zero in fp32 at {zero.k} of {zero.n} images (masking): logits lie so far "
        "apart that attacks may see nothing there, so that robustness may be overstated"
    )


def _not_finite(lost: Count | None) -> str | None:
    if lost is None:
        return None
    return (
        f"answers are not finite (NaN or infinite logits) at {lost.k} of {lost.n} images, and count as "
        "wrong"
    )
