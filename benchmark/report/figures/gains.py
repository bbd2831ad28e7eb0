"""The audit as a picture: what every reading of RiFT and every control gains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import finetune
from benchmark.plans.scales import Scale
from benchmark.plans.start import without_held_out
from benchmark.records.cells import Cell, base_name
from benchmark.report.figures import draw
from benchmark.report.figures.figure import FigureSpec, Picture, Rows, left_out
from benchmark.report.intervals import RESAMPLES, Interval
from benchmark.report.tables.audit import AUDITED, Compared, audit_cells, compared
from benchmark.report.tables.layout import columns
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
        gains, missing = list[Gain](), list[Cell]()
        for name in dict.fromkeys(cell.finetune for cell in cells if not cell.is_base):
            ours = [cell for cell in cells if cell.finetune == name]
            theirs = [cell for cell in cells if cell.finetune == base_name(name)]
            found = compared(view, ours, theirs)
            if any(each.difference for each in found):
                gains.append(Gain(name, tuple(found)))
            else:
                missing += ours
        if not gains:
            raise self.nothing(scale, missing)
        favoured = [gain.name for gain in gains if finetune(gain.name).selects_on == "test"]
        notes = [
            "accuracy less that of the base model, in points; filled where no interval contains 0",
            f"lines: paired 95 % bootstrap interval over test images ({RESAMPLES:,} resamples)",
            *(
                ["lines with ends: 95 % t interval over seeds"]
                if len(self.subject.seeds(scale)) > 1
                else []
            ),
            *([f"test images chose epoch and alpha*: {', '.join(favoured)}"] if favoured else []),
            *left_out(missing),
        ]
        title = "Audit: gains over the base model"
        head = self.head(scale, title, "dots their mean", notes)
        return Gains(*head, tuple(gains), columns(scale))


@dataclass(frozen=True)
class Gain:
    """A fine-tuning against its base model, evaluation by evaluation."""

    name: str
    found: tuple[Compared, ...]

    @property
    def is_rift(self) -> bool:
        return self.name in PROTOCOLS


@dataclass(frozen=True)
class Gains(Picture):
    """Fine-tunings below each other, a panel per evaluation."""

    gains: tuple[Gain, ...]
    columns: tuple[str, ...]

    def rows(self) -> Rows:
        return [
            {"fine-tuning": gain.name, "column": column, "difference": each.difference.mean}
            | {
                f"{over}_{end}": interval and getattr(interval, end)
                for over, interval in (("images", each.images), ("seeds", each.seeds))
                for end in ("low", "high")
            }
            for gain in self.gains
            for column, each in zip(self.columns, gain.found, strict=True)
            if each.difference is not None
        ]

    def figure(self) -> "Figure":
        known = [i for i in range(len(self.columns)) if any(g.found[i].difference for g in self.gains)]
        rows = (len(known) + 1) // 2
        height = 0.9 + rows * (0.55 + 0.14 * len(self.gains))
        figure, panels = draw.canvas(draw.COLUMN, height, (1,) * rows, min(2, len(known)))
        for axes in panels[len(known) :]:
            axes.set_axis_off()
        for place, (axes, column) in enumerate(zip(panels, known, strict=False)):
            axes.set_title(self.columns[column], loc="left", size=6.5)
            axes.axvline(0, color=draw.BLACK, lw=0.6, zorder=1)
            axes.set_ylim(len(self.gains) - 0.4, -0.6)
            names = [gain.name for gain in self.gains] if place % 2 == 0 else []
            axes.set_yticks(range(len(self.gains)), names or [""] * len(self.gains))
            axes.grid(axis="y", lw=0.3, color=draw.GRID)
            axes.tick_params(axis="y", length=0)
            for line, gain in enumerate(self.gains):
                self._dot(axes, line, gain, gain.found[column])
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

    def _dot(self, axes: "Axes", line: int, gain: Gain, found: Compared) -> None:
        if found.difference is None:
            return
        colour, marker = (draw.BLUE, "o") if gain.is_rift else (draw.VERMILLION, "s")
        intervals = [each for each in (found.images, found.seeds) if each is not None]
        apart = bool(intervals) and all(each.sign for each in intervals)
        if found.images:
            axes.plot(_points(found.images), [line] * 2, color=colour, lw=1.4, zorder=2)
        if found.seeds:
            axes.plot(
                _points(found.seeds), [line] * 2, color=colour, lw=0.7, marker="|", ms=4, zorder=2
            )
        inside = colour if apart else "white"
        axes.plot(
            100 * found.difference.mean, line, marker, c=colour, mfc=inside, ms=3.5, mew=0.9, zorder=3
        )


def _points(interval: Interval) -> list[float]:
    return [100 * interval.low, 100 * interval.high]
