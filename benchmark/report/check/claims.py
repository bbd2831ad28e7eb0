"""The fourteen directional claims of the paper, each as one function over records (no torch).

A claim says in which direction something goes, so that it can be judged at any scale, also on networks
and images whose accuracies say nothing of the paper's. Its lines are its cases, such as one per
network; its summary is about all of them.

- A line about accuracies holds or fails only where the 95 % interval over *seeds* lies on one side of
  the bound: a claim about a method is about training again. With one seed there is an interval over
  test images only, so that the line is unclear, whatever that interval says; `why` says it. Seeds that
  all agree exactly have no interval and decide nothing either.
- Where an attack on a model warns that its training failed or its gradients are masked, lines about
  that model are unclear. The theorems are about any network.
- *Raises* and *loses* mean more than nothing; *keeps Adv* means not lower by more than 0.1 points,
  which is the paper's own rule for alpha* (Section 4, step 3).
- Lines about modules (C7, C8) and about theorems (C13, C14) are counts or comparisons of measured
  values in given networks, which one seed can decide.
- A summary fails if any line does (one counterexample refutes an "every"), holds if every line does, is
  missing if every line is, and is unclear otherwise. Without a true effect 1 line in 40 fails by
  chance.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf
from statistics import fmean

from benchmark.algorithm.protocols import ALPHA_1, CURVE
from benchmark.plans.plan import Plan
from benchmark.plans.states import stale_evidence
from benchmark.records.cells import BASE
from benchmark.records.evidence import SAME, RescaledModule, SeedEvidence, evidence
from benchmark.records.records import Finetuning, ModuleCriticality, not_valid
from benchmark.report.check.bounds import KEEPS, LOSES, LOWERED, NOT_HURT, RAISED, ROUNDED, Judgement
from benchmark.report.check.case import Case
from benchmark.report.check.published import Published
from benchmark.report.check.verdicts import Finding, Verdict
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import over_seeds, wilson
from benchmark.report.view import Missing, Setting, View

LOW_DROP = 0.03
"""A module is not critical if the worst perturbation of its weight costs at most so much robust
accuracy; the paper's example of one costs 2.86 points (Section 5.2)."""
AT_FIRST = 0.5
"""The first half of the way from the adversarially trained to the fine-tuned weights."""
SMALL = 0.1
"""An MRC is small against another if it is at most so much of it."""

PGD_AT = "pgd-at"
RIFT, RIFT_1 = "rift", f"rift{ALPHA_1}"
OTHERS = (f"all-layers{ALPHA_1}", f"last-layer{ALPHA_1}", f"robust-critical{ALPHA_1}")
MORE = (f"top-2{ALPHA_1}", f"top-3{ALPHA_1}", f"top-5{ALPHA_1}")
GROWTH = {"cifar10": -1, "cifar100": 1, "tiny-imagenet": 1}
"""Whether the gain of RiFT grows or shrinks with the network, by dataset (Section 5.5 and Table 1)."""

Criticalities = Sequence[Sequence[ModuleCriticality]]  # by seed


def c1(case: Case) -> list[Finding]:
    """RiFT raises Std and OOD of PGD-AT and keeps Adv: Table 1."""
    return _gains(case, (place for place in case.view.places() if place.method == PGD_AT))


def c2(case: Case) -> list[Finding]:
    """The same after TRADES, MART, AWP and SCORE: Table 2."""
    first = [place for place in case.view.places() if place.method != PGD_AT]
    others = [place for place in case.view.other_methods() if place.method != PGD_AT]
    return _gains(case, dict.fromkeys((*first, *others)))


def _gains(case: Case, places: Iterable[Setting]) -> list[Finding]:
    rules = {"Std": RAISED, "OOD": RAISED, "Adv": KEEPS}
    return [case.change(place, RIFT, role, bound) for place in places for role, bound in rules.items()]


def c3(case: Case) -> list[Finding]:
    """On the way to the fine-tuned weights Adv rises at first, together with Std: Figures 1 and C.5.

    Judged by the mean over 0 < alpha <= `AT_FIRST` minus the value at 0, by seed: the largest of
    several noisy points lies above the start even where nothing rises. The accuracies are those of the
    curve: one PGD run on the images that choose alpha*.
    """
    lines = []
    for place, figure in zip(_first_network(case.view)[:2], ("figure1", "figure-c5"), strict=False):
        makings = case.view.makings(place, RIFT + CURVE, figure)
        for role in ("Std", "Adv"):
            what = f"{role} at first"
            if isinstance(makings, Missing):
                lines.append(case.missing(place, what, makings))
                continue
            curves = [_curve(making, role) for making in makings.values()]
            rise = _of_seeds([_rise(each) for each in curves], [cell.key for cell in makings])
            verdict, why = RAISED.judge(rise)
            alpha, peak = max(((_highest(each)) for each in curves), key=lambda each: each[1])
            line = case.line(
                place, what, verdict, f"{why}; highest {100 * peak:+.2f} at alpha {alpha:g}"
            )
            behind = case.view.making_hashes(list(makings))
            lines.append(replace(line, ours=rise, signed=True, behind=behind))
    return lines


Curve = dict[float, float]  # rise of an accuracy by alpha


def _curve(making: Finetuning, role: str) -> Curve:
    counts = {point.alpha: point.clean if role == "Std" else point.robust for point in making.curve}
    known = {alpha: count.fraction for alpha, count in counts.items() if count is not None}
    return {alpha: value - known[0.0] for alpha, value in known.items()}


def _rise(curve: Curve) -> float:
    return fmean(rise for alpha, rise in curve.items() if 0 < alpha <= AT_FIRST)


def _highest(curve: Curve) -> tuple[float, float]:
    return max(curve.items(), key=lambda point: point[1])


def c4(case: Case) -> list[Finding]:
    """Every tuning raises Std, and only the non-robust-critical module keeps Adv: Table 3.

    All tunings are taken as fine-tuned (alpha = 1): at its own alpha* each of them keeps Adv by the
    rule that chooses it. The paper prints RiFT at alpha* and does not say what the others are.
    """
    place = _first(case.view)
    kept = case.change(place, RIFT_1, "Adv", KEEPS)
    lost = [case.change(place, name, "Adv", LOSES) for name in OTHERS]
    return [kept, *lost, *(case.change(place, name, "Std", RAISED) for name in (RIFT_1, *OTHERS))]


def c5(case: Case) -> list[Finding]:
    """Fine-tuning the most critical module trades worse than fine-tuning all: Table 3."""
    place, (everything, _, critical) = _first(case.view), OTHERS
    return [case.change(place, critical, role, LOWERED, everything) for role in ("Std", "Adv")]


def c6(case: Case) -> list[Finding]:
    """Fine-tuning several non-robust-critical modules loses Adv: Table 4, as fine-tuned (alpha = 1)."""
    return [case.change(_first(case.view), name, "Adv", LOSES) for name in MORE]


def c7(case: Case) -> list[Finding]:
    """Every adversarially trained network has modules that hardly matter: Figures 3 and C.1 to C.4.

    Judged by the modules with a drop of robust accuracy of at most `LOW_DROP` and an MRC of at most
    `SMALL` times the largest: it holds if every seed has one and fails if none has. Both thresholds are
    this suite's; the paper gives an example. Modules whose ascent never reached the constraint are not
    counted, because their MRC is a lower estimate, and those without a valid MRC are left out.
    """
    return _modules(case, "modules that hardly matter", _hardly_matter)


def _hardly_matter(seeds: Criticalities) -> Judgement:
    low = [_low(modules) for modules in seeds]
    sure = [[module for module in modules if module.constrained] for modules in low]
    drops = [min(_drop(each) for each in modules if each.valid) for modules in seeds]
    why = (
        f"{_listed(len(modules) for modules in sure)} of {len(seeds[0])} lose {100 * LOW_DROP:g} "
        f"points of robust accuracy or less, with an MRC of {SMALL:g} of the largest or less; smallest "
        f"loss {', '.join(f'{100 * drop:.1f}' for drop in drops)} points"
    )
    if all(sure):
        return Verdict.HOLDS, why
    if any(low):
        return Verdict.UNCLEAR, why
    return Verdict.FAILS, why


def _low(modules: Sequence[ModuleCriticality]) -> list[ModuleCriticality]:
    valid = [each for each in modules if each.valid]
    largest = max(_mrc(each) for each in valid)
    return [each for each in valid if _drop(each) <= LOW_DROP and _mrc(each) <= SMALL * largest]


def _mrc(entry: ModuleCriticality) -> float:
    return inf if entry.mrc is None else entry.mrc


def _drop(entry: ModuleCriticality) -> float:
    return inf if entry.accuracy_drop is None else entry.accuracy_drop


def _listed(counts: Iterable[int]) -> str:
    return ", ".join(str(count) for count in counts)


def c8(case: Case) -> list[Finding]:
    """The drop of robust accuracy does not follow MRC: Section 5.2.

    Judged by the pairs of modules of which one has the higher MRC and the other the larger drop, in
    every seed. How loosely one follows the other is not part of the claim. A module without a valid MRC
    is in no such pair.
    """
    return _modules(case, "rankings", _ranked_differently)


def _ranked_differently(seeds: Criticalities) -> Judgement:
    opposite = [_opposite(modules) for modules in seeds]
    pairs = len(seeds[0]) * (len(seeds[0]) - 1) // 2
    why = f"{_listed(opposite)} of {pairs} pairs of modules are ranked in opposite order"
    if all(opposite):
        return Verdict.HOLDS, why
    return (Verdict.UNCLEAR if any(opposite) else Verdict.FAILS), why


def _opposite(modules: Sequence[ModuleCriticality]) -> int:
    """Pairs of modules that MRC and the drop of robust accuracy rank in opposite order."""
    known = [
        (each.mrc, each.accuracy_drop)
        for each in modules
        if each.valid and each.mrc is not None and each.accuracy_drop is not None
    ]
    return sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(known, 2))


def _modules(case: Case, what: str, judge: Callable[[Criticalities], Judgement]) -> list[Finding]:
    """A line per network of Table 1, by the criticality that RiFT's choice was made on."""
    lines = []
    for place in case.view.places():
        makings = case.view.makings(place, RIFT, "table1")
        if isinstance(makings, Missing):
            lines.append(case.missing(place, what, makings))
            continue
        seeds = [making.criticality or [] for making in makings.values()]
        line = case.line(place, what, *_judged(seeds, judge))
        lines.append(replace(line, behind=case.view.making_hashes(list(makings))))
    return lines


def _judged(seeds: Criticalities, judge: Callable[[Criticalities], Judgement]) -> Judgement:
    """What `judge` says, and which modules it could not judge in some seed."""
    if not all(any(each.valid for each in modules) for modules in seeds):
        return Verdict.UNCLEAR, "no module has a valid MRC in some seed"
    verdict, why = judge(seeds)
    lost = dict.fromkeys(name for modules in seeds for name in not_valid(modules))
    said = f"; the ascent diverged or ended lower than it began in some seed: {', '.join(lost)}"
    return verdict, why + (said if lost else "")


def c9(case: Case) -> list[Finding]:
    """alpha* generally lies in the published range, at the published learning rate: Section 5.5.

    A network's line holds if alpha* of every seed is in the range and fails if none is. The summary
    judges "generally" as more than half of all models, by Wilson's interval of that share. At another
    learning rate nothing is said.
    """
    range_, lines = case.published.alpha, []
    for place in case.view.places():
        makings = case.view.makings(place, RIFT, "table1")
        if isinstance(makings, Missing):
            lines.append(case.missing(place, "alpha*", makings))
            continue
        alphas = [making.alpha for making in makings.values()]
        within = sum(range_.low - ROUNDED <= alpha <= range_.high + ROUNDED for alpha in alphas)
        why = f"the published range is {range_.low} to {range_.high}"
        lr = Plan.of(next(iter(makings)), case.view.scale).recipe.lr
        if lr != range_.lr:
            verdict, why = Verdict.UNCLEAR, f"{why} at learning rate {range_.lr}, here it is {lr}"
        elif within in (0, len(alphas)):
            verdict = Verdict.HOLDS if within else Verdict.FAILS
        else:
            verdict = Verdict.UNCLEAR
        line = case.line(place, "alpha*", verdict, why)
        estimate = Estimate(tuple(alphas), sources=tuple(cell.key for cell in makings))
        behind = case.view.making_hashes(list(makings))
        lines.append(replace(line, ours=estimate, plain=True, behind=behind))
    return lines


def c9_summary(lines: Sequence[Finding], published: Published) -> Judgement:
    """Whether more than half of all models have alpha* in the range."""
    verdict, why = every(lines, published)
    judged = [line for line in lines if line.verdict is not Verdict.MISSING]
    range_ = published.alpha
    if not judged or any("learning rate" in line.why for line in judged):
        return (Verdict.UNCLEAR if judged else verdict), why
    alphas = [alpha for line in judged if line.ours for alpha in line.ours.values]
    within = sum(range_.low - ROUNDED <= alpha <= range_.high + ROUNDED for alpha in alphas)
    share = wilson(within, len(alphas))
    why = f"{within} of {len(alphas)} models in the range; {why}"
    if share.low > 0.5:
        return Verdict.HOLDS, why
    if share.high < 0.5:
        return Verdict.FAILS, why
    return Verdict.UNCLEAR, f"{why}; too few models to tell a majority"


def c10(case: Case) -> list[Finding]:
    """The gain in Std grows with the network on CIFAR-100 and Tiny-ImageNet and shrinks on CIFAR-10:
    Section 5.5.

    Judged between the first and the last network of the scale, seed by seed of those that both have:
    between neighbouring ones the paper itself has a tie.
    """
    lines, what = [], "growth of the gain"
    archs = case.view.scale.archs
    by_dataset: dict[str, dict[str, Setting]] = {}
    for place in case.view.places():
        by_dataset.setdefault(place.dataset, {})[place.arch] = place
    for dataset, places in by_dataset.items():
        ends = [places[name] for name in (archs[0], archs[-1]) if name in places]
        if dataset not in GROWTH or len(archs) < 2 or len(ends) < 2:
            continue
        of_both = case.view.at_shared_seeds(ends)
        where = f"{dataset}/{archs[0]}-to-{archs[-1]}"
        gains = [of_both.change(place, RIFT, BASE, "Std") for place in ends]
        if missing := [gain for gain in gains if isinstance(gain, Missing)]:
            lines.append(case.missing(where, what, missing[0]))
            continue
        small, large = (gain for gain in gains if not isinstance(gain, Missing))
        values = [
            after - before
            for before, after in zip(small.estimate.values, large.estimate.values, strict=True)
        ]
        growth = _of_seeds(values, small.estimate.sources + large.estimate.sources)
        verdict, why = (RAISED if GROWTH[dataset] > 0 else LOWERED).judge(growth)
        warned = [warning for place in ends for warning in case.view.warnings(place)]
        line = case.line(where, what, verdict, why, warned)
        behind = {**small.behind, **large.behind}
        lines.append(replace(line, ours=growth, signed=True, behind=behind))
    return lines


def c11(case: Case) -> list[Finding]:
    """Fine-tuning does not hurt OOD: Tables 1 and 3, the latter's tunings as fine-tuned (alpha = 1)."""
    rift = [case.change(place, RIFT, "OOD", NOT_HURT) for place in case.view.places()]
    place = _first(case.view)
    return [*rift, *(case.change(place, name, "OOD", NOT_HURT) for name in (RIFT_1, *OTHERS))]


def c12(case: Case) -> list[Finding]:
    """RiFT keeps robustness under AutoAttack too: Section 5.1, which gives no number.

    Judged for the first network, which the audit evaluates, and for others where it is on record. The
    audit of the smaller scales attacks the first images only, as the line then says.
    """
    lines = [case.change(place, RIFT, "AutoAttack", KEEPS) for place in case.view.places()]
    return [line for place, line in enumerate(lines) if not place or line.ours is not None]


def c13(case: Case) -> list[Finding]:
    """MRC does not change when layers are re-scaled: Theorem A.4.

    The theorem is about the maximum; what is judged is Algorithm 1, which is how MRC is measured.
    """
    return _evidence(case, "re-scaling", _invariant)


def _invariant(seed: SeedEvidence) -> Judgement:
    judged = [_module_invariant(module) for module in seed.rescaling]
    verdicts = [verdict for verdict, _ in judged]
    why = "; ".join(said for _, said in judged)
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS, why
    known = Verdict.HOLDS in verdicts and Verdict.UNCLEAR not in verdicts
    return (Verdict.HOLDS if known else Verdict.UNCLEAR), why


def _module_invariant(module: RescaledModule) -> Judgement:
    mrc = module.criticality.mrc
    if module.reason is not None or mrc is None:
        return Verdict.UNCLEAR, f"{module.module}: {module.reason or 'has no MRC to compare with'}"
    if mrc <= 0:
        return Verdict.UNCLEAR, f"{module.module}: {_no_rise(mrc)}"
    same = all(_same(each.criticality.mrc, mrc) for each in module.rescaled)
    said = ", ".join(
        f"{_times(each.criticality.mrc, mrc)} at {each.factor:g}" for each in module.rescaled
    )
    said = f"{module.module}: Algorithm 1's MRC times {said}"
    if not same and all(_same(each.mrc_with_lr, mrc) for each in module.rescaled):
        said += "; the same throughout if the ascent's rate is multiplied by the square of the factor"
    return (Verdict.HOLDS if same else Verdict.FAILS), said


def _no_rise(mrc: float) -> str:
    return (
        f"Algorithm 1 found no rise: its MRC is {mrc:.3f}, and the maximum over the ball is at least 0"
    )


def _times(value: float | None, mrc: float) -> str:
    if value is None:
        return "diverged"
    return f"{value / mrc:.2f}" if value > 0 else "no rise"


def _same(value: float | None, mrc: float) -> bool:
    return value is not None and abs(value / mrc - 1) <= SAME


def c14(case: Case) -> list[Finding]:
    """Inside the ball, fine-tuning raises the robust loss by at most MRC: Theorem 3.1.

    Weights outside the ball are no case of it; what is judged is MRC as Algorithm 1 measures it.
    """
    return _evidence(case, "bound", _bounded)


def _bounded(seed: SeedEvidence) -> Judgement:
    if seed.mrc is None:
        return Verdict.UNCLEAR, f"the ascent of {seed.module} diverged: there is no MRC"
    if seed.mrc <= 0:
        return Verdict.UNCLEAR, f"{seed.module}: {_no_rise(seed.mrc)}"
    inside = [move for move in seed.moves if seed.inside(move)]
    if not inside:
        ratio = min(move.norm_ratio for move in seed.moves)
        return Verdict.UNCLEAR, (
            f"{seed.module} left the ball: ||dW||/||W|| {ratio:.2f} is more than {seed.radius:g}"
        )
    rises = ", ".join(
        f"{max(move.loss_rise, move.loss_rise_recrafted):+.3f} ({move.point})" for move in inside
    )
    why = f"{seed.module}: robust loss rises by {rises}; MRC {seed.mrc:.3f}"
    bounded = all(seed.bounded(move) for move in inside)
    return (Verdict.HOLDS if bounded else Verdict.FAILS), why


def _evidence(case: Case, what: str, judge: Callable[[SeedEvidence], Judgement]) -> list[Finding]:
    """A line per seed of what no record holds."""
    view, lines = case.view, []
    found = evidence(view.store.results, view.scale.stem)
    old = {} if found is None else stale_evidence(found, view.store, view.scale)
    by_seed = {} if found is None else {each.seed: each for each in found.seeds}
    make = f"python -m benchmark evidence --scale {view.argument}"
    for number in view.seeds(_first(view)):
        place = f"{_first(view)}/seed{number}"
        if number not in by_seed or number in old:
            why = old.get(number, "no evidence")
            lines.append(case.missing(place, what, Missing(why, make)))
            continue
        line = case.line(place, what, *judge(by_seed[number]))
        behind = {f"evidence/{by_seed[number].key}": by_seed[number].spec_hash}
        lines.append(replace(line, behind=behind))
    return lines


def _first(view: View) -> Setting:
    """The model that Tables 3 and 4 and Figures 1 and 3 are of."""
    return Setting(view.scale.datasets[0], view.scale.archs[0], view.scale.methods[0])


def _first_network(view: View) -> list[Setting]:
    return [place for place in view.places() if place.arch == view.scale.archs[0]]


def _of_seeds(values: Sequence[float], sources: Iterable[str]) -> Estimate:
    """What is known by seed only: without an interval for one of them."""
    return Estimate(tuple(values), over_seeds(values), "seeds", tuple(sources))


def every(lines: Sequence[Finding], _published: Published) -> Judgement:
    """Summary of a claim about every case."""
    verdicts = [line.verdict for line in lines]
    if not lines:
        return Verdict.UNCLEAR, "the scale has nothing that the claim is about"
    names = {
        Verdict.HOLDS: "hold",
        Verdict.FAILS: "fail",
        Verdict.UNCLEAR: "unclear",
        Verdict.MISSING: "missing",
    }
    counts = [f"{verdicts.count(v)} {name}" for v, name in names.items() if v in verdicts]
    why = f"of {len(lines)} case{'s' if len(lines) > 1 else ''}: {', '.join(counts)}"
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS, why
    if set(verdicts) in ({Verdict.HOLDS}, {Verdict.MISSING}):
        return verdicts[0], why
    return Verdict.UNCLEAR, why


@dataclass(frozen=True)
class ClaimCheck:
    """How a claim is judged: its lines, what they come to, what the paper rests it on (a sentence's end
    behind "the paper"), and what is judged if that is not the claim itself."""

    lines: Callable[[Case], list[Finding]]
    extent: str
    summary: Callable[[Sequence[Finding], Published], Judgement] = every
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
}
"""How each claim of `results/published.toml` is judged; a new claim is an entry there and a line
here."""


def claim_findings(view: View, published: Published) -> list[Finding]:
    """For each claim its summary, then its lines."""
    findings = []
    for claim in published.claims:
        check = CLAIMS[claim.id]
        lines = check.lines(Case(view, published, claim.id))
        verdict, why = check.summary(lines, published)
        judged = {line.where for line in lines if line.verdict is not Verdict.MISSING}
        if judged:
            why += f"; judged here on {', '.join(sorted(judged))}; the paper {check.extent}"
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
