"""The choice of the four numbers of MixedNUTS from the logits of the robust network."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.engine.counting import adversarial_batch, batch_starts
from benchmark.engine.forward import Choice, ChoiceTask
from benchmark.engine.pgd import training_mode
from benchmark.errors import UserError
from benchmark.posthoc.modules import nonlinear

BELOW_ONE = 1 - 1e-9
"""The largest margin that q asks for in the objective, as released."""


def logits_by_image(task: ChoiceTask) -> tuple[Tensor, Tensor]:
    """Logits (N, K) of the network for the images that choose, clean and under one PGD run; on the
    processor, in double precision."""
    images, found = task.judged, []
    starts = batch_starts(images)
    with training_mode(task.network, False):
        for start in starts:
            stop = min(start + starts.step, len(images))
            x_adv, _ = adversarial_batch(task.network, images, start, stop, task.attack, task.seed)
            with torch.no_grad():
                pair = [task.network(x).cpu() for x in (images.batch(start, stop)[0], x_adv)]
            found.append(pair)
            task.progress("margins", stop, len(images))
    clean, attacked = (torch.cat(part).double() for part in zip(*found, strict=True))
    return clean, attacked


def best_numbers(
    clean: Tensor, attacked: Tensor, labels: Tensor, axes: Mapping[str, Sequence[float]], beta: float
) -> Choice:
    """The numbers of MixedNUTS for logits (N, K) of clean and attacked images with `labels` (N,).

    Wrong clean and right attacked images are those of the network itself: the map may change an
    answer, which the remarks count. Raises `UserError` if no attacked image is right.
    """
    wrong, right = clean[clean.argmax(1) != labels], attacked[attacked.argmax(1) == labels]
    if not len(right):
        raise UserError("mixed-nuts: no image is right under attack, so no margin is worth keeping")
    best: tuple[float, float] | None = None
    numbers: dict[str, float] = {}
    for values in product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        kept, lost = _margins(right, point), _margins(wrong, point)
        q = float(np.percentile(kept.numpy(), 100 - beta))
        found = float((lost >= min(q, BELOW_ONE)).double().mean()) if len(lost) else 0.0, 1 / (1 + q)
        if best is None or found < best:
            best, numbers = found, {"weight": found[1], **point}
    at = {name: numbers[name] for name in axes}
    changed = [int((nonlinear(z, **at).argmax(1) != z.argmax(1)).sum()) for z in (clean, attacked)]
    edges = [name for name, values in axes.items() if numbers[name] in (values[0], values[-1])]
    remarks = [
        f"the map alone changes the answer to {changed[0]} clean and {changed[1]} attacked images of "
        f"{len(labels)}"
    ]
    if edges:
        remarks.append(f"chosen at the edge of the grid: {', '.join(edges)}")
    return Choice(numbers, tuple(remarks))


def _margins(z: Tensor, point: Mapping[str, float]) -> Tensor:
    """Largest minus second probability (N,) of the logits z (N, K) mapped at `point`."""
    first, second = F.softmax(nonlinear(z, **point), 1).topk(2, 1).values.unbind(1)
    return first - second
