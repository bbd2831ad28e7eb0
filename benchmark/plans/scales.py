"""The same tables at different costs: a scale fixes data, networks, recipe lengths and seeds.

It never changes a formula or a protocol, and no table mixes scales. A scale of one's own is a TOML
file with the fields of `Scale`, named on the command line as `--scale my.toml`.
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from benchmark.checkpoints.registry import TrainedModel, trained_model
from benchmark.engine.precision import FP32, NAMES, in_precision
from benchmark.errors import UserError, first_problem
from benchmark.plans.start import starting_from
from benchmark.records.cells import FROM, IN, OWN, PART, Cell, Slot


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("nothing may be named twice")
    return values


def _of_no_checkpoint(name: str) -> str:
    if FROM in name:
        raise ValueError(f"'{FROM}' stands before the checkpoint that cells start from")
    return name


Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_once)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_once)]
_SEEDS = TypeAdapter(dict[Literal["seeds"], Seeds])


def _with_seeds_checked(own: dict[str, Any]) -> dict[str, Any]:
    if "seeds" not in own:
        return own
    try:
        return own | _SEEDS.validate_python({"seeds": own["seeds"]})
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


Own = Annotated[dict[str, Any], AfterValidator(_with_seeds_checked)]


def of_recipe(own: Mapping[str, Any]) -> dict[str, Any]:
    """What a scale says of a network's or method's recipe: all that it says of it but `seeds`."""
    return {name: value for name, value in own.items() if name != "seeds"}


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Scale:
    """Datasets, networks and seeds of the tables, and what of the published recipes is shortened.

    `training`, `finetuning` and `criticality` override fields of `Recipe`, `FINETUNE_RECIPE`,
    `CriticalitySettings` and `OfficialCriticality`; everything they leave out is as published.
    `networks` overrides `training` further for single networks, and `recipes` for single methods (the
    paper, too, tunes the learning rate); either may also name `seeds` of its own, see `seeds_of`.
    Table 1 is of the first of `methods`, Table 2 of the others on the first two of `datasets`; Tables
    2 to 4 are of the first of `archs`, Tables 3 and 4 of the first of `datasets`. `threads` is the
    number of threads of each process (0: all cores): it is fixed by the scale, because it can change
    the last bits of a sum, while the number of processes cannot. `precision` is that of attacks and
    adversarial training on every machine (None: `auto`); other ones have keys of their own
    (`in_precision`). `audit` names the evaluations of the audit (None: `evaluations` and AutoAttack).
    `checkpoints` names those of the registry that its cells start from (none: they are trained);
    `starting_from` makes such a scale out of any.
    """

    name: Annotated[str, Field(pattern=rf"^{PART}$"), AfterValidator(_of_no_checkpoint)]
    summary: str
    datasets: Names
    archs: Names
    seeds: Seeds
    methods: Names = ("pgd-at", "trades", "mart", "awp", "score")
    threads: Annotated[int, Field(ge=0)] = 0
    precision: Annotated[str, Field(pattern=f"^({'|'.join(NAMES)})$")] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    finetuning: dict[str, Any] = field(default_factory=dict)
    criticality: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, Own] = field(default_factory=dict)
    recipes: dict[str, Own] = field(default_factory=dict)
    evaluations: Names = ("clean", "corruptions-15-gen-v2", "pgd10x3")
    audit: Names | None = None
    checkpoints: Annotated[tuple[str, ...], AfterValidator(_once)] = ()

    @property
    def for_audit(self) -> tuple[str, ...]:
        """The evaluations that the audit shows."""
        return self.audit or (*self.evaluations, "autoattack")

    @property
    def slots(self) -> tuple[str, ...]:
        """What stands for the scale in the keys of its cells: one for each of `checkpoints`, if any."""
        return tuple(f"{self.name}{FROM}{name}" for name in self.checkpoints) or (self.name,)

    @property
    def apart(self) -> str:
        """What a title adds if the numbers are in another precision than the scale fixes."""
        _, there, name = self.name.partition(IN)
        return f", precision {name}" if there else ""

    @property
    def stem(self) -> str:
        """What names its tables and figures on disk."""
        return f"{self.name}{FROM}{'+'.join(self.checkpoints)}" if self.checkpoints else self.name

    @cached_property
    def _by_place(self) -> dict[TrainedModel, str]:
        pairs = zip(self.checkpoints, self.slots, strict=True)
        return {trained_model(name): slot for name, slot in pairs}

    def seeds_of(self, dataset: str, arch: str, method: str) -> tuple[int, ...]:
        """The seeds of a model and of all its fine-tunings.

        On the first of `datasets` they are those that `recipes` names for its method, else, under the
        first of `methods`, those that `networks` names for its network. Elsewhere they are `seeds`.
        """
        if dataset != self.datasets[0]:
            return self.seeds
        network = self.networks.get(arch, {}) if method == self.methods[0] else {}
        own = network | self.recipes.get(method, {})
        return tuple(own.get("seeds", self.seeds))

    def with_seeds(self, seeds: tuple[int, ...]) -> Self:
        """The scale with `seeds` for every model."""
        networks, recipes = (
            {name: of_recipe(own) for name, own in part.items()}
            for part in (self.networks, self.recipes)
        )
        return dataclasses.replace(self, seeds=seeds, networks=networks, recipes=recipes)

    def has(self, dataset: str, arch: str, method: str, seed: int = 0) -> bool:
        """Whether there are cells of this model: all that is trained, else that of a checkpoint."""
        return not self.checkpoints or TrainedModel(dataset, arch, method, seed) in self._by_place

    def slot(self, dataset: str, arch: str, method: str, seed: int = 0) -> str:
        """What stands for the scale in the keys of this model's cells.

        Raises `UserError` if the scale starts from checkpoints and none is of this model.
        """
        if not self.checkpoints:
            return self.name
        where = TrainedModel(dataset, arch, method, seed)
        if where not in self._by_place:
            raise UserError(f"none of the checkpoints {', '.join(self.checkpoints)} is of {where}")
        return self._by_place[where]

    def cells(
        self,
        datasets: Sequence[str],
        archs: Sequence[str],
        finetunes: Sequence[str],
        methods: Sequence[str] | None = None,
    ) -> list[Cell]:
        """Cells of `methods` (None: the scale's first), all seeds of each model.

        Of a scale that starts from checkpoints only the models that one of them is of: the others are
        missing and never trained.
        """
        return [
            Cell(self.slot(dataset, name, chosen, seed), dataset, name, chosen, finetune, seed)
            for dataset in datasets
            for name in archs
            for chosen in methods or self.methods[:1]
            for finetune in finetunes
            for seed in self.seeds_of(dataset, name, chosen)
            if self.has(dataset, name, chosen, seed)
        ]

    @model_validator(mode="after")
    def _overrides_are_of_its_own(self) -> Self:
        if unknown := sorted(set(self.networks) - set(self.archs)):
            raise ValueError(f"networks names '{unknown[0]}', which is not one of archs")
        if unknown := sorted(set(self.recipes) - set(self.methods)):
            raise ValueError(f"recipes names '{unknown[0]}', which is not one of methods")
        return self


QUICK = Scale(
    name="quick",
    summary="scikit-learn digits, networks of one small block a stage: minutes on a CPU",
    datasets=("digits",),
    archs=("resnet10-w16", "wrn-10-1", "wrn-10-2"),
    seeds=(0, 1, 2),
    threads=1,
    precision=FP32,
    training={
        "epochs": 30,
        "batch_size": 64,
        "lr": 0.1,
        "schedule": "one-cycle",
        "attack_steps": 2,
        "attack_path": 1.5,
        "select_last": 2,
    },
    finetuning={"epochs": 5, "milestones": [3], "lr": 0.01},
    criticality={"images": 256},
    networks={"wrn-10-1": {"epochs": 50}},
    recipes={"mart": {"lr": 0.05}, "awp": {"epochs": 40}},
    audit=("clean", "corruptions-15-gen-v2", "pgd10x3", "autoattack-first-100"),
)
"""The default: everything the paper does, on images that come with a library.

Networks of one block a stage have a part of the paper's modules, under its names and small enough to be
trained nearly to the end in minutes. Twice the epochs change Std and Adv (one PGD-10 run, means over
seeds) from 99.5 / 95.0 to 99.8 / 94.9 for ResNet10, from 99.5 / 94.7 at 40 epochs to 99.5 / 95.7 for
WRN-10-1, from 99.6 / 94.1 at 20 epochs to 99.6 / 95.6 for WRN-10-2; from 98.9 / 94.3 to 99.8 / 95.5 by
TRADES, from 99.7 / 94.2 to 99.8 / 95.2 by MART, from 99.1 / 95.4 to 99.3 / 95.4 by SCORE, from
99.1 / 93.7 at 30 epochs to 99.7 / 95.5 by AWP. What RiFT then gains had no say in the choice.

What a processor's last bits move is small, because few images are near the border: that is also why the
threat model is eps = 0.08 and not more (at 0.12 a change of last bits turns 23 of 500 robust images).
Largest move of a mean of three seeds against the table of README (AMD EPYC, AVX-512, one thread), in
points of Std / OOD / Adv:

    without AVX-512 (`ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`)   Table 1: 0.20 / 0.85 / 0.94,
                                                                         Table 2: 0.13 / 0.62 / 0.47
    `--precision bf16` (AVX512-BF16)                                      Table 1: 0.27 / 0.81 / 0.73,
                                                                         Table 2: 0.27 / 1.50 / 0.53

so that of bf16 only the OOD of TRADES (+1.50) and MART (-1.37) moves by more than a point.

Shortened against the paper: 30 to 50 one-cycle epochs, training examples from 2 steps of 0.75 eps, 5
epochs of fine-tuning at 0.01 (so few steps at 0.001 hardly move a weight), criticality on 256 images.
The evaluation is not shortened. One of 500 test images is 0.2 points: the 0.1-point rule then means
that no robust image may be lost on balance, and a difference below about one point is noise.
"""

_THREE = ("cifar10", "cifar100", "tiny-imagenet")

NARROW = Scale(
    name="narrow",
    summary="real images, width-16 networks, 10 epochs: hours on a CPU",
    datasets=_THREE,
    archs=("resnet18-w16", "resnet34-w16", "wrn-34-1"),
    seeds=(0,),
    training={
        "epochs": 10,
        "lr": 0.2,
        "schedule": "one-cycle",
        "attack_steps": 2,
        "attack_path": 1.5,
        "select_last": 2,
        "select_images": 2000,
    },
    finetuning={"epochs": 3, "milestones": [2], "select_images": 1000},
    criticality={"images": 1000},
    recipes={"mart": {"lr": 0.05}, "score": {"lr": 0.1}},
    audit=(
        "clean",
        "corruptions-15-gen-v2-first-1000",
        "pgd10x3-first-2000",
        "autoattack-first-100",
    ),
)
"""Real images on a CPU. One seed, 10 one-cycle epochs of adversarial training, 3 of fine-tuning;
criticality on 1,000 training images, epochs and alpha chosen on the first 2,000 and 1,000 test
images.

Training examples are crafted in 2 steps of 6/255 instead of 10 of 2/255: a length of the recipe,
like the number of epochs, chosen so that an epoch takes minutes without bf16 hardware. The
evaluation attack is the paper's PGD-10, three runs, on all 10,000 test images; the audit, which has
many rows, looks at the first of them only for all but clean accuracy. OOD is of the generator
`gen-v2`, so that nothing but the dataset has to be fetched. MART and SCORE keep a lower learning rate
than the others, as published (MART's weight decay is seven times theirs).
"""

SMALL = Scale(
    name="small",
    summary="real images, width-16 networks, 30 epochs, five seeds of the first: hours on a CPU",
    datasets=("cifar10", "cifar100"),
    archs=("resnet18-w16", "resnet34-w16", "wrn-34-1"),
    seeds=(0,),
    training={
        "epochs": 30,
        "lr": 0.2,
        "schedule": "one-cycle",
        "attack_steps": 2,
        "attack_path": 1.5,
        "select_last": 2,
        "select_images": 2000,
    },
    finetuning={"epochs": 3, "milestones": [2]},
    criticality={"images": 2000},
    networks={"resnet18-w16": {"seeds": (0, 1, 2, 3, 4)}},
    recipes={"mart": {"lr": 0.05}, "score": {"lr": 0.1}},
    audit=(*Scale.evaluations, "autoattack-first-1000"),
)
"""The networks of `narrow`, trained three times as long and judged on more images.

The model that Tables 3 and 4, the audit and Figures 1 and 3 are of, ResNet18 under PGD-AT on CIFAR-10,
has five seeds, so that its intervals say what training again changes; every other model has one.
Criticality is measured on 2,000 training images; epochs of adversarial training are chosen on the first
2,000 test images, epochs of fine-tuning and alpha* on all of them (or all of the hold-out), and
Std, OOD and Adv are of all test images. AutoAttack, which costs more than all of these, is of the first
1,000. Steps and learning rates are those of `narrow`.
"""

SHORT = Scale(
    name="short",
    summary="real images, the paper's networks, 30 one-cycle epochs, one seed: hours on one GPU",
    datasets=_THREE,
    archs=("resnet18", "resnet34", "wrn-34-10"),
    seeds=(0,),
    training={"epochs": 30, "lr": 0.2, "schedule": "one-cycle", "select_last": 5},
    recipes={"mart": {"lr": 0.05}, "score": {"lr": 0.1}},
    evaluations=("clean", "corruptions-15", "pgd10x3"),
)
"""The paper's networks, attack, fine-tuning and evaluation; only adversarial training is shortened,
from 110 piecewise epochs to 30 one-cycle ones, and two of three seeds are left out."""

PAPER = Scale(
    name="paper",
    summary="the paper's networks, recipes and three seeds: GPU days",
    datasets=_THREE,
    archs=("resnet18", "resnet34", "wrn-34-10"),
    seeds=(0, 1, 2),
    evaluations=("clean", "corruptions-15", "pgd10x3"),
)
"""Nothing is shortened: each method's published recipe, on the published corrupted test sets."""

SCALES: dict[str, Scale] = {scale.name: scale for scale in (QUICK, NARROW, SMALL, SHORT, PAPER)}


def scale(name: str, results: Path | None = None) -> Scale:
    """The scale called `name`, or read from the TOML file `name`. Raises `UserError` otherwise.

    `SCALE-from-NAME` is the scale that starts from the checkpoint NAME, `SCALE-in-PRECISION` the scale
    in another precision than its own. Names that are not the suite's are looked for among the scales
    that were filed in the tree `results`, if one is given.
    """
    known = Slot.parse(name).scale
    if name.endswith(".toml") and (known not in SCALES or Path(name).is_file()):
        return _read(Path(name))
    if known in SCALES:
        return called(name, SCALES[known])
    path = None if results is None else filed(known, results)
    if path is None or not path.is_file():
        also = "" if path is None else f" (also as '{path}')"
        raise UserError(f"unknown scale '{name}'; known: {', '.join(SCALES)}, or a .toml file{also}")
    found = _read(path)
    if found.name != known:
        raise UserError(f"'{path}' calls itself '{found.name}'; name the file after the scale")
    return called(name, found)


def called(slot: str, scale: Scale) -> Scale:
    """`scale` as it is in `slot`: starting from a checkpoint, or in another precision than its own.

    Raises `UserError` if there is no such checkpoint or precision.
    """
    _, precision, checkpoint = Slot.parse(slot)
    found = scale if checkpoint is None else starting_from(scale, [checkpoint])
    other = in_precision(found, precision)
    if precision is not None and other == found:
        own = found.precision or "any precision"
        raise UserError(f"'{slot}' is no other than '{found.stem}', which is in {own}")
    return other


def arguments(slot: str, results: Path) -> str:
    """What follows `--scale` to name `slot` on the command line; scales that are not the suite's are
    filed in `results`."""
    scale, precision, checkpoint = Slot.parse(slot)
    flags = (("--precision", precision), ("--from-checkpoint", checkpoint))
    file = scale if scale in SCALES else str(filed(scale, results))
    return " ".join((file, *(f"{flag} {value}" for flag, value in flags if value is not None)))


def filed(name: str, results: Path) -> Path:
    """Where the results tree `results` keeps the scale called `name` if it is not the suite's."""
    return results / "scales" / f"{name}.toml"


def _read(path: Path) -> Scale:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        read = TypeAdapter(Scale).validate_python(content)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the scale file '{path}': {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"'{path}' is not TOML: {error}") from error
    except ValidationError as error:
        fields = ", ".join(f.name for f in dataclasses.fields(Scale))
        raise UserError(
            f"'{path}' is not a scale: {first_problem(error)}; its fields are {fields}"
        ) from error
    if IN in read.name:
        raise UserError(
            f"'{path}' calls itself '{read.name}'; '{IN}' stands before a precision in keys"
        )
    if read.name in (*SCALES, OWN):
        raise UserError(f"'{path}' calls itself '{read.name}', which is taken; choose another name")
    return starting_from(read, read.checkpoints) if read.checkpoints else read
