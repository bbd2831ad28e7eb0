"""Boards and rankings out of the records (no torch).

A board holds what shares scale, dataset, threat model and the data that chose epochs and alpha*; a
ranking is of one evaluation on the same images. So nothing incomparable is ever ranked together: whole
AutoAttack and that of the first 1,000 images are two columns with a ranking each, and one of fewer has
none. Networks and methods meet in one board, as on other leaderboards. A board is ordered by
AutoAttack, in the ranked variant that most of its entries have, else by the strongest ranked attack.

An entry takes all seeds on disk together; one with fewer seeds than its scale asks for is flagged.
Stale records are left out and listed. `-curve` fine-tunings are not shown: they are the models of the
same name without it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.plans.scales import QUICK, Scale
from benchmark.plans.scales import scale as named_scale
from benchmark.records.cells import OWN, Slot
from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate, accuracy, change
from benchmark.report.leaderboard.columns import Family, column, in_order, ranked_by
from benchmark.report.leaderboard.entries import Model, entry_of, read_models
from benchmark.report.leaderboard.ranking import Place, places
from benchmark.report.leaderboard.schema import Board, Change, Leaderboard, LeftOut, Number

if TYPE_CHECKING:
    from benchmark.checkpoints.entry import CheckpointEntry

DIGITS = 6


def kept_scales(store: Store) -> tuple[dict[str, Scale | None], list[LeftOut]]:
    """What stands for the scale in keys on disk, with the scale, for all that is kept in version
    control: not `quick`. None: `own`, the models that were made elsewhere.

    A scale that is neither the suite's nor filed beside the records is listed as left out.
    """
    chosen: dict[str, Scale | None] = {}
    left_out = []
    for name in sorted({key.partition("/")[0] for key in store.keys_on_disk()}):
        if Slot.parse(name).scale == QUICK.name:
            continue
        try:
            chosen[name] = None if name == OWN else named_scale(name, store.results)
        except UserError as error:
            text = f"{error}; --scale FILE.toml makes a leaderboard of it"
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
    models, skipped = read_models(store, scales, checkpoints)
    boards: dict[tuple[str, ...], list[Model]] = defaultdict(list)
    for model in models.values():
        if model.records:
            boards[model.board].append(model)
    return Leaderboard(
        boards=tuple(_board(store, boards[key], models) for key in sorted(boards)),
        left_out=(*left_out, *skipped),
    )


def _board(store: Store, found: Sequence[Model], models: Mapping[str, Model]) -> Board:
    """A board of `found`; the base models that differences are against are among `models`."""
    first, numbers = found[0], defaultdict[str, dict[str, Number]](dict)
    held = Counter(name for model in found for name in model.records)
    elsewhere = {name: _on_other_images(found, name) for name in held}
    for name in in_order(held):
        having = [model for model in found if name in model.records]
        estimates = {model.id: accuracy(store, model.of(name)) for model in having}
        ranked = {key: known for key, known in estimates.items() if key not in elsewhere[name]}
        placed = places(ranked) if Family.of(name).ranked else {}
        for model in having:
            against = _change(store, model, models.get(model.base_id), name)
            number = _number(estimates[model.id], model.of(name), placed.get(model.id), against)
            numbers[model.id][name] = number
    main = ranked_by(held)

    def order(model: Model) -> tuple[bool, int, str]:
        number = None if main is None else numbers[model.id].get(main)
        rank = None if number is None else number.rank
        return rank is None, rank or 0, model.id

    entries = tuple(
        entry_of(
            model,
            models,
            numbers[model.id],
            [name for name in model.records if model.id in elsewhere[name]],
            store.results,
        )
        for model in sorted(found, key=order)
    )
    return Board(
        id="/".join(first.board),
        scale=first.cell.scale,
        scale_summary=first.scale_summary,
        dataset=first.info.name,
        dataset_label=first.info.label,
        threat=first.threat,
        chosen_on=first.chosen_on,
        ranked_by=main,
        columns=tuple(column(name, first.info) for name in in_order(held)),
        entries=entries,
    )


def _on_other_images(found: Sequence[Model], name: str) -> set[str]:
    """Ids of models that were judged on other images than most entries of the column.

    A model whose seeds were not all judged on the same images is among them.
    """
    images = {model.id: model.images(name) for model in found if name in model.records}
    alike = Counter(known for known in images.values() if len(known) == 1)
    usual = min(alike, key=lambda known: (-alike[known], sorted(known)), default=frozenset())
    return {key for key, known in images.items() if known != usual}


def _change(store: Store, model: Model, base: Model | None, name: str) -> Change | None:
    """Against the base model, over the seeds that both have; None without one on the same images."""
    if base is None or base is model or name not in base.records:
        return None
    if model.images(name) != base.images(name):
        return None
    ours, theirs = model.records[name], base.records[name]
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    known = change(store, [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    return Change(**_fields(known), seeds=tuple(seeds))


def _number(
    known: Estimate, records: Sequence[Record], place: Place | None, against: Change | None
) -> Number:
    return Number(
        **_fields(known),
        seeds=tuple(record.cell.seed for record in records),
        rank=place.rank if place else None,
        rank_best=place.best if place else None,
        rank_worst=place.worst if place else None,
        change=against,
    )


def _fields(known: Estimate) -> dict[str, Any]:
    """What numbers and differences have in common."""
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
