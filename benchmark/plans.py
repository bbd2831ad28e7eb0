"""What the code would make of a cell today: the objects behind its names, and their spec (no torch).

A record is stale when its spec hash is not that of today's plan.
"""

from dataclasses import dataclass
from functools import cached_property

from baselines import method
from baselines.method import Method
from benchmark.cells import Cell
from benchmark.data import DatasetInfo, dataset_info
from benchmark.models import Arch, arch
from benchmark.recipes import Recipe
from benchmark.scales import Scale, shortened
from benchmark.specs import Spec, spec_of


@dataclass(frozen=True)
class BasePlan:
    """How the adversarially trained model of a cell is made."""

    cell: Cell
    info: DatasetInfo
    arch: Arch
    method: Method
    recipe: Recipe

    @classmethod
    def of(cls, cell: Cell, scale: Scale) -> "BasePlan":
        """The plan of `cell.base` at `scale`. Raises `UserError` for an unknown name in the cell."""
        chosen = method(cell.method)
        recipe = shortened(
            chosen.recipe(cell.dataset), scale.training, f"scale '{scale.name}', training"
        )
        return cls(cell.base, dataset_info(cell.dataset), arch(cell.arch), chosen, recipe)

    @cached_property
    def spec(self) -> Spec:
        """Everything that the trained weights depend on, but for hardware and library versions."""
        return {
            "type": "adversarial-training",
            "version": 1,
            "key": self.cell.key,
            "dataset": self.info.spec,
            "arch": spec_of(self.arch),
            "method": spec_of(self.method),
            "recipe": spec_of(self.recipe),
        }
