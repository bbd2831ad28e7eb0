"""Published criticality of modules held against the measured one (no torch).

The paper prints the MRC and the drop of robust accuracy of three modules (Figure 3, Section 5.2) and
which one is the least critical; the README of its code names one module for each network to fine-tune.

Which measurement of ours a line is of, its *reading*, stands behind the `@` of its id:

- Figure 3 is held against both. The paper's text defines MRC by Algorithm 1 (`rift`), on images that it
  does not name. But the drops of 53.05 points are nearly all of the 53.63 % that Table 1 gives on test
  images, where the released code measures (`rift-official-code`); on training images, which are more
  often robust, there would be more to lose.
- The README belongs to the released code, so that its names are held against that code's measurement
  only; not against what `rift-official-code` fine-tunes, which is the README's module by definition.

How close is close, `judge_mrc`, `judge_drop` and `judge_rank`:

- MRC is published for a single model, with no word on how far another one would be off, and ranges
  over two orders of magnitude. It is compared as a ratio. *Match*: the geometric mean over our seeds
  is equal as printed. *Within tolerance*: it is within a factor `FACTOR`, which is little against the
  144 between the two published values and less than what the two definitions make of one critical
  module (four, for layer4.1.conv1 of the scale `narrow`).
- A drop is compared in points, with the tolerance of a neighbour (`regression.FAR`) for the same
  reason. *Match*: the mean over seeds is equal as printed.
- A name is compared by its rank among all modules, as the reading ranks them. *Match*: it is the least
  critical in every seed. *Within tolerance*: it is among the `NEAR` least critical in every seed, since
  training again decides among modules that are nearly alike, and the README suggests to choose middle
  layers among them. By chance one seed does so in 1 of 7 cases with the 21 modules of ResNet18, three
  seeds in 1 of 300. The module that the paper calls robust-critical is ranked from the other end; that
  it is the most critical one is how `robust-critical` reads Table 3.

At the scale `short`, another recipe, nothing is a match (see `regression`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean
from typing import Literal

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.selection import Candidates
from benchmark.records.records import ModuleCriticality
from benchmark.report.check.bounds import ROUNDED, Judgement
from benchmark.report.check.numbers import COMPARED, FAR, ROUNDING, is_compared
from benchmark.report.check.published import MeasuredModule, NamedModule, Published
from benchmark.report.check.verdicts import Finding, Verdict
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import over_seeds
from benchmark.report.view import Missing, Setting, View

FACTOR = 2.0
NEAR = 3
MRC_ROUNDING = 0.005
"""Half a unit of the last printed digit: an MRC is published with two decimals."""

AT = "pgd-at"
"""The method of Figure 3 and of the README, both of which say adversarial training and no more."""
RIFT, OFFICIAL_CODE = "rift", "rift-official-code"
READINGS = {RIFT: "by Algorithm 1", OFFICIAL_CODE: "as the released code measures it"}

Quantity = Literal["mrc", "drop", "least-critical", "most-critical"]
_LABELS: Mapping[Quantity, str] = {
    "mrc": "MRC",
    "drop": "drop of robust accuracy",
    "least-critical": "least critical module",
    "most-critical": "most critical module",
}


def judge_mrc(ours: Sequence[float], published: float) -> Judgement:
    """Verdict on MRC by seed, and why."""
    if min(*ours, published) <= 0:
        return Verdict.OFF, "not above zero everywhere, so that there is no ratio"
    mean = geometric_mean(ours)
    ratio = mean / published
    said = f"geometric mean {mean:.2f}, " if len(ours) > 1 else ""
    if abs(mean - published) <= MRC_ROUNDING + ROUNDED:
        return Verdict.MATCH, f"{said}equal as printed"
    close = max(ratio, 1 / ratio) <= FACTOR + ROUNDED
    said += f"{ratio:.3g} times the published value, "
    said += f"{'within' if close else 'not within'} a factor of {FACTOR:g}"
    return (Verdict.WITHIN if close else Verdict.OFF), said


def judge_drop(ours: Sequence[float], published: float) -> Judgement:
    """Verdict on drops of robust accuracy by seed (fractions), and why."""
    gap = abs(fmean(ours) - published) - ROUNDED
    said = f"by seed {_listed(f'{100 * value:.2f}' for value in ours)}; " if len(ours) > 1 else ""
    if gap <= ROUNDING:
        return Verdict.MATCH, f"{said}equal as printed"
    close = gap <= FAR
    said += f"{'no more' if close else 'more'} than {100 * FAR:g} points apart"
    return (Verdict.WITHIN if close else Verdict.OFF), said


def judge_rank(ours: Sequence[int]) -> Verdict:
    """Verdict on the rank of the named module by seed, 1 for the least (or most) critical."""
    if max(ours) == 1:
        return Verdict.MATCH
    return Verdict.WITHIN if max(ours) <= NEAR else Verdict.OFF


@dataclass(frozen=True)
class _Target:
    """One published value or name of a module; `value` is None for a name."""

    name: str
    place: Setting
    module: str
    quantity: Quantity
    value: float | None
    source: str
    readings: tuple[str, ...]


Measured = Mapping[int, Sequence[ModuleCriticality]]  # of all modules, by seed


def criticality_compared(view: View, published: Published) -> list[Finding]:
    """A finding for every published value or name of a module and every reading of it.

    Empty at scales that are not compared. Raises `UserError` for broken makings.
    """
    if not is_compared(view.scale):
        return []
    return [
        _of_target(view, target, reading)
        for target in _targets(published)
        if _in_scale(target.place, view)
        for reading in target.readings
    ]


def _in_scale(place: Setting, view: View) -> bool:
    scale = view.scale
    return (
        place.dataset in scale.datasets and place.arch in scale.archs and place.method in scale.methods
    )


def _targets(published: Published) -> Iterator[_Target]:
    for measured in published.criticality:
        yield from _of_figure(measured)
    for named in published.modules:
        yield _of_readme(named)


def _of_figure(entry: MeasuredModule) -> Iterator[_Target]:
    """What is printed of one module; its place is the last one named, such as `figure3`."""
    values: dict[Quantity, float | None] = {
        "mrc": entry.mrc,
        "drop": entry.accuracy_drop,
    }
    known = {quantity: value for quantity, value in values.items() if value is not None}
    names: dict[str, Quantity] = {
        "non-robust-critical": "least-critical",
        "robust-critical": "most-critical",
    }
    named: list[Quantity] = [] if entry.role is None else [names[entry.role]]
    where = entry.where.rpartition(", ")[2].lower().replace(" ", "")
    for quantity in (*known, *named):
        yield _Target(
            f"{where}/{entry.module}",
            Setting(entry.dataset, entry.arch, AT),
            entry.module,
            quantity,
            known.get(quantity),
            f"{entry.source}: {entry.where}",
            tuple(READINGS),
        )


def _of_readme(entry: NamedModule) -> _Target:
    return _Target(
        f"{entry.source}/{entry.dataset}/{entry.arch}",
        Setting(entry.dataset, entry.arch, AT),
        entry.module,
        "least-critical",
        None,
        entry.source,
        (OFFICIAL_CODE,),
    )


def _of_target(view: View, target: _Target, reading: str) -> Finding:
    makings = view.makings(target.place, reading, _maker(view, target.place, reading))
    finding = Finding(
        f"{target.name}/{target.quantity}@{reading}",
        Verdict.MISSING,
        f"{target.place}/{reading}",
        f"{_LABELS[target.quantity]}, {target.module}",
        "",
        plain=target.quantity == "mrc",
        published=target.value,
        source=target.source,
    )
    if isinstance(makings, Missing):
        return replace(finding, why=makings.why, make=makings.make)
    measured = {cell.seed: making.criticality or [] for cell, making in makings.items()}
    values, verdict, why = _judged(target, reading, measured)
    if verdict is Verdict.MATCH and COMPARED[view.scale.name] == "neighbour":
        verdict, why = Verdict.WITHIN, f"{why}, but by another recipe"
    ours = None
    if values:
        # A t interval is of a mean in points; what is compared of MRC is a ratio.
        interval = over_seeds(values) if target.quantity == "drop" else None
        ours = Estimate(tuple(values), interval, "seeds", tuple(cell.key for cell in makings))
    behind = view.making_hashes(list(makings))
    return replace(
        finding, verdict=verdict, why=f"{READINGS[reading]}; {why}", ours=ours, behind=behind
    )


def _maker(view: View, place: Setting, reading: str) -> str:
    """The command that makes `reading` at `place`: Figure 3 of the first network, else Table 1."""
    official = reading == OFFICIAL_CODE
    if place == view.places()[0]:
        return "figure3-official" if official else "figure3"
    return f"table1 --protocol {reading}" if official else "table1"


def _judged(target: _Target, reading: str, measured: Measured) -> tuple[list[float], Verdict, str]:
    """Our values by seed (none of a name, or if they are not all known), the verdict, and why."""
    entries = {
        seed: next((entry for entry in modules if entry.module == target.module), None)
        for seed, modules in measured.items()
    }
    if unknown := [seed for seed, entry in entries.items() if entry is None]:
        return [], Verdict.OFF, f"{target.module} was not measured, {_seeds(unknown)}"
    of_module = {seed: entry for seed, entry in entries.items() if entry is not None}
    remarks = "".join(f"; {remark}" for remark in _remarks(of_module))
    if target.value is None:
        verdict, why = _named(target, reading, measured)
        return [], verdict, why + remarks
    is_mrc = target.quantity == "mrc"
    found = [e.mrc if is_mrc else e.accuracy_drop for e in of_module.values() if e.valid]
    values = [value for value in found if value is not None]
    if len(values) < len(of_module):
        return [], Verdict.OFF, f"no value{remarks}"
    verdict, why = (judge_mrc if is_mrc else judge_drop)(values, target.value)
    return values, verdict, why + remarks


def _named(target: _Target, reading: str, measured: Measured) -> Judgement:
    """The rank of the named module by seed, and which module has the first."""
    ranked = [_ranked(target, reading, seed, modules) for seed, modules in measured.items()]
    without = [s for s, names in zip(measured, ranked, strict=True) if target.module not in names]
    if without:
        return Verdict.OFF, f"no rank, {_seeds(without)}"
    ranks = [names.index(target.module) + 1 for names in ranked]
    verdict = judge_rank(ranks)
    why = f"rank {_listed(map(str, ranks))} of {_once([str(len(names)) for names in ranked])}"
    if verdict is Verdict.MATCH:
        return verdict, why
    close = "among" if verdict is Verdict.WITHIN else "not among"
    first = _once([names[0] for names in ranked])
    return verdict, f"{why}, {close} the first {NEAR}; rank 1 has {first}"


def _once(parts: Sequence[str]) -> str:
    return parts[0] if len(set(parts)) == 1 else _listed(parts)


def _ranked(
    target: _Target, reading: str, seed: int, modules: Sequence[ModuleCriticality]
) -> list[str]:
    """Names of all modules that `reading` ranks, from the end that the published name is of."""
    names, place = [entry.module for entry in modules], target.place
    released = PROTOCOLS[reading].released_order
    ranked = Candidates(names, modules, place.dataset, place.arch, seed, released).ranked
    return ranked if target.quantity == "least-critical" else ranked[::-1]


def _remarks(entries: Mapping[int, ModuleCriticality]) -> list[str]:
    """What a reader should know of the module's ascent, and in which seeds."""
    by_remark: dict[str, list[int]] = {}
    for seed, entry in entries.items():
        if entry.remark is not None:
            by_remark.setdefault(entry.remark, []).append(seed)
    return [f"{_seeds(seeds)}: {remark}" for remark, seeds in by_remark.items()]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {_listed(map(str, seeds))}"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
