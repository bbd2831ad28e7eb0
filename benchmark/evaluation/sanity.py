"""Signs of a mistake in an evaluation's numbers or, in an attack's, of masked gradients.

Pure functions without torch; what `warnings` returns begins with `records.WARNING`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.adaptive import MODULE, masked
from benchmark.evaluation.first import whole_name
from benchmark.evaluation.protocol import NOT_FINITE, Evaluation
from benchmark.records.records import VANISHING, WARNING, ZERO_GRADIENTS, ZERO_LOSSES, Count, Record

MASKED_SHARE = 0.01
"""Share of images with a zero gradient or loss above which one is warned."""

MASKED_POINTS = 0.002
"""Accuracy that a module's own gradient may mask before one is warned."""

_VANISHED = {
    ZERO_GRADIENTS: (
        "the gradient of the loss is exactly zero",
        "attacks that follow gradients see nothing there",
    ),
    ZERO_LOSSES: (
        "the loss is exactly zero in fp32",
        "logits lie so far apart that attacks may see nothing there",
    ),
}
"""By part, what vanishes and what that means."""
Bits = Mapping[str, NDArray[np.bool_]]


def attack_of(name: str) -> Evaluation | None:
    """The evaluation called `name` if it is an attack; None for others, and for names unknown here."""
    try:
        found = evaluation(name)
    except UserError:
        return None
    return found if found.kind == "attack" else None


def comparable(name: str, other: str) -> bool:
    """Whether both are attacks and one of them should break at least as many images as the other."""
    pair = attack_of(name), attack_of(other)
    return None not in pair and len({each.strength for each in pair if each}) == 2


def survivors(attack: Evaluation, bits: Bits, images: int | None = None) -> Count:
    """How many of the first `images` (None: all) survive `attack`; of several runs, the worst one."""
    first = {name: array[:images] for name, array in bits.items()}
    left = np.all([*first.values()], axis=0) if attack.nested else attack.per_image(first)
    return Count(k=round(left.sum()), n=len(left))


def warnings(
    name: str,
    bits: Bits,
    parts: Mapping[str, Count],
    classes: int,
    others: Mapping[str, Bits],
) -> list[str]:
    """Warnings of the outcome of evaluation `name`; if it is no attack, only of answers that are not
    finite.

    `bits` and `parts` are its own, `others` the bits of other evaluations of the same weights on
    images in the same order; of two of unequal length the first images are compared.
    """
    found = [_not_finite(parts.get(NOT_FINITE))]
    if (attack := attack_of(name)) is not None:
        title = whole_name(name)
        for other, theirs in others.items():
            if (known := attack_of(other)) is not None and known.strength != attack.strength:
                pair = (attack, title, bits), (known, whole_name(other), theirs)
                weaker, stronger = sorted(pair, key=lambda each: each[0].strength)
                found.append(_above_weaker(stronger, weaker))
        found.append(_below_chance(title, survivors(attack, bits), classes))
        if MODULE in bits:
            found.append(_masked(masked(bits)))
        found += [_vanishing(parts.get(name), *words) for name, words in _VANISHED.items()]
    return list(dict.fromkeys(WARNING + text for text in found if text is not None))


def zeros(records: Iterable[Record], *, at_least: int = 0) -> list[str]:
    """What the attacks among `records` say of zero gradients and losses: the highest count of each, if
    that is `at_least` so many images, and whether there are records without."""
    found = ((attack_of(record.evaluation), record.parts) for record in records)
    attacks = [(attack, parts) for attack, parts in found if attack is not None]
    said = []
    for name in VANISHING:
        counts = [parts[name] for _, parts in attacks if name in parts]
        most = max(counts, key=lambda count: count.fraction, default=None)
        if most is not None and most.k >= at_least:
            said.append(f"{name.replace('-', ' ')} at up to {most.k} of {most.n} images")
    if any(_counts_zeros(attack) and ZERO_GRADIENTS not in parts for attack, parts in attacks):
        said.append("zero gradients not counted in PGD records of earlier versions")
    return said


def _counts_zeros(attack: Evaluation) -> bool:
    """Whether records of `attack` count zero gradients today; those of the adaptive PGD never did."""
    return not attack.adaptive and ZERO_GRADIENTS in {*attack.optional_parts, *(attack.parts or ())}


def _above_weaker(
    stronger: tuple[Evaluation, str, Bits], weaker: tuple[Evaluation, str, Bits]
) -> str | None:
    (attack, name, bits), (other, weak, weak_bits) = stronger, weaker
    images = min(survivors(attack, bits).n, survivors(other, weak_bits).n)
    left, weak_left = survivors(attack, bits, images).k, survivors(other, weak_bits, images).k
    if left <= weak_left:
        return None
    return (
        f"{left} of the first {images} images survive {name} and only {weak_left} survive {weak}, "
        f"which should be the weaker attack: gradients may be masked, or something is wrong with {name}"
    )


def _below_chance(attack: str, left: Count, classes: int) -> str | None:
    if left.k * classes >= left.n:
        return None
    return (
        f"{left.k} of {left.n} images survive {attack}, fewer than one constant answer would get right "
        f"(1 of {classes}): normal for a network without adversarial training; of one with it, the "
        "training failed, or weights, normalisation or eps are not those it was trained with"
    )


def _masked(differences: NDArray[np.int8]) -> str | None:
    """Of `masked`, with the lower end of the normal 95 % interval of its mean over images."""
    mean = float(differences.mean())
    low = mean - 1.96 * float(differences.std()) / len(differences) ** 0.5
    if low <= MASKED_POINTS:
        return None
    return (
        f"the module's own gradient masks {100 * mean:.1f} points of accuracy (at least "
        f"{100 * low:.1f}): images survive it, fall to the stand-in or to the base's examples, beyond "
        "what further starts find; only the adaptive number tells its robustness"
    )


def _vanishing(zero: Count | None, what: str, why: str) -> str | None:
    if zero is None or zero.fraction <= MASKED_SHARE:
        return None
    return (
        f"{what} at {zero.k} of {zero.n} images (masking): {why}, so that robustness may be overstated"
    )


def _not_finite(lost: Count | None) -> str | None:
    if lost is None:
        return None
    return (
        f"answers are not finite (NaN or infinite logits) at {lost.k} of {lost.n} images, and count as "
        "wrong"
    )
