"""AutoAttack (Croce & Hein, ICML 2020) and, as an evaluation of its own, only its two APGD attacks.

The attacks are pyautoattack's own classes (the authors' code as a package) with the parameters of its
version "standard". What differs from its `run_standard_evaluation` is the frame: seeds are fixed by
base model, attack and chunk, the chunks by the evaluation, the global random state stays as it was,
every finished attack on a chunk is kept, and an image counts as broken only by an example that
has been checked.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.data.info import DatasetInfo
from benchmark.engine.recipes import pixel_units
from benchmark.errors import UserError
from benchmark.evaluation.pgd import vanished
from benchmark.evaluation.protocol import NOT_FINITE, Evaluation, Kind, Outcome, not_finite
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.records import VANISHING, WARNING, ZERO_GRADIENTS, ZERO_LOSSES
from benchmark.records.specs import Spec, spec_of
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset

Parameters = dict[str, Any]

PARAMETERS: dict[str, Parameters] = {
    "apgd-ce": {"loss": "ce", "n_iter": 100, "n_restarts": 1, "eot_iter": 1, "rho": 0.75},
    "apgd-t": {"n_iter": 100, "n_restarts": 1, "n_target_classes": 9, "eot_iter": 1, "rho": 0.75},
    "fab-t": {
        "targeted": True,
        "n_iter": 100,
        "n_restarts": 1,
        "n_target_classes": 9,
        "alpha_max": 0.1,
        "eta": 1.05,
        "beta": 0.9,
    },
    "square": {
        "loss": "margin",
        "n_queries": 5000,
        "n_restarts": 1,
        "p_init": 0.8,
        "resc_schedule": False,
    },
}
"""Arguments of pyautoattack's classes, in the order in which its version "standard" runs them for the
L-infinity norm (pyautoattack, autoattack.py, `AutoAttack.__init__` and `_set_version`)."""

TARGETS = "n_target_classes"
_TITLES = {"apgd-ce": "APGD-CE", "apgd-t": "APGD-T", "fab-t": "FAB-T", "square": "Square"}
_DLR_CLASSES = 4
CLEAN = "clean"


class AttackStep(NamedTuple):
    """One attack in a series, under the `name` of its bits; `source` is 0 for the model itself, or the
    place of what examples are crafted on among `benchmark.engine.adaptive.Attacked.sources`."""

    name: str
    attack: str
    source: int = 0


def _passes(given: Parameters) -> int:
    """Passes of an image that stays right."""
    return int(given.get("n_queries", 0) + 2 * given.get("n_iter", 0) * given.get(TARGETS, 1))


@dataclass(frozen=True)
class SurvivedAttacks(Evaluation):
    """Share of images that are right and stay right under each of `attacks`, names of `PARAMETERS`.

    Images are attacked in chunks of `chunk`, a chunk's survivors as one batch. Random draws depend on
    the shape of that batch, hence `chunk` is part of the spec. An image is broken if its example lies
    within eps and in [0,1] and the model, queried again (`counting.answers`), misclassifies it.

    Bits are `clean` and, by attack, what survives it and all before it; the last are the value. The
    parts `zero-gradients` and `zero-losses` are those of PGD.

    On one machine a run that is interrupted and resumed gives the same bits. Other hardware may differ
    in last bits, which a search of 5,000 queries amplifies; on CUDA some sums (`cumsum` in FAB) have no
    fixed order, and repeatability there has not been checked.

    The spec does not hold the version of pyautoattack: an upgrade that changes no number should not
    void GPU days, and what is stale should not depend on what is installed. Records name it in a
    remark; `version` is to be raised with a release that changes numbers.
    """

    type_name: ClassVar[str] = "survived-attacks"
    version: ClassVar[int] = 1
    kind: ClassVar[Kind] = "attack"
    family: ClassVar[str] = "APGD"
    strength: ClassVar[int] = 2
    nested: ClassVar[bool] = True
    optional_parts: ClassVar[frozenset[str]] = frozenset({NOT_FINITE, ZERO_LOSSES})
    attacks: tuple[str, ...]
    chunk: int = 250

    def __post_init__(self) -> None:
        if not self.attacks or not set(self.attacks) <= set(PARAMETERS) or self.chunk < 1:
            raise ValueError(f"not attacks of {', '.join(PARAMETERS)} on chunks of images: {self}")

    @property
    def steps(self) -> tuple[AttackStep, ...]:
        """The attacks in order, each on what survives those before."""
        return tuple(AttackStep(attack, attack) for attack in self.attacks)

    @property
    def arrays(self) -> tuple[str, ...]:
        return (CLEAN, *(step.name for step in self.steps))

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.arrays, ZERO_GRADIENTS)

    @property
    def label(self) -> str:
        return f"Adv ({' + '.join(self._titles)})"

    @property
    def summary(self) -> str:
        return f"what survives {self._listed} at the dataset's L-infinity radius"

    @property
    def _titles(self) -> list[str]:
        return [_TITLES[attack] for attack in self.attacks]

    @property
    def _listed(self) -> str:
        *others, last = self._titles
        return f"{', '.join(others)} and {last}" if others else last

    def parameters(self, info: DatasetInfo) -> dict[str, Parameters]:
        """Parameters by attack; a targeted one has at most the classes that an image is not of."""
        most = info.classes - 1
        return {
            attack: {
                name: min(value, most) if name == TARGETS else value
                for name, value in PARAMETERS[attack].items()
            }
            for attack in self.attacks
        }

    def passes(self, info: DatasetInfo) -> int:
        """Passes per answer if an image meets half of every attack; a step is two passes."""
        found = self.parameters(info)
        whole = sum(_passes(found[step.attack]) for step in self.steps)
        return round(whole / 2 / len(self.arrays))

    def spec(self, info: DatasetInfo) -> Spec | None:
        spec: Spec = spec_of(self)
        return spec | {
            "norm": "Linf",
            "eps": info.threat.eps,
            "parameters": spec_of(self.parameters(info)),
        }

    def note(self, info: DatasetInfo) -> str | None:
        return f"{self.label} is what survives {self._listed}, {_ball(info)}"

    def check(self, data: "Dataset") -> None:
        if "apgd-t" in self.attacks and data.info.classes < _DLR_CLASSES:
            raise UserError(
                f"{self.label} needs {_DLR_CLASSES} classes or more for its targeted DLR loss and "
                f"{data.info.label} has {data.info.classes}; evaluate pgd10x3 instead"
            )

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        from benchmark.engine.adaptive import Attacked
        from benchmark.engine.counting import LOST
        from benchmark.evaluation.standard_attacks import attack_survivors, judge_clean

        judged, eps, parameters = data.judged, data.info.threat.eps, self.parameters(data.info)
        starts, steps = range(0, len(judged), self.chunk), self.steps
        sources = Attacked.of(model).sources
        model = sources[0]  # whose answers may be settled
        bits: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in self.arrays}
        answers: dict[str, list[NDArray[np.int8]]] = {CLEAN: [], "attacked": []}
        zero, illegal = Counter[str](), Counter[str]()
        for place, start in enumerate(starts):
            x, labels = judged.batch(start, start + self.chunk)
            chunk = f"{start:06d}-{start + len(x):06d}"
            kept = journal.once(f"judged-{chunk}", partial(judge_clean, model, x, labels))
            clean = attacked = kept["answers"]
            survivors = clean > 0
            bits[CLEAN].append(survivors)
            zero.update({name: int(kept[name]) for name in VANISHING})
            for done, (name, attack, source) in enumerate(steps, start=1):
                how = attack, parameters[attack], eps, attack_seed(base, name, start)
                work = partial(attack_survivors, model, x, labels, survivors, *how, sources[source])
                kept = journal.once(f"{name}-{chunk}", work)
                survivors = kept["survivors"]
                attacked = np.where(kept["lost"], LOST, attacked)
                bits[name].append(survivors)
                illegal[name] += int(kept["illegal"])
                progress(
                    self.type_name,
                    place * len(steps) + done,
                    len(starts) * len(steps),
                    f"{name}, {survivors.sum()} of {len(x)} survive",
                )
            answers[CLEAN].append(clean)
            answers["attacked"].append(attacked)
        whole = {name: np.concatenate(chunks) for name, chunks in bits.items()}
        parts = self.recount(whole)
        value = parts[steps[-1].name]
        parts |= vanished(zero, len(judged))
        parts |= not_finite(np.concatenate(chunks) for chunks in answers.values())
        return Outcome(value, parts, whole, remarks=self._remarks(data.info, illegal))

    def per_image(self, bits: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
        """Whether an image survives the last attack, and so all of them; 0 or 1."""
        return bits[self.steps[-1].name].astype(np.float64)

    def _remarks(self, info: DatasetInfo, illegal: Counter[str]) -> tuple[str, ...]:
        remarks = [f"attacks of pyautoattack {installed('pyautoattack')}"]
        for attack, parameters in self.parameters(info).items():
            few, usual = parameters.get(TARGETS), PARAMETERS[attack].get(TARGETS)
            if few != usual:
                remarks.append(
                    f"{few} target classes instead of {usual}: {info.label} has {info.classes} classes"
                )
        remarks += [
            f"{WARNING}{count} examples of {attack} lay outside the ball or [0,1] and break nothing"
            for attack, count in illegal.items()
            if count
        ]
        return tuple(dict.fromkeys(remarks))


@dataclass(frozen=True)
class AutoAttack(SurvivedAttacks):
    """AutoAttack, version "standard": all four attacks, no others and in this order."""

    type_name: ClassVar[str] = "autoattack"
    family: ClassVar[str] = "AutoAttack"
    strength: ClassVar[int] = 3
    role: ClassVar[str] = "AutoAttack"
    attacks: tuple[str, ...] = tuple(PARAMETERS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attacks != tuple(PARAMETERS):
            raise ValueError(f"AutoAttack is {', '.join(PARAMETERS)}, not {', '.join(self.attacks)}")

    @property
    def label(self) -> str:
        return "Adv (AutoAttack)"

    @property
    def summary(self) -> str:
        return f"what survives AutoAttack (standard: {self._listed}) at the dataset's L-infinity radius"

    def note(self, info: DatasetInfo) -> str | None:
        return (
            f"{self.label} is what survives {self._listed} (the standard version), {_ball(info)}, "
            f"in chunks of {self.chunk} images"
        )


@dataclass(frozen=True)
class Apgd(SurvivedAttacks):
    """The two APGD attacks alone: cheaper, weaker, and with the bits that they have among the four."""

    type_name: ClassVar[str] = "apgd"
    attacks: tuple[str, ...] = ("apgd-ce", "apgd-t")


def attack_seed(base: Cell, attack: str, start: int) -> int:
    """Seed of `attack` on the chunk that begins at image `start`, against models made from `base`.

    63 bits, which `torch.manual_seed` takes as they are. The same for every series of attacks.
    """
    return base.seed_for("autoattack", attack, start)


def _ball(info: DatasetInfo) -> str:
    return f"L-infinity, eps {pixel_units(info.threat.eps)}"
