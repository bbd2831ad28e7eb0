"""The columns of a leaderboard: in which order they stand, and which one a board is ordered by."""

from collections.abc import Collection, Iterable, Mapping

from benchmark.data.info import DatasetInfo
from benchmark.evaluation import EVALUATIONS, evaluation
from benchmark.evaluation.first import first_images, whole_name
from benchmark.report.leaderboard.schema import Column

_KINDS = ("attack", "clean", "corruptions", "other")
ENOUGH = 1000
"""Images from which an entry has a position: with fewer, single images decide, and it has the range of
ranks that the intervals allow. A board is ordered by a whole test set or by a part of so many."""


def ranks(name: str) -> bool:
    """Whether a board may be ordered by evaluation `name`: of all test images, or `ENOUGH` of them."""
    images = first_images(evaluation(name))
    return images is None or images >= ENOUGH


def _order(name: str) -> tuple[int, int, bool, int, float]:
    """Sorts columns: attacks first and of them the strongest, adaptive ones before others, whole test
    sets before parts of them, larger parts before smaller. Raises `UserError` for the name of no
    evaluation."""
    known = evaluation(name)
    listed = list(EVALUATIONS).index(whole_name(name))
    images = first_images(known)
    place = float("-inf") if images is None else -images
    return _KINDS.index(known.kind), -known.strength, not known.adaptive, listed, place


def in_order(names: Iterable[str]) -> list[str]:
    """Names of evaluations as their columns stand."""
    return sorted(set(names), key=_order)


def ranked_by(entries: Mapping[str, int], bases: Collection[str] = ()) -> str | None:
    """The evaluation that a board is ordered by, of the numbers of `entries` that have each.

    It is the strongest attack on enough images; of equally strong ones, one of `bases`, which base
    models have, then the one that most entries have, then the one whose column is further left. None
    without such an attack.
    """
    attacks = [name for name in entries if evaluation(name).kind == "attack" and ranks(name)]
    return min(
        attacks,
        key=lambda name: (-evaluation(name).strength, name not in bases, -entries[name], _order(name)),
        default=None,
    )


def column(name: str, info: DatasetInfo) -> Column:
    """The head of the column of evaluation `name` for a dataset."""
    known = evaluation(name)
    return Column(
        evaluation=name,
        label=known.label,
        kind=known.kind,
        attack=known.family,
        images=first_images(known),
        note=known.note(info),
    )
