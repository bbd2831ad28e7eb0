"""The columns of a leaderboard: in which order they stand, and which one a board is ordered by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmark.data.info import DatasetInfo
from benchmark.evaluation import EVALUATIONS, evaluation
from benchmark.evaluation.autoattack import AutoAttack, SurvivedAttacks
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.corruptions import Corruptions
from benchmark.evaluation.first import FIRST, First
from benchmark.evaluation.pgd import Pgd10x3
from benchmark.report.leaderboard.schema import Column

ColumnKind = Literal["attack", "clean", "corruptions", "other"]
_FAMILIES: tuple[tuple[type, ColumnKind, str | None], ...] = (
    (AutoAttack, "attack", "AutoAttack"),
    (SurvivedAttacks, "attack", "APGD"),
    (Pgd10x3, "attack", "PGD-10"),
    (Clean, "clean", None),
    (Corruptions, "corruptions", None),
)
"""From the left, which is also from the strongest attack; a class counts for its subclasses."""

ENOUGH = 1000
"""Images from which a part of a test set is ranked: with fewer, single images decide. A part is smaller
than its test set, so that of a test set with fewer images only the whole is ranked."""


@dataclass(frozen=True)
class Family:
    """What kind of evaluation a name is of: `place` among the families and `listed` in the registry.

    `images` is None for the whole test set, `attack` for what does not attack.
    """

    place: int
    listed: int
    images: int | None
    kind: ColumnKind
    attack: str | None

    @classmethod
    def of(cls, name: str) -> "Family":
        """Raises `UserError` for the name of no evaluation."""
        known = evaluation(name)
        whole, images = (known.whole, known.images) if isinstance(known, First) else (known, None)
        families = enumerate(_FAMILIES)
        found = ((i, kind, attack) for i, (type_, kind, attack) in families if isinstance(whole, type_))
        place, kind, attack = next(found, (len(_FAMILIES), "other", None))
        listed = list(EVALUATIONS).index(name.partition(FIRST)[0])
        return cls(place, listed, images, kind, attack)

    @property
    def ranked(self) -> bool:
        """Whether its numbers are ranked: of the whole test set, or of `ENOUGH` images of it."""
        return self.images is None or self.images >= ENOUGH

    @property
    def order(self) -> tuple[int, int, float]:
        """Sorts columns: whole test sets stand before parts of them, larger parts before smaller."""
        return self.place, self.listed, float("-inf") if self.images is None else -self.images


def in_order(names: Iterable[str]) -> list[str]:
    """Names of evaluations as their columns stand."""
    return sorted(set(names), key=lambda name: Family.of(name).order)


def ranked_by(entries: Mapping[str, int]) -> str | None:
    """The evaluation that a board is ordered by, of the numbers of `entries` that have each.

    Of attacks on enough images it is of the strongest family that there is, there what most entries
    have, and of two alike the one whose column stands further left. None without such an attack.
    """
    families = {name: Family.of(name) for name in entries}
    attacks = [name for name, family in families.items() if family.kind == "attack" and family.ranked]
    return min(
        attacks,
        key=lambda name: (families[name].place, -entries[name], families[name].order),
        default=None,
    )


def column(name: str, info: DatasetInfo) -> Column:
    """The head of the column of evaluation `name` for a dataset."""
    known, family = evaluation(name), Family.of(name)
    return Column(
        evaluation=name,
        label=known.label,
        kind=family.kind,
        attack=family.attack,
        images=family.images,
        note=known.note(info),
    )
