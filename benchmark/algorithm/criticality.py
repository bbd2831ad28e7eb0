"""Step 1 of RiFT: module robust criticality (MRC), as the paper and as its released code define it.

Adversarial examples are crafted once at the adversarially trained weights theta. The weight W of one
module, never its bias, then ascends the mean cross-entropy on them, starting at theta, within ||dW||
<= `radius` ||W||; the network stays in evaluation mode. MRC is the rise of that loss over all examples.
How W ascends and which loss counts is what the definitions differ in: `algorithm1`, `official_ascent`
and this suite's `scale_free`. Their values are not comparable.

Redundant work is skipped, on a CPU without changing a bit: what precedes the moving module runs once
(`benchmark.algorithm.rolling`), and one pass gives the first gradients of all modules (Algorithm 1 and
`scale_free`).
"""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from benchmark.algorithm.adversarial_examples import adversarial_set, robust_loss
from benchmark.algorithm.algorithm1 import algorithm1, first_gradients
from benchmark.algorithm.ascent import moving_weight
from benchmark.algorithm.official_ascent import official_ascent
from benchmark.algorithm.rolling import Rolling, Tail, same_in_any_batch
from benchmark.algorithm.scale_free import scale_free
from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.pgd import training_mode
from benchmark.engine.recipes import (
    Criticality,
    CriticalitySettings,
    OfficialCriticality,
    ScaleFreeCriticality,
)
from benchmark.engine.training import TrainingFailed
from benchmark.progress import Progress, silent
from benchmark.records.records import ModuleCriticality
from benchmark.records.store import Journal


def criticality_modules(model: nn.Module) -> list[str]:
    """Names of all Conv2d and Linear modules, input first: the modules of the paper's Figure 3."""
    return [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def module_criticality(
    model: nn.Module,
    module: str,
    tail: Tail,
    settings: Criticality,
    reference: tuple[float, float],
    seed: int,
    first: Tensor | None = None,
    journal: Journal | None = None,
) -> ModuleCriticality:
    """MRC of `module` in the definition of `settings`. Restores the weight bit by bit.

    `tail` is a part of `model` that holds `module`, or `Tail(model, images)`; `reference` is
    `robust_loss` of the unperturbed model, `seed` that of the measurement. `first` comes from
    `first_gradients` (None: recomputed where needed). Finished epochs are read from `journal`. The
    values are None if the weight or a loss is no longer finite.
    """
    with moving_weight(model, module, journal) as moving:
        match settings:
            case CriticalitySettings():
                ascent = algorithm1(moving, tail, settings, first)
            case ScaleFreeCriticality():
                ascent = scale_free(moving, tail, settings, reference, first)
            case OfficialCriticality():
                ascent = official_ascent(moving, tail, settings, seed)
    reached = ascent.reached
    return ModuleCriticality(
        module=module,
        mrc=None if reached is None else reached.loss - reference[0],
        accuracy_drop=None if reached is None else reference[1] - reached.accuracy,
        norm_ratio=None if reached is None else reached.norm_ratio,
        epochs=ascent.epochs,
        constrained=ascent.constrained,
    )


def criticality(
    model: nn.Module,
    split: Split,
    attack: LinfAttack,
    settings: Criticality,
    journal: Journal,
    *,
    seed: int,
    progress: Progress = silent,
    memory: int | None = None,
) -> Sequence[ModuleCriticality]:
    """MRC of every module of `model` on the first `settings.images` images of `split`, input first.

    Finished modules, and epochs of an unfinished one, are read from `journal`, whose folder and
    fingerprint belong to these settings alone. Resuming costs one pass from the images to the first
    missing module and one from there, with gradients unless `settings` are `OfficialCriticality`. A
    module whose ascent diverges has no values; the others are still measured. `memory` bounds the bytes
    of activations kept between modules (`Rolling`), not those within a pass over `CHUNK` examples.
    Raises `TrainingFailed` if the robust loss of `model` itself is not finite.
    """
    modules = criticality_modules(model)
    kept = {module: journal.get(module) for module in modules}
    if missing := [module for module in modules if kept[module] is None]:
        examples = adversarial_set(model, split.first(settings.images), attack, seed, journal, progress)
        batch_size = settings.batch_size or len(examples)
        exact = same_in_any_batch(examples, batch_size)
        rolling = Rolling(model, examples, memory if exact else 0)
        tail, gradients = rolling.to(missing[0]), dict[str, Tensor]()
        if isinstance(settings, OfficialCriticality):
            with training_mode(model, False):
                reference = robust_loss(tail.network, tail.examples)
        else:
            gradients, reference = first_gradients(model, missing, tail, batch_size, progress)
        del tail  # no tail has a name below, so that activations go when those of the next cut come
        if not math.isfinite(reference[0]):
            raise TrainingFailed(f"criticality: the robust loss of the base model is {reference[0]}")
        for index, module in enumerate(modules):
            if module in missing:
                first = gradients.pop(module, None)
                entry = module_criticality(
                    model, module, rolling.to(module), settings, reference, seed, first, journal
                )
                text = np.frombuffer(entry.model_dump_json().encode(), np.uint8)
                journal.put(module, entry=text)
                kept[module] = {"entry": text}
            progress("criticality", index + 1, len(modules), module)
    journal.drop("x_adv-*")
    journal.drop("ascent-*")
    entries = (each["entry"].tobytes() for each in kept.values() if each is not None)
    return [ModuleCriticality.model_validate_json(entry) for entry in entries]
