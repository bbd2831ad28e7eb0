"""Evidence for the paper's two theorems, as tables for a terminal. Losses are in nats per example."""

from tabulate import tabulate

from benchmark.models import arch
from benchmark.records.evidence import SAME, Evidence, same_mrc
from benchmark.records.records import ModuleCriticality


def text(found: Evidence) -> str:
    """Both tables, with what each column is and how many lines agree with the theorem."""
    lines = [
        f"Evidence: {arch(found.arch).label}, {found.method}, {found.dataset}, scale {found.scale}",
        "",
        "Theorem 3.1: inside the ball, the robust loss rises by at most MRC",
        "",
        *_moves(found),
        "",
        "Theorem A.4: MRC does not change when a layer is rescaled",
        "",
        *_rescaling(found),
    ]
    return "\n".join(lines)


def _moves(found: Evidence) -> list[str]:
    heads = ["seed", "module", "MRC", "weights", "alpha", "|dW|/|W|", "inside", "rise"]
    heads += ["recrafted", "with bn"]
    pairs = [(each, move) for each in found.seeds for move in each.moves]
    rows = [
        [
            str(each.seed),
            each.module,
            _loss(each.mrc),
            move.point,
            f"{move.alpha:.3f}",
            f"{move.norm_ratio:.4f}",
            "yes" if each.inside(move) else "no",
            f"{move.loss_rise:+.4f}",
            f"{move.loss_rise_recrafted:+.4f}",
            f"{move.loss_rise_with_bn:+.4f}",
        ]
        for each, move in pairs
    ]
    inside = [each.bounded(move) for each, move in pairs if each.inside(move)]
    known = [bounded for bounded in inside if bounded is not None]
    return [
        _table(heads, rows),
        f"  inside the ball, rise and recrafted at most MRC: {known.count(True)} of {len(known)}",
        "  rise: on MRC's adversarial examples, with nothing but the module's weight changed",
        "  recrafted: the same on examples that were crafted against the changed weights",
        "  with bn: of the whole model, whose batch-norm statistics moved too, on MRC's examples",
        "  MRC: by Algorithm 1, whose ascent need not end at the maximum",
    ]


def _rescaling(found: Evidence) -> list[str]:
    heads = ["seed", "module", "role", "factor", "MRC", "epochs", "reached", "rank", "MRC, own rate"]
    rows: list[list[str]] = []
    kept: list[bool] = []
    relative: list[bool] = []
    reasons: list[str] = []
    for each in found.seeds:
        for module in each.rescaling:
            labels, mrc = [str(each.seed), module.module, module.role], module.criticality.mrc
            rows.append([*labels, "1", *_measured(module.criticality, module.rank, each.modules), ""])
            for one in module.rescaled:
                measured = _measured(one.criticality, one.rank, each.modules)
                rows.append([*labels, f"{one.factor:g}", *measured, _loss(one.mrc_with_lr)])
                kept.append(same_mrc(one.criticality.mrc, mrc))
                relative.append(same_mrc(one.mrc_with_lr, mrc))
            if module.reason is not None:
                reasons.append(f"  seed {each.seed}: {module.module} is not rescaled: {module.reason}")
    return [
        _table(heads, rows),
        f"  MRC as without rescaling, within {100 * SAME:g} %: {kept.count(True)} of {len(kept)}",
        f"  the same with the ascent's rate times factor^2 (own rate): {relative.count(True)} of "
        f"{len(relative)}",
        "  reached: whether the ascent reached the sphere",
        "  rank: among all modules, 1 is least critical; the others are as they were",
        *reasons,
    ]


def _measured(found: ModuleCriticality, rank: int | None, modules: int) -> list[str]:
    reached = "yes" if found.constrained else "no"
    ranked = "none" if rank is None else f"{rank} of {modules}"
    return [_loss(found.mrc), str(found.epochs), reached, ranked]


def _loss(value: float | None) -> str:
    if value is None:
        return "diverged"
    return f"{value:.4f}" if value >= 0 else f"{value:.4f} (failed)"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    left = ("module", "weights", "role", "inside", "reached")
    align = ["left" if head in left else "right" for head in heads]
    return tabulate(rows, heads, tablefmt="simple", colalign=align, disable_numparse=True)
