"""Counts of correct answers, clean and under PGD; `benchmark.attacks` says when batches matter."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.attacks import example_starts, linf_pgd, training_mode
from benchmark.data.images import Split
from benchmark.evaluation.evaluation import counted
from benchmark.precision import used
from benchmark.progress import Progress
from benchmark.recipes import LinfAttack
from benchmark.records import Count
from benchmark.store import Journal

BATCH, BATCH_VALUES = 512, 2**18


def batch_starts(split: Split) -> range:
    """Where the batches of `split` begin: at most `BATCH` images, and on a processor about
    `BATCH_VALUES` pixel values, which its caches hold the activations of."""
    fitting = BATCH_VALUES // split.images[0].numel() if split.images.device.type == "cpu" else BATCH
    return range(0, len(split), min(BATCH, max(1, fitting)))


@torch.no_grad()
def correct(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Which of x (B, C, H, W) the model in evaluation mode gets right; bool (B,)."""
    with training_mode(model, False):
        answers: Tensor = model(x).argmax(1) == labels
    return answers


def clean_bits(model: nn.Module, split: Split) -> Tensor:
    """Correctness of every image of `split`; bool (N,) on the CPU."""
    starts = batch_starts(split)
    chunks = [correct(model, *split.batch(start, start + starts.step)) for start in starts]
    return torch.cat(chunks).cpu()


def clean_count(model: nn.Module, split: Split) -> Count:
    """How many images of `split` the model gets right."""
    return counted(clean_bits(model, split).numpy())


def adversarial_batch(
    model: nn.Module, split: Split, start: int, stop: int, attack: LinfAttack, seed: int
) -> tuple[Tensor, Tensor]:
    """PGD examples and labels of images `start` to `stop`, crafted in evaluation mode.

    The random start of an image is fixed by `seed` and its place in the split.
    """
    x, labels = split.batch(start, stop)
    shape = tuple(x.shape[1:])
    noise = example_starts(seed, start, start + len(x), shape, attack.eps).to(x.device)
    noise = noise.contiguous(memory_format=torch.channels_last)
    return linf_pgd(model, x, labels, attack, noise), labels


def pgd_bits(
    model: nn.Module, split: Split, attack: LinfAttack, seed: int, start: int, stop: int
) -> Tensor:
    """Correctness at the final PGD iterate of images `start` to `stop`; bool on the CPU."""
    return correct(model, *adversarial_batch(model, split, start, stop, attack, seed)).cpu()


def pgd_count(model: nn.Module, split: Split, attack: LinfAttack, seed: int) -> Count:
    """Correct under one PGD run over the whole split."""
    starts = batch_starts(split)
    bits = [pgd_bits(model, split, attack, seed, at, at + starts.step) for at in starts]
    return counted(torch.cat(bits).numpy())


def journaled_pgd_bits(
    model: nn.Module,
    split: Split,
    attack: LinfAttack,
    seed: int,
    journal: Journal,
    name: str,
    progress: Progress,
) -> NDArray[np.bool_]:
    """Correctness of every image under one PGD run; finished batches are read from `journal`."""
    batches, said = [], used().mark(split.labels.device).strip()
    starts = batch_starts(split)
    for start in starts:
        stop = min(start + starts.step, len(split))
        chunk = f"{name}-{start:06d}-{stop:06d}"
        if (kept := journal.get(chunk)) is None:
            kept = {"bits": pgd_bits(model, split, attack, seed, start, stop).numpy()}
            journal.put(chunk, **kept)
        batches.append(kept["bits"])
        progress(name, stop, len(split), said)
    return np.concatenate(batches)
