"""Pictures as PNG and SVG with matplotlib: the same bytes for the same numbers and library version.

Nothing here is global: figures are objects without pyplot, and the style below replaces whatever a
matplotlibrc holds while a picture is drawn. Widths are those of a two-column page: 3.4 inches for a
column, 6.9 for both. Colours are those of Okabe and Ito, which colour-blind readers can tell apart.
matplotlib is imported when something is drawn.
"""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from benchmark.report.figures.figure import Picture

COLUMN, PAGE = 3.4, 6.9
BLACK, ORANGE, GREEN = "#000000", "#E69F00", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#9A9A9A"
Dashes = str | tuple[int, tuple[float, ...]]
LEAST, MOST, OTHER, GRID = BLUE, VERMILLION, GREY, "#DDDDDD"

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


def draw(picture: "Picture") -> dict[str, bytes]:
    """`picture` as the contents of a `png` (200 dpi) and an `svg`."""
    figure = laid_out(picture)
    with _style():
        return {
            "png": _saved(figure, "png", {"Software": None}),
            "svg": _saved(figure, "svg", {"Date": None, "Creator": None}),
        }


def laid_out(picture: "Picture") -> "Figure":
    """Draw `picture` and freeze its layout, which both files share."""
    with _style():
        figure = picture.figure()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _style() -> AbstractContextManager[None]:
    import matplotlib.style

    return matplotlib.style.context(["default", STYLE])


def _saved(figure: "Figure", kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def canvas(
    width: float, height: float, ratios: Sequence[float], columns: int = 1, *, sharex: bool = False
) -> tuple["Figure", list["Axes"]]:
    """An empty figure (inches) with rows of `columns` panels, their heights in these `ratios`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(
        len(ratios), columns, squeeze=False, sharex="col" if sharex else False, height_ratios=ratios
    )
    return figure, list(panels.flat)


def line(x: Sequence[float] = (), y: Sequence[float] = (), **style: Any) -> "Line2D":
    """A line or markers; without points, a sample for a legend."""
    from matplotlib.lines import Line2D

    return Line2D(x, y, **style)


def patch(**style: Any) -> "Patch":
    """A filled sample for a legend."""
    from matplotlib.patches import Patch

    return Patch(**style)


def name_modules(
    panels: Sequence["Axes"], places: Sequence[int], names: Sequence[str], colours: Sequence[str]
) -> None:
    """Write the names below the last panel, small enough for all, those in colour in bold."""
    size = 6.5 if len(names) <= 24 else 5.5
    for axes in panels:
        axes.tick_params(axis="x", length=0, labelrotation=90, labelsize=size)
    panels[-1].set_xticks(places, names)
    for label, colour in zip(panels[-1].get_xticklabels(), colours, strict=True):
        if colour != OTHER:
            label.set(color=colour, weight="bold")
