"""The same tables at different costs: a scale fixes data, networks, recipe lengths and seeds.

It never changes a formula or a protocol, and no table mixes scales. Scales are TOML files with the
fields of `Scale`: the suite's own beside this one, a user's anywhere (`--scale my.toml`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from benchmark.checkpoints.registry import TrainedModel, trained_model
from benchmark.engine.precision import NAMES
from benchmark.engine.recipes import (
    FINETUNE_RECIPE,
    CriticalitySettings,
    Recipe,
    ScaleFreeCriticality,
    shortened,
)
from benchmark.errors import UserError, problems
from benchmark.models import key_name
from benchmark.records.cells import FROM, IN, Cell, Part
from benchmark.records.files import check_lines
from benchmark.records.ranges import Seed, Threads


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("nothing may be named twice")
    return values


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("name one at least")
    return _once(values)


def _of_no_checkpoint(name: str) -> str:
    if FROM in name:
        raise ValueError(f"'{FROM}' stands before the checkpoint that cells start from")
    return name


def _as_in_keys(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(key_name, names))
    except UserError as error:
        raise ValueError(str(error)) from error


def _by_key(networks: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(_once(_as_in_keys(tuple(networks))), networks.values(), strict=True))


Names = Annotated[tuple[str, ...], AfterValidator(_some)]
Archs = Annotated[tuple[str, ...], AfterValidator(_as_in_keys), AfterValidator(_some)]
Seeds = Annotated[tuple[Seed, ...], AfterValidator(_some)]
_SEEDS = TypeAdapter(dict[Literal["seeds"], Seeds])


def _with_seeds_checked(own: dict[str, Any]) -> dict[str, Any]:
    if "seeds" not in own:
        return own
    try:
        return own | _SEEDS.validate_python({"seeds": own["seeds"]})
    except ValidationError as error:
        raise ValueError("; ".join(problems(error))) from error


Own = Annotated[dict[str, Any], AfterValidator(_with_seeds_checked)]


def of_recipe(own: Mapping[str, Any]) -> dict[str, Any]:
    """What a scale says of a network's or method's recipe: all that it says of it but `seeds`."""
    return {name: value for name, value in own.items() if name != "seeds"}


def wrong_overrides(said: Mapping[str, Any]) -> list[str]:
    """Errors in the overrides of a scale that says `said`, valid or not.

    These are unknown fields, and numbers outside their range.
    """

    def table(content: Any) -> dict[str, Any]:
        return content if isinstance(content, dict) else {}

    training, criticality = table(said.get("training")), table(said.get("criticality"))
    known = ScaleFreeCriticality() if "rate" in criticality else CriticalitySettings()
    parts: list[tuple[str, Any, dict[str, Any]]] = [
        ("training", Recipe(), training),
        ("finetuning", FINETUNE_RECIPE, table(said.get("finetuning"))),
        ("criticality", known, criticality),
    ]
    wrong = _wrong(parts)
    inherited = {} if wrong else training  # what is wrong with it is said once
    return wrong + _wrong(
        [
            (f"{part}.{name}", Recipe(), inherited | of_recipe(table(own)))
            for part in ("networks", "recipes")
            for name, own in table(said.get(part)).items()
        ]
    )


def _wrong(parts: Sequence[tuple[str, Any, dict[str, Any]]]) -> list[str]:
    wrong = []
    for part, published, overrides in parts:
        try:
            shortened(published, overrides, part)
        except UserError as error:
            wrong.append(str(error))
    return wrong


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Scale:
    """Datasets, networks and seeds of the tables, and what of the published recipes is shortened.

    `training`, `finetuning` and `criticality` override fields of `Recipe`, `FINETUNE_RECIPE` and the
    protocol's `Criticality`; everything they leave out is as published.
    `networks` overrides `training` further for single networks, and `recipes` for single methods (the
    paper, too, tunes the learning rate); either may also name `seeds` of its own, see `seeds_of`.
    Table 1 shows the first of `methods`, Table 2 the others on the first two of `datasets`; Tables 2
    to 4 show the first of `archs`, Tables 3 and 4 the first of `datasets`. `threads` is the
    number of threads of each process (0: all cores): it is fixed by the scale, because it can change
    the last bits of a sum, while the number of processes cannot. `precision` is that of attacks and
    adversarial training on every machine (None: `auto`); other ones have keys of their own
    (`in_precision`). `archs` and `networks` name a library's network in full, as `timm:resnet18`, or as
    keys do. `audit` names the evaluations of the audit (None: `evaluations` and AutoAttack), `posthoc`
    those of post-training methods side by side (None: `evaluations` and both adaptive attacks).
    `checkpoints` names those of the registry that its cells start from (none: they are trained);
    `starting_from` makes such a scale out of any.
    """

    name: Annotated[Part, Field(max_length=100), AfterValidator(_of_no_checkpoint)]
    summary: str
    datasets: Names
    archs: Archs
    seeds: Seeds
    methods: Names = ("pgd-at", "trades", "mart", "awp", "score")
    threads: Threads = 0
    precision: Annotated[str, Field(pattern=f"^({'|'.join(NAMES)})$")] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    finetuning: dict[str, Any] = field(default_factory=dict)
    criticality: dict[str, Any] = field(default_factory=dict)
    networks: Annotated[dict[str, Own], AfterValidator(_by_key)] = field(default_factory=dict)
    recipes: dict[str, Own] = field(default_factory=dict)
    evaluations: Names = ("clean", "corruptions-15-gen-v2", "pgd10x3")
    audit: Names | None = None
    posthoc: Names | None = None
    checkpoints: Annotated[tuple[str, ...], AfterValidator(_once)] = ()

    @property
    def for_audit(self) -> tuple[str, ...]:
        return self.audit or tuple(dict.fromkeys((*self.evaluations, "autoattack")))

    @property
    def for_posthoc(self) -> Self:
        """The scale as post-training methods are compared at it: on one seed, under `posthoc`."""
        names = self.posthoc or (*self.evaluations, "pgd10x3-adaptive", "autoattack-adaptive")
        chosen = self.with_seeds(self.seeds_of(self.datasets[0], self.archs[0], self.methods[0])[:1])
        shown = tuple(dict.fromkeys(names))
        return dataclasses.replace(chosen, evaluations=shown, audit=shown)

    @property
    def key_names(self) -> tuple[str, ...]:
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
        pairs = zip(self.checkpoints, self.key_names, strict=True)
        return {trained_model(name): key_name for name, key_name in pairs}

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
        networks, recipes = (
            {name: of_recipe(own) for name, own in part.items()}
            for part in (self.networks, self.recipes)
        )
        return dataclasses.replace(self, seeds=seeds, networks=networks, recipes=recipes)

    def with_models(self, archs: Sequence[str], methods: Sequence[str]) -> Self:
        """The scale with these networks and methods, and what it says of them."""
        networks = {name: own for name, own in self.networks.items() if name in archs}
        recipes = {name: own for name, own in self.recipes.items() if name in methods}
        return dataclasses.replace(
            self, archs=tuple(archs), methods=tuple(methods), networks=networks, recipes=recipes
        )

    def _key_name(self, model: TrainedModel) -> str | None:
        """What stands for the scale in the keys of this model's cells; None if it has none."""
        return self._by_place.get(model) if self.checkpoints else self.name

    def cells(
        self,
        datasets: Sequence[str],
        archs: Sequence[str],
        finetunes: Sequence[str],
        methods: Sequence[str] | None = None,
    ) -> list[Cell]:
        """Cells of `methods` (None: the scale's first), all seeds of each model.

        A scale that starts from checkpoints has only the models that they stand for: the others are
        missing and never trained.
        """
        return [
            Cell(key_name, dataset, name, chosen, finetune, seed)
            for dataset in datasets
            for name in archs
            for chosen in methods or self.methods[:1]
            for finetune in finetunes
            for seed in self.seeds_of(dataset, name, chosen)
            if (key_name := self._key_name(TrainedModel(dataset, name, chosen, seed))) is not None
        ]

    @model_validator(mode="after")
    def _lines_only(self) -> Self:
        check_lines(vars(self))
        return self

    @model_validator(mode="after")
    def _overrides_are_of_its_own(self) -> Self:
        wrong = [
            f"{part} names '{name}', which is not one of {known}"
            for part, known in (("networks", "archs"), ("recipes", "methods"))
            for name in sorted(set(getattr(self, part)) - set(getattr(self, known)))
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
