"""Step 1 of RiFT: module robust criticality, as Algorithm 1 of the paper reads.

Adversarial examples are crafted once at the adversarially trained weights theta. For one module with
weight W, starting at theta, every epoch sums the gradients of the mean robust loss of each batch, all
taken at the epoch's first weights (line 12), and steps W by `lr` times that sum. When ||dW|| reaches
`radius` ||W|| (L2 norm of the whole tensor), dW is projected onto that sphere and the ascent stops
(lines 15-18; line 17 prints theta_t + dW where the projected point is theta + dW). MRC is the rise of
the mean cross-entropy over all adversarial examples (line 21). The network stays in evaluation mode;
only the module's weight moves, never its bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.attacks import training_mode
from benchmark.data.images import Split
from benchmark.evaluation.counting import adversarial_batch
from benchmark.progress import Progress, silent
from benchmark.recipes import CriticalitySettings, LinfAttack
from benchmark.records import ModuleCriticality
from benchmark.store import Journal
from benchmark.training import TrainingFailed

CHUNK = 256


@dataclass(frozen=True)
class AdversarialSet:
    """Adversarial examples (N, C, H, W) in [0,1] with labels (N,)."""

    x_adv: Tensor
    labels: Tensor

    def chunks(self, start: int, stop: int) -> "list[tuple[Tensor, Tensor]]":
        """The examples `start` to `stop` in pieces of at most `CHUNK`."""
        stop = min(stop, len(self.labels))
        edges = [*range(start, stop, CHUNK), stop]
        return [(self.x_adv[a:b], self.labels[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def criticality_modules(model: nn.Module) -> list[str]:
    """Names of all Conv2d and Linear modules, input first: the modules of the paper's Figure 3."""
    return [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def adversarial_set(
    model: nn.Module,
    split: Split,
    attack: LinfAttack,
    seed: int,
    journal: Journal,
    progress: Progress = silent,
) -> AdversarialSet:
    """Algorithm 1, lines 1-5: PGD examples for every image of `split`, kept chunk by chunk."""
    chunks = []
    for start in range(0, len(split), CHUNK):
        name = f"x_adv-{start:06d}"
        if (kept := journal.get(name)) is None:
            stop = min(start + CHUNK, len(split))
            x_adv, _ = adversarial_batch(model, split, start, stop, attack, seed)
            kept = {"x_adv": x_adv.cpu().numpy()}
            journal.put(name, **kept)
        chunks.append(torch.from_numpy(kept["x_adv"]))
        progress("criticality: adversarial examples", min(start + CHUNK, len(split)), len(split))
    x_adv = torch.cat(chunks).to(split.labels.device, memory_format=torch.channels_last)
    return AdversarialSet(x_adv, split.labels)


@torch.no_grad()
def robust_loss(model: nn.Module, examples: AdversarialSet) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (fraction) of `model` as it is on `examples`."""
    total, hits = 0.0, 0
    for x_adv, labels in examples.chunks(0, len(examples.labels)):
        logits = model(x_adv)
        total += float(F.cross_entropy(logits, labels, reduction="sum"))
        hits += int((logits.argmax(1) == labels).sum())
    return total / len(examples.labels), hits / len(examples.labels)


def module_criticality(
    model: nn.Module,
    module: str,
    examples: AdversarialSet,
    settings: CriticalitySettings,
    reference: tuple[float, float],
) -> ModuleCriticality:
    """MRC of `module`; `reference` is `robust_loss` of the unperturbed model. Restores the weight.

    Raises `TrainingFailed` if the loss is not finite, so that a module whose ascent diverged never
    looks uncritical.
    """
    weight: Tensor = model.get_submodule(module).get_parameter("weight")
    original = weight.detach().clone()
    norm = float(original.norm())
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(parameter is weight)
    epochs, constrained = 0, False
    try:
        with training_mode(model, False):
            while epochs < settings.steps and not constrained:
                gradient = _epoch_gradient(model, weight, examples, settings.batch_size)
                epochs += 1
                with torch.no_grad():
                    weight.add_(gradient, alpha=settings.lr)
                    shift = weight - original
                    length = float(shift.norm())
                    if not np.isfinite(length):
                        raise TrainingFailed(f"criticality of {module}: the ascent diverged")
                    if length >= settings.radius * norm:
                        constrained = True
                        scale = settings.radius * norm / length if length > 0 else 0.0
                        weight.copy_(original + scale * shift)
            loss, accuracy = robust_loss(model, examples)
            reached = float((weight.detach() - original).norm())
    finally:
        with torch.no_grad():
            weight.copy_(original)
        for parameter in frozen:
            parameter.requires_grad_(True)
    if not np.isfinite(loss):
        raise TrainingFailed(f"criticality of {module}: the robust loss is {loss}")
    return ModuleCriticality(
        module=module,
        mrc=loss - reference[0],
        accuracy_drop=reference[1] - accuracy,
        norm_ratio=reached / norm if norm > 0 else 0.0,
        epochs=epochs,
        constrained=constrained,
    )


def _epoch_gradient(
    model: nn.Module, weight: Tensor, examples: AdversarialSet, batch_size: int
) -> Tensor:
    total = torch.zeros_like(weight)
    for start in range(0, len(examples.labels), batch_size):
        stop = min(start + batch_size, len(examples.labels))
        for x_adv, labels in examples.chunks(start, stop):
            loss = F.cross_entropy(model(x_adv), labels, reduction="sum") / (stop - start)
            total += torch.autograd.grad(loss, weight)[0]
    return total


def criticality(
    model: nn.Module,
    split: Split,
    attack: LinfAttack,
    settings: CriticalitySettings,
    *,
    seed: int,
    journal: Journal,
    progress: Progress = silent,
) -> Sequence[ModuleCriticality]:
    """MRC of every module of `model`, input first. Finished modules are read from `journal`."""
    modules = criticality_modules(model)
    done = [_from_journal(journal, module) for module in modules]
    if any(entry is None for entry in done):
        examples = adversarial_set(model, split.first(settings.images), attack, seed, journal, progress)
        with training_mode(model, False):
            reference = robust_loss(model, examples)
        for index, module in enumerate(modules):
            if done[index] is None:
                entry = module_criticality(model, module, examples, settings, reference)
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
