"""Figures 1 and C.5: accuracies between the adversarially trained and the fine-tuned weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.algorithm.tunings import CURVE, finetune
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning
from benchmark.report.figures import draw
from benchmark.report.figures.figure import (
    FigureSpec,
    Picture,
    Rows,
    complete,
    left_out,
    tuned_modules,
)
from benchmark.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LOOKS = {
    "rift": (draw.BLUE, "o"),
    "robust-critical": (draw.VERMILLION, "s"),
    "last-layer": (draw.GREEN, "^"),
    "random-layer": (draw.PURPLE, "D"),
    "all-layers": (draw.ORANGE, "v"),
}
"""The fine-tunings that are shown, with their colours and markers."""


@dataclass(frozen=True)
class CurveFigure(FigureSpec):
    """Robust against clean accuracy along alpha, a curve for each fine-tuning of `LOOKS`."""

    def cells(self, scale: Scale) -> list[Cell]:
        return [cell for tuning in LOOKS for cell in self._cells_of(tuning, scale)]

    def _cells_of(self, tuning: str, scale: Scale) -> list[Cell]:
        return self.subject.cells(scale, [tuning + CURVE])

    def build(self, view: View) -> "Curves":
        scale, curves, missing, notes = view.scale, list[TuningCurve](), list[Cell](), list[str]()
        images = 0
        for tuning in LOOKS:
            cells = self._cells_of(tuning, scale)
            finetunings, incomplete = complete(cells, partial(_with_whole_curve, view))
            missing += incomplete
            if finetunings:
                images = finetunings[0].curve[0].clean.n
                curves.append(curve := TuningCurve.of(tuning, finetunings))
                if not curve.whole_network:
                    notes.append(f"{curve.label}: {tuned_modules(finetunings)}")
        if not curves:
            raise self.nothing(scale, missing)
        plan = Plan.of(self.cells(scale)[0], scale)
        assert plan.finetune is not None and plan.finetune.interpolation is not None
        rule, share = plan.finetune.interpolation, plan.recipe.select_images
        notes = [
            f"accuracies of {'all' if share is None else 'the first'} {images} test images, which also "
            f"choose epochs and alpha*; robust accuracy is of one PGD-{plan.attack.steps} run",
            f"{rule.intervals + 1} dots from AT (alpha 0) to the fine-tuned weights (alpha 1)",
            f"dashed line: AT's robust accuracy less {100 * rule.tolerance:g} point, alpha*'s "
            "constraint",
            *(f"ring: alpha* of {c.label}, {_by_seed(c.chosen)}" for c in curves if c.tuning == "rift"),
            *notes,
            *self.subject.stand_ins(scale),
            *left_out(missing),
        ]
        title = f"{self.number}: interpolation between adversarially trained and fine-tuned weights"
        how = "dots their mean, thin lines the seeds, each moved to start at the mean AT point"
        return Curves(*self.head(scale, title, how, notes), tuple(curves), rule.tolerance)


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
        """The curve of `tuning` from how each seed was made."""
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
    """Robust against clean accuracy along alpha; `tolerance` (a fraction) is what alpha* may lose."""

    tunings: tuple[TuningCurve, ...]
    tolerance: float

    @property
    def base(self) -> tuple[float, float]:
        """Clean and robust accuracy of AT, which is alpha = 0 of every curve."""
        clean, robust = self.tunings[0].mean[:, 0].tolist()
        return clean, robust

    @property
    def floor(self) -> float:
        """The robust accuracy below which no alpha* may be."""
        return self.base[1] - self.tolerance

    def rows(self) -> Rows:
        return [
            {"tuning": curve.tuning, "seed": seed, "alpha": alpha, "clean": clean, "robust": robust}
            | {"alpha_star": None if chosen is None else alpha == chosen}
            for curve in self.tunings
            for (seed, accuracies), chosen in zip(
                self.by_seed(curve.accuracies, curve.mean), (*curve.chosen, None), strict=False
            )
            for alpha, (clean, robust) in zip(curve.alphas, accuracies.T.tolist(), strict=True)
        ]

    def figure(self) -> "Figure":
        """Robust against clean accuracy; a second panel enlarges the curves of single modules.

        Fine-tuning all layers moves so much further than one module that these would be a blot
        beside it.
        """
        single = [curve for curve in self.tunings if not curve.whole_network]
        enlarged = 0 < len(single) < len(self.tunings)
        height, ratios = (4.8, (2, 3)) if enlarged else (3.4, (1,))
        figure, panels = draw.canvas(draw.COLUMN, height, ratios)
        for axes in panels:
            self._draw(axes)
            axes.set_ylabel("robust accuracy (%)")
        rings = 100 * np.concatenate([curve.rings for curve in self.tunings])
        for x, y in rings:
            panels[-1].add_line(_ring([x], [y]))
        panels[0].set_title(self.model, loc="left")
        panels[-1].set_xlabel("clean accuracy (%)")
        if enlarged:
            shown = np.concatenate([*(100 * curve.mean.T for curve in single), rings])
            _enlarge(panels[0], panels[1], shown, 100 * self.floor)
        handles = [
            draw.line(color=colour, marker=marker, ms=3, label=curve.label)
            for curve in self.tunings
            for colour, marker in [LOOKS[curve.tuning]]
        ]
        handles.append(draw.line(color=draw.BLACK, marker="*", ms=7, ls="none", label="AT (alpha = 0)"))
        label = f"AT − {100 * self.tolerance:g} point"
        handles.append(draw.line(color=draw.BLACK, lw=0.8, ls="--", label=label))
        if len(rings):
            handles.append(_ring(label="alpha* of RiFT"))
        if len(self.seeds) > 1:
            handles.append(draw.line(color=draw.GREY, lw=0.5, label="seeds, moved to mean AT"))
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return figure

    def _draw(self, axes: "Axes") -> None:
        axes.axhline(100 * self.floor, color=draw.BLACK, lw=0.8, ls="--", zorder=1)
        for curve in self.tunings:
            colour, marker = LOOKS[curve.tuning]
            for clean, robust in 100 * curve.aligned if len(self.seeds) > 1 else ():
                axes.plot(clean, robust, color=colour, lw=0.5, alpha=0.45, zorder=2)
            axes.plot(*(100 * curve.mean), color=colour, marker=marker, ms=2.4, mew=0, zorder=4)
        x, y = self.base
        axes.plot(100 * x, 100 * y, color=draw.BLACK, marker="*", ms=7, mew=0, ls="none", zorder=5)


def _ring(x: Sequence[float] = (), y: Sequence[float] = (), label: str = "") -> "Line2D":
    ring = {"marker": "o", "ms": 6, "mfc": "none", "mec": draw.BLACK, "mew": 0.9, "ls": "none"}
    return draw.line(x, y, label=label, zorder=6, **ring)


def _enlarge(whole: "Axes", part: "Axes", points: NDArray[np.float64], floor: float) -> None:
    """Limit `part` to the region of `points` (N, 2) and the floor, and outline that in `whole`."""
    from matplotlib.patches import Rectangle

    left, right = _limits(points[:, 0])
    low, high = _limits(np.append(points[:, 1], floor))
    part.set(xlim=(left, right), ylim=(low, high))
    part.set_title("single modules, enlarged", loc="left")
    outline = Rectangle(
        (left, low), right - left, high - low, fill=False, ec=draw.GREY, lw=0.6, zorder=1
    )
    whole.add_patch(outline)


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = values.min(), values.max()
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin
