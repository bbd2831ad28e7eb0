"""Evidence of one seed with chosen numbers, for tests of what reads it."""

from collections.abc import Mapping

from benchmark.plans.plan import Plan
from benchmark.plans.states import evidence_spec
from benchmark.records.evidence import Move, Rescaled, RescaledModule, SeedEvidence
from benchmark.records.records import hashed
from handmade import PROVENANCE, measured


def seed_evidence(
    plan: Plan, ratio: float, rise: float, rescaled: Mapping[float, float | None], mrc: float = 0.1
) -> SeedEvidence:
    """Evidence of a module in a ball of radius 0.1, of which `rescaled` is the MRC by factor: losses
    rise and accuracies drop by `rise` in two moves, of ten times `ratio` and of `ratio`."""
    names = ("accuracy_drop", "loss_rise")
    values = {f"{name}{kind}": rise for name in names for kind in ("", "_recrafted", "_with_bn")}
    scaled = (measured("conv1", each, 0.02) for each in rescaled.values())
    return SeedEvidence(
        seed=plan.cell.seed,
        key=plan.cell.key,
        **hashed(evidence_spec(plan)),
        module="conv1",
        mrc=mrc,
        radius=0.1,
        modules=21,
        moves=(
            Move(point="fine-tuned", alpha=1, norm_ratio=10 * ratio, **values),
            Move(point="interpolated", alpha=0.5, norm_ratio=ratio, **values),
        ),
        rescaling=(
            RescaledModule(
                role="tuned",
                criticality=measured("conv1", mrc, 0.02),
                rank=1,
                rescaled=tuple(
                    Rescaled(factor=factor, criticality=each, rank=1, mrc_with_lr=0.1)
                    for factor, each in zip(rescaled, scaled, strict=True)
                ),
                reason=None,
            ),
        ),
        tuned_sha256=PROVENANCE.weights_sha256,
        provenance=PROVENANCE,
    )
