"""How a model was trained and fine-tuned, epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from baselines import method
from benchmark.plans.scales import Scale
from benchmark.records.cells import BASE, Cell
from benchmark.records.records import EpochLog, Finetuning, Training
from benchmark.report.figures import draw
from benchmark.report.figures.figure import FigureSpec, Picture, Rows, complete, left_out
from benchmark.report.intervals import wilson
from benchmark.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TUNED = "rift"
MARKED = 30  # epochs that have a dot each; more run into each other


@dataclass(frozen=True)
class TrainingFigure(FigureSpec):
    """Loss, the accuracy that chooses the epoch (clean for RiFT), and the learning rate."""

    def cells(self, scale: Scale) -> list[Cell]:
        return self.subject.cells(scale, [BASE, TUNED])

    def build(self, view: View) -> "Epochs":
        scale, missing, stages, notes = view.scale, list[Cell](), list[Stage](), list[str]()
        base = method(scale.methods[0])
        models = (BASE, base.label, base.selects_by), (TUNED, "fine-tuning", "clean")
        for name, label, kind in models:
            if name == BASE and scale.checkpoints:
                notes.append(f"{label}: weights of a checkpoint, whose epochs are not on record")
                continue
            found, incomplete = complete(self.subject.cells(scale, [name]), partial(_epochs, view))
            missing += incomplete
            if found:
                stages.append(Stage(label, kind, tuple(found)))
                images = next((e.selection.n for e in reversed(found[0]) if e.selection), 0)
                how = f"{kind} accuracy of {images} test images, which choose the epoch"
                notes.append(f"{label}: {how}")
        if not stages:
            raise self.nothing(missing)
        notes = [
            f"loss: mean over an epoch of {base.label}'s own loss, in fine-tuning that of clean images",
            "learning rate: that of the epoch's last step",
            *notes,
            *(["bars: 95 % interval (Wilson's) over these images"] * (len(stages[0].seeds) == 1)),
            *self.subject.stand_ins(scale),
            *left_out(missing),
        ]
        how = "thick lines their mean, thin lines the seeds"
        head = self.head(scale, "Training, epoch by epoch", how, notes)
        return Epochs(*head, tuple(stages))


def _epochs(view: View, cell: Cell) -> list[EpochLog] | None:
    made = view.fresh_making(cell)
    if made is None or not isinstance(made.details, Training | Finetuning):
        return None
    return made.details.epochs or None


@dataclass(frozen=True)
class Stage:
    """The epochs of each seed of a training or a fine-tuning, and which accuracy chose among them."""

    label: str
    kind: str
    seeds: tuple[Sequence[EpochLog], ...]

    def panels(self) -> dict[str, NDArray[np.float64]]:
        """Curves (seeds, epochs) by label; NaN where the accuracy of an epoch was not measured."""
        accuracies = [[e.selection and 100 * e.selection.fraction for e in log] for log in self.seeds]
        return {
            "loss": np.asarray([[epoch.loss for epoch in log] for log in self.seeds]),
            f"{self.kind} accuracy (%)": np.asarray(accuracies, dtype=float),
            "learning rate": np.asarray([[epoch.lr for epoch in log] for log in self.seeds]),
        }


@dataclass(frozen=True)
class Epochs(Picture):
    """The epochs of adversarial training and of fine-tuning, side by side."""

    stages: tuple[Stage, ...]

    def rows(self) -> Rows:
        return [
            {"stage": stage.label, "seed": seed, "epoch": epoch.epoch, "loss": epoch.loss}
            | {"accuracy": stage.kind, "value": epoch.selection and epoch.selection.fraction}
            | {"lr": epoch.lr}
            for stage in self.stages
            for seed, log in zip(self.seeds, stage.seeds, strict=True)
            for epoch in log
        ]

    def figure(self) -> "Figure":
        width = len(self.stages)
        figure, panels = draw.canvas(draw.COLUMN, 3.9, (1, 1, 1), width, sharex=True)
        for column, stage in enumerate(self.stages):
            own = panels[column::width]
            own[0].set_title(stage.label, loc="left")
            own[-1].set_xlabel("epoch")
            for axes, (label, by_seed) in zip(own, stage.panels().items(), strict=True):
                axes.set_ylabel(label)
                axes.margins(y=0.15)
                axes.grid(lw=0.3, color=draw.GRID)
                axes.locator_params(axis="x", integer=True, nbins=5)
                axes.yaxis.set_major_formatter("{x:g}")
                self._lines(axes, by_seed)
            if len(self.seeds) == 1:
                for epoch in stage.seeds[0]:
                    if epoch.selection:
                        ends = wilson(epoch.selection.k, epoch.selection.n)
                        across = [100 * ends.low, 100 * ends.high]
                        own[1].plot([epoch.epoch] * 2, across, color=draw.BLUE, lw=0.7)
        figure.suptitle(self.model, x=0.02, ha="left", size=7.5)
        return figure

    def _lines(self, axes: "Axes", by_seed: NDArray[np.float64]) -> None:
        """The mean where all seeds have a value; thin lines for the seeds if there are several."""
        mean, epochs = by_seed.mean(axis=0), np.arange(1, by_seed.shape[1] + 1)
        for values in by_seed if len(self.seeds) > 1 else ():
            known = np.isfinite(values)
            axes.plot(epochs[known], values[known], color=draw.GREY, lw=0.5)
        known = np.isfinite(mean)
        marker = "o" if known.sum() <= MARKED else ""
        axes.plot(epochs[known], mean[known], color=draw.BLUE, marker=marker, ms=2.5)
