"""What the code would make of a model that was made elsewhere: its evaluations alone."""

from dataclasses import dataclass

from benchmark.checkpoints.robustbench import ZooArch
from benchmark.data.info import DatasetInfo
from benchmark.evaluation import evaluation_spec
from benchmark.models import Arch
from benchmark.plans.plan import things
from benchmark.records.cells import Cell
from benchmark.records.plugins import Thing, made_with
from benchmark.records.specs import Spec, spec_of


@dataclass(frozen=True)
class CheckpointPlan:
    """A model that was made elsewhere: the sha256 of its tensors is all that is known of its making.

    `forward` is the type of the method that makes a module of them, if any.
    """

    cell: Cell
    info: DatasetInfo
    arch: Arch | ZooArch
    weights_sha256: str
    forward: str = ""

    def evaluation_spec(self, name: str) -> Spec | None:
        """What the record of evaluation `name` depends on; None if the dataset has no such data."""
        chosen = evaluation_spec(name, self.info)
        if chosen is None:
            return None
        maker: Thing = ("forward", self.forward)
        model: Spec = {
            "type": "checkpoint",
            "version": 1,
            "key": self.cell.key,
            "dataset": self.info.spec,
            "arch": spec_of(self.arch),
            "weights_sha256": self.weights_sha256,
            **({"forward": self.forward} if made_with(maker) else {}),
            **made_with(*things(self.info, self.arch), maker),
        }
        return {"type": "record", "version": 1, "model": model, "evaluation": chosen}
