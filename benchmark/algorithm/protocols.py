"""The readings of the paper: who chooses what on which data, and by which rule (no torch).

`PROTOCOLS` is the registry. Without a suffix it is the paper's text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from benchmark.algorithm import official_code
from benchmark.data.info import LinfAttack
from benchmark.engine.recipes import (
    Criticality,
    CriticalitySettings,
    OfficialCriticality,
    ScaleFreeCriticality,
    released_step,
)
from benchmark.records.cells import HELD_OUT


@dataclass(frozen=True)
class Interpolation:
    """Step 3 of RiFT (Equation 9, Algorithm 2): the grid and the rule that picks alpha*.

    alpha* has the best clean accuracy among the points of {0, 1/intervals, ..., 1} whose robust
    accuracy is not below the base model's by more than `tolerance` (a fraction: 0.001 is the
    paper's 0.1 point); the smallest alpha on a tie. Robust accuracy is that of one PGD-10 run
    from the base model's random starts; both are taken on the images that the protocol selects
    on. Reported accuracies are evaluated separately afterwards.
    """

    version: ClassVar[int] = 1
    intervals: int = 20
    tolerance: float = 0.001

    @property
    def grid(self) -> list[float]:
        return [step / self.intervals for step in range(self.intervals + 1)]

    def attack(self, threat: LinfAttack) -> LinfAttack:
        """The attack that judges robust accuracy."""
        return threat


@dataclass(frozen=True)
class OfficialInterpolation(Interpolation):
    """The released code's grid of 0.1 and its attack (Immortalise/RiFT, utils.py).

    It prints both accuracies of every alpha and leaves the choice to a person; the rule is the
    paper's.
    """

    intervals: int = 10

    def attack(self, threat: LinfAttack) -> LinfAttack:
        return released_step(threat)


@dataclass(frozen=True)
class Protocol:
    """One reading of the paper. `selects_on` names the data that choose epochs and alpha.

    `criticality(dataset)` defines how and on which data MRC is measured, `fixed` names what of that no
    scale changes; `released_order` ranks modules as the released code does, negative MRC and diverged
    ascents included (`Candidates.ranked`).
    """

    suffix: str
    summary: str
    selects_on: Literal["test", "hold-out"]
    criticality: Callable[[str], Criticality]
    interpolation: Interpolation = Interpolation()
    released_order: bool = False
    fixed: tuple[str, ...] = ()


PAPER = Protocol(
    "",
    "the paper's text: MRC by Algorithm 1 on training images; test images choose epochs and alpha*, "
    "of a grid of 0.05",
    "test",
    lambda _dataset: CriticalitySettings(),
)
OFFICIAL_CODE = Protocol(
    "-official-code",
    "the released code: MRC over ten projected epochs on test images, its README's module, PGD step "
    "2/225, a grid of 0.1; test images choose epochs and alpha*",
    "test",
    lambda dataset: OfficialCriticality(split=official_code.criticality_split(dataset)),
    OfficialInterpolation(),
    released_order=True,
)
HOLDING_OUT = Protocol(
    HELD_OUT,
    "no test image chooses anything: a tenth of the training images, never trained on, chooses epochs, "
    "module and alpha*",
    "hold-out",
    lambda _dataset: CriticalitySettings(split="hold-out"),
)
SCALE_FREE = Protocol(
    "-scale-free",
    "as the paper's text, but MRC by ten steps that are shares of the layer's norm: no rescaling of a "
    "layer changes it",
    "test",
    lambda _dataset: ScaleFreeCriticality(),
)
ONE_STEP = Protocol(
    "-one-step",
    "as scale-free, in one step to the border of the ball: one backward pass for all modules",
    "test",
    lambda _dataset: ScaleFreeCriticality(rate=1.0, steps=1),
    fixed=("rate", "steps"),
)
PROTOCOLS: dict[str, Protocol] = {
    f"rift{protocol.suffix}": protocol
    for protocol in (PAPER, OFFICIAL_CODE, HOLDING_OUT, SCALE_FREE, ONE_STEP)
}
