"""Whether a user's own network can be fine-tuned, before any work."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.data.given import Streamed
from benchmark.data.images import Split, pixels
from benchmark.engine.method import OwnTuning
from benchmark.engine.training import refuse_a_batch_of_one
from benchmark.errors import UserError, reason
from benchmark.jobs.soundness import in_order
from benchmark.plans.plan import Plan


def refuse_training(model: nn.Module, train: Split, plan: Plan) -> None:
    """Raise `UserError` if the fine-tuning of `plan` has nothing to move in `model`, or would fail: the
    logits in training mode have to be those of evaluation mode in kind, too."""
    augmentation = plan.base.info.augmentation
    if isinstance(train, Streamed) and (augmentation.pad or augmentation.flip):
        raise UserError("train: a DataLoader augments by itself; leave augmentation out")
    if plan.finetuning.about_batch_norm and not any(
        isinstance(part, _BatchNorm) or getattr(part, "running_mean", None) is not None
        for part in model.modules()
    ):
        raise UserError(
            f"{plan.finetuning.name} is about batch-norm statistics, and the model has none: there is "
            "nothing to move; leave it out"
        )
    if isinstance(plan.tuner, OwnTuning):
        return
    refuse_a_batch_of_one(model, train, plan.recipe, "fine-tuning")
    x, classes = in_order(pixels(train.images[:8])), plan.base.info.classes
    try:
        with torch.random.fork_rng(devices=[]):
            logits = copy.deepcopy(model).to(x.device).train()(x)
    except Exception as error:  # whatever somebody's code raises
        raise UserError(
            f"the model fails in training mode, in which it is fine-tuned: {type(error).__name__}: "
            f"{reason(error)}"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (len(x), classes):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"in training mode the model returns {found} for {len(x)} images; fine-tuning needs the "
            f"logits alone there, too, a tensor ({len(x)}, {classes}): switch auxiliary heads off"
        )
