"""Figures 1 and C.5: accuracies between the adversarially trained and the fine-tuned weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.algorithm.tunings import CURVE, finetune
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning
from benchmark.report.figures import draw
from benchmark.report.figures.figure import (
    MEAN,
    FigureSpec,
    Picture,
    Rows,
    complete,
    left_out,
    tuned_modules,
)
from benchmark.report.intervals import Interval, over_seeds, wilson
from benchmark.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LOOKS: dict[str, tuple[str, str, draw.Dashes]] = {
    "rift": (draw.BLUE, "o", "-"),
    "robust-critical": (draw.VERMILLION, "s", (0, (4, 1))),
    "last-layer": (draw.GREEN, "^", (0, (1, 1))),
    "random-layer": (draw.PURPLE, "D", (0, (4, 1, 1, 1))),
    "all-layers": (draw.ORANGE, "v", (0, (8, 1.5))),
}
"""The fine-tunings that are shown; colours, markers and dashes each tell them apart."""
WRITTEN = (0.25, 0.5, 0.75, 1.0)
"""The alphas that stand beside their dot where there is room."""


@dataclass(frozen=True)
class CurveFigure(FigureSpec):
    """Robust against clean accuracy along alpha, a curve for each fine-tuning of `LOOKS`."""

    def cells(self, scale: Scale) -> list[Cell]:
        return self.subject.cells(scale, [tuning + CURVE for tuning in LOOKS])

    def build(self, view: View) -> "Curves":
        scale, curves, missing, notes = view.scale, list[TuningCurve](), list[Cell](), list[str]()
        images = 0
        for tuning in LOOKS:
            cells = self.subject.cells(scale, [tuning + CURVE])
            finetunings, incomplete = complete(cells, partial(_with_whole_curve, view))
            missing += incomplete
            if finetunings:
                images = finetunings[0].curve[0].clean.n
                curves.append(curve := TuningCurve.of(tuning, finetunings))
                if not curve.whole_network:
                    notes.append(f"{curve.label}: {tuned_modules(finetunings)}")
        if not curves:
            raise self.nothing(missing)
        plan = view.plan(self.cells(scale)[0])
        assert plan.finetune is not None and plan.finetune.interpolation is not None
        rule, share = plan.finetune.interpolation, plan.recipe.select_images
        notes = [
            f"accuracies of {'all' if share is None else 'the first'} {images} test images, which also "
            f"choose epochs and alpha*; robust accuracy is of one PGD-{plan.attack.steps} run",
            f"{rule.intervals + 1} points from AT (alpha 0) to the fine-tuned weights (alpha 1)",
            "cross: 95 % interval (Wilson's) of AT over these images; of a change, see `audit`"
            if len(curves[0].accuracies) == 1
            else "crosses: 95 % t interval over seeds of the change from AT to alpha 1",
            f"dashed line: AT's robust accuracy less {100 * rule.tolerance:g} point, a constraint",
            *(f"ring: alpha* of {c.label}, {_by_seed(c.chosen)}" for c in curves if c.tuning == "rift"),
            *notes,
            *self.subject.stand_ins(scale),
            *left_out(missing),
        ]
        title = f"{self.number}: interpolation between adversarially trained and fine-tuned weights"
        how = "curves are their mean, each seed moved to start at the mean AT point"
        head = self.head(scale, title, how, notes)
        return Curves(*head, tuple(curves), rule.tolerance, images)


def _with_whole_curve(view: View, cell: Cell) -> Finetuning | None:
    found = view.finetuning(cell)
    if found is None or not found.curve or any(point.robust is None for point in found.curve):
        return None
    return found


def _by_seed(alphas: Sequence[float]) -> str:
    return ("by seed " if len(alphas) > 1 else "") + ", ".join(f"{alpha:.2f}" for alpha in alphas)


@dataclass(frozen=True, eq=False)
class TuningCurve:
    """One fine-tuning: its accuracies along `alphas`, and the alpha* of each seed.

    `accuracies` (seeds, 2, alphas) are clean and robust ones, as fractions.
    """

    tuning: str
    label: str
    alphas: tuple[float, ...]
    accuracies: NDArray[np.float64]
    chosen: tuple[float, ...]
    whole_network: bool

    @classmethod
    def of(cls, tuning: str, finetunings: Sequence[Finetuning]) -> "TuningCurve":
        curves = [each.curve for each in finetunings]
        clean = [[point.clean.fraction for point in curve] for curve in curves]
        robust = [[point.robust.fraction for point in curve if point.robust] for curve in curves]
        made = finetune(tuning)
        return cls(
            tuning,
            made.label + (" (RiFT)" if tuning == "rift" else ""),
            tuple(point.alpha for point in curves[0]),
            np.stack([clean, robust], axis=1),
            tuple(finetuning.alpha for finetuning in finetunings),
            made.selector.everything,
        )

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean over seeds, alpha by alpha, (2, alphas)."""
        return np.asarray(self.accuracies.mean(axis=0))

    @property
    def aligned(self) -> NDArray[np.float64]:
        """The curves of the seeds, each moved as a whole so that it starts at the mean's first point.

        Seeds differ in their base models by more than a fine-tuning changes them. After the move a
        point is as far from AT as it is in its own seed, and the constraint is one line for all.
        """
        return self.accuracies + (self.mean[:, :1] - self.accuracies[:, :, :1])

    @property
    def rings(self) -> NDArray[np.float64]:
        """The points of alpha* on the aligned curves, (seeds, 2); of RiFT only."""
        if self.tuning != "rift":
            return np.empty((0, 2))
        places = [self.alphas.index(alpha) for alpha in self.chosen]
        return self.aligned[range(len(places)), :, places]


@dataclass(frozen=True)
class Curves(Picture):
    """Accuracies of `images` along alpha; `tolerance` (a fraction) is what alpha* may lose."""

    tunings: tuple[TuningCurve, ...]
    tolerance: float
    images: int

    @property
    def base(self) -> tuple[float, float]:
        """Clean and robust accuracy of AT, which is alpha = 0 of every curve."""
        clean, robust = self.tunings[0].mean[:, 0].tolist()
        return clean, robust

    @property
    def floor(self) -> float:
        """The robust accuracy below which no alpha* may be."""
        return self.base[1] - self.tolerance

    def interval(self, curve: TuningCurve, place: int, which: int) -> Interval | None:
        """95 % interval of the clean (0) or robust (1) accuracy at an alpha: over seeds, that of its
        change from AT, or over images where there is one seed."""
        values = curve.aligned[:, which, place]
        if len(values) > 1:
            return over_seeds(values.tolist())
        return wilson(round(float(values[0]) * self.images), self.images)

    def rows(self) -> Rows:
        return [
            {"tuning": curve.tuning, "seed": seed, "alpha": alpha, "clean": clean, "robust": robust}
            | {"alpha_star": None if chosen is None else alpha == chosen}
            | self._ends(curve, place, shown=seed == MEAN or len(self.seeds) == 1)
            for curve in self.tunings
            for (seed, accuracies), chosen in zip(
                self.by_seed(curve.accuracies, curve.mean), (*curve.chosen, None), strict=False
            )
            for place, (alpha, (clean, robust)) in enumerate(
                zip(curve.alphas, accuracies.T.tolist(), strict=True)
            )
        ]

    def _ends(self, curve: TuningCurve, place: int, *, shown: bool) -> dict[str, object]:
        found = [self.interval(curve, place, which) if shown else None for which in (0, 1)]
        return {
            f"{name}_{end}": each and getattr(each, end)
            for name, each in zip(("clean", "robust"), found, strict=True)
            for end in ("low", "high")
        }

    def figure(self) -> "Figure":
        """Robust against clean accuracy around AT, as far as single modules and intervals reach.

        Fine-tuning all layers moves so much further that it would dwarf the rest: its curve leaves the
        panel, and the legend says where it ends.
        """
        figure, (axes,) = draw.canvas(draw.COLUMN, 3.9, (1,))
        axes.set_title(self.model, loc="left")
        axes.set(xlabel="clean accuracy (%)", ylabel="robust accuracy (%)")
        axes.axhline(100 * self.floor, color=draw.BLACK, lw=0.8, ls="--", zorder=1)
        crossed = self.tunings if len(self.seeds) > 1 else self.tunings[:1]
        crosses = {curve: self._cross(axes, curve) for curve in crossed}
        rings = 100 * np.concatenate([curve.rings for curve in self.tunings])
        for x, y in rings:
            axes.add_line(_ring([x], [y]))
        single = [curve for curve in self.tunings if not curve.whole_network] or self.tunings
        reach = [ends for curve, ends in crosses.items() if curve in single]
        points = [*(100 * curve.mean.T for curve in single), *reach, rings]
        left, low, right, high = _limits(
            np.concatenate([*points, [[100 * self.base[0], 100 * self.floor]]])
        )
        axes.set(xlim=(left, right), ylim=(low, high))
        handles = []
        for curve in self.tunings:
            colour, marker, dashes = LOOKS[curve.tuning]
            mean, label = 100 * curve.mean, curve.label
            places = [i for i, alpha in enumerate(curve.alphas) if alpha in WRITTEN]
            style: dict[str, Any] = {"color": colour, "ls": dashes, "lw": 1}
            style |= {"marker": marker, "ms": 3, "mew": 0}
            axes.plot(*mean, **style, markevery=places, zorder=4)
            if not left <= mean[0, -1] <= right or not low <= mean[1, -1] <= high:
                label += f", to ({mean[0, -1]:.1f}, {mean[1, -1]:.1f})"
            handles.append(draw.line(**style, label=label))
        self._write_alphas(axes)
        x, y = self.base
        axes.plot(100 * x, 100 * y, color=draw.BLACK, marker="*", ms=7, mew=0, ls="none", zorder=5)
        handles.append(draw.line(color=draw.BLACK, marker="*", ms=7, ls="none", label="AT (alpha = 0)"))
        label = f"AT − {100 * self.tolerance:g} point"
        handles.append(draw.line(color=draw.BLACK, lw=0.8, ls="--", label=label))
        if len(rings):
            handles.append(_ring(label="alpha* of RiFT"))
        label = "95 % over seeds" if len(self.seeds) > 1 else f"95 % of AT, {self.images} images"
        handles.append(draw.line(color=draw.GREY, lw=1, marker="+", ms=7, ls="none", label=label))
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return figure

    def _cross(self, axes: "Axes", curve: TuningCurve) -> NDArray[np.float64]:
        place = -1 if len(self.seeds) > 1 else 0
        x, y = (100 * curve.mean[:, place]).tolist()
        across, up = self.interval(curve, place, 0), self.interval(curve, place, 1)
        ends = [(100 * end, y) for each in [across] if each for end in (each.low, each.high)]
        ends += [(x, 100 * end) for each in [up] if each for end in (each.low, each.high)]
        colour = LOOKS[curve.tuning][0] if len(self.seeds) > 1 else draw.GREY
        for one, other in zip(ends[::2], ends[1::2], strict=True):
            axes.plot(*zip(one, other, strict=True), color=colour, lw=0.8, alpha=0.7, zorder=2)
        return np.asarray(ends, dtype=float).reshape(-1, 2)

    def _write_alphas(self, axes: "Axes") -> None:
        """Write alphas beside their dots, the largest first, where nothing is written nearby."""
        taken = [np.asarray(axes.transData.transform((100 * self.base[0], 100 * self.base[1])))]
        room = 13 * axes.figure.dpi / 72
        for alpha, curve in [(alpha, c) for alpha in reversed(WRITTEN) for c in self.tunings]:
            for point in 100 * curve.mean.T[np.asarray(curve.alphas) == alpha]:
                spot = np.asarray(axes.transData.transform(point))
                alone = all(np.hypot(*(spot - other)) > room for other in taken)
                if alone and axes.viewLim.contains(*point):
                    taken.append(spot)
                    side, ha = (-1, "right") if spot[0] < taken[0][0] else (1, "left")
                    style: dict[str, Any] = {"ha": ha, "va": "bottom", "size": 6}
                    away = (2.5 * side, 1)
                    axes.annotate(f"{alpha:g}", point, away, textcoords="offset points", **style)


def _ring(x: Sequence[float] = (), y: Sequence[float] = (), label: str = "") -> "Line2D":
    ring = {"marker": "o", "ms": 6, "mfc": "none", "mec": draw.BLACK, "mew": 0.9, "ls": "none"}
    return draw.line(x, y, label=label, zorder=6, **ring)


def _limits(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Left, low, right and high end of a panel around `points`, (N, 2)."""
    ends = np.stack([points.min(axis=0), points.max(axis=0)])
    margin = 0.06 * (ends[1] - ends[0])
    margin[margin == 0] = 0.5
    return tuple((ends + np.outer((-1, 1), margin)).ravel().tolist())
