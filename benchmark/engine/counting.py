"""Counts of correct answers, clean and under PGD; `benchmark.engine.pgd` tells when batches matter.

An answer is `RIGHT`, `WRONG`, or `LOST`: its logits are not all finite, and no class is the largest.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.pgd import example_starts, frozen, linf_pgd, summed_cross_entropy, training_mode
from benchmark.engine.precision import used
from benchmark.engine.settled import deciding_logits
from benchmark.progress import Progress, silent
from benchmark.records.cells import Cell
from benchmark.records.records import VANISHING, Count
from benchmark.records.stopping import stop_if_asked
from benchmark.records.store import Arrays, Journal

BATCH, BATCH_VALUES = 512, 2**18
RIGHT, WRONG, LOST = 1, 0, -1


def images_at_once(images: Tensor) -> int:
    """How many such `images` (N, ...) are evaluated at once: at most `BATCH`, and on a CPU
    `BATCH_VALUES` pixel values (or one image), whose activations fit its caches."""
    fitting = BATCH_VALUES // images[0].numel() if images.device.type == "cpu" else BATCH
    return min(BATCH, max(1, fitting))


def batch_starts(split: Split) -> range:
    """Where the batches of `split` begin, of `images_at_once` each."""
    return range(0, len(split), images_at_once(split.images))


def halved(work: Callable[..., Tensor], *batch: Tensor) -> Tensor:
    """`work` on `batch`, tensors (B, ...), split into halves as often as it runs out of memory.

    `work` treats images independently, so that only last bits can depend on the size, and in fp32 on a
    CPU not even they (`benchmark.engine.pgd`). A warning says how small batches became. A stop that was
    asked for takes effect here, before the batch.
    """
    stop_if_asked()
    try:
        return work(*batch)
    except torch.OutOfMemoryError:
        if len(batch[0]) < 2:
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    halves = [*zip(*(each.chunk(2) for each in batch), strict=True)]
    warnings.warn(f"out of memory: going on by {len(halves[0][0])} images at a time", stacklevel=2)
    return torch.cat([halved(work, *half) for half in halves])


def judged(logits: Tensor, labels: Tensor) -> Tensor:
    """The answers of logits (B, K) to `labels` (B,); int8 (B,)."""
    answers = (logits.argmax(1) == labels).to(torch.int8)
    return answers.masked_fill(~logits.isfinite().all(1), LOST)


@torch.no_grad()
def answers(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """The answers of the model in evaluation mode to x (B, C, H, W); int8 (B,)."""
    with training_mode(model, False):
        return halved(lambda x, labels: judged(deciding_logits(model, x), labels), x, labels)


def clean_answers(model: nn.Module, split: Split) -> Tensor:
    """The answer to every image of `split`; int8 (N,) on the CPU."""
    starts = batch_starts(split)
    chunks = [answers(model, *split.batch(start, start + starts.step)) for start in starts]
    return torch.cat(chunks).cpu()


def clean_count(model: nn.Module, split: Split) -> Count:
    """How many images of `split` the model gets right."""
    return Count.of(clean_answers(model, split).numpy())


def vanishing(model: nn.Module, x: Tensor, labels: Tensor) -> dict[str, NDArray[np.int64]]:
    """At how many of x (B, C, H, W) in [0,1] the cross-entropy has a gradient of exactly zero in every
    pixel, and at how many it is exactly zero; keyed by `VANISHING`.

    Both are computed on the model itself in evaluation mode, in fp32.
    """

    def zero(x: Tensor, labels: Tensor) -> Tensor:
        leaf = x.contiguous().clone().requires_grad_(True)
        with training_mode(model, False), frozen(model):
            logits = model(leaf)
            (gradient,) = torch.autograd.grad(summed_cross_entropy(logits, labels), leaf)
        losses = F.cross_entropy(logits.detach(), labels, reduction="none")
        return torch.stack([(gradient == 0).flatten(1).all(1), losses == 0], 1)

    counts = halved(zero, x, labels).sum(0)
    return {name: np.array(int(count)) for name, count in zip(VANISHING, counts, strict=True)}


def adversarial_batch(
    model: nn.Module,
    split: Split,
    start: int,
    stop: int,
    attack: LinfAttack,
    seed: int,
    only: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """PGD examples and labels of images `start` to `stop`, crafted in evaluation mode.

    The random start of an image is fixed by `seed` and its place in the split. `only`, bool (B,), tells
    which of these images are attacked (None: all).
    """
    x, labels = split.batch(start, stop)
    shape = tuple(x.shape[1:])
    noise = example_starts(seed, start, start + len(x), shape, attack.eps).to(x.device)
    if only is not None:
        x, labels, noise = (each[only.to(each.device)] for each in (x, labels, noise))
    noise = noise.contiguous(memory_format=torch.channels_last)

    def attacked(x: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        return linf_pgd(model, x, labels, attack, noise)

    return halved(attacked, x, labels, noise), labels


def pgd_answers(
    model: nn.Module, split: Split, attack: LinfAttack, seed: int, start: int, stop: int
) -> Tensor:
    """The answers at the final PGD iterate of images `start` to `stop`; int8 on the CPU."""
    return answers(model, *adversarial_batch(model, split, start, stop, attack, seed)).cpu()


def pgd_count(model: nn.Module, split: Split, attack: LinfAttack, seed: int) -> Count:
    """Correct under one PGD run over the whole split."""
    starts = batch_starts(split)
    chunks = [pgd_answers(model, split, attack, seed, at, at + starts.step) for at in starts]
    return Count.of(torch.cat(chunks).numpy())


def score(
    by: Literal["robust", "clean"], split: Split, attack: LinfAttack, seed: int
) -> Callable[[nn.Module], Count]:
    """The function that counts right answers on `split`: clean, or under one run of `attack`."""
    if by == "clean":
        return lambda model: clean_count(model, split)
    return lambda model: pgd_count(model, split, attack, seed)


def run_seed(base: Cell, run: int) -> int:
    """Seed of the random starts of one run against the models made from `base`."""
    return base.seed_for("pgd10x3", run)


def journaled_batches(
    split: Split,
    journal: Journal,
    name: str,
    make: Callable[[int, int], Arrays],
    progress: Progress = silent,
    stage: str = "",
    note: str = "",
) -> dict[str, NDArray[Any]]:
    """The arrays that `make(start, stop)` gives for the batches of `split`, one after another.

    Finished batches of `name` are read from `journal`.
    """
    starts, chunks = batch_starts(split), list[Arrays]()
    for start in starts:
        stop = min(start + starts.step, len(split))
        chunks.append(journal.once(f"{name}-{start:06d}-{stop:06d}", partial(make, start, stop)))
        progress(stage, stop, len(split), note)
    return {part: np.hstack([chunk[part] for chunk in chunks]) for part in chunks[0]}


def journaled_pgd_answers(
    model: nn.Module,
    split: Split,
    attack: LinfAttack,
    seed: int,
    journal: Journal,
    name: str,
    progress: Progress,
) -> NDArray[np.int8]:
    """The answer to every image under one PGD run; finished batches are read from `journal`."""
    said = used().mark(split.labels.device).strip()

    def attacked(start: int, stop: int) -> Arrays:
        return {"answers": pgd_answers(model, split, attack, seed, start, stop).numpy()}

    made = journaled_batches(split, journal, f"answers-{name}", attacked, progress, name, said)
    return made["answers"]


def journaled_vanishing(model: nn.Module, split: Split, journal: Journal) -> Counter[str]:
    """`vanishing` at all images of `split`; finished batches are read from `journal`."""

    def counted(start: int, stop: int) -> Arrays:
        return vanishing(model, *split.batch(start, stop))

    found = journaled_batches(split, journal, "vanishing", counted)
    return Counter({name: int(counts.sum()) for name, counts in found.items()})
