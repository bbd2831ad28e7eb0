"""mCE, mean corruption error relative to another network (Hendrycks and Dietterich, 2019, sec. 4)."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from benchmark.records.records import Record


def mce(records: Sequence[Record], reference: Sequence[Record]) -> float | None:
    """The mean over corruptions c of sum_s E(c, s) / sum_s E_ref(c, s), over severities s.

    E is an error rate. `records` and `reference` are of one evaluation, one each per seed, in order;
    the result is the mean over seeds. 1.0 is as many errors as the reference makes; the paper's is
    AlexNet, which takes no 32x32 images. None where parts are not by corruption and severity, or the
    reference makes no error under some corruption.
    """
    ratios = []
    for pair in zip(records, reference, strict=True):
        errors, of_reference = map(_errors, pair)
        if not errors or errors.keys() != of_reference.keys() or not all(of_reference.values()):
            return None
        ratios.append(statistics.fmean(errors[name] / of_reference[name] for name in errors))
    return statistics.fmean(ratios)


def _errors(record: Record) -> dict[str, float]:
    """The errors summed over severities, by corruption."""
    errors: dict[str, float] = defaultdict(float)
    for part, count in record.parts.items():
        name, _, severity = part.rpartition("-")
        if name and severity.isdecimal():
            errors[name] += 1 - count.fraction
    return errors
