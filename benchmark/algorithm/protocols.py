"""Fine-tunings by name: what is trained, under which protocol, to which alpha (no torch).

A name reads TUNING[PROTOCOL][ENDING], such as `rift`, `top-2-held-out` or `rift-official-code-alpha-1`.

- `TUNINGS` is the registry of what is trained: an own post-hoc method is one entry
  (docs/own-posthoc.md).
- `PROTOCOLS` are the readings of the paper: who chooses what on which data. Without a suffix it is the
  paper's text.
- Endings: none for the fine-tuning's own alpha*, `-alpha-1` for the weights as fine-tuned (the paper
  does not say which of the two its ablation tables show), `-curve` for alpha* again with the robust
  accuracy of every alpha of the grid (Figure 1). All share the fine-tuned weights.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from benchmark.algorithm import official_code
from benchmark.algorithm.finetune import CleanTraining
from benchmark.algorithm.selection import (
    AllLayers,
    BatchNormAffine,
    LastLayer,
    LeastCritical,
    MostCritical,
    NamedModule,
    NoModule,
    RandomModule,
    ReadmeModule,
    Selector,
)
from benchmark.data.info import LinfAttack
from benchmark.engine.method import Method, OwnTuning
from benchmark.engine.recipes import (
    Criticality,
    CriticalitySettings,
    OfficialCriticality,
    ScaleFreeCriticality,
    released_step,
)
from benchmark.errors import UserError, unknown
from benchmark.records.cells import HELD_OUT
from benchmark.records.plugins import Thing

ALPHA_1, CURVE = "-alpha-1", "-curve"
MODULE = "module-"
AS_RELEASED = CleanTraining()


@dataclass(frozen=True)
class Interpolation:
    """Step 3 of RiFT (Equation 9, Algorithm 2): the grid and the rule that picks alpha*.

    alpha* has the best clean accuracy among the points of {0, 1/intervals, ..., 1} whose robust
    accuracy is not below the base model's by more than `tolerance` (a fraction: 0.001 is the
    paper's 0.1 point); the smallest alpha on a tie. Robust accuracy is one PGD-10 run with the
    base model's random starts, clean accuracy that of the images that the protocol chooses on; the
    reported accuracies are evaluated separately afterwards.
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

    `criticality(dataset)` tells how and where MRC is measured, `released_order` that modules are ranked
    by it as the released code does, with values that are no maximum (`Candidates.ranked`).
    """

    suffix: str
    summary: str
    selects_on: Literal["test", "hold-out"]
    criticality: Callable[[str], Criticality]
    interpolation: Interpolation = Interpolation()
    released_order: bool = False


def _as_released(dataset: str) -> OfficialCriticality:
    return OfficialCriticality(split=official_code.criticality_split(dataset))


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
    _as_released,
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
)
PROTOCOLS: dict[str, Protocol] = {
    f"rift{protocol.suffix}": protocol
    for protocol in (PAPER, OFFICIAL_CODE, HOLDING_OUT, SCALE_FREE, ONE_STEP)
}


@dataclass(frozen=True)
class Tuning:
    """A post-hoc method: `selector` chooses what is trained, `method` trains it.

    `method` is clean training, an AT method by its name, a `Method` of one's own, whose pieces the
    training loop takes, or an `OwnTuning`, which has no need of that loop. `official` is the selector
    under the released code's protocol, where it is another one. `alpha` is the point between both
    weights that is taken, None: the one that the protocol's rule finds. `weights_of` names another
    tuning of the same selector and method, whose weights are then interpolated.
    """

    name: str
    label: str
    selector: Selector
    official: Selector | None = None
    method: Method | OwnTuning | str = AS_RELEASED
    alpha: float | None = None
    weights_of: str | None = None


_TUNINGS = (
    Tuning("rift", "non-robust-critical", LeastCritical(), official=ReadmeModule()),
    Tuning("all-layers", "all layers", AllLayers()),
    Tuning("last-layer", "last layer", LastLayer()),
    Tuning("robust-critical", "robust-critical", MostCritical()),
    Tuning("top-2", "top 2", LeastCritical(2)),
    Tuning("top-3", "top 3", LeastCritical(3)),
    Tuning("top-5", "top 5", LeastCritical(5)),
    Tuning("bn-only", "batch-norm statistics only", NoModule()),
    Tuning(
        "rift-bn-frozen",
        "non-robust-critical, batch norm frozen",
        LeastCritical(),
        method=CleanTraining("frozen"),
    ),
    Tuning("random-layer", "random layer", RandomModule()),
    Tuning("bn-affine", "batch-norm weights and biases", BatchNormAffine()),
    Tuning("wise-ft", "all layers at alpha 0.5", AllLayers(), alpha=0.5, weights_of="all-layers"),
    Tuning("critical-adversarial", "robust-critical, by PGD-AT", MostCritical(), method="pgd-at"),
)
TUNINGS: dict[str, Tuning] = {tuning.name: tuning for tuning in _TUNINGS}


@dataclass(frozen=True)
class Finetune:
    """One way to turn adversarially trained weights into better ones: a tuning under a protocol.

    `tuning` names the fine-tuning whose weights this one interpolates. `interpolation` None means that
    nothing is searched and `alpha` is taken; `whole_curve`, that robust accuracy is taken at every
    alpha.
    """

    version: ClassVar[int] = 1
    name: str
    label: str
    selector: Selector
    protocol: Protocol
    interpolation: Interpolation | None
    tuning: str
    method: Method | OwnTuning | str = AS_RELEASED
    alpha: float = 1.0
    whole_curve: bool = False

    @property
    def about_batch_norm(self) -> bool:
        """Whether it means nothing without batch normalisation."""
        if isinstance(self.selector, NoModule | BatchNormAffine):
            return True
        return isinstance(self.method, CleanTraining) and self.method.bn == "frozen"

    @property
    def selects_on(self) -> str:
        """The data that choose epoch and alpha, `test` or `hold-out`."""
        return self.protocol.selects_on

    @property
    def things(self) -> tuple[Thing, Thing]:
        """The names of registries that it is put together from."""
        suffix = self.protocol.suffix
        return ("tuning", self.tuning.removesuffix(suffix)), ("protocol", f"rift{suffix}")

    @property
    def entry(self) -> Thing:
        """Its own name in the registry of tunings, which may interpolate another one's weights."""
        name = self.name.removesuffix(ALPHA_1).removesuffix(CURVE)
        return "tuning", name.removesuffix(self.protocol.suffix)


def _finetune(tuning: Tuning, protocol: Protocol, ending: str) -> Finetune:
    official = tuning.official if protocol is OFFICIAL_CODE else None
    alpha = 1.0 if ending == ALPHA_1 else tuning.alpha
    return Finetune(
        f"{tuning.name}{protocol.suffix}{ending}",
        tuning.label,
        official or tuning.selector,
        protocol,
        protocol.interpolation if alpha is None else None,
        f"{tuning.weights_of or tuning.name}{protocol.suffix}",
        tuning.method,
        1.0 if alpha is None else alpha,
        whole_curve=ending == CURVE,
    )


def finetune(name: str) -> Finetune:
    """The fine-tuning called `name`; `module-NAME` fine-tunes one module. Raises `UserError`."""
    rest, ending, protocol = name, "", PAPER
    for end in (ALPHA_1, CURVE):
        if rest.endswith(end):
            rest, ending = rest.removesuffix(end), end
    for known in PROTOCOLS.values():
        if known.suffix and rest.endswith(known.suffix) and rest not in TUNINGS:
            rest, protocol = rest.removesuffix(known.suffix), known
    tuning = TUNINGS.get(rest)
    if tuning is None and (module := rest.removeprefix(MODULE)) and rest.startswith(MODULE):
        tuning = Tuning(rest, module, NamedModule(module))
    if tuning is None:
        suffixes = " or ".join(known.suffix for known in PROTOCOLS.values() if known.suffix)
        listed = (
            f"none (the base model), {', '.join(TUNINGS)}, {MODULE}NAME, each also with {suffixes}, "
            f"and then {ALPHA_1}"
        )
        raise unknown("fine-tuning", name, TUNINGS, listed, typed=rest)
    if tuning.alpha is not None and ending == CURVE:
        raise UserError(f"{rest} is at alpha = {tuning.alpha:g} and searches none; leave out '{CURVE}'")
    return _finetune(tuning, protocol, ending)


def finetunings(tunings: Iterable[Tuning], protocols: Iterable[Protocol]) -> dict[str, Finetune]:
    """Each of `tunings` under each of `protocols`, with every ending that it can have, by name."""
    every = tuple(tunings)
    return {
        made.name: made
        for protocol in protocols
        for tuning in every
        for ending in ("", ALPHA_1, *(() if tuning.alpha is not None else (CURVE,)))
        for made in [_finetune(tuning, protocol, ending)]
    }
