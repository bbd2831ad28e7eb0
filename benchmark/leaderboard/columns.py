"""The columns of a leaderboard: in which order they stand, and which one a board is ordered by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmark.data import DatasetInfo
from benchmark.evaluation import EVALUATIONS, evaluation
from benchmark.evaluation.autoattack import AutoAttack, SurvivedAttacks
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.corruptions import Corruptions
from benchmark.evaluation.first import FIRST, First
from benchmark.evaluation.pgd import Pgd10x3
from benchmark.leaderboard.schema import Column

ColumnKind = Literal["attack", "clean", "corruptions", "other"]
_FAMILIES: tuple[tuple[type, ColumnKind, str | None], ...] = (
    (AutoAttack, "attack", "AutoAttack"),
    (SurvivedAttacks, "attack", "APGD"),
    (Pgd10x3, "attack", "PGD-10"),
    (Clean, "clean", None),
    (Corruptions, "corruptions", None),
)
"""From the left, which is also from the strongest attack; a class counts for its subclasses."""


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
    def order(self) -> tuple[int, int, float]:
        """Sorts columns: whole test sets stand before parts of them, larger parts before smaller."""
        return self.place, self.listed, float("-inf") if self.images is None else -self.images


def in_order(names: Iterable[str]) -> list[str]:
    """Names of evaluations as their columns stand."""
    return sorted(set(names), key=lambda name: Family.of(name).order)


def ranked_by(entries: Mapping[str, int]) -> str | None:
    """The evaluation that a board is ordered by, of the numbers of `entries` that have each.

    It is of the strongest family of attacks that there is, there what most entries have, and of two
    alike the one whose column stands further left. None without an attack.
    """
    attacks = [name for name in entries if Family.of(name).kind == "attack"]
    return min(
        attacks,
        key=lambda name: (Family.of(name).place, -entries[name], Family.of(name).order),
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
