"""Records compared with published numbers, row by row of `results/published.toml`.

Only what can be the same number is compared: the scale `paper`, which is the paper's protocol; `short`,
the paper's networks by a shorter recipe, as a neighbour; and `own`, checkpoints whose weights are those
of a row. No other scale is compared, and no other evaluation stands in for a published one: neither
one on the first images nor one on corrupted copies that this suite generates.

Three kinds of closeness, which `compare` applies:

- `seeds`, the same recipe trained again. The paper gives means of three seeds and bounds their standard
  deviation by `SPREAD`. *Match*: our mean is within that (plus `ROUNDING`), as another of its own runs
  would be. *Within tolerance*: the 95 % intervals of both means overlap, ours over seeds (over images
  for one seed), theirs from that deviation. Overlap is lenient on purpose (it rejects fewer than 1 in
  100 pairs of equal means), since there are a hundred comparisons; but a wide interval of ours is no
  agreement, so that means further apart than `FAR` are off whatever the intervals are.
- `same-weights`, the very weights evaluated again. *Match*: equal as printed. *Within tolerance*: for
  an attack, `ATTACKED`, because random starts and versions of the attack move an accuracy by a few
  tenths of a point; where nothing is random, `CLEAN`, a few images whose logits tie but for last bits.
- `neighbour`, the same method and network by another recipe. Never a match. *Within tolerance*: closer
  than `FAR`, which is about how far apart published re-implementations of one method are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Literal

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.data import dataset_info
from benchmark.engine.recipes import same_radius
from benchmark.evaluation import evaluation, evaluation_spec
from benchmark.plans.named import of_tree
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, OWN, Cell
from benchmark.records.plugins import flags, not_loaded, up_to_date
from benchmark.records.store import Store
from benchmark.report.check.published_schema import PrintedChange, Published, PublishedRow, attacks
from benchmark.report.check.verdicts import ROUNDED, Decision, Finding, Verdict
from benchmark.report.estimates import Estimate, accuracy
from benchmark.report.view import Found, Missing, Setting, View, warned

ROUNDING = 0.00005
"""Half a unit of the last printed digit: accuracies are published in percent with two decimals."""
SPREAD = 0.0020
"""The paper's bound on the standard deviation over seeds of all of its numbers (Section 5.1)."""
FAR = 0.02
ATTACKED = 0.003
CLEAN = 0.0005

Kind = Literal["seeds", "same-weights", "neighbour"]
COMPARED: Mapping[str, Kind | None] = {"paper": None, "short": "neighbour"}
"""Scales that are compared, and the kind that holds for all rows there (None: each row's own)."""


def is_compared(scale: Scale) -> bool:
    """Return whether numbers of `scale` are compared with published ones: not those of weights that it
    did not train."""
    return scale.name in COMPARED and not scale.checkpoints


def compare(
    ours: Estimate, published: float, kind: Kind, name: str, seeds: int | None = None
) -> Decision:
    """Compare an accuracy or a difference (fraction) under the evaluation `name` with a published one.

    `kind` is the closeness to expect, see the module; `seeds` is the number that the published mean is
    over, None where that is not known. Returns MATCH, WITHIN or OFF, and why.
    """
    gap = abs(ours.mean - published) - ROUNDED
    if kind == "neighbour":
        close = gap <= FAR
        why = f"another recipe: {'no more' if close else 'more'} than {100 * FAR:g} points apart"
        return (Verdict.WITHIN if close else Verdict.OFF), why
    if kind == "same-weights":
        if gap <= ROUNDING:
            return Verdict.MATCH, "the same weights: equal as printed"
        tolerance = ATTACKED if attacks(name) else CLEAN
        close = gap <= tolerance + ROUNDING
        why = f"the same weights: {'within' if close else 'not within'} {100 * tolerance:g} points"
        return (Verdict.WITHIN if close else Verdict.OFF), why
    if gap <= SPREAD + ROUNDING:
        return Verdict.MATCH, f"closer than the paper's spread over seeds ({100 * SPREAD:g} points)"
    if gap > FAR:
        return Verdict.OFF, f"more than {100 * FAR:g} points apart"
    if (interval := ours.interval) is None:
        why = "our seeds agree exactly" if len(ours.values) > 1 else "our interval is not known"
        return Verdict.OFF, f"further apart than the paper's spread, and {why}"
    half = _half_width(seeds) + ROUNDED
    overlap = interval.low - half <= published <= interval.high + half
    why = f"our 95 % interval over {ours.over} and theirs {'overlap' if overlap else 'do not overlap'}"
    return (Verdict.WITHIN if overlap else Verdict.OFF), why


def _half_width(seeds: int | None) -> float:
    """Half the 95 % interval of a published mean whose runs have the standard deviation `SPREAD`."""
    from scipy.special import stdtrit

    if seeds is None or seeds < 2:
        return 1.96 * SPREAD  # a single run: the deviation is taken as known
    return float(stdtrit(seeds - 1, 0.975)) * SPREAD / sqrt(seeds)


def _compared(
    finding: Finding, found: Found | Missing, published: float, kind: Kind, seeds: int | None = None
) -> Finding:
    """Complete `finding` by what is on record and the published value."""
    finding = replace(finding, published=published)
    if isinstance(found, Missing):
        return finding.missing(found)
    verdict, why = compare(found.estimate, published, kind, found.name, seeds)
    why = warned(why, found.warnings)
    return replace(finding, verdict=verdict, why=why, ours=found.estimate, behind=found.behind)


# --- scales of this suite --------------------------------------------------------------------------


def compared(view: View, published: Published) -> list[Finding]:
    """Compare every value of every row that a model of the scale can stand for.

    A row that several fine-tunings may stand for has a finding for each. What is not on record is
    missing if a table of the scale shows it, and left out otherwise.
    """
    if not is_compared(view.scale):
        return []
    rows = {row.id: row for row in published.rows if _in_scale(row, view.scale)}
    return [
        *(finding for row in rows.values() for finding in _of_row(view, row)),
        *(finding for change in published.changes for finding in _of_change(view, change, rows)),
    ]


def _in_scale(row: PublishedRow, scale: Scale) -> bool:
    return (
        row.ours
        and row.tolerance != "same-weights"
        and not row.extra_data
        and row.dataset in scale.datasets
        and row.arch in scale.archs
        and row.method in scale.methods
    )


def _kind(row: PublishedRow, view: View) -> Kind:
    return COMPARED[view.scale.name] or row.tolerance


def _cells(view: View, row: PublishedRow, finetune: str) -> list[Cell]:
    return view.cells(Setting(row.dataset, row.arch, row.method), finetune)


def _of_row(view: View, row: PublishedRow) -> Iterator[Finding]:
    for name, value in row.comparable.items():
        for finetune in row.finetunes:
            cells = _cells(view, row, finetune)
            found = view.accuracy([cells], name)
            absent = isinstance(found, Missing) and not found.stale
            if not cells or (absent and not view.planned(cells, name)):
                continue
            finding = Finding(
                f"{row.id}/{name}@{finetune}",
                Verdict.MISSING,
                f"{row.dataset}/{row.arch}/{row.method}/{finetune}",
                evaluation(name).label,
                source=f"{row.source}: {row.where}",
            )
            yield _compared(finding, found, value, _kind(row, view), row.seeds)


def _of_change(
    view: View, change: PrintedChange, rows: Mapping[str, PublishedRow]
) -> Iterator[Finding]:
    """Compare printed differences: of one model, or the average of several."""
    if not rows.keys() >= {*change.after, *change.before}:
        return
    after, before = ([rows[name] for name in ids] for ids in (change.after, change.before))
    ours, theirs = ([_cells(view, row, row.finetunes[0]) for row in part] for part in (after, before))
    parts = [sorted({getattr(row, part) for row in after}) for part in ("dataset", "arch", "method")]
    models = "/".join("+".join(names) for names in parts)
    where = f"{models}/{after[0].finetunes[0]} - {BASE}"
    for name, value in change.values.items():
        finding = Finding(
            f"{change.id}/{name}",
            Verdict.MISSING,
            where,
            f"change of {evaluation(name).label}",
            signed=True,
            source=f"{change.source}: {change.where}",
        )
        found = view.difference(ours, theirs, name)
        yield _compared(finding, found, value, _kind(after[0], view), after[0].seeds)


# --- checkpoints made elsewhere --------------------------------------------------------------------


def checkpoints_compared(
    store: Store, published: Published, checkpoints: Mapping[str, CheckpointEntry]
) -> list[Finding]:
    """Compare records of `evaluate --checkpoint NAME` with the numbers published for those weights.

    These are the rows of `published` that name the checkpoint, and the numbers of its entry in the
    registry. Robust accuracies that were published for another radius are not compared.
    """
    wanted = {
        (row.checkpoint, row.dataset, name, value): (f"{row.id}/{name}", f"{row.source}: {row.where}")
        for row in published.rows
        if row.checkpoint is not None
        for name, value in row.comparable.items()
    }
    for each in checkpoints.values():
        same_eps = same_radius(each.eps, dataset_info(each.dataset).threat.eps)
        for name, value in each.published.items():
            if same_eps or not attacks(name):
                number = f"checkpoints/{each.name}/{name}", f"checkpoints.toml: {each.name}"
                wanted.setdefault((each.name, each.dataset, name, value), number)
    cells = [cell for cell in store.cells_on_disk() if cell.scale == OWN]
    findings, ending = [], of_tree(store.results) + flags()
    for (checkpoint, dataset, name, value), (identity, source) in wanted.items():
        label = evaluation(name).label
        finding = Finding(identity, Verdict.MISSING, f"{dataset}/{checkpoint}", label, source=source)
        seeds = [cell for cell in cells if (cell.dataset, cell.method) == (dataset, checkpoint)]
        names = ",".join(dict.fromkeys(each for of, _, each, _ in wanted if of == checkpoint))
        make = f"python -m benchmark evaluate --checkpoint {checkpoint} --evaluations {names}{ending}"
        found = _of_weights(store, seeds, name, checkpoints.get(checkpoint), make)
        findings.append(_compared(finding, found, value, "same-weights"))
    return findings


def _of_weights(
    store: Store, cells: Sequence[Cell], name: str, entry: CheckpointEntry | None, make: str
) -> Found | Missing:
    """Return the accuracy of the registry's weights by today's evaluation, or why there is none.

    The command `make` makes what is not on file, and replaces no record.
    """
    missing, again = Missing(f"no {name} of this checkpoint", make), "; move it away to make it again"
    for cell in cells:
        record = store.record(cell, name)
        if record is None:
            continue
        if record.spec.get("evaluation") != evaluation_spec(name, dataset_info(cell.dataset)):
            why = f"stale {name}: the evaluation is another one today{again}"
        elif not up_to_date(record.spec):
            why = not_loaded(record.spec) or f"stale {name}: its plug-in is another one today{again}"
        elif entry and entry.sha256 and entry.sha256 not in record.sources.values():
            file = f"another file than the registry's (sha256 {entry.sha256[:12]})"
            why = f"the {name} on record is of {file}{again}"
        else:
            return Found.of(name, accuracy(store, [record]), [[record]])
        missing = Missing(why)
    return missing
