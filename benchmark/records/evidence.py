"""`results/evidence/<scale>.json`: measurements for two claims that no record answers.

- Theorem 3.1 (Equation 3): while a module stays inside the ball ||dW|| <= `radius` ||W||, fine-tuning
  it raises the robust loss by at most its MRC. A `Move` is such a change, with its rise.
- Theorem A.4 (Equations 11, 25-43): MRC does not change when a layer is multiplied by a factor that the
  next one takes back. A `Rescaled` is a module's MRC, measured again in such a network.

`benchmark.jobs.theorems` measures them. The file holds the first dataset, network and method of its
scale and has one entry per seed, in order; seeds of the scale may be missing.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, FiniteFloat, model_validator

from benchmark.errors import UserError
from benchmark.records.cells import PART
from benchmark.records.files import Frozen, read_model
from benchmark.records.records import MAKE_AGAIN, ModuleCriticality, Provenance, Sha256
from benchmark.records.specs import spec_hash

SCHEMA_VERSION: Literal[1] = 1
TUNED = "rift"
"""The fine-tuning that was measured."""
FACTORS = (0.5, 2.0, 4.0, 8.0, 16.0, 32.0)
"""What modules are multiplied by. Powers of two, by which floating-point numbers scale without
rounding, so that a different MRC is the estimator's doing and not that of last bits."""
SAME = 0.01
"""Two MRC that differ by no more than this share are the same: other versions and thread counts move a
value by a few hundredths of a percent, an estimator that depends on the scale by several."""
Point = Literal["fine-tuned", "interpolated", "sphere"]
Role = Literal["tuned", "most critical"]
ROUNDING = 1e-5
"""By what share a norm that was projected onto the sphere may exceed the radius."""


def same_mrc(value: float | None, mrc: float | None) -> bool:
    """Whether `value` is `mrc` but for the share `SAME`; no ascent that diverged is like another."""
    return value is not None and mrc is not None and abs(value - mrc) <= SAME * abs(mrc)


class Move(Frozen):
    """A point on the way from the adversarially trained to the fine-tuned weights, and its robust loss.

    `point` is `fine-tuned` (alpha = 1), `interpolated` (alpha*), or `sphere`, where the way leaves the
    ball, if it does. `norm_ratio` is ||dW|| / ||W|| of the module's weight. `loss_rise` is in nats per
    example and `accuracy_drop` a fraction, both on the adversarial examples of MRC, with nothing but
    that weight changed, as in the theorem: batch-norm statistics, and a classifier's bias, are those of
    the adversarially trained model. `..._recrafted` take the same weights on examples crafted against
    them from the same starts (the robust loss of Equation 1); `..._with_bn` take the whole model at
    that alpha, statistics and bias included, on MRC's examples.
    """

    point: Point
    alpha: float = Field(ge=0, le=1)
    norm_ratio: FiniteFloat = Field(ge=0)
    loss_rise: FiniteFloat
    accuracy_drop: FiniteFloat
    loss_rise_recrafted: FiniteFloat
    accuracy_drop_recrafted: FiniteFloat
    loss_rise_with_bn: FiniteFloat
    accuracy_drop_with_bn: FiniteFloat


class Rescaled(Frozen):
    """A module's criticality once its weight is `factor` times what it was and the batch normalisation
    behind it takes that back, in a network that computes the same.

    `rank` is its place among all modules with a valid MRC (1: least critical), the others unchanged;
    None if its own is not valid. `mrc_with_lr` is MRC with the ascent's rate times `factor` squared, as
    of an estimator whose rate is relative to the weight; None if that ascent diverged.
    """

    factor: float = Field(gt=0, allow_inf_nan=False)
    criticality: ModuleCriticality
    rank: int | None = Field(ge=1)
    mrc_with_lr: FiniteFloat | None


class RescaledModule(Frozen):
    """One module at every factor; `rank` as that of `Rescaled`. `rescaled` is empty where there is a
    `reason` why it cannot be rescaled."""

    role: Role
    criticality: ModuleCriticality
    rank: int | None = Field(ge=1)
    rescaled: tuple[Rescaled, ...]
    reason: str | None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.rescaled) == (self.reason is not None):
            raise ValueError("there are values at the factors or a reason why there are none, not both")
        if any(each.criticality.module != self.criticality.module for each in self.rescaled):
            raise ValueError("a value at a factor is of another module")
        return self

    @property
    def module(self) -> str:
        return self.criticality.module


class SeedEvidence(Frozen):
    """The evidence of one seed.

    `key` names the fine-tuned cell. `mrc` is that of the tuned `module` by Algorithm 1, within
    ||dW|| <= `radius` ||W||; None if its ascent diverged. `modules` is the network's number of modules,
    `spec` the `evidence_spec`. The provenance's `weights_sha256` is that of the adversarially trained
    weights, `tuned_sha256` that of those at alpha*.
    """

    seed: int = Field(ge=0)
    key: str
    spec: dict[str, Any]
    spec_hash: Sha256
    module: str
    mrc: FiniteFloat | None
    radius: float = Field(gt=0, allow_inf_nan=False)
    modules: int = Field(ge=1)
    moves: tuple[Move, ...]
    rescaling: tuple[RescaledModule, ...]
    tuned_sha256: Sha256
    provenance: Provenance

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if spec_hash(self.spec) != self.spec_hash:
            raise ValueError("spec_hash is not the hash of spec")
        if self.spec.get("key") != self.key or not self.key.endswith(f"/seed{self.seed}"):
            raise ValueError(f"key {self.key} is not that of spec and seed")
        points, known = [move.point for move in self.moves], list(get_args(Point))
        if points not in (known[:2], known):
            raise ValueError(f"moves are {', '.join(known)} (if any), not {', '.join(points)}")
        if (at_end := self.moves[0].alpha) != 1:
            raise ValueError(f"the fine-tuned weights are at alpha = 1, not {at_end}")
        tuned = [each.criticality for each in self.rescaling if each.role == "tuned"]
        if [(each.module, each.mrc) for each in tuned] != [(self.module, self.mrc)]:
            raise ValueError("rescaling has the tuned module once, with its mrc")
        return self

    def inside(self, move: Move) -> bool:
        """Whether `move` stays inside the ball, where Theorem 3.1 holds."""
        return move.norm_ratio <= self.radius * (1 + ROUNDING)

    def bounded(self, move: Move) -> bool | None:
        """Whether `move` raises the robust loss by at most MRC, on MRC's examples and on those crafted
        again; None if there is no valid MRC."""
        if self.mrc is None or self.mrc < 0:
            return None
        return max(move.loss_rise, move.loss_rise_recrafted) <= self.mrc


class Evidence(Frozen):
    """The evidence of one scale: of `method` on `arch` and `dataset`, by seed."""

    schema_version: Literal[1] = SCHEMA_VERSION
    scale: str
    dataset: str
    arch: str
    method: str
    seeds: tuple[SeedEvidence, ...]

    @model_validator(mode="after")
    def _each_seed_once(self) -> Self:
        numbers = [each.seed for each in self.seeds]
        if numbers != sorted(set(numbers)):
            raise ValueError("every seed stands once, in order")
        parts = f"/{self.dataset}/{self.arch}/{self.method}/{TUNED}/seed"
        for each in self.seeds:
            if not re.fullmatch(rf"{PART}{re.escape(parts)}\d+", each.key):
                raise ValueError(f"{each.key} is not of {self.dataset}, {self.arch}, {self.method}")
        return self


def evidence_path(results: Path, scale: str) -> Path:
    """The file of the scale called `scale` in the results tree `results`."""
    return results / "evidence" / f"{scale}.json"


def evidence(results: Path, scale: str) -> Evidence | None:
    """The evidence of the scale called `scale` below `results`, fresh or stale; None if there is none.

    Raises `UserError` for a file that is broken, of another scale or cannot be read.
    """
    path = evidence_path(results, scale)
    found = read_model(Evidence, path, f"is not evidence of schema {SCHEMA_VERSION}", MAKE_AGAIN)
    if found is not None and found.scale != scale:
        raise UserError(f"'{path}' is evidence of the scale '{found.scale}'; name it after that")
    return found
