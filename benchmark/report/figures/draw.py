"""Pictures as PNG and SVG with matplotlib: the same bytes for the same numbers and library version.

Nothing here is global: figures are objects without pyplot, and the style below replaces whatever a
matplotlibrc says while a picture is drawn. Widths are those of a two-column page: 3.4 inches for a
column, 6.9 for both. Colours are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

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
)

COLUMN, PAGE = 3.4, 6.9
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#9A9A9A"
LEAST, MOST, OTHER, GRID = BLUE, VERMILLION, GREY, "#DDDDDD"
HATCH = "//////"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.1,
    "hatch.linewidth": 0.6,
    "figure.dpi": 200,  # widths of text depend on it: the layout is found at what is saved
    "savefig.dpi": "figure",
    "svg.fonttype": "path",
    "svg.hashsalt": "rift-benchmark",
}


def draw(picture: Picture) -> dict[str, bytes]:
    """`picture` as the contents of a `png` (200 dpi) and an `svg`."""
    figure = laid_out(picture)
    with _style():
        return {
            "png": _saved(figure, "png", {"Software": None}),
            "svg": _saved(figure, "svg", {"Date": None, "Creator": None}),
        }


def laid_out(picture: Picture) -> Figure:
    """`picture` with everything in the place where both files have it."""
    with _style():
        figure = figure_of(picture)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def figure_of(picture: Picture) -> Figure:
    """`picture` laid out, before it is saved."""
    if isinstance(picture, Curves):
        return _curves(picture)
    if isinstance(picture, Bars):
        return _bars(picture)
    if isinstance(picture, Damage):
        return _damage(picture)
    raise TypeError(f"no drawing of a {type(picture).__name__}")


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]):
        yield


def _saved(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _percent(values: Values) -> list[float]:
    return [100 * value for value in values]


# --- curves -------------------------------------------------------------------------------------------

_LOOKS = {
    "rift": (BLUE, "o"),
    "robust-critical": (VERMILLION, "s"),
    "last-layer": (GREEN, "^"),
    "random-layer": (PURPLE, "D"),
    "all-layers": (ORANGE, "v"),
}


def _curves(picture: Curves) -> Figure:
    """Robust against clean accuracy; a second panel enlarges the curves of single modules.

    Fine-tuning all layers moves so much further than one module that these would be a blot beside it.
    """
    single = [curve for curve in picture.tunings if not curve.whole_network]
    enlarged = bool(single) and len(single) < len(picture.tunings)
    figure = Figure(figsize=(COLUMN, 4.8 if enlarged else 3.4), layout="constrained")
    ratios = (2, 3) if enlarged else (1,)
    panels = figure.subplots(len(ratios), squeeze=False, height_ratios=ratios)[:, 0]
    for axes in panels:
        _draw_curves(axes, picture)
        axes.set_ylabel("robust accuracy (%)")
    rings, floor = _draw_rings(panels[-1], picture), Accuracies((), (picture.floor,))
    panels[0].set_title(picture.model, loc="left")
    panels[-1].set_xlabel("clean accuracy (%)")
    if enlarged:
        _enlarge(panels[0], panels[1], [*(curve.mean for curve in single), *rings, floor])
    handles: list[Artist] = [_curve_handle(curve) for curve in picture.tunings]
    handles.append(Line2D([], [], color=BLACK, marker="*", ms=7, ls="none", label="AT (alpha = 0)"))
    handles.append(
        Line2D([], [], color=BLACK, lw=0.8, ls="--", label=f"AT − {100 * picture.tolerance:g} point")
    )
    if any(curve.tuning == "rift" for curve in picture.tunings):
        handles.append(_ring([], [], "alpha* of RiFT"))
    if len(picture.seeds) > 1:
        handles.append(Line2D([], [], color=GREY, lw=0.5, label="seeds, moved to mean AT"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _curve_handle(curve: TuningCurve) -> Line2D:
    colour, marker = _LOOKS[curve.tuning]
    return Line2D([], [], color=colour, marker=marker, ms=3, label=curve.label)


def _ring(x: Sequence[float], y: Sequence[float], label: str) -> Line2D:
    return Line2D(
        x, y, marker="o", ms=6, mfc="none", mec=BLACK, mew=0.9, ls="none", label=label, zorder=6
    )


def _draw_curves(axes: Axes, picture: Curves) -> None:
    axes.axhline(100 * picture.floor, color=BLACK, lw=0.8, ls="--", zorder=1)
    for curve in picture.tunings:
        colour, marker = _LOOKS[curve.tuning]
        seeds = curve.aligned()
        if len(seeds) > 1:
            for seed in seeds:
                axes.plot(
                    _percent(seed.clean),
                    _percent(seed.robust),
                    color=colour,
                    lw=0.5,
                    alpha=0.45,
                    zorder=2,
                )
        clean, robust = _percent(curve.mean.clean), _percent(curve.mean.robust)
        axes.plot(clean, robust, color=colour, marker=marker, ms=2.4, mew=0, zorder=4)
    clean_at, robust_at = picture.base
    axes.plot(
        100 * clean_at, 100 * robust_at, color=BLACK, marker="*", ms=7, mew=0, ls="none", zorder=5
    )


def _draw_rings(axes: Axes, picture: Curves) -> list[Accuracies]:
    """Ring alpha* of RiFT on the line of every seed; returns those points."""
    points = []
    for curve in picture.tunings:
        if curve.tuning == "rift":
            for seed, chosen in zip(curve.aligned(), curve.chosen, strict=True):
                place = curve.alphas.index(chosen)
                points.append(Accuracies((seed.clean[place],), (seed.robust[place],)))
    for point in points:
        axes.add_line(_ring(_percent(point.clean), _percent(point.robust), ""))
    return points


def _enlarge(whole: Axes, part: Axes, drawn: Sequence[Accuracies]) -> None:
    """Limit `part` to the region of `drawn` and outline that in `whole`."""
    left, right = _limits([value for accuracies in drawn for value in _percent(accuracies.clean)])
    low, high = _limits([value for accuracies in drawn for value in _percent(accuracies.robust)])
    part.set(xlim=(left, right), ylim=(low, high))
    part.set_title("single modules, enlarged", loc="left")
    outline = Rectangle((left, low), right - left, high - low, fill=False, ec=GREY, lw=0.6, zorder=1)
    whole.add_patch(outline)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


# --- bars ---------------------------------------------------------------------------------------------


def _bars(picture: Bars) -> Figure:
    figure = Figure(figsize=(PAGE, 4.0), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    upper.set_title(picture.model, loc="left")
    modules = picture.modules
    colours = _colours(picture)
    _bar_row(upper, picture, colours, [m.mean_mrc for m in modules], [m.mrc for m in modules])
    drops = [_points(module.drop) for module in modules]
    means = [None if (mean := module.mean_drop) is None else 100 * mean for module in modules]
    _bar_row(lower, picture, colours, means, drops)
    _mrc_axis(upper, picture)
    lower.set_ylabel("robust accuracy\ndrop (points)")
    _name_modules((upper, lower), range(len(modules)), modules, colours)
    hatched = Patch(fc="white", ec=OTHER, hatch=HATCH, lw=0.6)
    seeds = Line2D([], [], ls="none", marker="_", ms=5, mew=0.7, color=BLACK)
    _legend(figure, picture, modules, hatched, seeds)
    return figure


def _points(fractions: Sequence[float | None]) -> tuple[float | None, ...]:
    return tuple(None if value is None else 100 * value for value in fractions)


def _colours(picture: Bars) -> list[str]:
    names = [module.module for module in picture.order]
    special = dict.fromkeys(names[-1:], MOST) | dict.fromkeys(names[:1], LEAST)
    return [special.get(module.module, OTHER) for module in picture.modules]


def _bar_row(
    axes: Axes,
    picture: Bars,
    colours: Sequence[str],
    means: Sequence[float | None],
    seeds: Sequence[Sequence[float | None]],
) -> None:
    """A bar per mean that there is, a tick per seed, and on top a cross where an ascent diverged or a
    triangle where one failed."""
    for place, (module, mean, colour) in enumerate(zip(picture.modules, means, colours, strict=True)):
        if mean is not None:
            inside, hatch = ("white", HATCH) if module.flagged else (colour, None)
            axes.bar(place, mean, 0.72, fc=inside, ec=colour, hatch=hatch, lw=0.6, zorder=2)
        for marker in _marks(module):
            mark = Line2D([place], [1.03], marker=marker, ms=4.5, mew=1.3, color=colour, clip_on=False)
            axes.add_artist(mark).set_transform(axes.get_xaxis_transform())
        if len(picture.seeds) > 1:
            known = [value for value in seeds[place] if value is not None]
            axes.plot(
                [place] * len(known), known, ls="none", marker="_", ms=5, mew=0.7, c=BLACK, zorder=3
            )
    axes.axhline(0, color=BLACK, lw=0.6, zorder=3)
    axes.set_xlim(-0.7, len(picture.modules) - 0.3)
    axes.grid(axis="y", lw=0.3, color=GRID)


DIVERGED, FAILED = "x", "v"
"""Markers of modules with an ascent that diverged or ended lower than it began."""


def _marks(module: MeasuredModule) -> list[str]:
    return [DIVERGED] * module.diverged + [FAILED] * module.failed


def _mrc_axis(axes: Axes, picture: Bars) -> None:
    kind = axis_of_mrc(picture.modules)
    sizes = sorted(abs(value) for module in picture.modules for value in module.mrc if value)
    if kind == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if sizes[-1] < 100 * sizes[0] else (1,)))
    elif kind == "symlog":
        axes.set_yscale(
            "symlog", linthresh=10 ** math.floor(math.log10(max(sizes[0], sizes[-1] / 1000)))
        )
    if kind != "linear":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("MRC" if kind == "linear" else "MRC (log scale)")


def _name_modules(
    rows: tuple[Axes, Axes],
    places: Sequence[int],
    modules: Sequence[MeasuredModule],
    colours: Sequence[str],
) -> None:
    """Write the names below the lower row, small enough for all of them."""
    size = 6.5 if len(modules) <= 24 else 5.5
    for axes in rows:
        axes.tick_params(axis="x", length=0, labelrotation=90, labelsize=size)
    rows[-1].set_xticks(places, [module.module for module in modules])
    for label, colour in zip(rows[-1].get_xticklabels(), colours, strict=True):
        if colour != OTHER:
            label.set(color=colour, weight="bold")


def _legend(
    figure: Figure,
    picture: Picture,
    modules: Sequence[MeasuredModule],
    flagged: Patch | Line2D,
    seeds: Line2D,
) -> None:
    """Explain what occurs; `flagged` and `seeds` show how modules of that kind and seeds are drawn."""
    handles: list[Artist] = [
        Patch(color=LEAST, label="least critical"),
        Patch(color=MOST, label="most critical"),
    ]
    if any(module.flagged for module in modules):
        flagged.set_label("constraint never active")
        handles.append(flagged)
    marks = {mark for module in modules for mark in _marks(module)}
    for marker, label in ((DIVERGED, "ascent diverged"), (FAILED, "ascent failed")):
        if marker in marks:
            handles.append(
                Line2D([], [], ls="none", marker=marker, ms=5, mew=1.3, color=OTHER, label=label)
            )
    if len(picture.seeds) > 1:
        seeds.set_label("seeds")
        handles.append(seeds)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))


# --- damage -------------------------------------------------------------------------------------------


def _damage(picture: Damage) -> Figure:
    figure = Figure(figsize=(PAGE, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(5, 3))
    upper.set_title(picture.model, loc="left")
    special = {1: LEAST, picture.count: MOST}
    colours = [special.get(module.rank, OTHER) for module in picture.modules]
    for axes in (upper, lower):
        axes.axhline(0, color=BLACK, lw=0.6, zorder=1)
        axes.set_xlim(0.3, picture.count + 0.7)
        axes.grid(axis="y", lw=0.3, color=GRID)
    for module, colour in zip(picture.modules, colours, strict=True):
        _dots(upper, module, module.loss, colour)
        _dots(lower, module, module.gain, colour)
    upper.set_ylabel("Adv lost (points)")
    lower.set_ylabel("Std gained\n(points)")
    _say(upper, picture.loss_correlation)
    _say(lower, picture.gain_correlation)
    places, measured = [m.rank for m in picture.modules], [m.measured for m in picture.modules]
    _name_modules((upper, lower), places, measured, colours)
    lower.set_xlabel("modules from least to most critical by MRC")
    flagged = Line2D([], [], ls="none", marker="o", ms=5, mew=0.9, mfc="white", mec=OTHER)
    _legend(
        figure, picture, measured, flagged, Line2D([], [], ls="none", marker="o", ms=2, color=OTHER)
    )
    return figure


def _dots(axes: Axes, module: DamagedModule, changes: Values, colour: str) -> None:
    """A large dot at the mean, and a small one per seed on a line through it."""
    points, place = _percent(changes), module.rank
    if len(points) > 1:
        axes.plot([place, place], [min(points), max(points)], color=colour, lw=0.6, zorder=2)
        axes.plot([place] * len(points), points, ls="none", marker="o", ms=2, color=colour, zorder=3)
    inside = "white" if module.measured.flagged else colour
    mean = sum(points) / len(points)
    axes.plot(place, mean, marker="o", ms=5, mew=0.9, color=colour, mfc=inside, zorder=4)


def _say(axes: Axes, correlation: Correlation | None) -> None:
    """Spearman's rho above the right end of `axes`."""
    text = (
        "ρ not defined"
        if correlation is None
        else correlation.text.replace("rho", "ρ").replace("-", "−")
    )
    axes.set_title(f"Spearman's {text}", loc="right", fontsize=6.5)
