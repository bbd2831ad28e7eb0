"""What RiFT did to a network: the frames, plots and files of one answer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from torch import nn

from benchmark.engine.weights import save_tensors
from benchmark.records.records import Finetuning, ModuleCriticality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        if len(self.curve):
            rows = self.curve.set_index("alpha")
            before, after = rows.loc[0.0], rows.loc[self.alpha]
            for name in ("clean", "robust"):
                change = 100 * (after[name] - before[name])
                lines.append(
                    f"{name} accuracy {100 * before[name]:.2f} % -> {100 * after[name]:.2f} % "
                    f"({change:+.2f} points) on the selection images"
                )
            lines.append("these images chose alpha*; evaluate() on others measures what was gained")
        return "\n".join(lines)

    def plot(self) -> "Figure":
        """The curve (Figure 1 of the paper) and the criticality of every module (Figure 3)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        curve, entries = self.curve, self.criticality
        for name in ("clean", "robust"):
            known = curve.dropna(subset=[name])
            left.plot(known["alpha"], 100 * known[name], marker="o", markersize=3, label=name)
        left.axvline(self.alpha, color="0.6", lw=0.8, ls="--")
        left.set(xlabel="alpha", ylabel="accuracy (%)", title=f"alpha* = {self.alpha:.2f}")
        left.legend(frameon=False)
        colours = ["C1" if module in self.modules else "C0" for module in entries["module"]]
        right.bar(range(len(entries)), entries["MRC"].astype(float), color=colours)
        right.set_xticks(range(len(entries)), entries["module"], rotation=90, fontsize=6)
        right.set(ylabel="MRC (nats)", title="fine-tuned: " + (", ".join(self.modules) or "none"))
        return figure

    def save(self, path: Path | str) -> None:
        """Write the weights to `path` (safetensors) and a model card beside it (`.md`)."""
        file = Path(path)
        facts = {
            "protocol": self.protocol,
            "alpha": f"{self.alpha:g}",
            "modules": " ".join(self.modules),
        }
        save_tensors(file, self.model.state_dict(), facts)
        tags = "tags: [adversarial-robustness, rift]"
        card = (
            f"---\nlibrary_name: pytorch\n{tags}\n---\n\n# {file.stem}\n\n```\n{self.summary()}\n```\n"
        )
        file.with_suffix(".md").write_text(card, encoding="utf-8")
