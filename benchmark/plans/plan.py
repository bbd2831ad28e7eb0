"""What the code would make of a cell today: the objects behind its names, and their spec.

A record is stale when its spec hash is not that of today's plan.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from baselines import method
from baselines.awp import Awp
from benchmark.algorithm.finetune import CleanTraining
from benchmark.algorithm.protocols import PAPER, Interpolation
from benchmark.algorithm.tunings import SAME, Finetune, finetune
from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.checkpoints.networks import normalised
from benchmark.checkpoints.robustbench import ZooArch
from benchmark.data import dataset_info
from benchmark.data.hold_out import HoldOut
from benchmark.data.info import DatasetInfo, LinfAttack
from benchmark.engine.forward import ForwardMethod
from benchmark.engine.method import Method, OwnTuning
from benchmark.engine.recipes import FINETUNE_RECIPE, Criticality, Recipe, shortened
from benchmark.errors import UserError
from benchmark.evaluation import evaluation_spec
from benchmark.models import Arch, arch
from benchmark.plans.scales import Scale, of_recipe
from benchmark.plans.start import start, tensors_of
from benchmark.posthoc import POSTHOC, forward_method
from benchmark.records.cells import BASE, Cell
from benchmark.records.plugins import Thing, made_with
from benchmark.records.specs import Spec, spec_of


def things(info: DatasetInfo, arch: Arch | ZooArch) -> tuple[Thing, Thing]:
    """What a plug-in may have added for `info` and `arch`."""
    return ("dataset", info.name), ("network", arch.family if isinstance(arch, Arch) else "")


@dataclass(frozen=True)
class BasePlan:
    """How the adversarially trained model of a cell is made.

    `hold_out` is what it is not trained on but judged by; None: it is judged on test images.
    `checkpoint` is where its weights are from; None: they are trained by `method` and `recipe`. `info`
    has the normalisation that its weights were trained with.
    """

    cell: Cell
    info: DatasetInfo
    arch: Arch
    method: Method
    recipe: Recipe
    hold_out: HoldOut | None = None
    checkpoint: CheckpointEntry | None = None

    @classmethod
    def of(cls, cell: Cell, scale: Scale) -> "BasePlan":
        """The plan of `cell.base` at `scale`.

        Raises `UserError` for an unknown name in the cell, and as `plans.start.start` does.
        """
        chosen = method(cell.method)
        own = scale.networks.get(cell.arch, {}) | scale.recipes.get(cell.method, {})
        overrides = scale.training | of_recipe(own)
        recipe = shortened(chosen.recipe(cell.dataset), overrides, f"scale '{scale.name}', training")
        base, info = cell.base, dataset_info(cell.dataset)
        hold_out = None if base.finetune == BASE else HoldOut()
        checkpoint = start(cell, scale)
        if checkpoint is not None:
            info = normalised(info, checkpoint.normalization)
        return cls(base, info, arch(cell.arch), chosen, recipe, hold_out, checkpoint)

    @cached_property
    def spec(self) -> Spec:
        """Everything that the trained weights depend on, but for hardware and library versions."""
        what = things(self.info, self.arch)
        held_out: Spec = {"hold_out": spec_of(self.hold_out)} if self.hold_out else {}
        model: Spec = {
            "version": 1,
            "key": self.cell.key,
            "dataset": self.info.spec,
            "arch": spec_of(self.arch),
        }
        if self.checkpoint is not None:
            given = tensors_of(self.checkpoint)
            return {"type": "checkpoint", **model, **given, **held_out, **made_with(*what)}
        made = {"method": spec_of(self.method), "recipe": spec_of(self.recipe)}
        tools = made_with(*what, ("method", self.cell.method))
        return {"type": "adversarial-training", **model, **made, **held_out, **tools}


@dataclass(frozen=True)
class Plan:
    """How a cell is made and evaluated; `finetune` is None for a base model.

    `partner` is the plan of the second network that the module of a post-hoc method holds, if any.
    """

    cell: Cell
    base: BasePlan
    finetune: Finetune | None
    recipe: Recipe
    criticality: Criticality
    partner: BasePlan | None = None

    @classmethod
    def of(cls, cell: Cell, scale: Scale) -> "Plan":
        """The plan of `cell` at `scale`.

        Raises `UserError` for an unknown name in the cell, a batch-norm control on a network without
        batch norm, criticality on a split that is not the protocol's, and a method that needs what a
        checkpoint or the dataset lacks.
        """
        base, where = BasePlan.of(cell, scale), f"scale '{scale.name}'"
        chosen = None if cell.is_base else finetune(cell.finetune)
        if chosen and chosen.about_batch_norm and not base.arch.batch_norm:
            raise UserError(
                f"{chosen.name} is about batch-norm statistics, and {base.arch.label} has none: there "
                "is nothing to move; leave it out"
            )
        protocol = chosen.protocol if chosen else PAPER
        settings = protocol.criticality(cell.dataset)
        published = chosen.recipe(base.recipe) if chosen else FINETUNE_RECIPE
        recipe = shortened(published, scale.finetuning, f"{where}, finetuning")
        own = {k: v for k, v in scale.criticality.items() if chosen and k not in protocol.fixed}
        criticality = shortened(settings, own, f"{where}, criticality")  # a base's is as published
        if chosen and (criticality.split == "hold-out") != (protocol.selects_on == "hold-out"):
            raise UserError(
                f"{where}, criticality: {chosen.name} cannot measure it on the split "
                f"'{criticality.split}'; leave 'split' out"
            )
        plan = cls(cell, base, chosen, recipe, criticality)
        if chosen and base.checkpoint and chosen.start == "average":
            raise UserError(
                f"{chosen.name} is of the last epochs of adversarial training, and {base.cell.key} "
                "starts from a checkpoint, which has one; leave it out"
            )
        if (forward := plan.forward) is None:
            return plan
        if (there := base.info.classes) < (least := forward.fewest_classes):
            has = f"{base.info.label} has {there}"
            raise UserError(f"{cell.finetune} needs {least} classes or more, and {has}; leave it out")
        method = forward.partner
        return plan if method is None else replace(plan, partner=plan._second(method, scale))

    def _second(self, method: str, scale: Scale) -> BasePlan:
        """The plan of the network of the same architecture and seed that `method` trains."""
        base, name = self.base.cell, self.cell.finetune
        if base.method == method:
            raise UserError(
                f"{name} mixes with a network trained by {method}; {base.key} is that itself"
            )
        if self.base.checkpoint is not None:
            raise UserError(
                f"{name} needs a network trained by {method}, and {base.key} starts from a checkpoint; "
                "choose a scale that trains, or leave it out"
            )
        return BasePlan.of(replace(base, method=method), scale)

    @property
    def finetuning(self) -> Finetune:
        """What is fine-tuned, and where on the path to it the cell ends; a base model has none."""
        assert self.finetune is not None
        return self.finetune

    @cached_property
    def forward(self) -> ForwardMethod | None:
        """What makes a module of the weights, if anything. Raises `UserError` for an unknown name."""
        named = self.finetune.forward if self.finetune else None
        return None if named is None else forward_method(named)

    @cached_property
    def before(self) -> "Plan":
        """The plan of the weights that `forward` is applied to: the base's, or a fine-tuning's."""
        cell = replace(self.cell, finetune=self.finetuning.before)
        chosen = None if cell.is_base else finetune(cell.finetune)
        return replace(self, cell=cell, finetune=chosen, partner=None)

    @cached_property
    def made_of(self) -> "tuple[Plan, ...]":
        """The plan of each that is made for it: its base model, what its module is made of, itself."""
        if self.finetune is None:
            return (self,)
        bases = (self.base,) if self.partner is None else (self.base, self.partner)
        trained = [replace(self, cell=b.cell, base=b, finetune=None, partner=None) for b in bases]
        before = [self.before] if self.forward and self.before.finetune else []
        return (*trained, *before, self)

    @cached_property
    def rule(self) -> Interpolation | None:
        """The rule that chooses numbers of a module; None if it has none, or a rule of its own."""
        assert self.forward is not None
        return self.finetuning.protocol.interpolation if len(self.forward.grid) > 1 else None

    @cached_property
    def attack(self) -> LinfAttack:
        """The attack that criticality and alpha* are judged by."""
        threat = self.base.info.threat
        return self.finetune.protocol.interpolation.attack(threat) if self.finetune else threat

    @cached_property
    def tuner(self) -> Method | OwnTuning:
        """What trains the chosen parameters. Raises `UserError` for an unknown AT method."""
        chosen = self.finetuning.method
        if not isinstance(chosen, str):
            return chosen
        if chosen == SAME:
            return _past_warmup(self.base.method)
        own = POSTHOC.get(chosen)
        return own if isinstance(own, OwnTuning) else method(chosen)

    @cached_property
    def criticality_spec(self) -> Spec:
        return {
            "type": "criticality",
            "version": 1,
            "base": self.base.spec,
            "settings": spec_of(self.criticality),
            "attack": spec_of(self.attack),
            **made_with(*(self.finetune.things[-1:] if self.finetune else ())),
        }

    @cached_property
    def tuning_spec(self) -> Spec:
        """What the fine-tuned weights depend on, before interpolation.

        Choices that were added later are named where they are not what there was before, so that
        older records keep their hash.
        """
        chosen = self.finetuning
        return {
            "type": "fine-tuning",
            "version": 1,
            "tuning": chosen.tuning,
            "base": self.base.spec,
            "criticality": self.criticality_spec if chosen.selector.needs_criticality else None,
            "selector": spec_of(chosen.selector),
            "recipe": spec_of(self.recipe),
            **_unlike_clean(self.tuner),
            **({"start": chosen.start} if chosen.start != "base" else {}),
            **made_with(*chosen.things),
        }

    @cached_property
    def spec(self) -> Spec:
        """Everything that the weights of the cell depend on."""
        if self.finetune is None:
            return self.base.spec
        if self.forward is not None:
            return self._module_spec(self.forward)
        return (
            {
                "type": "finetune",
                "version": self.finetune.version,
                "key": self.cell.key,
                "tuning": self.tuning_spec,
                "interpolation": spec_of(self.finetune.interpolation),
                "selects_on": self.finetune.selects_on,
            }
            | ({"whole_curve": True} if self.finetune.whole_curve else {})
            | ({"alpha": self.finetune.alpha} if self.finetune.alpha != 1 else {})
            | (made_with(entry) if (entry := self.finetune.entry) not in self.finetune.things else {})
        )

    def _module_spec(self, forward: ForwardMethod) -> Spec:
        chosen = self.finetuning
        return {
            "type": "module",
            "version": chosen.version,
            "key": self.cell.key,
            "on": self.before.spec,
            "forward": spec_of(forward),
            "partner": self.partner.spec if self.partner else None,
            "rule": spec_of(self.rule),
            "mirrored": chosen.mirrored,
            "whole_curve": chosen.whole_curve,
            "attack": spec_of(self.attack),
            "images": self.recipe.select_images,
            "selects_on": chosen.selects_on,
            **made_with(*chosen.things),
        }

    def evaluation_spec(self, name: str) -> Spec | None:
        """What the record of evaluation `name` depends on; None if the dataset has no such data."""
        chosen = evaluation_spec(name, self.base.info)
        if chosen is None:
            return None
        return {"type": "record", "version": 1, "model": self.spec, "evaluation": chosen}


def _unlike_clean(tuner: Method | OwnTuning) -> Spec:
    """What sets `tuner` apart from clean training as the released code does it."""
    if type(tuner) is CleanTraining:
        return {"bn": tuner.bn} if tuner.bn != "training" else {}
    return {"method": spec_of(tuner)}


def _past_warmup(method: Method) -> Method:
    """`method` as it goes on after its first epochs, which some train otherwise."""
    return replace(method, warmup=0) if isinstance(method, Awp) else method
