"""Cells that start from a checkpoint of the registry instead of adversarial training.

A scale that starts from checkpoints is cut down to their datasets, networks, methods and seeds. Its
cells have `SCALE-from-NAME` where others have the scale, so that no key, seed, record or file of a
trained model can be taken for one of theirs; what none of the checkpoints is of is missing there and
never trained.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.checkpoints.registry import checkpoint, trained_model
from benchmark.data import dataset_info
from benchmark.engine.recipes import pixel_units, same_radius
from benchmark.errors import UserError
from benchmark.records.cells import BASE, HELD_OUT, Cell
from benchmark.records.specs import Spec

if TYPE_CHECKING:
    from benchmark.plans.scales import Scale

FIRST_METHOD = "pgd-at"
"""The method that Table 2 leaves to Table 1."""


def starting_from(scale: "Scale", names: Sequence[str], *, beyond_first: bool = False) -> "Scale":
    """`scale` restricted to the models of the checkpoints `names`, and starting from them.

    Datasets, networks and methods come in the order of `names`: what shows a single model shows that of
    the first checkpoint. What the scale says of adversarial training is dropped.
    `beyond_first` leaves out checkpoints of `FIRST_METHOD`, as Table 2 does.
    Raises `UserError` if two stand for one model, one for a dataset that the scale does not have, some
    network has fewer seeds than another, or none is left.
    """
    places = {name: trained_model(name) for name in dict.fromkeys(names)}
    if beyond_first:
        left = {name: where for name, where in places.items() if where.method != FIRST_METHOD}
        if not left:
            raise UserError(
                f"Table 2 shows methods other than {FIRST_METHOD}, by which "
                f"{', '.join(map(repr, places))} "
                f"{'was' if len(places) == 1 else 'were'} trained; see `table1`"
            )
        places = left
    for name, where in places.items():
        if where.dataset not in scale.datasets:
            raise UserError(
                f"checkpoint '{name}' is of {where.dataset}, and scale '{scale.name}' of "
                f"{', '.join(scale.datasets)}; choose a --scale of that dataset"
            )
        if same := [other for other in places if places[other] == where and other != name]:
            raise UserError(
                f"checkpoints '{name}' and '{same[0]}' are both of {where}; name one of them at a time"
            )
    seeds: dict[tuple[str, ...], set[int]] = {}
    for where in places.values():
        seeds.setdefault(where[:3], set()).add(where.seed)
    every = set().union(*seeds.values())
    if fewer := [key for key, own in seeds.items() if own != every]:
        raise UserError(
            f"the checkpoints are of seeds {_listed(every)}, but those of {'/'.join(fewer[0])} of "
            f"{_listed(seeds[fewer[0]])} only; means need the same seeds everywhere: name them "
            "in separate commands"
        )
    methods = tuple(dict.fromkeys(where.method for where in places.values()))
    whose = "; ".join(checkpoint(name).summary for name in places)
    return replace(
        scale,
        summary=f"AT weights not trained here: {whose}",
        datasets=tuple(dict.fromkeys(where.dataset for where in places.values())),
        archs=tuple(dict.fromkeys(where.arch for where in places.values())),
        methods=(FIRST_METHOD, *methods) if beyond_first else methods,
        seeds=tuple(sorted(every)),
        training={},
        networks={},
        recipes={},
        checkpoints=tuple(places),
    )


def start(cell: Cell, scale: "Scale") -> CheckpointEntry | None:
    """The checkpoint that `cell` starts from at `scale`; None if its base model is trained.

    Raises `UserError` if the cell belongs to another scale, or the checkpoint to another model, or
    has been trained on the images that the cell's protocol holds out.
    """
    if cell.scale not in scale.key_names:
        raise UserError(f"{cell.key} is not of {' or '.join(scale.key_names)}")
    if not scale.checkpoints or cell.checkpoint is None:
        return None
    found, where = checkpoint(cell.checkpoint), trained_model(cell.checkpoint)
    if where != (cell.dataset, cell.arch, cell.method, cell.seed):
        raise UserError(f"checkpoint '{found.name}' is of {where}, which {cell.key} is not")
    if cell.base.finetune != BASE and not held_out(found.name):
        raise UserError(
            f"{cell.key} chooses on held-out training images, and checkpoint '{found.name}' was or may "
            "have been trained on them; leave out what ends in -held-out"
        )
    return found


def held_out(name: str) -> bool:
    """Whether a checkpoint has not been trained on the images that this suite holds out.

    A hold-out of other people has other images, so only a model of this suite can be one.
    """
    cell = checkpoint(name).cell
    return cell is not None and Cell.parse(cell).base.finetune == BASE + HELD_OUT


def without_held_out(finetunes: Sequence[str], scale: "Scale") -> tuple[str, ...]:
    """`finetunes` without those on a hold-out that the checkpoints of `scale` were trained on.

    For what is shown by default; what the user asks for by name is refused instead.
    """
    if all(held_out(name) for name in scale.checkpoints):
        return tuple(finetunes)
    return tuple(name for name in finetunes if HELD_OUT not in name)


def tensors_of(found: CheckpointEntry) -> Spec:
    """The part of a registry entry that decides which tensors a cell starts from, for its spec.

    `file_sha256` is None where the registry does not know it; then the user accepted a file.
    """
    return {
        "name": found.name,
        "file_sha256": found.sha256,
        "entry": found.entry,
        "prefix": found.prefix,
        "drop": list(found.drop),
    }


def caveats(found: CheckpointEntry) -> list[str]:
    """What a reader of a number of this checkpoint's cells should know."""
    remarks, evaluated = [], dataset_info(found.dataset).threat.eps
    if not same_radius(found.eps, evaluated):
        remarks.append(
            f"checkpoint {found.name} was trained at eps {found.eps} and is attacked at eps "
            f"{pixel_units(evaluated)} here"
        )
    if found.extra_data:
        remarks.append(f"checkpoint {found.name} was trained on more than the dataset's images")
    if found.sha256 is None:
        remarks.append(
            f"the registry knows no sha256 of checkpoint {found.name}; whoever ran this accepted the "
            "file's"
        )
    return remarks


def _listed(seeds: set[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds))
