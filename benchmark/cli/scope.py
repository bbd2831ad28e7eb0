"""Which cells a command works on: the flags that choose a scale, and what of it is shown."""

import dataclasses
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from baselines import method
from benchmark.checkpoints.registry import checkpoint, registry, trained_model
from benchmark.cli.options import listed, say
from benchmark.engine.precision import in_precision
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import limited
from benchmark.models import arch, key_name
from benchmark.plans.named import SCALES, scale, unknown_names
from benchmark.plans.scales import Scale
from benchmark.plans.start import starting_from
from benchmark.records.cells import Cell, ScaleName

ScaleOption = Annotated[
    str,
    typer.Option(
        "--scale",
        autocompletion=lambda: list(SCALES),
        help="Which data and networks, and so what it costs: `demo` (digits, half a minute), `quick` "
        "(digits, minutes), `narrow` and `small` (real images on a CPU, hours), `lean` (the paper's "
        "ResNet18 from weights that come with the suite, hours on a CPU), `short` (the paper's "
        "networks on a GPU, hours), `paper` (GPU days), or the path of a TOML file with a "
        "scale of your own.",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from-checkpoint",
        metavar="NAME,...",
        autocompletion=lambda: list(registry()),
        help="Start from these adversarially trained weights instead of training (see `checkpoints "
        "list`); only cells of their datasets, networks and methods are made and shown. Keys then read "
        "SCALE-from-NAME/...",
    ),
]


@dataclasses.dataclass(frozen=True)
class Scope:
    """The flags that choose cells of a scale."""

    scale: ScaleOption = "quick"
    only: Annotated[
        str | None,
        typer.Option(metavar="GLOB", help="Only cells whose key matches, such as `*/rift/*`."),
    ] = None
    seeds: Annotated[
        str | None, typer.Option(metavar="LIST", help="Seeds instead of the scale's, e.g. 0,1,2.")
    ] = None
    archs: Annotated[
        str | None,
        typer.Option(
            "--arch",
            metavar="LIST",
            help="Networks instead of the scale's, e.g. vit-mini or timm:resnet18, see `list`; what "
            "shows a single network, such as the audit, shows the first.",
        ),
    ] = None
    methods: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="LIST",
            help="Adversarial training methods instead of the scale's, e.g. standard, see `list`; what "
            "shows a single method, such as the audit, shows the first.",
        ),
    ] = None
    from_checkpoint: FromOption = None

    def suffix(self, chosen: Scale) -> str:
        """Return what file names of `chosen` add where flags change which of its models are shown."""
        flags = {
            "seeds": (self.seeds, map(str, chosen.seeds)),
            "arch": (self.archs, chosen.archs),
            "method": (self.methods, chosen.methods),
        }
        return "".join(f".{name}-{'+'.join(own)}" for name, (flag, own) in flags.items() if flag)

    def chosen(
        self,
        evaluations: str | None = None,
        limit: int | None = None,
        *,
        audited: bool = False,
        of_posthoc: bool = False,
        beyond_first: bool = False,
        precision: str | None = None,
        results: Path | None = None,
    ) -> Scale:
        """Return the scale with what the flags change, and the audit's evaluations if `audited`, or as
        post-training methods are compared at it if `of_posthoc`.

        `beyond_first` is that of `starting_from`, `precision` that of `in_precision`. A command that
        only reads names the tree `results`, in which a scale may be of plug-ins that are not loaded.
        """
        read = scale(self.scale, results)
        if results is None and (wrong := unknown_names(vars(read))):
            raise UserError(f"'{self.scale}' is not a scale: {'; '.join(wrong)}")
        chosen = in_precision(read, precision)
        found = () if self.archs is None else map(key_name, listed(self.archs, arch))
        archs = tuple(dict.fromkeys(found))  # a library's network has two names
        methods = None if self.methods is None else listed(self.methods, method)
        chosen = chosen.with_models(archs or chosen.archs, methods or chosen.methods)
        chosen = from_checkpoints(chosen, self.scale, self.from_checkpoint, beyond_first=beyond_first)
        models = [trained_model(name) for name in chosen.checkpoints]
        for flag, named, theirs in (
            ("--arch", archs, {model.arch for model in models}),
            ("--method", methods, {model.method for model in models}),
        ):
            if models and named and set(named) != theirs:
                raise UserError(
                    f"{flag} {','.join(named)}: the checkpoints are of {', '.join(sorted(theirs))}; "
                    "leave it out, or start from others"
                )
        if of_posthoc:
            evaluated = chosen.for_posthoc
            chosen = evaluated if self.seeds is None else evaluated.with_seeds(chosen.seeds)
        wanted = chosen.for_audit if audited else chosen.evaluations
        if evaluations is not None:
            wanted = listed(evaluations, evaluation)
        limits = tuple(dict.fromkeys(limited(name, limit) for name in wanted))
        chosen = dataclasses.replace(chosen, evaluations=limits)
        if self.seeds is None:
            return chosen
        parts = [part.strip() for part in self.seeds.split(",")]
        if not all(re.fullmatch("[0-9]{1,18}", part) for part in parts):
            raise UserError(f"--seeds '{self.seeds}' is not a list of whole numbers such as 0,1,2")
        numbers = tuple(map(int, parts))
        if len(set(numbers)) < len(numbers):
            raise UserError(f"--seeds '{self.seeds}': no seed may be named twice")
        if chosen.checkpoints and (other := [seed for seed in numbers if seed not in chosen.seeds]):
            own = ", ".join(map(str, chosen.seeds))
            raise UserError(f"--seeds {other[0]}: the checkpoints are of seed {own}")
        if models:
            kept = [name for name in chosen.checkpoints if trained_model(name).seed in numbers]
            chosen = starting_from(chosen, kept, beyond_first=beyond_first)
        return chosen.with_seeds(numbers)

    def has(self, chosen: Scale, cell: Cell) -> bool:
        """Return whether `cell`, on record at `chosen`, is of what the flags name."""
        seeds = chosen.seeds_of(cell.dataset, cell.arch, cell.method)
        return (
            (self.seeds is None or cell.seed in seeds)
            and (self.archs is None or cell.arch in chosen.archs)
            and (self.methods is None or cell.method in chosen.methods)
        )

    def matching(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells whose key matches `only`. Raises `UserError` if there are none."""
        matching = [cell for cell in cells if self.only is None or fnmatchcase(cell.key, self.only)]
        if not matching:
            raise UserError(
                f"no cell matches --only '{self.only}'; a key of this scale reads {cells[0].key}"
            )
        return matching


def from_checkpoints(
    chosen: Scale, named: str, flag: str | None, *, beyond_first: bool = False
) -> Scale:
    """Return `chosen`, called `named`, starting from its own checkpoints or those that `flag` lists."""
    if flag is not None and chosen.checkpoints:
        raise UserError(f"--scale {named} starts from checkpoints already; leave --from-checkpoint out")
    names = chosen.checkpoints if flag is None else listed(flag, checkpoint)
    return starting_from(chosen, names, beyond_first=beyond_first) if names else chosen


def scale_of(
    cells: Sequence[Cell],
    name: str | None,
    evaluations: str | None,
    limit: int | None,
    precision: str | None = None,
) -> Scale:
    """Return the scale of all `cells`, called `name` or as in their keys, as the flags change it.

    It has the checkpoints and the precision that the keys name. Raises `UserError` for a cell of
    another scale.
    """
    known, named, _ = ScaleName.parse(cells[0].scale)
    names = list(dict.fromkeys(cell.checkpoint for cell in cells if cell.checkpoint is not None))
    chosen = Scope(name or known).chosen(evaluations, limit, precision=precision or named)
    if not set(names) <= set(chosen.checkpoints):
        chosen = starting_from(chosen, names)
    for cell in cells:
        if cell.scale not in chosen.key_names:
            raise UserError(
                f"{cell.key} is of scale '{cell.scale}', not '{chosen.stem}'; run one scale at a time"
            )
    return chosen


def as_shown(scale: Scale, cells: Sequence[Cell], what: str, *, beyond_first: bool = False) -> Scale:
    """Return `scale` with the checkpoints that `cells` start from; report which `what` leaves out.

    Raises `UserError` if there are no cells.
    """
    if not cells:
        raise UserError(f"{what} is of another dataset or network than the checkpoints; see `table1`")
    names = [name for name in scale.checkpoints if name in {cell.checkpoint for cell in cells}]
    if len(names) == len(scale.checkpoints):
        return scale
    out = ", ".join(name for name in scale.checkpoints if name not in names)
    say(f"{what} cannot show {out} beside {', '.join(names)}; to show it, name it alone")
    return starting_from(scale, names, beyond_first=beyond_first)
