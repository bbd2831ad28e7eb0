"""Step 1 of RiFT: module robust criticality (MRC), as the paper and as its released code define it.

Adversarial examples are crafted once at the adversarially trained weights theta. The weight W of one
module, never its bias, then ascends the mean cross-entropy on them, starting at theta, within ||dW||
<= `radius` ||W||; the network stays in evaluation mode. MRC is the rise of that loss over all examples.
How W ascends and which loss counts is what the definitions differ in: `algorithm1` and
`official_ascent`. Their values are not comparable.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from benchmark.attacks import training_mode
from benchmark.data.images import Split
from benchmark.progress import Progress, silent
from benchmark.recipes import Criticality, CriticalitySettings, LinfAttack, OfficialCriticality
from benchmark.records import ModuleCriticality
from benchmark.rift.adversarial_examples import AdversarialSet, adversarial_set, robust_loss
from benchmark.rift.algorithm1 import algorithm1
from benchmark.rift.ascent import Ascent, moving_weight
from benchmark.rift.official_ascent import official_ascent
from benchmark.store import Journal
from benchmark.training import TrainingFailed

_ASCENTS: dict[type[Criticality], Callable[..., Ascent]] = {
    CriticalitySettings: algorithm1,
    OfficialCriticality: official_ascent,
}


def criticality_modules(model: nn.Module) -> list[str]:
    """Names of all Conv2d and Linear modules, input first: the modules of the paper's Figure 3."""
    return [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def module_criticality(
    model: nn.Module,
    module: str,
    examples: AdversarialSet,
    settings: Criticality,
    reference: tuple[float, float],
    seed: int,
) -> ModuleCriticality:
    """MRC of `module` in the definition of `settings`. Restores the weight bit by bit.

    `reference` is `robust_loss` of the unperturbed model, `seed` that of the measurement. The values
    are None if the weight or a loss stopped being a finite number.
    """
    with moving_weight(model, module) as moving:
        ascent = _ASCENTS[type(settings)](model, moving, examples, settings, seed)
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
    *,
    seed: int,
    journal: Journal,
    progress: Progress = silent,
) -> Sequence[ModuleCriticality]:
    """MRC of every module of `model` on the first `settings.images` images of `split`, input first.

    Finished modules are read from `journal`, whose folder and fingerprint belong to these settings
    alone. A module whose ascent diverges has no values and the others are still measured. Raises
    `TrainingFailed` if the robust loss of `model` itself is not finite.
    """
    modules = criticality_modules(model)
    done = [_from_journal(journal, module) for module in modules]
    if any(entry is None for entry in done):
        examples = adversarial_set(model, split.first(settings.images), attack, seed, journal, progress)
        with training_mode(model, False):
            reference = robust_loss(model, examples)
        if not math.isfinite(reference[0]):
            raise TrainingFailed(f"criticality: the robust loss of the base model is {reference[0]}")
        for index, module in enumerate(modules):
            if done[index] is None:
                entry = module_criticality(model, module, examples, settings, reference, seed)
                journal.put(module, entry=np.frombuffer(entry.model_dump_json().encode(), np.uint8))
                done[index] = entry
            progress("criticality", index + 1, len(modules), module)
        journal.drop("x_adv-*")
    return [entry for entry in done if entry is not None]


def _from_journal(journal: Journal, module: str) -> ModuleCriticality | None:
    kept = journal.get(module)
    if kept is None:
        return None
    return ModuleCriticality.model_validate_json(kept["entry"].tobytes())
