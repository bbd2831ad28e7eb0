"""The Python door: RiFT, its steps and the suite's evaluations on a network of one's own.

from benchmark import rift
result = rift(model, (train_images, train_labels), (images, labels))
print(result.summary())
"""

import copy
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import nn

from benchmark import run as paper
from benchmark.checkpoints.mismatch import shape_mismatch
from benchmark.data import dataset_info, load
from benchmark.data.images import Dataset, pixels
from benchmark.data.info import Augmentation, LinfAttack
from benchmark.engine.weights import Weights
from benchmark.engine.weights import interpolate as between
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import first_images, limited
from benchmark.jobs.applied import PAPERS_ATTACK, MethodResult, apply_method
from benchmark.jobs.aside import own_draws, own_precision
from benchmark.jobs.given import SAME, Question, prepared, shown
from benchmark.jobs.model_file import load_checkpoint, save_checkpoint
from benchmark.jobs.result import RiftResult, criticality_frame
from benchmark.jobs.soundness import refuse_model
from benchmark.progress import Progress
from benchmark.records.cells import OWN, Cell
from benchmark.records.files import at_home
from benchmark.records.records import Finetuning
from benchmark.records.store import Journal
from benchmark.report.intervals import wilson

if TYPE_CHECKING:
    from benchmark.engine.recipes import Recipe


def rift(
    model: nn.Module,
    train: Any,
    judge: Any,
    *,
    attack: LinfAttack = PAPERS_ATTACK,
    modules: Sequence[str] | None = None,
    protocol: str = "rift",
    recipe: "Mapping[str, Any] | Recipe | None" = None,
    mrc: Mapping[str, Any] | None = None,
    augmentation: Augmentation | None = None,
    seed: int | Cell = 0,
    device: torch.device | str | None = None,
    progress: bool | Progress = True,
    workdir: Path | str | None = None,
) -> RiftResult:
    """Apply RiFT (Algorithm 2), or one of its ablations, to an adversarially trained network.

    The steps are those of the suite's cells (`benchmark/run.py`). `model` is left as it is.

    Args:
        model: any module from pixels in [0,1], (N, C, H, W), to logits (N, classes), with any names of
            modules; what normalises is inside.
        train: images to fine-tune on: `(images, labels)`; a torch Dataset, which is read once; or a
            DataLoader, which augments by itself, is iterated anew every epoch, and of which no more
            than `mrc["images"]` images (all, if that is not said) are in memory.
        judge: images that choose the epoch and alpha*, in the same forms, all in memory; 1,000 or more,
            because alpha* may cost 0.1 points of robust accuracy.
        attack: the L-infinity attack that criticality and alpha* are of.
        modules: names of the modules to fine-tune; None: as `protocol` chooses.
        protocol: a fine-tuning by its name in the suite: `rift`, `rift-scale-free`, `all-layers`, ...
        recipe: fields of the fine-tuning's recipe that differ, such as `{"epochs": 3}`.
        mrc: fields of the criticality's settings that differ, such as `{"images": 1000}`.
        augmentation: of `train`; None: none.
        seed: an int, or the cell of the suite whose random draws are wanted.
        device: where the work is done; None: where the model is.
        progress: True writes a line to standard error; or a function.
        workdir: a folder in which a killed call continues; None: nothing is kept. A DataLoader that
            draws from another generator than torch's own cannot continue, and says so.

    Returns:
        The model at alpha*, with the criticality of every module and the curve.

    Raises:
        UserError: before any work, for what cannot be right: pixels outside [0,1], labels that are no
            classes, logits that are not finite, a model on several devices or without a module to
            choose, frozen or unknown modules and names, a device that is not here.
    """
    asked = Question(
        model, train, judge, attack, protocol, modules, recipe, mrc, augmentation, seed, device
    )
    if asked.chosen.forward is not None:
        raise UserError(f"{protocol} makes a module; apply_method(model, '{protocol}', train, judge)")
    with ExitStack() as stack:
        run = asked.run(stack, workdir, shown(progress))
        theta = paper.rift(run, asked.weights)
        making = run.store.making(run.plan.cell)
        assert making is not None and isinstance(making.details, Finetuning)
        return RiftResult(_with(asked, theta), protocol, making.details)


def criticality(
    model: nn.Module,
    images: Any,
    *,
    attack: LinfAttack = PAPERS_ATTACK,
    protocol: str = "rift",
    mrc: Mapping[str, Any] | None = None,
    seed: int | Cell = 0,
    device: torch.device | str | None = None,
    progress: bool | Progress = True,
    workdir: Path | str | None = None,
) -> pd.DataFrame:
    """Measure the robust criticality of every Conv2d and Linear module (step 1, Algorithm 1).

    Args:
        images: what it is measured on, in the forms of `rift`.
        protocol: whose definition is taken: `rift` (Algorithm 1), `rift-official-code`,
            `rift-scale-free`, `rift-one-step`.

    Returns:
        A row per module, input first, with MRC (nats), accuracy drop (fraction), the norm reached
        relative to that of the weight, and whether the constraint was ever active.

    Raises:
        UserError: as `rift`.
    """
    asked = Question(model, images, SAME, attack, protocol, mrc=mrc, seed=seed, device=device)
    with ExitStack() as stack:
        run = asked.run(stack, workdir, shown(progress))
        return criticality_frame(list(paper.measure_criticality(run, asked.weights)))


def finetune(
    model: nn.Module,
    train: Any,
    judge: Any,
    modules: Sequence[str],
    *,
    recipe: "Mapping[str, Any] | Recipe | None" = None,
    augmentation: Augmentation | None = None,
    seed: int | Cell = 0,
    device: torch.device | str | None = None,
    progress: bool | Progress = True,
    workdir: Path | str | None = None,
) -> nn.Module:
    """Fine-tune `modules` alone on clean images (step 2, Equation 8); arguments as in `rift`.

    Returns:
        A copy of the model with the weights of the epoch of the best clean accuracy on `judge`.

    Raises:
        UserError: as `rift`.
    """
    mrc = {"images": 8}  # none is measured: no more of a loader's first pass is needed
    asked = Question(
        model, train, judge, PAPERS_ATTACK, "rift", modules, recipe, mrc, augmentation, seed, device
    )
    with ExitStack() as stack:
        run = asked.run(stack, workdir, shown(progress))
        fitted = paper.fine_tune(run, asked.weights, list(modules))
        return _with(asked, Weights.of(fitted.state))


def interpolate(
    model: nn.Module,
    tuned: nn.Module,
    judge: Any,
    *,
    attack: LinfAttack = PAPERS_ATTACK,
    protocol: str = "rift",
    seed: int | Cell = 0,
    device: torch.device | str | None = None,
    progress: bool | Progress = True,
) -> tuple[nn.Module, float]:
    """Choose alpha* between `model` (0) and `tuned` (1) by the 0.1-point rule (step 3, Equation 9).

    Returns:
        A copy of the model with the weights at alpha*, and alpha*.

    Raises:
        UserError: as `rift`, and if `tuned` is another network.
    """
    asked = Question(
        model, judge, SAME, attack, protocol, seed=seed, device=device, measures=False, chooses=True
    )
    refuse_model(tuned, ())
    end = Weights.of({name: x.to(asked.place) for name, x in tuned.state_dict().items()})
    if problem := shape_mismatch(end.state, asked.weights.state):
        told = re.sub(r"\bfile\b", "former", problem)
        raise UserError(f"tuned is another network than model: {told}")
    with ExitStack() as stack:
        run = asked.run(stack, None, shown(progress))
        alpha, _, _ = paper.choose_alpha(run, asked.weights, end)
        weights = Weights.of(between(asked.weights.state, end.state, alpha))
        return _with(asked, weights), alpha


def evaluate(
    model: nn.Module,
    data: Any,
    evaluations: str | Sequence[str] = ("clean", "pgd10x3"),
    *,
    limit: int | None = None,
    attack: LinfAttack | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    data_dir: Path | str = "data",
    progress: bool | Progress = True,
) -> pd.DataFrame:
    """Evaluate a network in memory by the suite's own attacks; nothing is written.

    Args:
        model: as in `rift`.
        data: the name of a dataset, whose test split is read from `data_dir`, or test images in the
            forms of `rift`.
        evaluations: names of the suite: `clean`, `pgd10x3`, `autoattack`, `corruptions-15-gen-v2`, ...
        limit: only the first so many images.
        attack: another threat model than the dataset's; None for images of one's own: eps 8/255.

    Returns:
        A row per evaluation with accuracy (fraction), right answers, answers, and the ends of a 95 %
        interval (Wilson) over images, which an evaluation with several answers per image has not.

    Raises:
        UserError: for unknown names, and as `rift`.
    """
    evaluations = [evaluations] if isinstance(evaluations, str) else list(evaluations)
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; None takes all images")
    known = [evaluation(limited(name, limit)) for name in evaluations]
    named = load(dataset_info(data).name, at_home(data_dir)) if isinstance(data, str) else None
    images = data if named is None else named.test
    with ExitStack() as stack:
        asked = Question(
            model, images, SAME, attack or PAPERS_ATTACK, seed=seed, device=device, measures=False
        )
        own_draws(stack, seed, asked.place)
        found = Dataset(asked.info, asked.splits[0], asked.splits[0], at_home(data_dir))
        if named is not None:
            threat = attack or named.info.threat
            if asked.info.classes != named.info.classes:
                raise UserError(
                    f"the model has {asked.info.classes} classes and {named.info.label} has "
                    f"{named.info.classes}"
                )
            found = replace(named.to(asked.place), info=replace(named.info, threat=threat))
        own_precision(stack, model, pixels(asked.splits[0].images[:8]), shown(progress))
        network = prepared(model).to(asked.place)
        for each in known:
            each.check(found)
        folder, rows = stack.enter_context(tempfile.TemporaryDirectory()), []
        for name, each in zip(evaluations, known, strict=True):
            cell, journal = Cell(OWN, OWN, OWN, OWN, "none", seed), Journal(Path(folder) / name, name)
            value = each.run(network, found, cell, journal, shown(progress)).value
            ends = None if each.pooled else wilson(value.k, value.n)
            low, high = (ends.low, ends.high) if ends else (None, None)
            rows.append((name, first_images(each), value.fraction, value.k, value.n, low, high))
    columns = ["evaluation", "first images", "accuracy", "right", "answers", "low", "high"]
    return pd.DataFrame(rows, columns=columns).set_index("evaluation")


def _with(asked: Question, weights: Weights) -> nn.Module:
    """A copy of the model as it was given, with `weights`."""
    model = copy.deepcopy(asked.model)
    model.load_state_dict(weights.state)
    return model.eval()


__all__ = [
    "MethodResult",
    "RiftResult",
    "apply_method",
    "criticality",
    "evaluate",
    "finetune",
    "interpolate",
    "load_checkpoint",
    "rift",
    "save_checkpoint",
]
