"""Two post-hoc methods side by side on a network of one's own: does the layer matter?

RiFT's least critical layer against no layer at all, where only the statistics of batch norm move, with
the same recipe, the same images and the same rule for alpha*:

    python examples/own_posthoc.py [FOLDER]

FOLDER is where `own_model.py` left its network; without one it is trained here.
"""

import sys
from pathlib import Path

import pandas as pd
import torch
from own_model import ATTACK, small_resnet18, three_splits, trained_adversarially

from benchmark import evaluate, load_checkpoint, rift


def main(folder: str | None = None) -> None:
    """Fine-tune each way and print a row for it."""
    train, judge, test = three_splits()
    if folder:
        model = load_checkpoint(Path(folder) / "digits-at.safetensors", small_resnet18())
    else:
        torch.manual_seed(0)
        model = trained_adversarially(small_resnet18(), train)
    rows = {"as trained": ("", 0.0, model)}
    for protocol in ("rift-one-step", "bn-only"):
        result = rift(
            model,
            train,
            judge,
            attack=ATTACK,
            protocol=protocol,
            mrc={"images": 64},
            recipe={"epochs": 2, "milestones": (), "select_last": 2, "lr": 0.02},
            progress=False,
        )
        rows[protocol] = (", ".join(result.modules), result.alpha, result.model)
    table = pd.DataFrame(columns=["module", "alpha*", "clean %", "PGD-10 %", "95 % interval"])
    for name, (module, alpha, network) in rows.items():
        scores = evaluate(network, test, ["clean", "pgd10x3"], attack=ATTACK, progress=False)
        clean, robust = 100 * scores["accuracy"]
        low, high = 100 * scores.loc["pgd10x3", ["low", "high"]]
        table.loc[name] = [module, alpha, clean, robust, f"{low:.1f} to {high:.1f}"]
    print(table.round(2).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
