"""Boards and rankings out of the records.

A board holds what shares scale, dataset, threat model and the data that chose epochs and alpha*; a
ranking has one evaluation on the same images. So nothing incomparable is ever ranked together:
AutoAttack on all and on the first 1,000 images are two columns with a ranking each, and one on fewer
has ranges of ranks only. Networks and methods meet in one board, ordered by its strongest ranked
attack, in a variant that base models have, if any, then in the one that most entries have.

An entry takes all seeds on disk together; one with fewer seeds than its scale asks for is flagged, and
one with fewer than its base model has no rank.
Stale records are left out and listed. `-curve` fine-tunings are not shown: they are the models of the
same name without it.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.plans.named import OF_ONE_MACHINE
from benchmark.plans.named import scale as named_scale
from benchmark.plans.scales import Scale
from benchmark.records.cells import OWN, ScaleName
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate, accuracy, change, per_image
from benchmark.report.leaderboard.columns import ENOUGH, column, in_order, ranked_by
from benchmark.report.leaderboard.entries import entry_of
from benchmark.report.leaderboard.flags import Twins, twins_of
from benchmark.report.leaderboard.models import Model, models_on_record
from benchmark.report.leaderboard.schema import Board, ChangeFromBase, Leaderboard, LeftOut, Number
from benchmark.report.mce import mce

if TYPE_CHECKING:
    from benchmark.checkpoints.entry import CheckpointEntry

DIGITS = 10  # more than are shown by so many that rounding again moves nothing


def kept_scales(store: Store) -> tuple[dict[str, Scale | None], list[LeftOut]]:
    """The scales of all keys on disk that are kept in version control (not `demo`, nor `quick`), by
    what stands for them in a key. None: `own`, the models that were made elsewhere.

    A scale that is neither the suite's nor filed beside the records is listed as left out.
    """
    chosen: dict[str, Scale | None] = {}
    left_out = []
    for name in sorted({key.partition("/")[0] for key in store.keys_on_disk()}):
        if ScaleName.parse(name).scale in OF_ONE_MACHINE:
            continue
        try:
            chosen[name] = None if name == OWN else named_scale(name, store.results)
        except UserError as error:
            text = str(error).partition(";")[0]  # what would be right names the place of the tree
            left_out.append(LeftOut(key=name, evaluation=None, why="unknown-scale", text=text))
    return chosen, left_out


def leaderboard(
    store: Store,
    scales: Mapping[str, Scale | None],
    checkpoints: "Mapping[str, CheckpointEntry]",
    left_out: Iterable[LeftOut] = (),
) -> Leaderboard:
    """The leaderboard of what is on record at `scales`, by what stands for each in a key.

    `checkpoints` is the registry, by name; `left_out` is listed before what is left out here. Raises
    `UserError` for a broken record, naming its file.
    """
    models, skipped = models_on_record(store, scales, checkpoints)
    boards: dict[tuple[str, ...], list[Model]] = defaultdict(list)
    for model in models.values():
        if model.records:
            boards[model.board].append(model)
    twins = twins_of(models.values())
    return Leaderboard(
        boards=tuple(_board(store, boards[key], models, twins) for key in sorted(boards)),
        left_out=(*left_out, *skipped),
    )


def _board(store: Store, found: Sequence[Model], models: Mapping[str, Model], twins: Twins) -> Board:
    """A board of `found`; the base models that differences are against are among `models`."""
    first, counts = found[0], Counter(name for model in found for name in model.records)
    bases = {name for model in found if model.cell.is_base for name in model.records}
    names, main = in_order(counts), ranked_by(counts, bases)
    elsewhere = {name: _on_other_images(found, name) for name in names}
    apart = {name: elsewhere[name] | _of_fewer_seeds(found, models, name) for name in names}
    numbers: dict[str, dict[str, Number]] = {model.id: {} for model in found}
    for name in names:
        having = [model for model in found if name in model.records]
        estimates = {model.id: accuracy(store, model.of(name)) for model in having}
        ranked = {key: known for key, known in estimates.items() if key not in apart[name]}
        ranges, enough = rank_ranges(ranked), _images(store, having, name) >= ENOUGH
        for model in having:
            rank = ranges.get(model.id)
            numbers[model.id][name] = Number(
                **_fields(estimates[model.id]),
                seeds=tuple(sorted(model.records[name])),
                rank=rank.rank if rank and enough else None,
                rank_best=rank.best if rank else None,
                rank_worst=rank.worst if rank else None,
                **_beside_base(store, model, models.get(model.base_id), name),
            )

    def order(model: Model) -> tuple[bool, float, str]:
        number = numbers[model.id].get(main or "")
        if number is None or number.rank_best is None:
            return True, 0.0, model.id
        return False, -number.mean, model.id

    entries = []
    for model in sorted(found, key=order):
        others = [name for name in model.records if model.id in elsewhere[name]]
        base = models.get(model.base_id)
        entries.append(entry_of(model, base, twins, numbers[model.id], others, store.results))
    return Board(
        id="/".join(first.board),
        scale=first.cell.scale,
        scale_summary=first.scale_summary,
        dataset=first.info.name,
        dataset_label=first.info.label,
        threat=first.threat,
        chosen_on=first.chosen_on,
        ranked_by=main,
        columns=tuple(column(name, first.info) for name in names),
        entries=tuple(entries),
    )


def _images(store: Store, having: Iterable[Model], name: str) -> int:
    """Fewest images behind any number of a column; models on the same images are counted once."""
    one_each = {model.images(name): model for model in having}.values()
    return min(len(per_image(store, model.of(name)[0])) for model in one_each)


def _on_other_images(found: Sequence[Model], name: str) -> set[str]:
    """Ids of models that were evaluated on other images than most entries of the column.

    A model whose seeds were not all evaluated on the same images is among them.
    """
    images = {model.id: model.images(name) for model in found if name in model.records}
    alike = Counter(known for known in images.values() if len(known) == 1)
    usual = min(alike, key=lambda known: (-alike[known], sorted(known)), default=frozenset())
    return {key for key, known in images.items() if known != usual}


def _of_fewer_seeds(found: Iterable[Model], models: Mapping[str, Model], name: str) -> set[str]:
    """Ids of models without some seed that their base model has in the column: another mean."""
    return {
        model.id
        for model in found
        if (own := model.records.get(name))
        and models.get(model.base_id, model).records.get(name, {}).keys() - own.keys()
    }


def _beside_base(store: Store, model: Model, base: Model | None, name: str) -> dict[str, Any]:
    """`change`, and of corruptions `mce`, over the seeds that the base model has too.

    Without a base model on the same images there is neither.
    """
    nothing: dict[str, Any] = {"change": None, "mce": None}
    if base is None or base is model or name not in base.records:
        return nothing
    seeds = sorted(model.records[name].keys() & base.records[name].keys())
    if not seeds or model.images(name) != base.images(name):
        return nothing
    ours, theirs = ([each.records[name][seed] for seed in seeds] for each in (model, base))
    known = change(store, [ours], [theirs])
    errors = mce(ours, theirs) if evaluation(name).kind == "corruptions" else None
    return {
        "change": ChangeFromBase(**_fields(known), seeds=tuple(seeds)),
        "mce": None if errors is None else _rounded(errors),
    }


def _fields(known: Estimate) -> dict[str, Any]:
    interval = known.interval
    return {
        "mean": _rounded(known.mean),
        "low": interval and _rounded(interval.low),
        "high": interval and _rounded(interval.high),
        "over": known.over,
        "values": tuple(_rounded(value) for value in known.values),
    }


def _rounded(value: float) -> float:
    """Short enough that it is the same on every machine; no negative zero."""
    return round(value, DIGITS) + 0.0


# --- ranks --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RankRange:
    """A rank by the mean (equal means share one), and the `best` and `worst` that intervals allow."""

    rank: int
    best: int
    worst: int


def rank_ranges(estimates: Mapping[str, Estimate]) -> dict[str, RankRange]:
    """The rank of each of `estimates`, accuracies under one evaluation of the same images.

    `best` is one more than how many have their whole 95 % interval above its own, `worst` the number of
    all less those whose interval lies below. An interval over seeds and one over images say
    different things and never tell two numbers apart, nor does a number without one. Two may overlap
    although a paired comparison would tell the two models apart: a range errs on the wide side.
    """
    means = {name: round(own.mean, 12) for name, own in estimates.items()}  # equal but for rounding
    in_order, ranges = sorted(means.values()), {}
    lows: dict[str, list[float]] = defaultdict(list)
    highs: dict[str, list[float]] = defaultdict(list)
    for own in estimates.values():
        if own.interval is not None:
            insort(lows[own.over], own.interval.low)
            insort(highs[own.over], own.interval.high)
    for name, own in estimates.items():
        above = below = 0
        if (interval := own.interval) is not None:
            above = len(lows[own.over]) - bisect_right(lows[own.over], interval.high)
            below = bisect_left(highs[own.over], interval.low)
        rank = 1 + len(means) - bisect_right(in_order, means[name])
        ranges[name] = RankRange(rank, 1 + above, len(means) - below)
    return ranges
