"""What RiFT did to a network: the frames, plots and files of one answer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from torch import nn

from benchmark.jobs.model_file import save_model, scored
from benchmark.records.files import at_home
from benchmark.records.records import Finetuning, ModuleCriticality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOLVING = 1000
"""Images of which one is the 0.1 points of robust accuracy that alpha* may cost."""

FRAME = {
    "module": "module",
    "mrc": "MRC",
    "accuracy_drop": "accuracy drop",
    "norm_ratio": "reached norm",
    "constrained": "constrained",
}


def criticality_frame(entries: list[ModuleCriticality]) -> pd.DataFrame:
    """MRC (nats), accuracy drop (fraction), ||dW|| / ||W|| reached, and whether that was the border."""
    rows = [{title: getattr(entry, name) for name, title in FRAME.items()} for entry in entries]
    return pd.DataFrame(rows, columns=list(FRAME.values()))


@dataclass(frozen=True)
class RiftResult:
    """RiFT's answer for one model.

    `model` has the weights at `alpha`, the chosen point between the given weights (0) and the
    fine-tuned ones (1); `modules` are those that were fine-tuned. Accuracies are fractions, on the
    selection images.
    """

    model: nn.Module
    protocol: str
    details: Finetuning = field(repr=False)

    @property
    def alpha(self) -> float:
        return self.details.alpha

    @property
    def modules(self) -> list[str]:
        return list(self.details.modules)

    @property
    def criticality(self) -> pd.DataFrame:
        """A row per module, input first; empty if nothing was chosen by criticality."""
        return criticality_frame(list(self.details.criticality or ()))

    @property
    def curve(self) -> pd.DataFrame:
        """Clean and robust accuracy by alpha; robust is NaN where it was not asked for."""
        points = [
            (point.alpha, point.clean.fraction, point.robust.fraction if point.robust else None)
            for point in self.details.curve
        ]
        return pd.DataFrame(points, columns=["alpha", "clean", "robust"]).astype(float)

    def summary(self) -> str:
        """What was fine-tuned, where the path ended, and what that changed on the selection images."""
        chosen = ", ".join(self.modules) or "no module"
        lines = [f"{self.protocol}: {chosen} fine-tuned, alpha* = {self.alpha:.2f}"]
        if (reference := self.details.reference) is None:
            return "\n".join(lines)
        rows = self.curve.set_index("alpha")
        before, after = rows.loc[0.0], rows.loc[self.alpha]
        for name in ("clean", "robust"):
            change = 100 * (after[name] - before[name])
            lines.append(
                f"{name} accuracy {100 * before[name]:.2f} % -> {100 * after[name]:.2f} % "
                f"({change:+.2f} points) on the selection images"
            )
        if reference.k == 0:
            lines.append("no image is right under attack: there is no robustness for alpha* to keep")
        elif reference.n < RESOLVING:
            lines.append(
                f"one of {reference.n} images is {100 / reference.n:.2f} points, so that none may be "
                f"lost; from {RESOLVING:,} on the rule's 0.1 points are an image"
            )
        lines.append("these images chose alpha*; evaluate() on others measures what was gained")
        return "\n".join(lines)

    def plot(self) -> "Figure":
        """The curve (Figure 1 of the paper) and the criticality of every module (Figure 3).

        A notebook shows it as it is.
        """
        from benchmark.jobs.picture import both

        return both(self.curve, self.criticality, self.alpha, self.modules)

    def save(self, path: Path | str, scores: pd.DataFrame | None = None) -> None:
        """Write the weights to `path` (safetensors) and a model card beside it (`.md`).

        Args:
            path: ends in `.safetensors`; `load_checkpoint(path, model)` reads it.
            scores: what `evaluate` returned for `model`; None: the card has the accuracies on the
                selection images.

        Raises:
            UserError: for a path with another ending.
        """
        facts = {
            "protocol": self.protocol,
            "alpha": f"{self.alpha:g}",
            "modules": " ".join(self.modules),
        }
        told = self.summary().splitlines()
        named = scored(scores) if scores is not None else self._selected_on()
        save_model(at_home(path), self.model, told, named, facts)

    def _selected_on(self) -> dict[str, float]:
        at = self.curve[self.curve["alpha"] == self.alpha]
        return {
            f"{name}, on the selection images": float(at[name].iloc[0])
            for name in ("clean", "robust")
            if len(at)
        }
