"""A fine-tuning that brings its own loop, held to what it selected and judged like any other."""

import time
from collections.abc import Collection

import torch
from torch import nn

from benchmark.data.images import Split
from benchmark.data.info import DatasetInfo
from benchmark.engine.method import OwnTuning, TuningTask
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import Fitted, Select, TrainingFailed, freeze_all_but
from benchmark.engine.weights import clone_state
from benchmark.errors import UserError
from benchmark.progress import Progress, silent
from benchmark.records.cells import derive_seed


def tuned_by(
    own: OwnTuning,
    model: nn.Module,
    split: Split,
    info: DatasetInfo,
    recipe: Recipe,
    *,
    seed: int,
    select: Select,
    trainable: Collection[str] | None = None,
    stage: str = "fine-tuning",
    progress: Progress = silent,
) -> Fitted:
    """What `own` makes of `model`, which has the result's weights afterwards; arguments as of `fit`.

    There are no epochs in its log, and a killed run begins again. Raises `UserError` if the state is of
    another network or has moved a parameter that was not selected, `TrainingFailed` if it gives no
    finite answer.
    """
    started, name = time.monotonic(), type(own).__name__
    before = clone_state(model.state_dict())
    chosen = freeze_all_but(model, trainable)
    still = [name for name, _ in model.named_parameters() if name not in chosen]
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "network"))  # what a network draws itself, as in `fit`
        state = own.tune(model.eval(), split, recipe, TuningTask(info, seed, select, progress))
    if {key: x.shape for key, x in state.items()} != {key: x.shape for key, x in before.items()}:
        raise UserError(f"{stage}: {name} returns another network's state; return model.state_dict()")
    # A loop may average on another device or in double precision; the result is as the network has it.
    state = clone_state({key: state[key].to(tensor) for key, tensor in before.items()})
    if moved := [key for key in still if not torch.equal(state[key], before[key])]:
        raise UserError(
            f"{stage}: {name} moved '{moved[0]}', which its selector does not name; name it"
        )
    model.requires_grad_(True)
    model.load_state_dict(state)
    best = select(model.eval())
    if best.not_finite == best.n:
        raise TrainingFailed(f"{stage}: every answer after {name} is NaN or infinite")
    return Fitted([], 0, best, state, time.monotonic() - started, resumed=False, begun=())
