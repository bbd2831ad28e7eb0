"""A plan at work: what the steps of one cell share."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from benchmark.algorithm.selection import Candidates
from benchmark.data.hold_out import Splits, splits
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.plans.plan import BasePlan, Plan
from benchmark.plans.states import State, curve_on_record, record_state, remarks
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.specs import Spec, spec_hash, spec_of
from benchmark.records.store import Store

if TYPE_CHECKING:
    import torch
    from torch import nn

    from benchmark.algorithm.path import Path
    from benchmark.data.images import Dataset, Split
    from benchmark.engine.weights import Weights
    from benchmark.engine.workspace import Workspace
    from benchmark.evaluation.record import Evaluating
    from benchmark.records.records import ModuleCriticality


@dataclass(frozen=True)
class Run:
    """One cell at work: its plan, the dataset, where results go.

    `memory` bounds the activations that criticality keeps (bytes), `takeover` decides on unfinished
    work of other settings, `told` takes what its making says of steps that were done elsewhere.
    """

    plan: Plan
    data: "Dataset"
    store: Store
    progress: Progress
    memory: int | None = None
    takeover: Takeover = REFUSE
    told: list[str] = field(default_factory=list)

    @cached_property
    def splits(self) -> Splits:
        return splits(self.data, self.plan.base.hold_out)

    @property
    def device(self) -> "torch.device":
        return self.data.train.images.device

    @property
    def tuning_cell(self) -> Cell:
        """The cell that names seeds and files of the fine-tuning, with interpolation or without."""
        return replace(self.plan.cell, finetune=self.plan.finetuning.tuning)

    @property
    def mrc_in(self) -> str:
        """What names the finished steps of the cell's criticality."""
        return self.plan.finetuning.measured_in(self.plan.criticality.stage)

    def selection_images(self) -> "Split":
        """The images that epochs of fine-tuning and alpha* are chosen on."""
        return self.splits.selection.first(self.plan.recipe.select_images)

    def images(self, split: str) -> "Split":
        """The images that criticality is measured on."""
        own = self.splits
        return {"train": own.train, "test": self.data.test, "hold-out": own.selection}[split]

    def network(self, weights: "Weights") -> "nn.Module":
        """The network of the cell, or the module of its post-hoc method, with `weights`, in evaluation
        mode."""
        model = self.bare()
        if weights.module is not None:
            assert self.plan.forward is not None
            second = self.bare_second() if self.plan.forward.partner else None
            model = self.plan.forward.build(model, second).to(self.device)
        model.load_state_dict(weights.state)
        return model.eval()

    def bare(self) -> "nn.Module":
        """A network of the cell's architecture, on its device."""
        return new_model(self.plan.base, self.device)

    def bare_second(self) -> "nn.Module":
        return self.bare()

    def second(self, weights: "Weights") -> "nn.Module":
        model = self.bare_second()
        model.load_state_dict(weights.state)
        return model.eval()

    @property
    def partner(self) -> "Weights | None":
        """Weights of the second network of a mix, where they are given and not trained."""
        return None

    def workspace(
        self,
        cell: Cell,
        spec: Spec,
        start: "Weights | None" = None,
        device: "torch.device | None" = None,
    ) -> "Workspace":
        """The working files of `cell` for what `spec` describes, done on `device`."""
        from benchmark.engine.workspace import Workspace

        on = device or self.device
        return Workspace(self.store, cell, spec, on, start, self.takeover, self.progress, self.told)

    @property
    def test_data(self) -> "Dataset":
        """The dataset with the normalisation of the base model's weights."""
        return replace(self.data, info=self.plan.base.info)

    def path(self, theta_at: "Weights", theta_ft: "Weights", grid: tuple[float, ...]) -> "Path":
        """The weights between both at the alphas of `grid`, with what has been counted there."""
        from benchmark.algorithm.path import Path
        from benchmark.engine.counting import batch_starts, run_seed

        judged, attack, base = self.selection_images(), self.plan.attack, self.plan.base.cell
        spec: Spec = {"attack": spec_of(attack), "images": len(judged)}
        shared: Spec = {**spec, "sha256": judged.sha256()}
        own, of_all = self.workspace(self.tuning_cell, spec), self.workspace(base, shared)
        stage, chunk, name = "interpolation", batch_starts(judged).step, spec_hash(shared)[:8]
        return Path(
            self.network(theta_at),
            theta_at.state,
            theta_ft.state,
            judged,
            attack,
            run_seed(base, 0),
            own.steps(stage, theta_at, theta_ft, chunk=chunk),  # as the whole curve's
            of_all.steps(stage, theta_at, chunk=chunk, name=f"reference-{name}"),
            grid,
            self.progress,
            {point.alpha: point for point in curve_on_record(self.store, self.plan)},
        )

    def missing(self, evaluations: Sequence[str]) -> list[str]:
        """Those of `evaluations` that the dataset has data for and that have no fresh record yet."""
        states = {name: record_state(self.store, self.plan, name) for name in evaluations}
        return [name for name, state in states.items() if state not in (State.ABSENT, State.DONE)]

    def evaluating(self, weights: "Weights", theta_at: "Weights") -> "Evaluating":
        """What evaluations of the cell at `weights`, made of `theta_at`, share."""
        from benchmark.engine.adaptive import Attacked
        from benchmark.evaluation.record import Evaluating

        told, model = remarks(self.store, self.plan), self.network(weights)
        stand_in = self.plan.forward.stand_in(model) if self.plan.forward else None
        base = None if weights.sha256 == theta_at.sha256 else self.network(theta_at)
        shared = self.test_data, self.store, self.progress
        attacked = Attacked(model, stand_in, base).eval()
        return Evaluating(self.plan, model, weights, *shared, remarks=told, attacked=attacked)


def candidates(
    plan: Plan, network: "nn.Module", mrc: "Sequence[ModuleCriticality] | None"
) -> Candidates:
    """What the selector of `plan`, a fine-tuning, chooses from in `network`."""
    from benchmark.algorithm.criticality import criticality_modules

    cell, chosen, modules = plan.cell, plan.finetuning, criticality_modules(network)
    seed = replace(cell, finetune=chosen.tuning).seed_for("select")
    released = chosen.protocol.released_order
    return Candidates(modules, mrc, cell.dataset, cell.arch, seed, released, network)


def new_model(plan: BasePlan, device: "torch.device") -> "nn.Module":
    """The network of `plan`, initialised from the cell's seed, channels-last, on `device`."""
    import torch

    from benchmark.models import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.cell.seed_for("initialisation"))
        model = build(plan.arch.name, plan.info)
    return model.to(device).to(memory_format=torch.channels_last)
