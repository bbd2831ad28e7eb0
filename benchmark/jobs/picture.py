"""What RiFT did to one network as a picture."""

from collections.abc import Collection
from io import BytesIO

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

CHOSEN, OTHERS = "#c44e52", "#8c8c8c"
LINES = {"clean": ("#4c72b0", "o"), "robust": ("#dd8452", "s")}


class ShownFigure(Figure):
    """A figure that a notebook shows without the state of pyplot."""

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, format="png", dpi=100)
        return content.getvalue()


def both(
    curve: pd.DataFrame, criticality: pd.DataFrame, alpha: float, modules: Collection[str]
) -> ShownFigure:
    """The curve of `RiftResult`, and beside it the criticality; each may be empty."""
    picture = ShownFigure(figsize=(10, 3.6), layout="constrained")
    left, right = picture.subplots(1, 2)
    _path(left, curve, alpha)
    _bars(right, criticality, modules)
    return picture


def _path(axes: Axes, curve: pd.DataFrame, alpha: float) -> None:
    """Accuracy against alpha: clean on the left axis, robust on the right, which lie far apart."""
    other = axes.twinx()
    for place, (name, (colour, marker)) in zip((axes, other), LINES.items(), strict=True):
        known = curve.dropna(subset=[name])
        place.plot(known["alpha"], known[name], marker, ls="-", color=colour, markersize=3)
        place.set_ylabel(f"{name} accuracy", color=colour)
        place.tick_params(axis="y", colors=colour)
        place.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        place.set_ylim(top=min(place.get_ylim()[1], 1.001))
        place.spines["top"].set_visible(False)
    axes.axvline(alpha, color="0.6", lw=0.8, ls="--")
    axes.set(xlabel="alpha", title=f"alpha* = {alpha:.2f}")


def _bars(axes: Axes, criticality: pd.DataFrame, modules: Collection[str]) -> None:
    """MRC by module, those of `modules` in another colour."""
    names = list(criticality["module"])
    colours = [CHOSEN if name in modules else OTHERS for name in names]
    axes.bar(range(len(names)), criticality["MRC"].astype(float), color=colours)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8 if len(names) < 30 else 5)
    chosen = ", ".join(modules) if 0 < len(modules) < 4 else f"{len(modules)} modules"
    axes.set(ylabel="MRC (nats)", title=f"fine-tuned: {chosen}")
    axes.spines[["top", "right"]].set_visible(False)
