"""Fine-tunings by name: RiFT and the ablations of Tables 3 and 4 (no torch).

`FINETUNES` is the registry: an own post-hoc method is one selector and one line in `_TUNINGS`. Each
comes twice: interpolated to its own alpha* (`rift`) and as fine-tuned (`rift-alpha-1`), because the
paper does not say which of the two its ablation tables show. Both share the fine-tuned weights.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from benchmark.errors import UserError
from benchmark.rift.selection import (
    AllLayers,
    LastLayer,
    LeastCritical,
    MostCritical,
    Selector,
)

ALPHA_1 = "-alpha-1"


@dataclass(frozen=True)
class Interpolation:
    """Step 3 of RiFT (Equation 9, Algorithm 2): the grid and the rule that picks alpha*.

    alpha* has the best clean accuracy among the points of {0, 1/intervals, ..., 1} whose robust
    accuracy is not below the base model's by more than `tolerance` (a fraction: 0.001 is the
    paper's 0.1 point); the smallest alpha on a tie. Robust accuracy is one PGD-10 run with the
    base model's random starts, clean accuracy that of the test split, as the released code judges
    them; the reported accuracies are evaluated separately afterwards.
    """

    version: ClassVar[int] = 1
    intervals: int = 20
    tolerance: float = 0.001

    @property
    def grid(self) -> list[float]:
        return [step / self.intervals for step in range(self.intervals + 1)]


@dataclass(frozen=True)
class Finetune:
    """One way to turn adversarially trained weights into better ones.

    `interpolation` None means alpha = 1. `selects_on` names the data that choose epoch and alpha.
    """

    version: ClassVar[int] = 1
    name: str
    label: str
    selector: Selector
    interpolation: Interpolation | None = Interpolation()
    selects_on: str = "test"

    @property
    def tuning(self) -> str:
        """Name of the fine-tuning whose weights this one interpolates."""
        return self.name.removesuffix(ALPHA_1)


_TUNINGS = (
    Finetune("rift", "non-robust-critical", LeastCritical()),
    Finetune("all-layers", "all layers", AllLayers()),
    Finetune("last-layer", "last layer", LastLayer()),
    Finetune("robust-critical", "robust-critical", MostCritical()),
    Finetune("top-2", "top 2", LeastCritical(2)),
    Finetune("top-3", "top 3", LeastCritical(3)),
    Finetune("top-5", "top 5", LeastCritical(5)),
)

FINETUNES: dict[str, Finetune] = {tuning.name: tuning for tuning in _TUNINGS} | {
    tuning.name + ALPHA_1: replace(tuning, name=tuning.name + ALPHA_1, interpolation=None)
    for tuning in _TUNINGS
}


def finetune(name: str) -> Finetune:
    """The fine-tuning called `name`. Raises `UserError` if there is none."""
    if name not in FINETUNES:
        raise UserError(
            f"unknown fine-tuning '{name}'; known: none (the base model), {', '.join(FINETUNES)}"
        )
    return FINETUNES[name]
