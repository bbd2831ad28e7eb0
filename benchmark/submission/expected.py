"""What this checkout would make of a cell that is handed in (no torch)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.checkpoints.registry import FILE, registry
from benchmark.checkpoints.robustbench import ZooArch
from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.models import Arch, arch
from benchmark.plans.named import called, scale
from benchmark.plans.plan import CheckpointPlan, Plan
from benchmark.plans.scales import Scale
from benchmark.plans.start import tensors_of
from benchmark.records.cells import BASE, OWN, Cell, Slot
from benchmark.records.records import Making, Record
from benchmark.records.shipped import shipped
from benchmark.records.specs import Spec


@dataclass(frozen=True)
class Today:
    """Plans under the scales of the suite and `scales`, further ones by name."""

    scales: Mapping[str, Scale] = field(default_factory=dict)
    _plans: dict[Cell, Plan] = field(default_factory=dict, repr=False)

    def scale(self, name: str) -> Scale:
        """The scale that keys call `name`.

        Raises `UserError` if it is not known here, or starts from a checkpoint that only a registry of
        somebody's own has: others could not tell which weights it names.
        """
        if name in self.scales:
            return self.scales[name]
        known, precision, checkpoint = Slot.parse(name)
        if checkpoint:
            _check_published(checkpoint)
        if known in self.scales:
            return called(name, self.scales[known])
        try:
            if not name.endswith(".toml"):  # a key reads no file
                return scale(name)
        except UserError as error:
            if checkpoint or precision:
                raise
            raise UserError(f"{error}; name the file of a scale of your own by --scale") from error
        raise UserError(f"'{name}' is no name of a scale; name its file by --scale")

    def plan(self, cell: Cell) -> Plan:
        """The plan of a cell that is not from elsewhere. Raises `UserError` for unknown names in it."""
        if cell not in self._plans:
            self._plans[cell] = Plan.of(cell, self.scale(cell.scale))
        return self._plans[cell]

    def spec(self, file: Record | Making) -> Spec | None:
        """The spec that `file` would have today; None if its dataset has no such evaluation.

        Raises `UserError` for names that are not known, and a making of a model from elsewhere.
        """
        cell = file.cell.cell
        if isinstance(file, Making):
            if cell.scale == OWN:
                raise UserError("a model from elsewhere has no making; leave it out")
            return self.plan(cell).spec
        plan = self.plan(cell) if cell.scale != OWN else own_plan(file)
        return plan.evaluation_spec(file.evaluation)


def _check_published(name: str) -> None:
    ours, used = registry(shipped(FILE)).get(name), registry().get(name)
    if ours is None:
        raise UserError(
            f"checkpoint '{name}' is not in the repository's {FILE}; add its entry there first"
        )
    if used is not None and tensors_of(used) != tensors_of(ours):
        raise UserError(
            f"checkpoint '{name}' is another in the repository's {FILE}; add yours by another name"
        )


def own_plan(record: Record) -> CheckpointPlan:
    """The plan of a record of `evaluate`: its weights, and its normalisation, may be any.

    Raises `UserError` if its cell is none of such a model.
    """
    cell, model = record.cell.cell, record.spec.get("model")
    model = model if isinstance(model, dict) else {}
    if (cell.finetune, cell.seed) != (BASE, 0):
        raise UserError(
            f"a model from elsewhere has the key {replace(cell, finetune=BASE, seed=0).key}"
        )
    known: Arch | ZooArch = _zoo_arch(cell, model.get("arch")) or arch(cell.arch)
    info = _normalised(dataset_info(cell.dataset), model.get("dataset"))
    return CheckpointPlan(cell, info, known, record.provenance.weights_sha256)


def _zoo_arch(cell: Cell, there: Any) -> ZooArch | None:
    """The architecture of RobustBench that a spec names, if that is the cell's."""
    names = ("zoo_id", "dataset", "threat", "package")
    if not isinstance(there, dict) or not all(isinstance(there.get(name), str) for name in names):
        return None
    named = ZooArch(*(there[name] for name in names))
    return named if named.name == cell.arch else None


def _normalised(info: DatasetInfo, there: Any) -> DatasetInfo:
    """`info` with mean and standard deviation of a spec, if that has them for so many channels."""
    if not isinstance(there, dict):
        return info
    mean, std = there.get("mean"), there.get("std")
    for values in (mean, std):
        if not isinstance(values, list) or len(values) != info.channels:
            return info
        if not all(isinstance(value, float) for value in values):
            return info
    return replace(info, mean=tuple(mean or ()), std=tuple(std or ()))


def first_difference(there: Any, here: Any, place: str = "spec") -> tuple[str, Any, Any] | None:
    """Where two specs differ first, in the order of `here`: place and both values; None if nowhere."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in [*here, *(name for name in there if name not in here)]:
            found = first_difference(
                there.get(name, "nothing"), here.get(name, "nothing"), f"{place}.{name}"
            )
            if found is not None:
                return found
        return None
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for index, (one, other) in enumerate(zip(there, here, strict=True)):
            if (found := first_difference(one, other, f"{place}.{index}")) is not None:
                return found
        return None
    # True is 1 in Python and not in JSON.
    return None if (type(there), there) == (type(here), here) else (place, there, here)
