"""Published criticality of modules compared with the measured one.

The paper prints the MRC and the drop of robust accuracy of three modules (Figure 3, Section 5.2) and
which one is the least critical; the README of its code names one module for each network to fine-tune.
What stands behind the `@` of an id is the protocol whose measurement is compared:

- Figure 3 with both. The paper's text defines MRC by Algorithm 1 (`rift`), on images that it does not
  name. But the drops of 53.05 points are nearly all of the 53.63 % that Table 1 gives on test images,
  where the released code measures (`rift-official-code`).
- The README, which belongs to the released code, with that code's measurement only; not with what
  `rift-official-code` fine-tunes, which is the README's module by definition.

How close is close:

- MRC is published for a single model and ranges over two orders of magnitude: it is compared as a
  ratio. *Match*: the geometric mean over our seeds is equal as printed. *Within tolerance*: it is
  within a factor `FACTOR`, which is little against the 144 between the two published values and less
  than what the two definitions make of one critical module (four, for layer4.1.conv1 of `narrow`).
- A drop is compared in points. *Match*: the mean over seeds is equal as printed. *Within tolerance*: it
  is no further than a neighbour's (`numbers.FAR`).
- A name is compared by its rank from the least or most critical end. *Match*: it is the first in every
  seed. *Within tolerance*: it is among the first `NEAR` in every seed, as retraining reorders modules
  that are nearly alike. By chance one seed gets there in 1 of 7 cases with the 21 modules of ResNet18,
  three seeds in 1 of 343.

At the scale `short`, another recipe, nothing is a match.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, geometric_mean

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.selection import Candidates
from benchmark.records.records import ModuleCriticality
from benchmark.report.check.numbers import COMPARED, FAR, ROUNDING, is_compared
from benchmark.report.check.published_schema import Published, PublishedCriticality, PublishedModule
from benchmark.report.check.verdicts import ROUNDED, Decision, Finding, Verdict
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import over_seeds
from benchmark.report.view import Missing, Setting, View

FACTOR = 2.0
NEAR = 3
MRC_ROUNDING = 0.005
"""Half a unit of the last printed digit: an MRC is published with two decimals."""

METHOD = "pgd-at"
"""The method of Figure 3 and of the README, both of which give no more than adversarial training."""
RIFT, OFFICIAL_CODE = "rift", "rift-official-code"
READINGS = {RIFT: "by Algorithm 1", OFFICIAL_CODE: "as the released code measures it"}
MRC, DROP, LEAST, MOST = "mrc", "drop", "least-critical", "most-critical"
_LABELS = {
    MRC: "MRC",
    DROP: "drop of robust accuracy",
    LEAST: "least critical module",
    MOST: "most critical module",
}
_OF_ROLE = {"non-robust-critical": LEAST, "robust-critical": MOST}


def criticality_compared(view: View, published: Published) -> list[Finding]:
    """Compare every published value or name of a module with each measurement that it may stand for.

    Returns no finding at scales that are not compared. Raises `UserError` for broken records.
    """
    scale = view.scale
    if not is_compared(scale) or METHOD not in scale.methods:
        return []
    return [
        _finding(view, entry, quantity, reading)
        for entry in (*published.criticality, *published.modules)
        if entry.dataset in scale.datasets and entry.arch in scale.archs
        for quantity in _quantities(entry)
        for reading in (READINGS if isinstance(entry, PublishedCriticality) else [OFFICIAL_CODE])
    ]


def _quantities(entry: PublishedModule) -> dict[str, float | None]:
    """Return the published values by quantity, None for the name of a module."""
    if not isinstance(entry, PublishedCriticality):
        return {LEAST: None}
    values = {MRC: entry.mrc, DROP: entry.accuracy_drop}
    known = {quantity: value for quantity, value in values.items() if value is not None}
    return {**known, **({_OF_ROLE[entry.role]: None} if entry.role else {})}


def _finding(view: View, entry: PublishedModule, quantity: str, reading: str) -> Finding:
    place, source = Setting(entry.dataset, entry.arch, METHOD), entry.source
    name = f"{source}/{entry.dataset}/{entry.arch}"
    if isinstance(entry, PublishedCriticality):
        figure = entry.where.rpartition(", ")[2].lower().replace(" ", "")  # the last, such as figure3
        name, source = f"{figure}/{entry.module}", f"{source}: {entry.where}"
    finding = Finding(
        f"{name}/{quantity}@{reading}",
        Verdict.MISSING,
        f"{place}/{reading}",
        f"{_LABELS[quantity]}, {entry.module}",
        plain=quantity == MRC,
        published=_quantities(entry)[quantity],
        source=source,
    )
    reports = {RIFT: "figure3", OFFICIAL_CODE: "figure3-official"}
    if place != view.places()[0]:
        reports = {RIFT: "table1", OFFICIAL_CODE: f"table1 --protocol {OFFICIAL_CODE}"}
    makings = view.makings(place, reading, reports[reading])
    if isinstance(makings, Missing):
        return finding.missing(makings)
    seeds = {cell.seed: tuned.criticality or [] for cell, tuned in makings.items()}
    values, (verdict, why) = _compared(entry, quantity, finding.published, reading, seeds)
    if verdict is Verdict.MATCH and COMPARED[view.scale.name] == "neighbour":
        verdict, why = Verdict.WITHIN, f"{why}, but by another recipe"
    ours = None
    if values:  # a t interval holds for a mean in points, while MRC is compared as a ratio
        interval = over_seeds(values) if quantity == DROP else None
        ours = Estimate(tuple(values), interval, "seeds", tuple(cell.key for cell in makings))
    behind, why = view.making_hashes(list(makings)), f"{READINGS[reading]}; {why}"
    return replace(finding, verdict=verdict, why=why, ours=ours, behind=behind)


def _compared(
    entry: PublishedModule,
    quantity: str,
    published: float | None,
    reading: str,
    seeds: Mapping[int, Sequence[ModuleCriticality]],
) -> tuple[list[float], Decision]:
    """Return our values by seed (empty for a name, or if one is unknown) and the decision."""
    found = {seed: m for seed, modules in seeds.items() for m in modules if m.module == entry.module}
    if absent := [str(seed) for seed in seeds if seed not in found]:
        return [], (Verdict.OFF, f"{entry.module} was not measured, seed {', '.join(absent)}")
    remarks = ""
    for remark in dict.fromkeys(module.remark for module in found.values() if module.remark):
        which = ", ".join(str(seed) for seed, module in found.items() if module.remark == remark)
        remarks += f"; seed {which}: {remark}"
    values = list[float]()
    if published is None:
        released = PROTOCOLS[reading].released_order
        ranked = [
            Candidates([], modules, entry.dataset, entry.arch, seed, released).ranked
            for seed, modules in seeds.items()
        ]
        if not all(entry.module in names for names in ranked):
            return [], (Verdict.OFF, f"no rank{remarks}")
        ordered = ranked if quantity == LEAST else [names[::-1] for names in ranked]
        verdict, why = compare_rank(entry.module, ordered)
    else:
        measured = [m.mrc if quantity == MRC else m.accuracy_drop for m in found.values() if m.valid]
        values = [value for value in measured if value is not None]
        if len(values) < len(found):
            return [], (Verdict.OFF, f"no value{remarks}")
        verdict, why = compare_value(quantity, values, published)
    return values, (verdict, why + remarks)


def compare_value(quantity: str, ours: Sequence[float], published: float) -> Decision:
    """Compare MRC or drops of robust accuracy (fractions) by seed with the published value."""
    if quantity == DROP:
        gap = abs(fmean(ours) - published) - ROUNDED
        match, close = gap <= ROUNDING, gap <= FAR
        seeds = f"by seed {', '.join(f'{100 * value:.2f}' for value in ours)}; "
        why = f"{'no more' if close else 'more'} than {100 * FAR:g} points apart"
    elif min(*ours, published) <= 0:
        return Verdict.OFF, "not above zero everywhere, so that there is no ratio"
    else:
        mean = geometric_mean(ours)
        ratio = mean / published
        match = abs(mean - published) <= MRC_ROUNDING + ROUNDED
        close = max(ratio, 1 / ratio) <= FACTOR + ROUNDED
        seeds, within = f"geometric mean {mean:.2f}, ", "within" if close else "not within"
        why = f"{ratio:.3g} times the published value, {within} a factor of {FACTOR:g}"
    shown = seeds if len(ours) > 1 else ""
    if match:
        return Verdict.MATCH, f"{shown}equal as printed"
    return (Verdict.WITHIN if close else Verdict.OFF), shown + why


def compare_rank(module: str, ranked: Sequence[Sequence[str]]) -> Decision:
    """Compare the rank of the named `module` among the names by seed, which should be the first."""
    ranks = [names.index(module) + 1 for names in ranked]
    of = alike([str(len(names)) for names in ranked])
    why = f"rank {', '.join(map(str, ranks))} of {of}"
    if max(ranks) == 1:
        return Verdict.MATCH, why
    close = max(ranks) <= NEAR
    why += f", {'' if close else 'not '}among the first {NEAR}; rank 1 has "
    return (Verdict.WITHIN if close else Verdict.OFF), why + alike([names[0] for names in ranked])


def alike(parts: Sequence[str]) -> str:
    """List the parts of all seeds, or one of them if they are all the same."""
    return ", ".join(parts if len(set(parts)) > 1 else parts[:1])
