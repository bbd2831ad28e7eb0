"""Statistics of every number that is shown: accuracies and differences with 95 % intervals.

Over several seeds an interval is Student's t over them, for what training again changes on the same
test images; seeds that all agree exactly have none. The interval of one seed is over test images and
takes the weights as given: Wilson's for one trial per image, else, and for averages and paired
differences, a percentile bootstrap over images.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.records.cells import derive_seed
from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.intervals import Interval, over_images, over_seeds, wilson

PerImage = NDArray[np.float64]
Records = Sequence[Record]  # of one model under one evaluation, one per seed
_KEPT = 256  # files of bits of which the shares per image are held in memory


@dataclass(frozen=True)
class Estimate:
    """Fractions by seed (of a change: differences of fractions) and the 95 % interval of their mean.

    The interval is `over` seeds, or over the test images that one seed was evaluated on; None if there
    is none, as for seeds that agree exactly. `sources` are the keys of the cells behind the number.
    """

    values: tuple[float, ...]
    interval: Interval | None = None
    over: Literal["seeds", "images"] = "seeds"
    sources: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sign(self) -> int:
        """+1 if the interval lies above zero, -1 if below, 0 if it contains zero or there is none."""
        return self.interval.sign if self.interval else 0

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds (ddof = 1); None for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def accuracy(store: Store, *models: Records) -> Estimate:
    """Accuracy of a model, or the mean of several, such as networks: seed by seed, then as any number.

    The records of a model are of one evaluation, one per seed; models have the same seeds. Of one seed
    there is an interval only if all models were evaluated on the same images. Raises `ValueError` for
    records that are not that, and `UserError` as `per_image` does.
    """
    values, sources = _means_by_seed(models), _keys(models)
    if len(values) > 1:
        return Estimate(values, _clipped(over_seeds(values)), "seeds", sources)
    return Estimate(values, _of_images(store, models), "images", sources)


def change(store: Store, ours: Sequence[Records], theirs: Sequence[Records]) -> Estimate:
    """Mean accuracy of some models minus that of as many others, pair by pair and seed by seed.

    A pair has the same evaluation, images and seeds. Intervals and errors are those of `accuracy`.
    """
    _check_pairs(ours, theirs)
    pairs = zip(_means_by_seed(ours), _means_by_seed(theirs), strict=True)
    values, sources = tuple(a - b for a, b in pairs), _keys(ours) + _keys(theirs)
    if len(values) > 1:
        return Estimate(values, over_seeds(values), "seeds", sources)
    shared = _share_images(ours)
    return Estimate(
        values, change_over_images(store, ours, theirs) if shared else None, "images", sources
    )


def change_over_images(store: Store, ours: Sequence[Records], theirs: Sequence[Records]) -> Interval:
    """Paired bootstrap interval over test images of what `change` estimates.

    An image is one unit, with the mean of its differences over seeds and pairs of models; the trained
    weights are taken as given. All models were evaluated on the same images.
    """
    _check_pairs(ours, theirs)
    differences = [
        per_image(store, one) - per_image(store, two)
        for model, other in zip(ours, theirs, strict=True)
        for one, two in zip(model, other, strict=True)
    ]
    return over_images(np.stack(differences), _seed(ours[0][0], *_keys(ours), *_keys(theirs)))


def change_of_flags(differences: NDArray[np.int8] | NDArray[np.float64], key: str) -> Estimate:
    """Mean of `differences`, (S, N) of -1, 0 and 1 from S paired runs of the model `key` on N images,
    or of other values that images have.

    The interval is over images, each with its mean over runs.
    """
    interval = over_images(differences, derive_seed("bootstrap", "flags", key))
    return Estimate((float(differences.mean()),), interval, "images", (key,))


def per_image(store: Store, record: Record) -> PerImage:
    """The share of each test image's trials that were right, (N,) in [0, 1], read-only.

    Raises `UserError` for bits that are not those of the record or do not make its value.
    """
    shares = _read(_Source(store, record.cell.cell.key, record.evaluation, record.bits_sha256, record))
    if not np.isclose(shares.mean(), record.value, rtol=0, atol=1e-9):
        path = store.record_path(record.cell.cell, record.evaluation)
        raise UserError(
            f"'{path}' says {record.value}, but its bits per image have the mean {shares.mean()}; "
            "restore it from version control or move it away to make it again"
        )
    return shares


@dataclass(frozen=True)
class _Source:
    """A file of bits by its place and hash; the record finds it and is no part of its identity."""

    store: Store
    key: str
    evaluation: str
    sha256: str
    record: Record = field(compare=False)


@lru_cache(maxsize=_KEPT)
def _read(source: _Source) -> PerImage:
    # A file with the right hash may still hold something else.
    try:
        bits = source.store.bits(source.record)
    except (BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        raise _no_bits(source, "it is no file of bits") from error
    if not bits:
        raise _no_bits(source, "it has no arrays")
    try:
        shares = evaluation(source.evaluation).per_image(bits)
    except KeyError as error:
        raise _no_bits(source, f"it has no {error.args[0]}") from error
    shares.flags.writeable = False
    return shares


def _no_bits(source: _Source, why: str) -> UserError:
    path = source.store.bits_file(source.record)
    return UserError(
        f"'{path}' does not hold the bits of {source.evaluation}: {why}; restore it and its record "
        "from version control or move both away to make them again"
    )


def _of_images(store: Store, models: Sequence[Records]) -> Interval | None:
    if not _share_images(models):
        return None
    records = [record for (record,) in models]
    shares = [per_image(store, record) for record in records]
    if len(records) == 1 and records[0].n == len(shares[0]):
        return wilson(records[0].k, records[0].n)
    # Not seeded by cell, so that models with equal answers get the same interval.
    return over_images(np.stack(shares), _seed(records[0], records[0].cell.dataset))


def _means_by_seed(models: Sequence[Records]) -> tuple[float, ...]:
    if not models or not models[0]:
        raise ValueError("an estimate is of at least one record")
    seeds = [record.cell.seed for record in models[0]]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"one record per seed, not of the seeds {seeds}")
    for records in models:
        if [record.cell.seed for record in records] != seeds:
            raise ValueError(f"models that are taken together have the same seeds, here {seeds}")
        if len({(record.cell.dataset, record.evaluation) for record in records}) != 1:
            raise ValueError("records of one model are of one dataset and evaluation")
    by_seed = zip(*([record.value for record in records] for records in models), strict=True)
    return tuple(statistics.fmean(values) for values in by_seed)


def _check_pairs(ours: Sequence[Records], theirs: Sequence[Records]) -> None:
    for model, other in zip(ours, theirs, strict=True):
        for one, two in zip(model, other, strict=True):
            if _evaluated_on(one) != _evaluated_on(two) or one.cell.seed != two.cell.seed:
                raise ValueError(
                    f"no pair: {one.cell.cell.key} {one.evaluation} and {two.cell.cell.key} "
                    f"{two.evaluation}"
                )


def _evaluated_on(record: Record) -> tuple[str, str, int]:
    return record.cell.dataset, record.evaluation, record.n


def _share_images(models: Sequence[Records]) -> bool:
    return len({_evaluated_on(record) for records in models for record in records}) == 1


def _keys(models: Sequence[Records]) -> tuple[str, ...]:
    return tuple(record.cell.cell.key for records in models for record in records)


def _seed(record: Record, *subject: str) -> int:
    return derive_seed("bootstrap", record.evaluation, *subject)


def _clipped(interval: Interval | None) -> Interval | None:
    """Clip the interval of an accuracy to [0, 1], which a t interval may leave."""
    return interval and Interval(max(0.0, interval.low), min(1.0, interval.high))
