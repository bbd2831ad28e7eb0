"""Fine-tunings by name: what is trained, under which protocol, to which alpha (no torch).

A name reads TUNING[+MODULE][PROTOCOL][ENDING], such as `rift`, `top-2-held-out`,
`rift-official-code-alpha-1` or `rift+mean-sparse`.

- `TUNINGS` is the registry of what is trained: an own post-hoc method is one entry
  (docs/own-posthoc.md).
- PROTOCOL is the suffix of a reading of the paper (`benchmark.algorithm.protocols`).
- Endings: none for the fine-tuning's own alpha*, `-alpha-1` for the weights as fine-tuned (the paper
  does not say which of the two its ablation tables show), `-curve` for alpha* again with the robust
  accuracy of every alpha of the grid (Figure 1). All share the fine-tuned weights. `-mirrored` is for
  numbers of a module: the best robust accuracy with a clean one within tolerance of the base's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from benchmark.algorithm.finetune import CleanTraining
from benchmark.algorithm.protocols import (
    OFFICIAL_CODE,
    PAPER,
    PROTOCOLS,
    Interpolation,
    Protocol,
)
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
    Untouched,
)
from benchmark.engine.forward import ForwardMethod
from benchmark.engine.method import Method, OwnTuning
from benchmark.engine.recipes import FINETUNE_RECIPE, Recipe
from benchmark.errors import UserError, unknown
from benchmark.records.cells import BASES, base_name
from benchmark.records.plugins import ORIGINS, Thing

ENDINGS = ALPHA_1, CURVE, MIRRORED = "-alpha-1", "-curve", "-mirrored"
AND = "+"
"""Stands between what trains weights and the method that then makes a module of them."""
MODULE = "module-"
SAME = "same"
"""Stands for the AT method that the base model was trained by."""
AS_RELEASED = CleanTraining()


@dataclass(frozen=True)
class Tuning:
    """A post-hoc method: `selector` chooses what is trained, `method` trains it.

    `method` is a `Method`, an `OwnTuning`, which brings its own loop, or a name: `SAME`, or that of an
    AT method or an `OwnTuning` in `benchmark.posthoc`. `official` replaces the selector under the
    released code's protocol (None: the same). `alpha` is the interpolation coefficient (None: found by
    the protocol's rule). `weights_of` names another tuning of the same selector and method, whose
    weights are interpolated instead. `start` says where the fine-tuning begins: at the adversarially
    trained weights, or at the mean of those of the last epochs.
    A tuning with a `forward` method, itself or by its name in `benchmark.posthoc`, trains nothing: that
    method makes a module of the base's weights, or, under `TUNING+NAME`, of that tuning's. `paper`: who
    published it and where, if that is not RiFT's.
    """

    name: str
    label: str
    selector: Selector
    official: Selector | None = None
    method: Method | OwnTuning | str = AS_RELEASED
    alpha: float | None = None
    weights_of: str | None = None
    start: Literal["base", "average"] = "base"
    forward: ForwardMethod | str | None = None
    paper: tuple[str, str] | None = None


def _module(name: str, label: str) -> Tuning:
    return Tuning(name, label, Untouched(), forward=name)


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
        official=ReadmeModule(),
        method=CleanTraining("frozen"),
    ),
    Tuning("random-layer", "random layer", RandomModule()),
    Tuning("bn-affine", "batch-norm weights and biases", BatchNormAffine()),
    Tuning(
        "wise-ft",
        "all layers at alpha 0.5",
        AllLayers(),
        alpha=0.5,
        weights_of="all-layers",
        paper=("Wortsman et al., 2022", "https://arxiv.org/abs/2109.01903"),
    ),
    Tuning("critical-adversarial", "robust-critical, by PGD-AT", MostCritical(), method="pgd-at"),
    Tuning("continued-at", "all layers, by more of the same AT", AllLayers(), method=SAME, alpha=1.0),
    Tuning("epoch-average", "mean of the last epochs' weights", NoModule(), alpha=1.0, start="average"),
    Tuning(
        "last-layer-temperature",
        "last layer times a power of two",
        LastLayer(),
        method="last-layer-temperature",
        alpha=1.0,
    ),
    _module("mean-sparse", "MeanSparse"),
    _module("output-mix", "probabilities mixed with a clean network's"),
    _module("mixed-nuts", "MixedNUTS"),
    _module("flip-average", "mean over the mirror image"),
)
TUNINGS: dict[str, Tuning] = {tuning.name: tuning for tuning in _TUNINGS}


@dataclass(frozen=True)
class Finetune:
    """One way to turn adversarially trained weights into better ones: a tuning under a protocol.

    `entry` is its name in the registry; `tuning` names the fine-tuning whose weights this one
    interpolates, `before` in keys the weights that `forward` is applied to. `interpolation` None means
    that nothing is searched and `alpha` is taken; `whole_curve`, that robust accuracy is taken at every
    alpha.
    """

    version: ClassVar[int] = 1
    name: str
    label: str
    selector: Selector
    protocol: Protocol
    interpolation: Interpolation | None
    entry: Thing
    tuning: str
    before: str
    method: Method | OwnTuning | str
    alpha: float
    whole_curve: bool
    start: Literal["base", "average"]
    forward: ForwardMethod | str | None
    mirrored: bool

    @property
    def trained(self) -> "Finetune | None":
        """What trains weights: itself, or what is before its module; None if nothing does."""
        if self.forward is None:
            return self
        return None if self.before in BASES else finetune(self.before)

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe before a scale shortens it; more of the same AT crafts and decays as `base`."""
        if (trained := self.trained) is None or trained.method != SAME:
            return FINETUNE_RECIPE
        steps, path, decay = base.attack_steps, base.attack_path, base.weight_decay
        return replace(FINETUNE_RECIPE, attack_steps=steps, attack_path=path, weight_decay=decay)

    @property
    def about_batch_norm(self) -> bool:
        """Whether it means nothing without batch normalisation; of a module, what is before it."""
        if (trained := self.trained) is not self:
            return trained is not None and trained.about_batch_norm
        if self.start == "base" and isinstance(self.selector, NoModule | BatchNormAffine):
            return True
        return isinstance(self.method, CleanTraining) and self.method.bn == "frozen"

    @property
    def selects_on(self) -> str:
        """The data that choose epoch and alpha, `test` or `hold-out`."""
        return self.protocol.selects_on

    @property
    def things(self) -> tuple[Thing, ...]:
        """The names of registries that it is put together from, the protocol last."""
        suffix, named = self.protocol.suffix, list[Thing]()
        if isinstance(self.method, str):
            named.append(("method", self.method))
        if isinstance(self.forward, str):
            named.append(("tuning", self.forward))
        last = self.tuning.removesuffix(suffix).rpartition(AND)[2]
        return (*named, ("tuning", last), ("protocol", f"rift{suffix}"))

    def measured_in(self, stage: str) -> str:
        """What names finished steps of criticality: settings of a plug-in's protocol may be others."""
        own = ("protocol", f"rift{self.protocol.suffix}") in ORIGINS
        return f"{stage}{self.protocol.suffix}" if own else stage


def _finetune(tuning: Tuning, protocol: Protocol, ending: str, on: Tuning | None = None) -> Finetune:
    suffix, parts = protocol.suffix, [tuning] if on is None else [on, tuning]
    name = AND.join(part.name for part in parts)
    official = tuning.official if protocol is OFFICIAL_CODE else None
    alpha = 1.0 if ending == ALPHA_1 else tuning.alpha
    return Finetune(
        name=f"{name}{suffix}{ending}",
        label=f" {AND} ".join(part.label for part in parts),
        selector=official or tuning.selector,
        protocol=protocol,
        interpolation=protocol.interpolation if alpha is None else None,
        entry=("tuning", tuning.name),
        tuning=f"{tuning.weights_of or name}{suffix}",
        before=base_name(suffix) if on is None else f"{on.name}{suffix}",
        method=tuning.method,
        alpha=1.0 if alpha is None else alpha,
        whole_curve=ending == CURVE,
        start=parts[0].start,
        forward=tuning.forward,
        mirrored=ending == MIRRORED,
    )


def finetune(name: str) -> Finetune:
    """The fine-tuning called `name`; `module-NAME` fine-tunes one module. Raises `UserError`."""
    if name in BASES:
        raise UserError(f"'{name}' is a base model, which stands beside its fine-tunings; name these")
    ending = next((end for end in ENDINGS if name.endswith(end)), "")
    rest, protocol = name.removesuffix(ending), PAPER
    if rest not in TUNINGS:
        found = (known for known in PROTOCOLS.values() if rest.endswith(known.suffix))
        protocol = max(found, key=lambda known: len(known.suffix))  # at least PAPER, which has none
    rest = rest.removesuffix(protocol.suffix)
    first, joined, last = rest.rpartition(AND)
    tuning, on = _tuning(last), _tuning(first)
    if tuning is None or (joined and on is None):
        suffixes = " or ".join(known.suffix for known in PROTOCOLS.values() if known.suffix)
        listed = (
            f"none (the base model), {', '.join(TUNINGS)}, {MODULE}NAME, each also with {suffixes}, "
            f"and then {ALPHA_1}"
        )
        raise unknown("fine-tuning", name, (*TUNINGS, *PROTOCOLS), listed, typed=rest)
    if on and (tuning.forward is None or on.forward is not None):
        raise UserError(
            f"'{rest}': before '{AND}' weights are trained, after it a module is made of them"
        )
    if ending and ending not in _endings(tuning):
        raise UserError(_without_ending(rest, tuning, ending))
    return _finetune(tuning, protocol, ending, on)


def _tuning(name: str) -> Tuning | None:
    module = name.removeprefix(MODULE)
    if module and module != name and name not in TUNINGS:
        return Tuning(name, module, NamedModule(module))
    return TUNINGS.get(name)


def _endings(tuning: Tuning) -> tuple[str, ...]:
    """The endings that a name of `tuning` may have."""
    if tuning.forward is not None:
        return "", CURVE, MIRRORED
    return ("", ALPHA_1) if tuning.alpha is not None else ("", ALPHA_1, CURVE)


def _without_ending(name: str, tuning: Tuning, ending: str) -> str:
    """Why there is no `ending` to `name`, of `tuning`."""
    if tuning.forward is not None:
        return f"{name} is a module, without alpha; leave out '{ending}'"
    if ending == MIRRORED or tuning.alpha is None:
        return f"{name} trains weights; '{ending}' is for numbers of a module"
    return f"{name} is at alpha = {tuning.alpha:g} and searches none; leave out '{ending}'"


def finetunings(tunings: Iterable[Tuning], protocols: Iterable[Protocol]) -> dict[str, Finetune]:
    """Each of `tunings` under each of `protocols`, with every ending that it can have, by name."""
    every = tuple(tunings)
    return {
        made.name: made
        for protocol in protocols
        for tuning in every
        for ending in _endings(tuning)
        for made in [_finetune(tuning, protocol, ending)]
    }
