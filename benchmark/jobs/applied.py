"""A post-hoc method on a network that somebody brings."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark import run as paper
from benchmark.data.info import LinfAttack
from benchmark.engine.adaptive import Attacked
from benchmark.errors import UserError
from benchmark.jobs.given import Question, shown
from benchmark.posthoc import forward_method
from benchmark.progress import Progress
from benchmark.records.applied import Applied
from benchmark.records.cells import Cell

PAPERS_ATTACK = LinfAttack(eps=8 / 255, step_size=2 / 255, steps=10)


@dataclass(frozen=True)
class MethodResult:
    """The result of a post-hoc method on a network.

    `model` maps pixels to logits like any other. `attacked` adds what an adaptive attack needs, for
    `evaluate(result.attacked, images, "pgd10x3-adaptive")`.
    """

    model: nn.Module
    attacked: nn.Module
    details: Applied = field(repr=False)

    @property
    def numbers(self) -> dict[str, float]:
        """What was chosen, such as a threshold; empty if there was nothing to choose."""
        return self.details.numbers


def apply_method(
    model: nn.Module,
    method: str,
    train: Any,
    judge: Any,
    *,
    clean: nn.Module | None = None,
    attack: LinfAttack = PAPERS_ATTACK,
    seed: int | Cell = 0,
    device: torch.device | str | None = None,
    progress: bool | Progress = True,
    workdir: Path | str | None = None,
) -> MethodResult:
    """Apply a post-hoc method that gives back a module to an adversarially trained network.

    Args:
        model: as in `rift`; left as it is.
        method: a name of the suite that makes a module: `mean-sparse`, `flip-average`, `output-mix`,
            `mixed-nuts`, `rift+mean-sparse`, ..., also with a protocol and `-curve` or `-mirrored`.
        train: images for statistics and fine-tuning, in the forms of `rift`.
        judge: images that choose numbers by the adaptive robust accuracy; 1,000 or more.
        clean: a network trained on clean images, for a mix.

    Returns:
        The module at the chosen numbers, and what an adaptive attack on it needs.

    Raises:
        UserError: as `rift`; for a method that trains weights alone, a mix without `clean`, and a
            network that the method does not fit.
    """
    asked = Question(model, train, judge, attack, method, seed=seed, device=device, clean=clean)
    if (named := asked.chosen.forward) is None:
        raise UserError(f"{method} trains weights and makes no module; rift(..., protocol='{method}')")
    forward = forward_method(named)
    if forward.double and asked.place.type == "mps":
        raise UserError(f"{method} needs double precision, which mps has not; say device='cpu'")
    if (forward.partner is None) != (clean is None):
        says = (
            "holds one network; leave clean out" if clean else "mixes with a second network; say clean="
        )
        raise UserError(f"{method} {says}")
    with ExitStack() as stack:
        run = asked.run(stack, workdir, shown(progress))
        if (there := asked.info.classes) < (least := forward.fewest_classes):
            raise UserError(f"{method} needs {least} classes or more, and there are {there}")
        theta = paper.another_forward_pass(run, asked.weights)
        making = run.store.making(run.plan.cell)
        assert making is not None and isinstance(making.details, Applied)
        made = run.network(theta)
        attacked = Attacked(made, forward.stand_in(made), run.network(asked.weights)).eval()
        return MethodResult(made, attacked, making.details)
