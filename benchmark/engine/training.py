"""The only training loop, resumable at every step; AT methods and fine-tunings supply the pieces.

Every draw of an epoch (order, augmentation, random starts) comes from one generator seeded by the
caller's seed and the epoch, so that a run that was killed and resumed ends with the same bytes as
one that was not, on the same hardware, library versions and thread count.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.data.images import Split
from benchmark.data.info import DatasetInfo, LinfAttack
from benchmark.engine.counting import batch_starts
from benchmark.engine.folded_copy import trained
from benchmark.engine.method import Method
from benchmark.engine.precision import FP32, used
from benchmark.engine.provenance import circumstances
from benchmark.engine.recipes import Recipe
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.engine.training_state import StateFile, TrainingState
from benchmark.engine.weights import clone_state
from benchmark.errors import UserError
from benchmark.progress import Progress, silent
from benchmark.records.cells import derive_seed
from benchmark.records.records import Count, EpochLog
from benchmark.records.stopping import StopRequested, stop_if_asked

Select = Callable[[nn.Module], Count]


UNTRAINED = 0.5
"""An epoch is untrained if it has less than this share of the last one's clean accuracy ..."""
BY = 0.2
"""... and is below it by more than this fraction, beyond chance on a few images."""


class TrainingFailed(RuntimeError):
    """A loss, or every answer of the best epoch, is not finite, or that epoch is untrained."""


@dataclass(frozen=True)
class Fitted:
    """What training returns: the log of every epoch and the weights of the best one.

    `seconds` is the wall-clock time of all work that was kept, that before a kill included; `resumed`
    tells that there was such work, and `begun` what differed when some of it was done. `mean` is
    the mean of the last epochs' weights, empty unless it was asked for.
    """

    epochs: list[EpochLog]
    best_epoch: int
    best: Count
    state: dict[str, Tensor]
    seconds: float | None
    resumed: bool
    begun: Sequence[str]
    mean: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, state: TrainingState, *, resumed: bool) -> "Fitted":
        """What the epochs of `state` came to; the last of them was judged."""
        best = best_epoch(state.log)
        assert best is not None
        seconds, begun = state.seconds, state.begun
        return cls(
            state.log, best.epoch, best.selection, state.best, seconds, resumed, begun, state.mean
        )


class Judged(EpochLog):
    """The log of an epoch that was judged."""

    selection: Count


def best_epoch(log: Sequence[EpochLog]) -> Judged | None:
    """The epoch of the highest selection score, the earlier one on a tie; None if none was judged."""
    judged = [Judged.model_validate(entry.model_dump()) for entry in log if entry.selection]
    return max(judged, key=lambda entry: entry.selection.k, default=None)


@torch.random.fork_rng(devices=[])
def fit(
    model: nn.Module,
    split: Split,
    info: DatasetInfo,
    method: Method,
    recipe: Recipe,
    *,
    seed: int,
    select: Select,
    checkpoint: Path,
    fingerprint: str,
    check: Select | None = None,
    trainable: Collection[str] | None = None,
    mixed: bool = False,
    mean_of: int = 0,
    takeover: Takeover = REFUSE,
    stage: str = "train",
    progress: Progress = silent,
) -> Fitted:
    """Train `model` on `split` by `method` and `recipe`; return the best epoch's weights.

    `select(model)` counts right answers after each of the last `recipe.select_last` epochs (more is
    better, the earlier epoch on a tie); `check(model)` counts them for the best and the last epoch, to
    refuse an untrained best (`UNTRAINED`). `trainable` names the parameters that are updated (None:
    all; empty: forward passes only, which update the statistics of BN); BN is in training mode unless
    the method says otherwise. `mixed` trains in the precision of the process (`engine.precision`),
    which otherwise applies to attacks alone. The weights after the last `mean_of` epochs (all, if
    fewer) are averaged, too. The state is saved to `checkpoint` once a minute, and after the step in
    which a stop is asked for (`records.stopping`), which then raises `StopRequested`; one with the same
    `fingerprint` is continued, on another device too, which `Fitted.begun` records. Raises `UserError`,
    unless `takeover` allows it, for a state of another fingerprint, precision, number of threads, chunk
    or release of torch; `TrainingFailed` on a non-finite loss, and if the best epoch gives no finite
    answer or is untrained. The network's own draws, as in dropout, are seeded by epoch too.
    """
    if recipe.epochs < 1 or recipe.select_last < 1:
        raise UserError(f"{stage}: epochs and select_last of a recipe are at least 1")
    refuse_a_batch_of_one(model, split, recipe, stage)
    parameters = freeze_all_but(model, trainable)
    optimizer = torch.optim.SGD(
        [{"params": [*parameters.values()]}],  # a group may be empty
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    device = next(model.parameters()).device
    network, said = (trained(model, device), used().mark(device)) if mixed else (model, "")
    here = circumstances(device, said.strip() or FP32, batch_starts(split).step)
    file = StateFile(checkpoint, fingerprint, here, model, parameters, optimizer)
    state = file.resume(takeover, stage)
    resumed = state.epoch + state.step > 0
    attack = recipe.training_attack(info.threat)
    steps = split.steps(recipe.batch_size)
    for epoch in range(state.epoch, recipe.epochs):
        started = time.monotonic()
        generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
        state.loss = state.loss.to(device)
        state.seed_network(derive_seed(seed, "network", epoch))
        network.train()
        behind = state.step, state.draws.get("epoch")
        for x, labels in split.epoch(recipe.batch_size, info.augmentation, generator, *behind):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(epoch * steps + state.step, steps)
            loss = training_step(network, x, labels, epoch, method, attack, optimizer, generator)
            state.loss += loss * len(labels)
            state.step += 1
            state.seen += len(labels)
            if state.step % 10 == 1 or state.step == steps:
                _check_finite(loss, stage, epoch)
                done = epoch * steps + state.step
                progress(
                    stage,
                    done,
                    recipe.epochs * steps,
                    f"loss {loss:.3f} in epoch {epoch + 1}/{recipe.epochs}{said}",
                )
            if split.enterable and file.due:
                _check_finite(loss, stage, epoch)
                state.note_draws(generator)
                file.save(state)
                stop_if_asked()
        selection = None
        if epoch >= recipe.epochs - recipe.select_last:
            try:
                selection = select(model)
            except StopRequested:  # inside, where the weights are as the last step left them
                state.note_draws(generator)
                file.save(state)
                raise
        lr, loss = recipe.lr_at(epoch * steps + steps - 1, steps), state.loss / state.seen
        entry = EpochLog(epoch=epoch + 1, loss=float(loss), lr=lr, selection=selection)
        state.log.append(entry)
        best = best_epoch(state.log)
        if best is not None and best.epoch == entry.epoch:
            state.best = clone_state(model.state_dict())
        state.average(model.state_dict(), epoch + 1 - max(recipe.epochs - mean_of, 0))
        state.begin(epoch + 1)
        if file.due or state.epoch == recipe.epochs:
            file.save(state)
            stop_if_asked()
        took = time.monotonic() - started
        shown = f", {selection.percent} selected on" if selection else ""
        progress(
            stage,
            state.epoch * steps,
            recipe.epochs * steps,
            f"epoch {state.epoch}/{recipe.epochs}, loss {entry.loss:.3f}{shown}, {took:.0f} s",
        )
    best = best_epoch(state.log)
    assert best is not None  # the last epoch is always judged
    if best.selection.not_finite == best.selection.n:
        raise TrainingFailed(
            f"{stage}: every answer of the epochs that were judged is NaN or infinite; a lower "
            "learning rate may help"
        )
    model.requires_grad_(True)
    last = check(model.eval()) if check and best.epoch != recipe.epochs else None
    model.load_state_dict(state.best)
    model.eval()
    if check and last:
        _check_trained(check(model), last, stage, best)
    return Fitted.of(state, resumed=resumed)


def refuse_a_batch_of_one(model: nn.Module, split: Split, recipe: Recipe, stage: str) -> None:
    """Raise `UserError` if the last batch of an epoch has one image and `model` has batch norm."""
    alone = type(split) is Split and (len(split) - 1) % recipe.batch_size == 0
    if alone and any(isinstance(part, _BatchNorm) for part in model.modules()):
        raise UserError(
            f"{stage}: batch_size {recipe.batch_size} of {len(split)} images leaves a batch of one, "
            "too few for batch norm; choose another"
        )


def training_step(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    epoch: int,
    method: Method,
    attack: LinfAttack,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Tensor:
    """One step of `method` on x (B, C, H, W) in [0,1] and `labels` (B,) in `epoch`, counted from 0.

    Returns the loss, a scalar on the device. Starts are drawn from `generator`.
    """
    x_adv = method.inner(model, x, labels, attack, generator)
    with method.hold(model, x, x_adv, labels, epoch):
        loss = method.outer(model, x, x_adv, labels)
        if any(group["params"] for group in optimizer.param_groups):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    method.after_step(model, x)
    return loss.detach()


def freeze_all_but(model: nn.Module, names: Collection[str] | None) -> dict[str, nn.Parameter]:
    """Make only the parameters in `names` (None: all) ask for gradients; return them by name."""
    if unknown := set(names or ()) - {name for name, _ in model.named_parameters()}:
        raise ValueError(f"not parameters of the model: {', '.join(sorted(unknown))}")
    chosen = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(names is None or name in names)
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


def _check_trained(chosen: Count, last: Count, stage: str, best: Judged) -> None:
    std, final = chosen.fraction, last.fraction
    if std < UNTRAINED * final and std < final - BY:
        raise TrainingFailed(
            f"{stage}: epoch {best.epoch} was selected ({best.selection.percent} right), and it is "
            f"untrained: Std {chosen.percent}, of the last epoch {last.percent}; a method whose "
            'networks are not robust selects by clean accuracy (selects_by = "clean")'
        )


def _check_finite(loss: Tensor, stage: str, epoch: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingFailed(
            f"{stage}: the loss is {float(loss)} in epoch {epoch + 1}; a lower learning rate may help"
        )
