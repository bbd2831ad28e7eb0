"""Records held against published numbers, row by row of `results/published.toml` (no torch).

Only what can be the same number is compared: the scale `paper`, which is the paper's protocol; `short`,
the paper's networks by a shorter recipe, as a neighbour; and `own`, checkpoints whose weights are those
of a row. No other scale is compared, and an evaluation stands for itself only: neither one on the first
images nor one on corrupted copies of our own making stands in for the published one.

Three kinds of closeness, which `judge` applies:

- `seeds`, the same recipe trained again. The paper gives means of three seeds and says that their
  standard deviation is below `SPREAD`. *Match*: our mean is that close (and `ROUNDING`), as one more of
  its own runs would be. *Within tolerance*: the 95 % intervals of both means overlap, ours over seeds
  and theirs from that deviation. Overlap is a lenient test on purpose (of equal means it rejects fewer
  than 1 in 100), for there are a hundred comparisons; and a wide interval of ours is no agreement, so
  that means further apart than `FAR` are off whatever the intervals say.
- `same-weights`, the very weights evaluated again. *Match*: equal as printed. *Within tolerance*: for
  an attack, `ATTACKED`, because random starts and versions of the attack move an accuracy by a few
  tenths of a point; for what draws nothing, `CLEAN`, a few images whose logits are tied but for last
  bits.
- `neighbour`, the same method and network by another recipe. Never a match. *Within tolerance*: closer
  than `FAR`, which is about how far apart published re-implementations of one method are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose, sqrt
from typing import Literal

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.data import dataset_info
from benchmark.evaluation import evaluation
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, OWN, Cell
from benchmark.records.records import Record
from benchmark.records.store import Store
from benchmark.report.check.published import Change, Published, Row
from benchmark.report.check.verdicts import Finding, Verdict
from benchmark.report.estimates import Estimate, accuracy, average_change
from benchmark.report.fresh import Fresh, Lacking, Place, hashes, warned, warnings

ROUNDING = 0.00005
"""Half a unit of the last printed digit: accuracies are published in percent with two decimals."""
SPREAD = 0.0020
"""Standard deviation over seeds below which the paper says that all of its numbers are (Section
5.1)."""
FAR = 0.02
ATTACKED = 0.003
CLEAN = 0.0005

Kind = Literal["seeds", "same-weights", "neighbour"]
_EXACT = 1e-9  # of fractions that differ by the rounding of floating-point numbers only

COMPARED: Mapping[str, Kind | None] = {"paper": None, "short": "neighbour"}
"""Scales that are compared, and the kind that holds for all rows there (None: each row's own)."""


def is_compared(scale: Scale) -> bool:
    """Whether numbers of `scale` are held against published ones at all: not of weights that it did not
    train."""
    return scale.name in COMPARED and not scale.checkpoints


def judge(
    ours: Estimate, published: float, kind: Kind, name: str, seeds: int | None = None
) -> tuple[Verdict, str]:
    """Verdict on an accuracy (or a difference) under evaluation `name`, and why.

    `seeds` is over how many the published mean was taken, None where that is not known.
    """
    gap = abs(ours.mean - published) - _EXACT
    if kind == "neighbour":
        close = gap <= FAR
        said = f"another recipe: {'no more' if close else 'more'} than {100 * FAR:g} points apart"
        return (Verdict.WITHIN if close else Verdict.OFF), said
    if kind == "same-weights":
        if gap <= ROUNDING:
            return Verdict.MATCH, "the same weights: equal as printed"
        tolerance = ATTACKED if attacks(name) else CLEAN
        close = gap <= tolerance + ROUNDING
        said = f"the same weights: {'within' if close else 'not within'} {100 * tolerance:g} points"
        return (Verdict.WITHIN if close else Verdict.OFF), said
    if gap <= SPREAD + ROUNDING:
        return Verdict.MATCH, f"closer than the paper's spread over seeds ({100 * SPREAD:g} points)"
    if gap > FAR:
        return Verdict.OFF, f"more than {100 * FAR:g} points apart"
    half = _half_width(seeds)
    interval = ours.interval
    if interval is None:
        why = "our seeds agree exactly" if len(ours.values) > 1 else "our interval is not known"
        return Verdict.OFF, f"further apart than the paper's spread, and {why}"
    overlap = interval.low - half - _EXACT <= published <= interval.high + half + _EXACT
    said = f"our 95 % interval over {ours.over} and theirs {'overlap' if overlap else 'do not overlap'}"
    return (Verdict.WITHIN if overlap else Verdict.OFF), said


def attacks(name: str) -> bool:
    """Whether the evaluation `name` attacks the model, and so draws something or has versions."""
    return name != "clean" and not name.startswith("corruptions-")


def _half_width(seeds: int | None) -> float:
    """Half the 95 % interval of a published mean whose runs have the standard deviation `SPREAD`."""
    from scipy.special import stdtrit

    if seeds is None or seeds < 2:
        return 1.96 * SPREAD  # a single run: the deviation is taken as known
    return float(stdtrit(seeds - 1, 0.975)) * SPREAD / sqrt(seeds)


# --- scales of this suite --------------------------------------------------------------------------


def compared(fresh: Fresh, published: Published) -> list[Finding]:
    """A finding for every value of every row that a model of the scale can be held against.

    A row that several fine-tunings may be a reading of has one for each. What is not on record is
    missing if a table of the scale shows it, and not mentioned else.
    """
    if not is_compared(fresh.scale):
        return []
    rows = [row for row in published.rows if _in_scale(row, fresh)]
    findings = [
        finding
        for row in rows
        for name, value in row.comparable.items()
        for finetune in row.finetunes
        if (finding := _of_row(fresh, row, name, value, finetune)) is not None
    ]
    by_id = {row.id: row for row in published.rows}
    return findings + [
        finding for change in published.changes for finding in _of_change(fresh, change, by_id)
    ]


def _in_scale(row: Row, fresh: Fresh) -> bool:
    """Whether a model of the scale can be held against the row at all."""
    scale = fresh.scale
    return (
        row.ours
        and row.tolerance != "same-weights"
        and not row.extra_data
        and row.dataset in scale.datasets
        and row.arch in scale.archs
        and row.method in scale.methods
    )


def _kind(row: Row, fresh: Fresh) -> Kind:
    return COMPARED[fresh.scale.name] or row.tolerance


def _cells(fresh: Fresh, row: Row, finetune: str) -> list[Cell]:
    return fresh.cells(Place(row.dataset, row.arch, row.method), finetune)


def _of_row(fresh: Fresh, row: Row, name: str, value: float, finetune: str) -> Finding | None:
    cells = _cells(fresh, row, finetune)
    if not cells:
        return None
    what, where = evaluation(name).label, f"{row.dataset}/{row.arch}/{row.method}/{finetune}"
    identity, source = f"{row.id}/{name}@{finetune}", f"{row.source}: {row.where}"
    found = fresh.accuracy(cells, name)
    if isinstance(found, Lacking):
        if not (fresh.planned(cells, name) or found.stale):
            return None
        finding = Finding(identity, Verdict.MISSING, where, what, found.why, make=found.make)
    else:
        verdict, why = judge(found.estimate, value, _kind(row, fresh), name, row.seeds)
        why = warned(why, found.warnings)
        finding = Finding(identity, verdict, where, what, why, found.estimate, behind=found.behind)
    return replace(finding, published=value, source=source)


def _of_change(fresh: Fresh, change: Change, rows: Mapping[str, Row]) -> Iterator[Finding]:
    """Printed differences: of one model, or the average of several."""
    after, before = ([rows[name] for name in names] for names in (change.after, change.before))
    if not all(_in_scale(row, fresh) for row in (*after, *before)):
        return
    for name, value in change.values.items():
        models = [
            [fresh.records(_cells(fresh, row, row.finetunes[0]), name) for row in rows_]
            for rows_ in (after, before)
        ]
        where, what = _where_of_change(after), f"change of {evaluation(name).label}"
        identity, source = f"{change.id}/{name}", f"{change.source}: {change.where}"
        if lacking := [each for model in models for each in model if isinstance(each, Lacking)]:
            finding = Finding(
                identity, Verdict.MISSING, where, what, lacking[0].why, make=lacking[0].make
            )
        else:
            ours, theirs = ([each for each in m if not isinstance(each, Lacking)] for m in models)
            estimate = average_change(fresh.store, ours, theirs)
            verdict, why = judge(estimate, value, _kind(after[0], fresh), name, after[0].seeds)
            records = [record for model in (*ours, *theirs) for record in model]
            behind, why = hashes(records), warned(why, warnings(records))
            finding = Finding(identity, verdict, where, what, why, estimate, behind=behind)
        yield replace(finding, signed=True, published=value, source=source)


def _where_of_change(after: Sequence[Row]) -> str:
    parts = [sorted({getattr(row, part) for row in after}) for part in ("dataset", "arch", "method")]
    names = "/".join("+".join(names) for names in parts)
    return f"{names}/{after[0].finetunes[0]} - {BASE}"


# --- checkpoints made elsewhere --------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    """A published number of a checkpoint."""

    checkpoint: str
    dataset: str
    name: str
    value: float
    id: str
    source: str


def own_compared(
    store: Store, published: Published, checkpoints: Mapping[str, CheckpointEntry]
) -> list[Finding]:
    """Records of `evaluate --checkpoint NAME` against the numbers published for those weights.

    These are the rows of `published` that name the checkpoint, and what its entry in the registry says
    besides. Robust accuracies that were published for another radius are not compared.
    """
    held = [Cell.parse(key) for key in store.keys_on_disk() if key.startswith(f"{OWN}/")]
    targets = _targets(published, checkpoints)
    wanted: dict[str, dict[str, None]] = {}
    for target in targets:
        wanted.setdefault(target.checkpoint, {})[target.name] = None
    return [
        _of_checkpoint(store, target, held, checkpoints.get(target.checkpoint), list(names))
        for target in targets
        for names in [wanted[target.checkpoint]]
    ]


def _targets(published: Published, checkpoints: Mapping[str, CheckpointEntry]) -> list[_Target]:
    targets: dict[tuple[str, str, float], _Target] = {}
    for row in published.rows:
        if row.checkpoint is None:
            continue
        for name, value in row.comparable.items():
            identity, source = f"{row.id}/{name}", f"{row.source}: {row.where}"
            target = _Target(row.checkpoint, row.dataset, name, value, identity, source)
            targets[row.checkpoint, name, value] = target
    for each in checkpoints.values():
        same_eps = isclose(each.eps_value, dataset_info(each.dataset).threat.eps)
        for name, value in each.published.items():
            if same_eps or not attacks(name):
                identity, source = f"checkpoints/{each.name}/{name}", f"checkpoints.toml: {each.name}"
                target = _Target(each.name, each.dataset, name, value, identity, source)
                targets.setdefault((each.name, name, value), target)
    return list(targets.values())


def _of_checkpoint(
    store: Store,
    target: _Target,
    held: Sequence[Cell],
    checkpoint: CheckpointEntry | None,
    evaluations: Sequence[str],
) -> Finding:
    what, where = evaluation(target.name).label, f"{target.dataset}/{target.checkpoint}"
    record, lacking = _own_record(store, target, held, checkpoint)
    if record is None:
        finding = Finding(target.id, Verdict.MISSING, where, what, lacking)
        make = f"python -m benchmark evaluate --checkpoint {target.checkpoint}"
        make += f" --evaluations {','.join(evaluations)}"
        return replace(finding, published=target.value, source=target.source, make=make)
    estimate = accuracy(store, [record])
    verdict, why = judge(estimate, target.value, "same-weights", target.name)
    why = warned(why, warnings([record]))
    finding = Finding(target.id, verdict, where, what, why, estimate, behind=hashes([record]))
    return replace(finding, published=target.value, source=target.source)


def _own_record(
    store: Store, target: _Target, held: Sequence[Cell], checkpoint: CheckpointEntry | None
) -> tuple[Record | None, str]:
    """The record of these weights by today's evaluation, or why there is none."""
    why = f"no {target.name} of this checkpoint"
    for cell in held:
        if (cell.dataset, cell.method) != (target.dataset, target.checkpoint):
            continue
        record = store.record(cell, target.name)
        if record is None:
            continue
        if record.spec.get("evaluation") != evaluation(target.name).spec(dataset_info(cell.dataset)):
            why = f"stale {target.name}: the evaluation is another one today"
        elif checkpoint and checkpoint.sha256 and checkpoint.sha256 not in record.sources.values():
            why = f"the record is of another file than the registry's (sha256 {checkpoint.sha256[:12]})"
        else:
            return record, ""
    return None, why
