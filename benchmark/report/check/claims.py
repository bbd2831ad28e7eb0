"""The paper's fourteen directional claims and three of its rivals', each as a function over records.

A claim is about a direction, so that it can be decided at any scale, also by networks and images whose
accuracies are not comparable with the paper's. Its lines are its cases, such as one per network; its
summary is about all of them.

- A line about accuracies holds or fails only where the 95 % interval over *seeds* lies on one side of
  the bound: a claim about a method is about training again. With one seed there is an interval over
  test images only, so that the line is unclear, whatever that interval is. Seeds that all agree exactly
  have no interval and decide nothing either.
- Lines about a model are unclear where an attack warns that its training failed or its gradients are
  masked, but for those of C13 and C14, theorems about any network, and of C17.
- *Raises* and *loses* mean more than nothing; *keeps Adv* means not lower by more than 0.1 points,
  which is the paper's own rule for alpha* (Section 4, step 3; `Interpolation.tolerance`).
- Lines about modules (C7, C8), theorems (C13, C14) and margins (C17) are counts or comparisons of
  measured values in given networks, which one seed can decide.
- A summary (of C9: `c9_summary`) fails if any line does, since one counterexample refutes an "every",
  holds if every line does, is missing if every line is, and is unclear otherwise. Without a true effect
  1 line in 40 fails by chance.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmark.algorithm.tunings import ALPHA_1
from benchmark.records.cells import BASE
from benchmark.report.check.case import PGD_AT, RIFT, RIFT_1, Case, by_seed, every, stands_in
from benchmark.report.check.claims_of_finetuning import c3, c7, c8, c9, c9_summary
from benchmark.report.check.claims_of_rivals import c15, c16, c17
from benchmark.report.check.claims_of_theorems import c13, c14
from benchmark.report.check.published_schema import Published
from benchmark.report.check.verdicts import (
    KEEPS,
    LOSES,
    LOWERED,
    NOT_HURT,
    RAISED,
    Decision,
    Finding,
    Verdict,
)
from benchmark.report.view import Missing, Setting, View

OTHERS = (f"all-layers{ALPHA_1}", f"last-layer{ALPHA_1}", f"robust-critical{ALPHA_1}")
MORE = (f"top-2{ALPHA_1}", f"top-3{ALPHA_1}", f"top-5{ALPHA_1}")
GROWTH = {"cifar10": LOWERED, "cifar100": RAISED, "tiny-imagenet": RAISED}
"""The published change of RiFT's gain from the smallest to the largest network, by dataset (Section 5.5
and Table 1)."""


def c1(case: Case) -> list[Finding]:
    """RiFT raises Std and OOD of PGD-AT and keeps Adv: Table 1."""
    return _gains(case, (place for place in case.view.places() if place.method == PGD_AT))


def c2(case: Case) -> list[Finding]:
    """The same after TRADES, MART, AWP and SCORE: Table 2."""
    places = dict.fromkeys((*case.view.places(), *case.view.other_methods()))
    return _gains(case, (place for place in places if place.method != PGD_AT))


def _gains(case: Case, places: Iterable[Setting]) -> list[Finding]:
    rules = {"Std": RAISED, "OOD": RAISED, "Adv": KEEPS}
    return [case.change(place, RIFT, role, bound) for place in places for role, bound in rules.items()]


def c4(case: Case) -> list[Finding]:
    """Every tuning raises Std, and only the non-robust-critical module keeps Adv: Table 3.

    All tunings are taken as fine-tuned (alpha = 1): at its own alpha* each of them keeps Adv by the
    rule that chooses it. The paper prints RiFT at alpha* and leaves open what the others are.
    """
    place = case.view.first
    kept = case.change(place, RIFT_1, "Adv", KEEPS)
    lost = [case.change(place, name, "Adv", LOSES) for name in OTHERS]
    return [kept, *lost, *(case.change(place, name, "Std", RAISED) for name in (RIFT_1, *OTHERS))]


def c5(case: Case) -> list[Finding]:
    """Fine-tuning the most critical module trades worse than fine-tuning all: Table 3."""
    place, (everything, _, critical) = case.view.first, OTHERS
    return [case.change(place, critical, role, LOWERED, everything) for role in ("Std", "Adv")]


def c6(case: Case) -> list[Finding]:
    """Fine-tuning several non-robust-critical modules loses Adv: Table 4, as fine-tuned (alpha = 1)."""
    return [case.change(case.view.first, name, "Adv", LOSES) for name in MORE]


def c10(case: Case) -> list[Finding]:
    """The gain in Std grows with the network on CIFAR-100 and Tiny-ImageNet and shrinks on CIFAR-10:
    Section 5.5.

    Decided between the first and the last network of the scale, seed by seed of those that both have:
    between neighbouring ones the paper itself has a tie.
    """
    archs, lines = case.view.scale.archs, []
    for dataset in case.view.scale.datasets:
        by_arch = {place.arch: place for place in case.view.places() if place.dataset == dataset}
        if dataset in GROWTH and len(archs) > 1 and {archs[0], archs[-1]} <= by_arch.keys():
            lines.append(_growth(case, by_arch[archs[0]], by_arch[archs[-1]]))
    return lines


def _growth(case: Case, small: Setting, large: Setting) -> Finding:
    what, where = "growth of the gain", f"{small.dataset}/{small.arch}-to-{large.arch}"
    view = case.view.at_shared_seeds([small, large])
    before, after = (view.change(place, RIFT, BASE, "Std") for place in (small, large))
    if isinstance(before, Missing):
        return case.missing(where, what, before)
    if isinstance(after, Missing):
        return case.missing(where, what, after)
    pairs = zip(before.estimate.values, after.estimate.values, strict=True)
    sources = before.estimate.sources + after.estimate.sources
    growth = by_seed([of_large - of_small for of_small, of_large in pairs], sources)
    of_bases = (*case.view.warnings(small), *case.view.warnings(large))
    warnings = [*of_bases, *before.warnings, *after.warnings]
    verdict, why = GROWTH[small.dataset].decide(growth)
    why += "".join(dict.fromkeys(stands_in(found, "Std") for found in (before, after)))
    behind = {**before.behind, **after.behind}
    return case.line(where, what, (verdict, why), warnings, ours=growth, signed=True, behind=behind)


def c11(case: Case) -> list[Finding]:
    """Fine-tuning does not hurt OOD: Tables 1 and 3, the latter's tunings as fine-tuned (alpha = 1)."""
    rift = [case.change(place, RIFT, "OOD", NOT_HURT) for place in case.view.places()]
    return [*rift, *(case.change(case.view.first, name, "OOD", NOT_HURT) for name in (RIFT_1, *OTHERS))]


def c12(case: Case) -> list[Finding]:
    """RiFT keeps robustness under AutoAttack too: Section 5.1, which gives no number.

    Decided for the first network, which the audit evaluates, and for others where it is on record. The
    audit of the smaller scales attacks the first images only, as the line then tells.
    """
    lines = [case.change(place, RIFT, "AutoAttack", KEEPS) for place in case.view.places()]
    return [line for place, line in enumerate(lines) if not place or line.ours is not None]


@dataclass(frozen=True)
class ClaimCheck:
    """How a claim is decided: its lines, their summary, the `extent` of the paper's own evidence (which
    completes "the paper ..."), and what is decided `instead`, if not the claim itself."""

    lines: Callable[[Case], list[Finding]]
    extent: str
    summary: Callable[[Sequence[Finding], Published], Decision] = every
    instead: str = ""


_TABLE_1, _FIRST = "judges it on 3 datasets with 3 networks", "judges it on CIFAR-10 with ResNet18"
_ESTIMATE = "Algorithm 1's estimate is judged, not the theorem"
CLAIMS: dict[str, ClaimCheck] = {
    "C1": ClaimCheck(c1, _TABLE_1),
    "C2": ClaimCheck(c2, "judges it on 2 datasets with ResNet18 and 4 methods"),
    "C3": ClaimCheck(c3, "judges it on 2 datasets with ResNet18"),
    "C4": ClaimCheck(c4, _FIRST),
    "C5": ClaimCheck(c5, _FIRST),
    "C6": ClaimCheck(c6, _FIRST),
    "C7": ClaimCheck(c7, "judges it on 3 datasets with ResNet18, on one each with the others"),
    "C8": ClaimCheck(c8, _FIRST),
    "C9": ClaimCheck(c9, "judges it on models that it does not name", c9_summary),
    "C10": ClaimCheck(c10, _TABLE_1),
    "C11": ClaimCheck(c11, f"{_TABLE_1}, other tunings on CIFAR-10 with ResNet18"),
    "C12": ClaimCheck(c12, "gives no number for it"),
    "C13": ClaimCheck(c13, "proves it", instead=_ESTIMATE),
    "C14": ClaimCheck(c14, "proves it", instead=_ESTIMATE),
    "C15": ClaimCheck(c15, "judges it on six networks of RobustBench"),
    "C16": ClaimCheck(c16, "judges it on CIFAR-10, CIFAR-100 and ImageNet"),
    "C17": ClaimCheck(c17, "judges it on networks of RobustBench for CIFAR-10, CIFAR-100 and ImageNet"),
}
"""How each claim of `results/published.toml` is decided; a new claim is an entry there and a line
here."""


def claim_findings(view: View, published: Published) -> list[Finding]:
    """Return for each claim its summary, then its lines. Raises `UserError` for broken records."""
    findings = []
    for claim in published.claims:
        check = CLAIMS[claim.id]
        lines = check.lines(Case(view, published, claim.id))
        verdict, why = check.summary(lines, published)
        present = {line.where for line in lines if line.verdict is not Verdict.MISSING}
        if present:
            why += f"; judged here on {', '.join(sorted(present))}; the paper {check.extent}"
        summary = Finding(
            claim.id,
            verdict,
            "",
            claim.statement + (f" ({check.instead})" if check.instead else ""),
            why,
            source=claim.where,
            behind={name: sha for line in lines for name, sha in line.behind.items()},
            claim=claim.id,
        )
        findings += [summary, *lines]
    return findings
