"""Figures 1, 3 and C.1 to C.5 of the paper and criticality against damage, declared over records.

A figure says which cells it needs and gathers the numbers that it shows; `figures.draw` draws them
(neither torch nor matplotlib is imported with this module). A line, bar or dot is of all seeds that the
scale has of its model, or it is left out and named as missing: never a mean over some of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from benchmark.algorithm.protocols import ALPHA_1, CURVE, MODULE, finetune
from benchmark.data import dataset_info
from benchmark.engine.recipes import Criticality, OfficialCriticality
from benchmark.errors import UserError
from benchmark.models import arch, build
from benchmark.plans.plan import Plan
from benchmark.plans.scales import SCALES, Scale
from benchmark.records.cells import BASE, Cell, ScaleName
from benchmark.records.records import Finetuning
from benchmark.report.figures.pictures import (
    Accuracies,
    Bars,
    Correlation,
    Curves,
    Damage,
    DamagedModule,
    MeasuredModule,
    Picture,
    TuningCurve,
    Values,
    axis_of_mrc,
    ranked,
)
from benchmark.report.tables.tables import Reader

T = TypeVar("T")


@dataclass(frozen=True)
class FigureSpec:
    """What a figure is called, which cells it needs with which evaluations, and what it shows.

    Every figure needs how its cells were made; `evaluations` are the records it needs besides.
    `build` raises `UserError` if no part of the figure is complete.
    """

    name: str
    summary: str
    cells: Callable[[Scale], list[Cell]]
    evaluations: tuple[str, ...]
    build: Callable[[Reader], Picture]


# --- what all figures share ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A dataset and a network by their place in a scale; the last one where a scale has fewer."""

    dataset: int = 0
    network: int = 0

    def names(self, scale: Scale) -> tuple[str, str]:
        dataset = scale.datasets[min(self.dataset, len(scale.datasets) - 1)]
        return dataset, scale.archs[min(self.network, len(scale.archs) - 1)]

    def cells(self, scale: Scale, finetunes: Sequence[str]) -> list[Cell]:
        dataset, network = self.names(scale)
        return scale.cells([dataset], [network], finetunes)

    def seeds(self, scale: Scale) -> tuple[int, ...]:
        return scale.seeds_of(*self.names(scale), scale.methods[0])

    def label(self, scale: Scale) -> str:
        dataset, network = self.names(scale)
        return f"{arch(network).label} on {dataset_info(dataset).label}{scale.apart}"

    def stand_ins(self, scale: Scale) -> list[str]:
        """Notes on what the scale does not have so many of."""
        notes, (dataset, network) = [], self.names(scale)
        for wanted, there, what, label in (
            (self.dataset, scale.datasets, "dataset", dataset_info(dataset).label),
            (self.network, scale.archs, "network", arch(network).label),
        ):
            if wanted >= len(there):
                order = ("first", "second", "third")[wanted]
                notes.append(f"the scale has no {order} {what}: {label}, its last, stands in")
        return notes


def _complete(
    cells: Iterable[Cell], read: Callable[[Cell], T | None]
) -> tuple[dict[Cell, T], list[Cell]]:
    """What `read` gives for every cell, and the cells that it gives nothing for; all cells or none."""
    found, missing = {}, []
    for cell in cells:
        if (value := read(cell)) is None:
            missing.append(cell)
        else:
            found[cell] = value
    return ({} if missing else found), missing


def _listed(cells: Sequence[Cell]) -> str:
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return ", ".join(cell.key for cell in cells[:3]) + more


def _nothing(name: str, scale: Scale, missing: Sequence[Cell]) -> UserError:
    called, precision, _ = ScaleName.parse(scale.name)
    known = called if called in SCALES else "FILE.toml"
    if precision is not None:
        known += f" --precision {precision}"
    if scale.checkpoints:
        known += f" --from-checkpoint {','.join(scale.checkpoints)}"
    return UserError(
        f"{name} has nothing complete to show: missing or stale {_listed(missing)}; "
        f"`python -m benchmark {name} --scale {known}` makes what is missing"
    )


def _left_out(missing: Sequence[Cell]) -> list[str]:
    return [f"left out, because cells are missing or stale: {_listed(missing)}"] if missing else []


def _seeds(seeds: Sequence[int], how: str) -> str:
    """The note on seeds; `how` says what shows them if there are several."""
    text = ", ".join(str(seed) for seed in seeds)
    return f"seeds {text}: {how}" if len(seeds) > 1 else f"seed {text}: one seed, no spread"


def _modules(makings: Sequence[Finetuning]) -> str:
    """Which modules were fine-tuned, and on how many of the seeds."""
    counts = Counter(", ".join(making.modules) for making in makings).most_common()
    if len(makings) == 1:
        return counts[0][0]
    return "; ".join(f"{modules} ({n} of {len(makings)} seeds)" for modules, n in counts)


# --- Figures 1 and C.5: between the adversarially trained and the fine-tuned weights ------------------

_CURVE_TUNINGS = ("rift", "robust-critical", "last-layer", "random-layer", "all-layers")


def _curve_cells(place: _Place, scale: Scale) -> list[Cell]:
    return [cell for tuning in _CURVE_TUNINGS for cell in place.cells(scale, [tuning + CURVE])]


def _curves(name: str, place: _Place, reader: Reader) -> Curves:
    scale, curves, missing, modules = reader.scale, list[TuningCurve](), list[Cell](), list[str]()
    images = 0
    for tuning in _CURVE_TUNINGS:
        found, lacking = _complete(
            place.cells(scale, [tuning + CURVE]), partial(_with_whole_curve, reader)
        )
        missing += lacking
        if makings := list(found.values()):
            images = makings[0].curve[0].clean.n
            curves.append(_tuning_curve(tuning, makings))
            if not curves[-1].whole_network:
                modules.append(f"{curves[-1].label}: {_modules(makings)}")
    if not curves:
        raise _nothing(name, scale, missing)
    plan = Plan.of(_curve_cells(place, scale)[0], scale)
    assert plan.finetune is not None and plan.finetune.interpolation is not None
    rule = plan.finetune.interpolation
    judged = "all" if plan.recipe.select_images is None else "the first"
    notes = [
        f"scale {scale.name}: {scale.summary}",
        _seeds(
            place.seeds(scale),
            "dots their mean, thin lines the seeds, each moved to start at the mean AT point",
        ),
        f"accuracies of {judged} {images} test images, which also choose epochs and alpha*; robust "
        f"accuracy is of one PGD-{plan.attack.steps} run",
        f"{rule.intervals + 1} dots from AT (alpha 0) to the fine-tuned weights (alpha 1)",
        f"dashed line: AT's robust accuracy less {100 * rule.tolerance:g} point, alpha*'s constraint",
        *(f"ring: alpha* of {c.label}, {_by_seed(c.chosen)}" for c in curves if c.tuning == "rift"),
        *modules,
        *place.stand_ins(scale),
        *_left_out(missing),
    ]
    title = f"{_number(name)}: interpolation between adversarially trained and fine-tuned weights"
    picture = (name, title, place.label(scale), place.seeds(scale), tuple(notes))
    return Curves(*picture, tuple(curves), rule.tolerance)


def _with_whole_curve(reader: Reader, cell: Cell) -> Finetuning | None:
    making = reader.making(cell)
    if making is None or not making.curve or any(point.robust is None for point in making.curve):
        return None
    return making


def _tuning_curve(tuning: str, makings: Sequence[Finetuning]) -> TuningCurve:
    chosen = finetune(tuning)
    seeds = []
    for making in makings:
        robust = tuple(point.robust.fraction for point in making.curve if point.robust is not None)
        seeds.append(Accuracies(tuple(point.clean.fraction for point in making.curve), robust))
    return TuningCurve(
        tuning,
        chosen.label + (" (RiFT)" if tuning == "rift" else ""),
        tuple(point.alpha for point in makings[0].curve),
        tuple(seeds),
        tuple(making.alpha for making in makings),
        chosen.selector.everything,
    )


def _by_seed(alphas: Sequence[float]) -> str:
    return ("by seed " if len(alphas) > 1 else "") + ", ".join(f"{alpha:.2f}" for alpha in alphas)


def _number(name: str) -> str:
    """`Figure 1` for `figure1`, `Figure C.5` for `figure-c5`."""
    number = name.removeprefix("figure").removeprefix("-").removesuffix(_OFFICIAL).upper()
    return f"Figure {number.replace('C', 'C.')}"


# --- Figures 3 and C.1 to C.4: criticality of every module --------------------------------------------

_OFFICIAL = "-official"


def _bar_cells(tuning: str, place: _Place, scale: Scale) -> list[Cell]:
    return place.cells(scale, [tuning])


def _bars(name: str, tuning: str, place: _Place, reader: Reader) -> Bars:
    scale, cells = reader.scale, _bar_cells(tuning, place, reader.scale)
    found, missing = _complete(cells, partial(_with_criticality, reader))
    if missing:
        raise _nothing(name, scale, missing)
    makings = list(found.values())
    modules, settings = _measured(makings), Plan.of(cells[0], scale).criticality
    released, axis = finetune(tuning).protocol.released_order, axis_of_mrc(modules)
    order = ranked(modules, released_order=released)
    notes = [
        f"scale {scale.name}: {scale.summary}",
        _seeds(place.seeds(scale), "bars their mean, black ticks the seeds"),
        _definition(settings),
        *([] if axis == "linear" else [f"the axis of MRC is {_AXES[axis]}"]),
        f"least critical: {order[0].module}; most critical: {order[-1].module}"
        if order
        else "no module is ranked",
        f"fine-tuned by {tuning}: {_modules(makings)}",
        *_not_valid(modules, "ranked as the released code does" if released else "not ranked"),
        *_under_estimated(modules, "hatched"),
        *place.stand_ins(scale),
    ]
    how = " as the released code measures it" if name.endswith(_OFFICIAL) else ""
    title = f"{_number(name)}: module robust criticality{how}"
    return Bars(name, title, place.label(scale), place.seeds(scale), tuple(notes), modules, released)


_AXES = {"log": "logarithmic", "symlog": "logarithmic on both sides of zero and linear around it"}


def _with_criticality(reader: Reader, cell: Cell) -> Finetuning | None:
    making = reader.making(cell)
    return making if making is not None and making.criticality else None


def _measured(makings: Sequence[Finetuning]) -> tuple[MeasuredModule, ...]:
    """Modules over seeds, input first. Every making holds a criticality."""
    by_module = zip(*(making.criticality or () for making in makings), strict=True)
    return tuple(
        MeasuredModule(
            entries[0].module,
            tuple(entry.mrc for entry in entries),
            tuple(entry.accuracy_drop for entry in entries),
            tuple(entry.norm_ratio for entry in entries),
            tuple(entry.constrained for entry in entries),
        )
        for entries in by_module
    )


def _definition(settings: Criticality) -> str:
    """How and on which images MRC was measured."""
    if isinstance(settings, OfficialCriticality):
        how = f"as the released code measures it, the largest loss of {settings.steps} projected epochs"
    else:
        how = f"as Algorithm 1 reads, up to {settings.steps} epochs, stopped at the constraint"
    images = "all" if settings.images is None else f"the first {settings.images}"
    split = {"train": "training", "test": "test", "hold-out": "held-out training"}[settings.split]
    return (
        f"MRC: rise of the mean robust loss when the module's weight alone ascends it, within "
        f"{100 * settings.radius:g} % of its norm ({how}); on {images} {split} images"
    )


def _not_valid(modules: Sequence[MeasuredModule], how: str) -> list[str]:
    """Which modules have an ascent that diverged or failed; `how` says what becomes of them."""
    kinds = {
        "diverged": [module for module in modules if module.diverged],
        "ended lower than it began": [module for module in modules if module.failed],
    }
    return [
        f"the ascent {what} in some seed, {how}: {_names(found)}"
        for what, found in kinds.items()
        if found
    ]


def _under_estimated(modules: Sequence[MeasuredModule], drawn: str) -> list[str]:
    """Which modules were not bound by the constraint; `drawn` is how those are shown."""
    found = [module for module in modules if module.flagged]
    why = f"the constraint was never active in some seed, so MRC is under-estimated ({drawn})"
    return [f"{why}: {_names(found)}"] if found else []


def _names(modules: Sequence[MeasuredModule]) -> str:
    return ", ".join(module.module for module in modules)


# --- criticality against damage -----------------------------------------------------------------------

_DAMAGE_EVALUATIONS = ("clean", "pgd10x3")


def _damage_cells(place: _Place, scale: Scale) -> list[Cell]:
    """The base models, `rift` (its criticality) and every module alone (imports torch)."""
    alone = [_alone(module) for module in _module_names(place, scale)]
    return place.cells(scale, [BASE, "rift", *alone])


def _alone(module: str) -> str:
    """Name of the fine-tuning of `module` alone."""
    return f"{MODULE}{module.lower()}{ALPHA_1}"


def _module_names(place: _Place, scale: Scale) -> list[str]:
    import torch

    from benchmark.algorithm.criticality import criticality_modules

    dataset, network = place.names(scale)
    with torch.device("meta"):
        return criticality_modules(build(network, dataset_info(dataset)))


def _damage(name: str, place: _Place, reader: Reader) -> Damage:
    scale, read = reader.scale, partial(_std_and_adv, reader)
    base, no_base = _complete(place.cells(scale, [BASE]), read)
    rift, no_rift = _complete(place.cells(scale, ["rift"]), partial(_with_criticality, reader))
    if no_base or no_rift:
        raise _nothing(name, scale, no_base + no_rift)
    modules, missing = [], list[Cell]()
    found = _measured(list(rift.values()))
    order = ranked(found)
    for rank, measured in enumerate(order, start=1):
        alone, lacking = _complete(place.cells(scale, [_alone(measured.module)]), read)
        missing += lacking
        if alone:
            changes = [
                (after[0] - before[0], before[1] - after[1])
                for before, after in zip(base.values(), alone.values(), strict=True)
            ]
            gains, losses = zip(*changes, strict=True)
            modules.append(DamagedModule(rank, measured, losses, gains))
    if not order:
        raise UserError(f"{name} has nothing to show: no module has a valid MRC in every seed")
    if not modules:
        raise _nothing(name, scale, missing)
    title = "Criticality against damage: every module fine-tuned alone"
    seeds = place.seeds(scale)
    picture = Damage(name, title, place.label(scale), seeds, (), tuple(modules), len(order))
    notes = [
        f"scale {scale.name}: {scale.summary}",
        _seeds(seeds, "large dots their mean, small dots the seeds"),
        "fine-tuned weights (alpha 1) against AT on all test images, in points: Adv (worst of three "
        "PGD-10 runs) lost and Std (clean accuracy) gained",
        "modules from least to most critical by MRC",
        _definition(Plan.of(next(iter(rift)), scale).criticality),
        *_correlations(picture),
        *_under_estimated([module.measured for module in modules], "open dots"),
        *_not_valid(found, "left out"),
        *_left_out(missing),
    ]
    return replace(picture, notes=tuple(notes))


def _std_and_adv(reader: Reader, cell: Cell) -> Values | None:
    numbers = [reader.number([cell], name) for name in _DAMAGE_EVALUATIONS]
    known = tuple(number.mean for number in numbers if number is not None)
    return known if len(known) == len(numbers) else None


def _correlations(picture: Damage) -> list[str]:
    """Spearman's rho over modules, of the means and, if there are several, of each seed."""

    def text(correlation: Correlation | None) -> str:
        return "not defined" if correlation is None else correlation.text

    notes = [
        f"Spearman's rank correlation with MRC over {len(picture.modules)} modules: Adv lost "
        f"{text(picture.loss_correlation)}; Std gained {text(picture.gain_correlation)}"
    ]
    if len(picture.seeds) > 1:
        seeds = "; ".join(text(correlation) for correlation in picture.by_seed())
        notes.append(f"of Adv lost with MRC within each seed: {seeds}")
    return notes


# --- the registry -------------------------------------------------------------------------------------


def _curve_figure(name: str, summary: str, place: _Place) -> FigureSpec:
    return FigureSpec(name, summary, partial(_curve_cells, place), (), partial(_curves, name, place))


def _bar_figure(name: str, summary: str, place: _Place, tuning: str = "rift") -> FigureSpec:
    cells, build = partial(_bar_cells, tuning, place), partial(_bars, name, tuning, place)
    return FigureSpec(name, summary, cells, (), build)


def _damage_figure(name: str, summary: str, place: _Place) -> FigureSpec:
    cells, build = partial(_damage_cells, place), partial(_damage, name, place)
    return FigureSpec(name, summary, cells, _DAMAGE_EVALUATIONS, build)


FIGURES: dict[str, FigureSpec] = {
    spec.name: spec
    for spec in (
        _curve_figure(
            "figure1", "clean against robust accuracy along alpha, first dataset and network", _Place()
        ),
        _bar_figure("figure3", "criticality of every module, first dataset and network", _Place()),
        _bar_figure(
            "figure3-official",
            "Figure 3 with the criticality of the released code",
            _Place(),
            "rift-official-code",
        ),
        _bar_figure("figure-c1", "Figure 3 of the second dataset and network", _Place(1, 1)),
        _bar_figure("figure-c2", "Figure 3 of the third dataset and network", _Place(2, 2)),
        _bar_figure("figure-c3", "Figure 3 of the second dataset, first network", _Place(1, 0)),
        _bar_figure("figure-c4", "Figure 3 of the third dataset, first network", _Place(2, 0)),
        _curve_figure("figure-c5", "Figure 1 of the second dataset", _Place(1, 0)),
        _damage_figure(
            "figure-damage", "criticality against what fine-tuning a module alone costs", _Place()
        ),
    )
}


def figure_spec(name: str) -> FigureSpec:
    """The figure called `name`. Raises `UserError` if there is none."""
    if name not in FIGURES:
        raise UserError(f"unknown figure '{name}'; known: {', '.join(FIGURES)}")
    return FIGURES[name]
