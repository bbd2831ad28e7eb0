"""The audit as a picture: what every reading of RiFT and every control gains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import finetune
from benchmark.plans.scales import Scale
from benchmark.plans.start import without_held_out
from benchmark.records.cells import Cell, base_name
from benchmark.report.figures import draw
from benchmark.report.figures.figure import FigureSpec, Picture, Rows, left_out
from benchmark.report.intervals import RESAMPLES
from benchmark.report.tables.audit import AUDITED, Compared, audit_cells, compared
from benchmark.report.tables.layout import by_finetune, columns
from benchmark.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class GainFigure(FigureSpec):
    """Gains over the base model under each evaluation of the audit, with 95 % intervals."""

    audited: ClassVar[bool] = True

    def cells(self, scale: Scale) -> list[Cell]:
        return audit_cells(scale, without_held_out(AUDITED, scale))

    def build(self, view: View) -> "Gains":
        scale, cells = view.scale, self.cells(view.scale)
        gains, missing = dict[str, Sequence[Compared]](), list[Cell]()
        by_name = by_finetune(cells)
        for name, ours in by_name.items():
            if name == base_name(name):
                continue
            found = compared(view, ours, by_name[base_name(name)])
            if any(each.difference for each in found):
                gains[name] = found
            else:
                missing += ours
        if not gains:
            raise self.nothing(missing)
        favoured = [name for name in gains if finetune(name).selects_on == "test"]
        several = len(self.subject.seeds(scale)) > 1
        notes = [
            "accuracy less that of the base model, in points; filled where no interval contains 0",
            f"lines: paired 95 % bootstrap interval over test images ({RESAMPLES:,} resamples)",
            *(["lines with ends: 95 % t interval over seeds"] if several else []),
            *([f"test images chose epoch and alpha*: {', '.join(favoured)}"] if favoured else []),
            *left_out(missing),
        ]
        title = "Audit: gains over the base model"
        head = self.head(scale, title, "dots their mean", notes)
        return Gains(*head, gains, columns(scale))


@dataclass(frozen=True)
class Gains(Picture):
    """Fine-tunings against their base models, below each other; a panel per evaluation."""

    gains: Mapping[str, Sequence[Compared]]
    columns: tuple[str, ...]

    def rows(self) -> Rows:
        return [
            {"fine-tuning": name, "column": column, "difference": each.difference.mean}
            | {
                f"{over}_{end}": interval and getattr(interval, end)
                for over, interval in (("images", each.images), ("seeds", each.seeds))
                for end in ("low", "high")
            }
            for name, found in self.gains.items()
            for column, each in zip(self.columns, found, strict=True)
            if each.difference is not None
        ]

    def figure(self) -> "Figure":
        found = self.gains.values()
        known = [i for i in range(len(self.columns)) if any(each[i].difference for each in found)]
        rows = (len(known) + 1) // 2
        height = 0.9 + rows * (0.55 + 0.14 * len(self.gains))
        figure, panels = draw.canvas(draw.COLUMN, height, (1,) * rows, min(2, len(known)))
        for axes in panels[len(known) :]:
            axes.set_axis_off()
        for place, (axes, column) in enumerate(zip(panels, known, strict=False)):
            axes.set_title(self.columns[column], loc="left", size=6.5)
            axes.axvline(0, color=draw.BLACK, lw=0.6, zorder=1)
            axes.set_ylim(len(self.gains) - 0.4, -0.6)
            names = list(self.gains) if place % 2 == 0 else [""] * len(self.gains)
            axes.set_yticks(range(len(self.gains)), names)
            axes.grid(axis="y", lw=0.3, color=draw.GRID)
            axes.tick_params(axis="y", length=0)
            for line, (name, changes) in enumerate(self.gains.items()):
                _dot(axes, line, name, changes[column])
            if place >= len(known) - 2:
                axes.set_xlabel("gain (points)")
        figure.suptitle(self.model, x=0.02, ha="left", size=7.5)
        handles = [
            draw.line(color=colour, marker=marker, ms=4, lw=1.4, mfc="white", label=label)
            for colour, marker, label in ((draw.BLUE, "o", "RiFT"), (draw.VERMILLION, "s", "control"))
        ]
        handles.append(
            draw.line(color=draw.BLACK, marker="o", ms=4, ls="none", label="told apart from 0")
        )
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        return figure


def _dot(axes: "Axes", line: int, name: str, found: Compared) -> None:
    """The difference of the fine-tuning `name` and the intervals around it."""
    if found.difference is None:
        return
    colour, marker = (draw.BLUE, "o") if name in PROTOCOLS else (draw.VERMILLION, "s")
    styles: list[dict[str, Any]] = [{"lw": 1.4}, {"lw": 0.7, "marker": "|", "ms": 4}]
    both = zip((found.images, found.seeds), styles, strict=True)
    known = [(interval, style) for interval, style in both if interval is not None]
    for interval, style in known:
        ends = [100 * interval.low, 100 * interval.high]
        axes.plot(ends, [line] * 2, color=colour, zorder=2, **style)
    apart = bool(known) and all(interval.sign for interval, _ in known)
    inside = colour if apart else "white"
    mean = 100 * found.difference.mean
    axes.plot(mean, line, marker, c=colour, mfc=inside, ms=3.5, mew=0.9, zorder=3)
