"""Evidence for a terminal (no torch). Losses are in nats per example."""

from tabulate import tabulate

from benchmark.models import arch
from benchmark.records.evidence import SAME, Evidence, Move, Rescaled, RescaledModule, SeedEvidence
from benchmark.records.records import ModuleCriticality


def text(found: Evidence) -> str:
    """Both tables, with what each column is and how many lines agree with the theorem."""
    model = f"{arch(found.arch).label}, {found.method}, {found.dataset}, scale {found.scale}"
    return "\n".join(
        [
            f"Evidence: {model}",
            "",
            "Theorem 3.1: inside the ball, the robust loss rises by at most MRC",
            "",
            *_moves(found),
            "",
            "Theorem A.4: MRC does not change when a layer is rescaled",
            "",
            *_rescaling(found),
        ]
    )


def _moves(found: Evidence) -> list[str]:
    heads = ["seed", "module", "MRC", "weights", "alpha", "|dW|/|W|", "inside", "rise"]
    heads += ["recrafted", "with bn"]
    pairs = [(each, move) for each in found.seeds for move in each.moves]
    rows = [_move(each, move) for each, move in pairs]
    inside = [each.bounded(move) for each, move in pairs if each.inside(move)]
    judged = [bounded for bounded in inside if bounded is not None]
    return [
        _table(heads, rows),
        f"  inside the ball, rise and recrafted at most MRC: {judged.count(True)} of {len(judged)}",
        "  rise: on MRC's adversarial examples, with nothing but the module's weight changed",
        "  recrafted: the same on examples that were crafted against the changed weights",
        "  with bn: of the whole model, whose batch-norm statistics moved too, on MRC's examples",
        "  MRC: by Algorithm 1, whose ascent need not end at the maximum",
    ]


def _move(each: SeedEvidence, move: Move) -> list[str]:
    return [
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


def _rescaling(found: Evidence) -> list[str]:
    heads = ["seed", "module", "role", "factor", "MRC", "epochs", "reached", "rank", "MRC, own rate"]
    rows: list[list[str]] = []
    kept: list[bool] = []
    relative: list[bool] = []
    lines: list[str] = []
    for each in found.seeds:
        for module in each.rescaling:
            rows.append(_unscaled(each, module))
            rows += [_scaled(each, module, one) for one in module.rescaled]
            mrc = module.criticality.mrc
            kept += [_equal(mrc, one.criticality.mrc) for one in module.rescaled]
            relative += [_equal(mrc, one.mrc_with_lr) for one in module.rescaled]
            if module.reason is not None:
                lines.append(f"  seed {each.seed}: {module.module} is not rescaled: {module.reason}")
    return [
        _table(heads, rows),
        f"  MRC as without rescaling, within {100 * SAME:g} %: {kept.count(True)} of {len(kept)}",
        f"  the same with the ascent's rate times factor^2 (own rate): {relative.count(True)} of "
        f"{len(relative)}",
        "  reached: whether the ascent reached the sphere",
        "  rank: among all modules, 1 is least critical; the others are as they were",
        *lines,
    ]


def _unscaled(each: SeedEvidence, module: RescaledModule) -> list[str]:
    return _line(each, module, "1", module.criticality, module.rank, "")


def _scaled(each: SeedEvidence, module: RescaledModule, one: Rescaled) -> list[str]:
    return _line(each, module, f"{one.factor:g}", one.criticality, one.rank, _loss(one.mrc_with_lr))


def _line(
    each: SeedEvidence,
    module: RescaledModule,
    factor: str,
    measured: ModuleCriticality,
    rank: int | None,
    relative: str,
) -> list[str]:
    reached = "yes" if measured.constrained else "no"
    return [
        str(each.seed),
        module.module,
        module.role,
        factor,
        _loss(measured.mrc),
        str(measured.epochs),
        reached,
        "none" if rank is None else f"{rank} of {each.modules}",
        relative,
    ]


def _loss(value: float | None) -> str:
    if value is None:
        return "diverged"
    return f"{value:.4f}" if value >= 0 else f"{value:.4f} (failed)"


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME * max(abs(one), abs(other))


def _table(heads: list[str], rows: list[list[str]]) -> str:
    left = ("module", "weights", "role", "inside", "reached")
    align = ["left" if head in left else "right" for head in heads]
    return tabulate(rows, heads, tablefmt="simple", colalign=align, disable_numparse=True)
