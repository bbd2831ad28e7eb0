"""The only attack loop: projected gradient ascent in an L-infinity ball (Madry et al., 2018).

    x_0 = clip(x + start),  x_{t+1} = clip(P_eps(x_t + step_size * sign(grad L(f(x_t), y))))

Objective, start and BN mode are arguments; methods and evaluations differ in nothing else. With BN in
evaluation mode the gradient is that of a cheaper copy (`benchmark.engine.folded_copy`).

In fp32 on a CPU the perturbation of an example then has the same bits in any batch of 16 images or
more; torch may convolve fewer by another kernel. In bf16 that holds on some processors only: with AMX,
kernels for a narrow network may round by the size of the batch. On a GPU nothing is promised. Hence a
record is made in batches of one size, which it names (`chunk`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.info import LinfAttack
from benchmark.engine.folded_copy import cheaper
from benchmark.records.cells import derive_seed

Objective = Callable[[Tensor, Tensor], Tensor]

_BLOCK = 256


def summed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the batch, so that no example's gradient depends on the others."""
    return F.cross_entropy(logits, labels, reduction="sum")


@contextmanager
def training_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """`model` in training or evaluation mode inside the block, as it was afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in before:
            module.training = flag


@contextmanager
def frozen(model: nn.Module, free: Sequence[Tensor] = ()) -> Iterator[None]:
    """No parameter of `model` but `free` asks for a gradient inside the block; afterwards as before."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(any(parameter is weight for weight in free))
    try:
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)


def linf_pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    attack: LinfAttack,
    start: Tensor,
    *,
    objective: Objective = summed_cross_entropy,
    bn_training: bool = False,
) -> Tensor:
    """Adversarial images for `x` (B, C, H, W) in [0,1]: same shape, in [0,1], within `attack.eps`.

    `start` is the initial perturbation (same shape, pixel units). `bn_training` runs the model in
    training mode while crafting, which uses and updates batch statistics; otherwise the attack runs
    against `cheaper(model)`. `objective(logits, labels)` is ascended. Parameters receive no gradient.
    """
    low, high = (x - attack.eps).clamp_(0, 1), (x + attack.eps).clamp_(0, 1)
    x_adv = torch.clamp(x + start, low, high)
    with training_mode(model, bn_training), frozen(model):
        attacked = model if bn_training else cheaper(model, x.device)
        for _ in range(attack.steps):
            x_adv.requires_grad_(True)
            loss = objective(attacked(x_adv), labels)
            (gradient,) = torch.autograd.grad(loss, x_adv)
            x_adv = x_adv.detach().add_(gradient.sign(), alpha=attack.step_size)
            x_adv = torch.clamp(x_adv, low, high)
    return x_adv


def uniform_start(x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Perturbation for `x` from U(-eps, eps), drawn on the CPU: the same on every device."""
    return _drawn_for(x, lambda start: start.uniform_(-eps, eps, generator=generator))


def gaussian_start(x: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Perturbation for `x` from N(0, std^2), drawn on the CPU: the same on every device."""
    return _drawn_for(x, lambda start: start.normal_(0, std, generator=generator))


def _drawn_for(x: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    # From pinned memory the copy waits for nothing that the device still has to do.
    start = draw(torch.empty(x.shape, pin_memory=x.is_cuda, device="cpu"))
    return start.to(x.device, non_blocking=True)


@torch.no_grad()
def evaluated(model: nn.Module, x: Tensor) -> Tensor:
    """Logits (B, K) of `x`, in evaluation mode, of the model that an attack on `model` sees."""
    with training_mode(model, False):
        return cheaper(model, x.device)(x)


def example_starts(seed: int, start: int, stop: int, shape: tuple[int, ...], eps: float) -> Tensor:
    """U(-eps, eps) starts for examples `start` to `stop`, each fixed by (seed, example id).

    Returns (stop - start, *shape). Draws are made in blocks of fixed ids, so that an example's start
    does not depend on the batch it is attacked in.
    """
    blocks = range(start // _BLOCK, (stop - 1) // _BLOCK + 1)
    drawn = np.concatenate([_block(seed, block, shape) for block in blocks])
    offset = blocks.start * _BLOCK
    return torch.from_numpy(drawn[start - offset : stop - offset]).mul(2 * eps).sub_(eps)


@lru_cache(maxsize=4)
def _block(
    seed: int, block: int, shape: tuple[int, ...]
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "start", block)))
    return generator.random((_BLOCK, *shape), dtype=np.float32)
