"""One attack of pyautoattack on one chunk of images, without a trace on anything else."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from benchmark.engine.counting import LOST, RIGHT, answers, vanishing
from benchmark.engine.folded_copy import cheaper
from benchmark.engine.pgd import frozen, training_mode
from benchmark.records.stopping import stop_if_asked

TOLERANCE = 1e-6
"""How far rounding may lead out of the ball, in pixels of [0,1]."""

_SILENT = logging.Logger("pyautoattack", level=logging.CRITICAL + 1)
"""Takes what the attacks would say to the user: zero gradients, which are counted here."""

_ATTACKS = {
    "apgd-ce": APGDAttack,
    "apgd-t": APGDAttack_targeted,
    "fab-t": FABAttack_PT,
    "square": SquareAttack,
}


def judge_clean(model: nn.Module, x: Tensor, labels: Tensor) -> dict[str, NDArray[Any]]:
    """`answers` to x (B, C, H, W) in [0,1] with `labels` (B,), and what `vanishing` counts there."""
    x = x.contiguous()
    return {"answers": answers(model, x, labels).cpu().numpy(), **vanishing(model, x, labels)}


def attack_survivors(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    survivors: NDArray[np.bool_],
    attack: str,
    parameters: Mapping[str, Any],
    eps: float,
    seed: int,
    source: nn.Module | None = None,
) -> dict[str, NDArray[Any]]:
    """`survivors` (B,) among x (B, C, H, W) after `attack`, how many examples were `illegal`, and which
    images (B,) were `lost`: the answer to their example is not finite.

    The survivors are one batch, and examples are crafted on `source` (None: the model). One that is
    outside the ball of radius `eps` or [0,1] breaks nothing, and neither does one that the model gets
    right when it is asked again.
    """
    after, lost, illegal = survivors.copy(), np.zeros_like(survivors), 0
    if survivors.any():
        alive = torch.from_numpy(survivors).to(x.device)
        x, labels = x[alive].contiguous(), labels[alive]
        x_adv = adversarial_examples(source or model, x, labels, attack, parameters, eps, seed)
        legal = is_legal(x_adv, x, eps)
        asked = answers(model, x_adv, labels)
        after[survivors] = (~legal | (asked == RIGHT)).cpu().numpy()
        lost[survivors] = (legal & (asked == LOST)).cpu().numpy()
        illegal = int((~legal).sum())
    return {"survivors": after, "lost": lost, "illegal": np.array(illegal)}


def adversarial_examples(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    attack: str,
    parameters: Mapping[str, Any],
    eps: float,
    seed: int,
) -> Tensor:
    """What `attack` makes of x (B, C, H, W) in [0,1], in evaluation mode; same shape.

    It runs against `cheaper(model)`. Images that only this takes for broken, by rounding and maybe
    before the first step, where attacks leave them alone, are attacked again on the model itself. x is
    in contiguous memory order, since pyautoattack flattens by `view`. `seed` fixes all draws, given the
    shape of x. Parameters receive no gradient, and no random state is changed.
    """

    def perturbed(attacked: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> Tensor:
        def asked(images: Tensor) -> Tensor:
            stop_if_asked()  # costs this attack on this chunk alone
            return attacked(images)

        found: Tensor = attacker(asked, attack, parameters, eps, seed).perturb(x, labels)
        return found

    # FAB calls `backward`, which would otherwise add to `grad` of every parameter.
    with (
        _own_randomness(x.device),
        training_mode(model, False),
        frozen(model),
        torch.no_grad(),
    ):
        attacked = cheaper(model, x.device)
        x_adv = perturbed(attacked, x, labels)
        if attacked is not model:
            broken, right = attacked(x_adv).argmax(1) != labels, model(x_adv).argmax(1) == labels
            if bool((apart := broken & right).any()):
                x_adv[apart] = perturbed(model, x[apart], labels[apart])
    return x_adv


def attacker(
    model: Callable[[Tensor], Tensor], attack: str, parameters: Mapping[str, Any], eps: float, seed: int
) -> APGDAttack | FABAttack_PT | SquareAttack:
    """pyautoattack's object for `attack` in the L-infinity ball of radius `eps`."""
    said = {"logger": _SILENT} if attack.startswith("apgd") else {}
    return _ATTACKS[attack](model, norm="Linf", eps=eps, seed=seed, **parameters, **said)


def is_legal(x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    """Which of x_adv (B, C, H, W) are in [0,1] and within `eps` of x, bool (B,); NaN is not."""
    inside = ((x_adv - x).abs() <= eps + TOLERANCE) & (x_adv >= 0) & (x_adv <= 1)
    return inside.flatten(1).all(1)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Random states of the processor and, for work on one, of CUDA devices are put back afterwards.

    Draws are in fp32, as images are, whatever torch's default type is.
    """
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
