"""Claims C13 and C14, decided by the measurements of `results/evidence/<scale>.json`."""

from collections.abc import Callable

from benchmark.plans.states import stale_evidence
from benchmark.records.evidence import RescaledModule, SeedEvidence, evidence, same_mrc
from benchmark.report.check.case import Case
from benchmark.report.check.verdicts import Decision, Finding, Verdict
from benchmark.report.view import Missing


def c13(case: Case) -> list[Finding]:
    """MRC does not change when layers are re-scaled: Theorem A.4.

    The theorem is about the maximum; what is decided is Algorithm 1, which is how MRC is measured.
    """
    return _by_evidence(case, "re-scaling", _invariant)


def _invariant(seed: SeedEvidence) -> Decision:
    decisions = [_module_invariant(module) for module in seed.rescaling]
    verdicts = [verdict for verdict, _ in decisions]
    why = "; ".join(text for _, text in decisions)
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS, why
    known = Verdict.HOLDS in verdicts and Verdict.UNCLEAR not in verdicts
    return (Verdict.HOLDS if known else Verdict.UNCLEAR), why


def _module_invariant(module: RescaledModule) -> Decision:
    mrc = module.criticality.mrc
    if module.reason is not None or mrc is None:
        return Verdict.UNCLEAR, f"{module.module}: {module.reason or 'has no MRC to compare with'}"
    if mrc <= 0:
        return Verdict.UNCLEAR, f"{module.module}: {_no_rise(mrc)}"
    same = all(same_mrc(each.criticality.mrc, mrc) for each in module.rescaled)
    ratios = ", ".join(
        f"{_times(each.criticality.mrc, mrc)} at {each.factor:g}" for each in module.rescaled
    )
    why = f"{module.module}: Algorithm 1's MRC times {ratios}"
    if not same and all(same_mrc(each.mrc_with_lr, mrc) for each in module.rescaled):
        why += "; the same throughout if the ascent's rate is multiplied by the square of the factor"
    return (Verdict.HOLDS if same else Verdict.FAILS), why


def _no_rise(mrc: float) -> str:
    return (
        f"Algorithm 1 found no rise: its MRC is {mrc:.3f}, and the maximum over the ball is at least 0"
    )


def _times(value: float | None, mrc: float) -> str:
    if value is None:
        return "diverged"
    return f"{value / mrc:.2f}" if value > 0 else "no rise"


def c14(case: Case) -> list[Finding]:
    """Inside the ball, fine-tuning raises the robust loss by at most MRC: Theorem 3.1.

    Weights outside the ball are no case of it; what is decided is MRC as Algorithm 1 measures it.
    """
    return _by_evidence(case, "bound", _bounded)


def _bounded(seed: SeedEvidence) -> Decision:
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
    bounded = all(seed.bounded(move) for move in inside)
    why = f"{seed.module}: robust loss rises by {rises}; MRC {seed.mrc:.3f}"
    return (Verdict.HOLDS if bounded else Verdict.FAILS), why


def _by_evidence(case: Case, what: str, decide: Callable[[SeedEvidence], Decision]) -> list[Finding]:
    view, lines = case.view, []
    found = evidence(view.store.results, view.scale.stem)
    stale = {} if found is None else stale_evidence(found, view.store, view.scale)
    seeds = {} if found is None else {each.seed: each for each in found.seeds}
    make = view.command_of("evidence") + " --redo-stale" * bool(stale)
    for number in view.seeds(view.first):
        place = f"{view.first}/seed{number}"
        if number not in seeds or number in stale:
            why = stale.get(number, "no evidence")
            lines.append(case.missing(place, what, Missing(why, make)))
            continue
        seed = seeds[number]
        behind = {f"evidence/{seed.key}": seed.spec_hash}
        lines.append(case.line(place, what, decide(seed), behind=behind))
    return lines
