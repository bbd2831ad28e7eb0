"""Figures 3 and C.1 to C.4: the criticality of every module."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from benchmark.algorithm.tunings import finetune
from benchmark.engine.recipes import Criticality, OfficialCriticality, ScaleFreeCriticality
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning, ModuleCriticality
from benchmark.report.figures import draw
from benchmark.report.figures.figure import FigureSpec, Picture, Rows, complete, tuned_modules
from benchmark.report.view import View

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCH = "//////"
MARKERS = {"diverged": "x", "ended lower than it began": "v"}
"""What becomes of an ascent without a valid MRC, and the marker of a module with such a one."""
AXES = {"log": "logarithmic", "symlog": "logarithmic on both sides of zero and linear around it"}
NumbersBySeed = Sequence[float | None]


@dataclass(frozen=True)
class BarFigure(FigureSpec):
    """MRC and robust-accuracy drop of every module, as measured for the fine-tuning `tuning`."""

    tuning: str = "rift"

    def cells(self, scale: Scale) -> list[Cell]:
        return self.subject.cells(scale, [self.tuning])

    def build(self, view: View) -> "CriticalityBars":
        scale, cells = view.scale, self.cells(view.scale)
        finetunings, missing = complete(cells, partial(with_criticality, view))
        if missing:
            raise self.nothing(missing)
        released = finetune(self.tuning).protocol.released_order
        modules, ranking = over_seeds(finetunings), "no module is ranked"
        axis = axis_of_mrc(modules)
        if order := ranked(modules, released_order=released):
            ranking = f"least critical: {order[0].module}; most critical: {order[-1].module}"
        notes = [
            definition(view.plan(cells[0]).criticality),
            *([f"the axis of MRC is {AXES[axis]}"] if axis in AXES else []),
            ranking,
            f"fine-tuned by {self.tuning}: {tuned_modules(finetunings)}",
            *not_valid(modules, "ranked as the released code does" if released else "not ranked"),
            *under_estimated(modules, "hatched"),
            *self.subject.stand_ins(scale),
        ]
        how = " as the released code measures it" if self.name.endswith("-official") else ""
        title = f"{self.number}: module robust criticality{how}"
        head = self.head(scale, title, "bars their mean, black ticks the seeds", notes)
        return CriticalityBars(*head, modules, released)


def with_criticality(view: View, cell: Cell) -> Finetuning | None:
    """How a fine-tuning was made, None where no criticality is on record."""
    finetuning = view.finetuning(cell)
    return finetuning if finetuning is not None and finetuning.criticality else None


def definition(settings: Criticality) -> str:
    """How and on which images MRC was measured."""
    if isinstance(settings, ScaleFreeCriticality):
        share = f"{settings.rate:g} of that radius"
        how = f"the largest on a path of {settings.steps} steps of {share} each"
    elif isinstance(settings, OfficialCriticality):
        how = f"as the released code measures it, the largest loss of {settings.steps} projected epochs"
    else:
        how = f"as Algorithm 1 reads, up to {settings.steps} epochs, stopped at the constraint"
    images = "all" if settings.images is None else f"the first {settings.images}"
    split = {"train": "training", "test": "test", "hold-out": "held-out training"}[settings.split]
    return (
        f"MRC: rise of the mean robust loss when the module's weight alone ascends it, within "
        f"{100 * settings.radius:g} % of its norm ({how}); on {images} {split} images"
    )


@dataclass(frozen=True)
class ModuleOverSeeds:
    """What was measured of one module, by seed; numbers are None where the ascent diverged."""

    entries: tuple[ModuleCriticality, ...]

    @property
    def module(self) -> str:
        return self.entries[0].module

    @property
    def mrc(self) -> NumbersBySeed:
        return [entry.mrc for entry in self.entries]

    @property
    def drop(self) -> NumbersBySeed:
        """Drop of robust accuracy, fractions."""
        return [entry.accuracy_drop for entry in self.entries]

    @property
    def lost(self) -> list[str]:
        """What became of ascents without a valid MRC, of `MARKERS`."""
        there = (any(each.diverged for each in self.entries), any(each.failed for each in self.entries))
        return [what for what, known in zip(MARKERS, there, strict=True) if known]

    @property
    def flagged(self) -> bool:
        """Whether any MRC is under-estimated, the constraint never having been active."""
        return any(each.valid and not each.constrained for each in self.entries)

    @property
    def mean_mrc(self) -> float | None:
        return mean(self.mrc)


def over_seeds(finetunings: Iterable[Finetuning]) -> tuple[ModuleOverSeeds, ...]:
    """Modules over seeds, input first. Every finetuning holds a criticality."""
    seeds = [finetuning.criticality or [] for finetuning in finetunings]
    return tuple(ModuleOverSeeds(entries) for entries in zip(*seeds, strict=True))


def mean(values: NumbersBySeed) -> float | None:
    """The mean, None if any value is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def ranked(
    modules: Iterable[ModuleOverSeeds], *, released_order: bool = False
) -> list[ModuleOverSeeds]:
    """From least to most critical by mean MRC; the module nearer the input first on a tie.

    As `Candidates.ranked`: modules with an ascent that diverged or failed are left out, but in the
    released order, where one that diverged comes first.
    """
    valid = [each for each in modules if released_order or not each.lost]
    return sorted(valid, key=lambda each: -math.inf if each.mean_mrc is None else each.mean_mrc)


def not_valid(modules: Sequence[ModuleOverSeeds], how: str) -> list[str]:
    """Notes on modules with an ascent that diverged or failed; `how` tells what becomes of them."""
    names = {what: ", ".join(each.module for each in modules if what in each.lost) for what in MARKERS}
    return [f"the ascent {what} in some seed, {how}: {of}" for what, of in names.items() if of]


def under_estimated(modules: Sequence[ModuleOverSeeds], drawn: str) -> list[str]:
    """A note on modules not bound by the constraint; `drawn` is how those are shown."""
    names = ", ".join(each.module for each in modules if each.flagged)
    why = f"the constraint was never active in some seed, so MRC is under-estimated ({drawn})"
    return [f"{why}: {names}"] if names else []


def axis_of_mrc(modules: Iterable[ModuleOverSeeds]) -> Literal["linear", "log", "symlog"]:
    """Linear if all nonzero |MRC| are within a factor of ten; else log, or symlog if any is <= 0."""
    values = [value for module in modules for value in module.mrc if value is not None]
    sizes = [abs(value) for value in values if value != 0]
    if not sizes or max(sizes) < 10 * min(sizes):
        return "linear"
    return "log" if min(values) > 0 else "symlog"


@dataclass(frozen=True)
class CriticalityBars(Picture):
    """MRC and robust-accuracy drop of every module, input first."""

    modules: tuple[ModuleOverSeeds, ...]
    released_order: bool = False

    def rows(self) -> Rows:
        return [
            {"place": place, "module": module.module, "seed": seed, "mrc": mrc, "accuracy_drop": drop}
            | {"norm_ratio": ratio, "constrained": constrained}
            for place, module in enumerate(self.modules, start=1)
            for seed, (mrc, drop, ratio, constrained) in self.by_seed(
                [(e.mrc, e.accuracy_drop, e.norm_ratio, e.constrained) for e in module.entries],
                (
                    module.mean_mrc,
                    mean(module.drop),
                    mean([entry.norm_ratio for entry in module.entries]),
                    all(entry.constrained for entry in module.entries),
                ),
            )
        ]

    def figure(self) -> "Figure":
        figure, (upper, lower) = draw.canvas(draw.PAGE, 4.0, (1, 1), sharex=True)
        above = 9 if any(module.lost for module in self.modules) else None  # where its marks are
        upper.set_title(self.model, loc="left", pad=above)
        names = [module.module for module in self.modules]
        order = [each.module for each in ranked(self.modules, released_order=self.released_order)]
        special = dict.fromkeys(order[-1:], draw.MOST) | dict.fromkeys(order[:1], draw.LEAST)
        colours = [special.get(name, draw.OTHER) for name in names]
        for place, (module, colour) in enumerate(zip(self.modules, colours, strict=True)):
            points = [None if value is None else 100 * value for value in module.drop]
            self._bar(upper, place, colour, module.mrc)
            self._bar(lower, place, colour, points)
        for axes in (upper, lower):
            axes.axhline(0, color=draw.BLACK, lw=0.6, zorder=3)
            axes.set_xlim(-0.7, len(self.modules) - 0.3)
            axes.grid(axis="y", lw=0.3, color=draw.GRID)
        self._mrc_axis(upper)
        lower.set_ylabel("robust accuracy\ndrop (points)")
        draw.name_modules((upper, lower), range(len(names)), names, colours)
        hatched = draw.patch(fc="white", ec=draw.OTHER, hatch=HATCH, lw=0.6)
        tick = draw.line(ls="none", marker="_", ms=5, mew=0.7, color=draw.BLACK)
        legend(figure, self, self.modules, hatched, tick)
        return figure

    def _bar(self, axes: "Axes", place: int, colour: str, seeds: NumbersBySeed) -> None:
        """A bar if there is a mean, a tick per seed, and a marker for each thing that went wrong."""
        module, known = self.modules[place], [value for value in seeds if value is not None]
        if len(known) == len(seeds):
            inside, hatch = ("white", HATCH) if module.flagged else (colour, None)
            height = statistics.fmean(known)
            axes.bar(place, height, 0.72, fc=inside, ec=colour, hatch=hatch, lw=0.6, zorder=2)
        for what in module.lost:
            mark = draw.line([place], [1.03], marker=MARKERS[what], ms=4.5, mew=1.3, color=colour)
            mark.set_clip_on(False)
            axes.add_artist(mark).set_transform(axes.get_xaxis_transform())
        if len(self.seeds) > 1:
            places = [place] * len(known)
            axes.plot(places, known, ls="none", marker="_", ms=5, mew=0.7, c=draw.BLACK, zorder=3)

    def _mrc_axis(self, axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        kind = axis_of_mrc(self.modules)
        sizes = sorted(abs(value) for module in self.modules for value in module.mrc if value)
        if kind == "log":
            axes.set_yscale("log")
            subs = (1, 2, 5) if sizes[-1] < 100 * sizes[0] else (1,)
            axes.yaxis.set_major_locator(LogLocator(subs=subs))
        elif kind == "symlog":
            linear = 10 ** math.floor(math.log10(max(sizes[0], sizes[-1] / 1000)))
            axes.set_yscale("symlog", linthresh=linear)
        if kind != "linear":
            minus = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))
            axes.yaxis.set_major_formatter(minus)
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("MRC" if kind == "linear" else "MRC (log scale)")


def legend(
    figure: "Figure",
    picture: Picture,
    modules: Sequence[ModuleOverSeeds],
    flagged: "Artist",
    seed: "Artist",
) -> None:
    """Explain what occurs; `flagged` and `seed` show how modules of that kind and a seed are drawn."""
    handles: dict[str, Artist] = {
        "least critical": draw.patch(color=draw.LEAST),
        "most critical": draw.patch(color=draw.MOST),
    }
    if any(module.flagged for module in modules):
        handles["constraint never active"] = flagged
    for what, label in zip(MARKERS, ("ascent diverged", "ascent failed"), strict=True):
        if any(what in module.lost for module in modules):
            marker = MARKERS[what]
            handles[label] = draw.line(ls="none", marker=marker, ms=5, mew=1.3, color=draw.OTHER)
    if len(picture.seeds) > 1:
        handles["seeds"] = seed
    figure.legend([*handles.values()], [*handles], loc="outside upper right", ncols=len(handles))
