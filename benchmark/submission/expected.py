"""What this checkout would make of a cell that is handed in: its plan, its spec and its data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.checkpoints.registry import FILE, registry
from benchmark.checkpoints.robustbench import ZooArch
from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.errors import UserError
from benchmark.models import Arch, arch
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.plans.named import called, scale
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.start import tensors_of
from benchmark.records.cells import BASE, OWN, Cell, ScaleName
from benchmark.records.checkout import shipped
from benchmark.records.records import Making, Record
from benchmark.records.specs import Spec


@dataclass(frozen=True)
class KnownData:
    """Numbers of images, and hashes of whole splits (`Split.sha256`; None: not known).

    `held_out` images of the training split choose where no test image does; `kept_sha256` is of the
    others, which are then trained on.
    """

    test: int
    held_out: int
    test_sha256: str | None = None
    train_sha256: str | None = None
    kept_sha256: str | None = None


KNOWN_DATA: dict[str, KnownData] = {
    "digits": KnownData(
        500,
        130,
        "f6a0609a7c6eb4170878e863e204fd75fa137143508f73915b8f52a653f1a4fe",
        "c529916693de3e1d2dbbc74169a11f20f440e21c9908c58f23859c29448510ed",
        "8370de01acada9a15161589582aca2e5f58b32d43561122508532419b4e60bbc",
    ),
    "cifar10": KnownData(
        10_000,
        5_000,
        "e600ce11aaf5eb6759aae8ec88c3ab7c664a3bb307f49f95ddb7a5333c26325a",
        "3567dfbd32122a29233d507443ca1844e6bf727016d1b806dd05268db27f887e",
        "a73fab9aa2d9a99304ca2d79a1448a90d6864e7a9067fd55ff742d39dabd4e97",
    ),
    "cifar100": KnownData(10_000, 5_000),
    "tiny-imagenet": KnownData(10_000, 10_000),
}
"""CIFAR-10 in the order of the official files, which torchvision's checksums accept; digits as
scikit-learn ships them. Records of a dataset that is not here need only agree with one another."""


@dataclass(frozen=True)
class Expected:
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
        known, precision, checkpoint = ScaleName.parse(name)
        if checkpoint:
            _check_published(checkpoint)
        if known in self.scales:
            return called(name, self.scales[known])
        if name.endswith(".toml"):  # a key reads no file
            raise UserError(f"'{name}' is no name of a scale; name its file by --scale")
        try:
            return scale(name)
        except UserError as error:
            if checkpoint or precision:
                raise
            raise UserError(f"{error}; name the file of a scale of your own by --scale") from error

    def plan(self, cell: Cell) -> Plan:
        """The plan of a cell that is not from elsewhere. Raises `UserError` for unknown names in it."""
        if cell not in self._plans:
            self._plans[cell] = Plan.of(cell, self.scale(cell.scale))
        return self._plans[cell]

    def spec(self, file: Record | Making) -> Spec | None:
        """The spec that `file` would have if made now; None if its dataset has no such evaluation.

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
        raise UserError(f"checkpoint '{name}' is not in the repository's {FILE}; add it there first")
    if used is not None and tensors_of(used) != tensors_of(ours):
        raise UserError(f"checkpoint '{name}' is another in the repository's {FILE}; rename yours")


def own_plan(record: Record) -> CheckpointPlan:
    """The plan of a record of `evaluate`, for the weights and the normalisation that it names.

    Raises `UserError` if its cell is none of such a model.
    """
    cell, model = record.cell.cell, record.spec.get("model")
    model = model if isinstance(model, dict) else {}
    own = replace(cell, finetune=BASE, seed=0)
    if cell != own:
        raise UserError(f"a model from elsewhere has the key {own.key}")
    known: Arch | ZooArch = _zoo_arch(cell, model.get("arch")) or arch(cell.arch)
    info = _normalised(dataset_info(cell.dataset), model.get("dataset"))
    maker = forward if isinstance(forward := model.get("forward"), str) else ""
    return CheckpointPlan(cell, info, known, record.provenance.weights_sha256, maker)


def _zoo_arch(cell: Cell, there: Any) -> ZooArch | None:
    """The architecture of RobustBench that a spec names, if that is the cell's."""
    names = ("zoo_id", "dataset", "threat", "package")
    if not isinstance(there, dict) or not all(isinstance(there.get(name), str) for name in names):
        return None
    named = ZooArch(*(there[name] for name in names))
    return named if named.name == cell.arch else None


def _normalised(info: DatasetInfo, there: Any) -> DatasetInfo:
    """`info` with mean and standard deviation of a spec, if that has them for so many channels."""
    values = [there.get(name) for name in ("mean", "std")] if isinstance(there, dict) else [None]
    for each in values:
        if not isinstance(each, list) or [type(value) for value in each] != [float] * info.channels:
            return info
    mean, std = (tuple(each or ()) for each in values)
    return replace(info, mean=mean, std=std)


def first_difference(there: Any, here: Any, place: str = "spec") -> tuple[str, Any, Any] | None:
    """Where two specs differ first, in the order of `here`: place and both values; None if nowhere."""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        there, here = dict(enumerate(there)), dict(enumerate(here))
    if isinstance(there, dict) and isinstance(here, dict):
        for name in {**here, **there}:
            values = there.get(name, "nothing"), here.get(name, "nothing")
            if (found := first_difference(*values, f"{place}.{name}")) is not None:
                return found
        return None
    # True is 1 in Python and not in JSON.
    return None if (type(there), there) == (type(here), here) else (place, there, here)
