"""Criticality against damage: what fine-tuning one module alone costs and gains."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import atanh, factorial, sqrt, tanh
from statistics import NormalDist
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmark.algorithm.selection import in_keys
from benchmark.algorithm.tunings import ALPHA_1, MODULE
from benchmark.data import dataset_info
from benchmark.errors import UserError
from benchmark.models import without_values
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, Cell
from benchmark.report.figures import draw
from benchmark.report.figures.bars import (
    ModuleOverSeeds,
    definition,
    legend,
    not_valid,
    over_seeds,
    ranked,
    under_estimated,
    with_criticality,
)
from benchmark.report.figures.figure import FigureSpec, Picture, Rows, complete, left_out
from benchmark.report.intervals import Interval
from benchmark.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = Sequence[float]
_DIGITS = 12  # means over seeds that differ by rounding only are the same


@dataclass(frozen=True)
class DamageFigure(FigureSpec):
    """Robust accuracy lost and clean accuracy gained by fine-tuning each module alone, by its MRC."""

    evaluations: ClassVar[tuple[str, ...]] = ("clean", "pgd10x3")

    def cells(self, scale: Scale) -> list[Cell]:
        """The base models, `rift` (its criticality) and every module alone (imports torch)."""
        from benchmark.algorithm.criticality import criticality_modules

        dataset, network = self.subject.names(scale)
        modules = criticality_modules(without_values(network, dataset_info(dataset)))
        return self.subject.cells(scale, [BASE, "rift", *map(_alone, modules)])

    def build(self, view: View) -> "Damage":
        scale, cells_of = view.scale, partial(self.subject.cells, view.scale)
        accuracies = partial(self._std_and_adv, view)
        before, no_base = complete(cells_of([BASE]), accuracies)
        finetunings, no_rift = complete(cells_of(["rift"]), partial(with_criticality, view))
        if no_base or no_rift:
            raise self.nothing(no_base + no_rift)
        found, modules, missing = over_seeds(finetunings), list[DamagedModule](), list[Cell]()
        order = ranked(found)
        for rank, module in enumerate(order, start=1):
            after, incomplete = complete(cells_of([_alone(module.module)]), accuracies)
            missing += incomplete
            if after:
                (std, adv), (std_after, adv_after) = np.transpose(before), np.transpose(after)
                changes = (adv - adv_after).tolist(), (std_after - std).tolist()
                modules.append(DamagedModule(rank, module, *changes))
        if not order:
            why = "no module has a valid MRC in every seed"
            raise UserError(f"{self.name} has nothing to show: {why}")
        if not modules:
            raise self.nothing(missing)
        title = "Criticality against damage: every module fine-tuned alone"
        head = self.head(scale, title, "large dots their mean, small dots the seeds", ())
        picture = Damage(*head, tuple(modules), len(order))
        notes = (
            "fine-tuned weights (alpha 1) against AT on all test images, in points: Adv (worst of "
            "three PGD-10 runs) lost and Std (clean accuracy) gained",
            "modules from least to most critical by MRC",
            definition(view.plan(cells_of(["rift"])[0]).criticality),
            *picture.correlations(),
            picture.least,
            *under_estimated([module.measured for module in modules], "open dots"),
            *not_valid(found, "left out"),
            *left_out(missing),
        )
        return replace(picture, notes=picture.notes + notes)

    def _std_and_adv(self, view: View, cell: Cell) -> Values | None:
        numbers = [view.accuracy([[cell]], name).estimate for name in self.evaluations]
        return [each.mean for each in numbers if each] if all(numbers) else None


def _alone(module: str) -> str:
    return f"{MODULE}{in_keys(module)}{ALPHA_1}"


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of two quantities over `n` modules, and its two-sided p-value."""

    rho: float
    p: float
    n: int

    def __str__(self) -> str:
        """`rho = 0.53 [0.10, 0.79] (p = 0.013)`; a p below 0.001 reads `p < 0.001`."""
        found = self.interval
        shown = "" if found is None else f" [{found.low:z.2f}, {found.high:z.2f}]"
        p = "< 0.001" if self.p < 0.001 else f"= {self.p:.3f}"
        return f"rho = {self.rho:z.2f}{shown} (p {p})"

    @property
    def interval(self) -> Interval | None:
        """95 % over modules, by Fisher's z with the variance (1 + rho^2 / 2) / (n - 3) of Bonett and
        Wright (2000); None for three modules and for a perfect correlation."""
        if self.n == 3 or abs(self.rho) > 1 - 1e-12:  # a perfect one is rounded
            return None
        middle = atanh(self.rho)
        half = NormalDist().inv_cdf(0.975) * sqrt((1 + self.rho**2 / 2) / (self.n - 3))
        return Interval(tanh(middle - half), tanh(middle + half))


def spearman(x: Sequence[float | None], y: Sequence[float]) -> Correlation | None:
    """Spearman's rank correlation; None for fewer than three pairs or if all of one side are equal.

    Its p is by Student's t, which is 0 for a perfect one: no p by permutations is below 2 / n!.
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    from scipy.stats import spearmanr

    result = spearmanr(x, y)
    p = max(float(result.pvalue), 2 / factorial(len(x)))
    return Correlation(float(result.statistic), p, len(x))


@dataclass(frozen=True)
class DamagedModule:
    """A module, and what fine-tuning it alone loses in Adv and gains in Std (fractions) by seed.

    `rank` is by mean MRC among modules with a valid MRC in every seed, 1 the least critical.
    """

    rank: int
    measured: ModuleOverSeeds
    loss: Values
    gain: Values


@dataclass(frozen=True)
class Damage(Picture):
    """What fine-tuning one module costs and gains, from least to most critical.

    `modules` are those that are complete, of `count` that are ranked.
    """

    modules: tuple[DamagedModule, ...]
    count: int

    @property
    def means(self) -> tuple[Values, Values]:
        """Of every module the loss in Adv and the gain in Std."""
        changes = zip(*((module.loss, module.gain) for module in self.modules), strict=True)
        loss, gain = ([round(statistics.fmean(own), _DIGITS) for own in each] for each in changes)
        return loss, gain

    @property
    def with_mrc(self) -> list[Correlation | None]:
        """Of mean MRC and mean loss in Adv, and mean gain in Std; None where it is not defined."""
        mrc = [module.measured.mean_mrc for module in self.modules]
        return [spearman(mrc, each) for each in self.means]

    @property
    def least(self) -> str:
        """Where the least critical module stands among all of them."""
        first, *_ = self.modules
        loss, gain = self.means
        by_gain = 1 + sum(each > gain[0] for each in gain)
        by_loss = 1 + sum(each < loss[0] for each in loss)
        ranks = f"{by_gain} by Std gained (1 is the most) and {by_loss} by Adv lost (1 is the least)"
        return f"{first.measured.module}, the least critical of them, has rank {ranks}"

    def correlations(self) -> list[str]:
        """Notes on Spearman's rho over modules: of the means and, of several seeds, within each."""

        def text(correlation: Correlation | None) -> str:
            return "not defined" if correlation is None else str(correlation)

        loss, gain = map(text, self.with_mrc)
        notes = [
            f"Spearman's rank correlation with MRC over {len(self.modules)} modules (95 % intervals "
            f"over them): Adv lost {loss}; Std gained {gain}. Of Adv lost with Std gained: "
            f"{text(spearman(*self.means))}"
        ]
        if len(self.seeds) > 1:
            mrc = zip(*(module.measured.mrc for module in self.modules), strict=True)
            lost = zip(*(module.loss for module in self.modules), strict=True)
            each = "; ".join(text(spearman(x, y)) for x, y in zip(mrc, lost, strict=True))
            notes.append(f"of Adv lost with MRC within each seed: {each}")
        return notes

    def rows(self) -> Rows:
        return [
            {"rank": module.rank, "module": module.measured.module, "seed": seed, "mrc": mrc}
            | {"adv_loss": loss, "std_gain": gain}
            for module in self.modules
            for seed, (mrc, loss, gain) in self.by_seed(
                zip(module.measured.mrc, module.loss, module.gain, strict=True),
                (module.measured.mean_mrc, *map(statistics.fmean, (module.loss, module.gain))),
            )
        ]

    def figure(self) -> "Figure":
        figure, panels = draw.canvas(draw.PAGE, 4.4, (5, 3), sharex=True)
        upper, lower = panels
        upper.set_title(self.model, loc="left")
        special = {1: draw.LEAST, self.count: draw.MOST}
        colours = [special.get(module.rank, draw.OTHER) for module in self.modules]
        for axes in panels:
            axes.axhline(0, color=draw.BLACK, lw=0.6, zorder=1)
            axes.set_xlim(0.3, self.count + 0.7)
            axes.grid(axis="y", lw=0.3, color=draw.GRID)
        for module, colour in zip(self.modules, colours, strict=True):
            _dots(upper, module, module.loss, colour)
            _dots(lower, module, module.gain, colour)
        upper.set_ylabel("Adv lost (points)")
        lower.set_ylabel("Std gained\n(points)")
        for axes, found in zip(panels, self.with_mrc, strict=True):
            text = "rho not defined" if found is None else str(found)
            text = text.replace("rho", "ρ").replace("-", "−")
            axes.set_title(f"Spearman's {text}", loc="right", fontsize=6.5)
        measured = [module.measured for module in self.modules]
        places, names = [m.rank for m in self.modules], [module.module for module in measured]
        draw.name_modules(panels, places, names, colours)
        lower.set_xlabel("modules from least to most critical by MRC")
        flagged = draw.line(ls="none", marker="o", ms=5, mew=0.9, mfc="white", mec=draw.OTHER)
        dot = draw.line(ls="none", marker="o", ms=2, color=draw.OTHER)
        legend(figure, self, measured, flagged, dot)
        return figure


def _dots(axes: "Axes", module: DamagedModule, changes: Values, colour: str) -> None:
    """A large dot at the mean, and a small one per seed on a line through it."""
    points, place = [100 * change for change in changes], module.rank
    if len(points) > 1:
        axes.plot([place, place], [min(points), max(points)], color=colour, lw=0.6, zorder=2)
        axes.plot([place] * len(points), points, ls="none", marker="o", ms=2, color=colour, zorder=3)
    inside = "white" if module.measured.flagged else colour
    mean = sum(points) / len(points)
    axes.plot(place, mean, marker="o", ms=5, mew=0.9, color=colour, mfc=inside, zorder=4)
