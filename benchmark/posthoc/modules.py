"""The modules of the methods that average or mix whole networks."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.engine.counting import batch_starts, halved
from benchmark.engine.pgd import training_mode
from benchmark.errors import UserError
from benchmark.models.around import Around

LARGEST = 250
"""Classes, those of the largest logits, over which mixed-nuts normalises."""
SOFT = 0.9
"""Share of h's own softmax in the stand-in of mixed-nuts."""


class BothWays(Around):
    """Mean of the logits of an image and of its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of x (B, C, H, W) in [0,1]."""
        both: Tensor = (self.network(x) + self.network(x.flip(3))) / 2
        return both


class OutputMix(Around):
    """log((1 - a) softmax(g) + a softmax(h)): `network` is h, `partner` g, the number `weight` a."""

    weight: Tensor

    def __init__(self, network: nn.Module, partner: nn.Module) -> None:
        super().__init__(network)
        self.partner = partner
        self.register_buffer("weight", torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of x (B, C, H, W) in [0,1], in double precision."""
        return self.mix(self.network(x).double(), self.partner(x).double())

    def mix(self, h: Tensor, g: Tensor) -> Tensor:
        """Logits (B, K) of the mix from those of both networks."""
        return self._mixed(F.log_softmax(h, 1), F.log_softmax(g, 1))

    def _mixed(self, log_h: Tensor, log_g: Tensor) -> Tensor:
        return torch.logaddexp(torch.log1p(-self.weight) + log_g, torch.log(self.weight) + log_h)


class MixedNuts(OutputMix):
    """OutputMix of the hard maximum of g and of h after `nonlinear`; `soft` changes its gradient.

    It is then that of log((1 - a) softmax(g) + a (0.9 softmax(h) + 0.1 softmax(mapped h))), as the
    authors attack it (Bai-YT/MixedNUTS, adaptive_autoattack).
    """

    scale: Tensor
    shift: Tensor
    power: Tensor

    def __init__(self, network: nn.Module, partner: nn.Module) -> None:
        super().__init__(network, partner)
        self.soft = False
        for name in ("scale", "power"):
            self.register_buffer(name, torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float64))

    def mix(self, h: Tensor, g: Tensor) -> Tensor:
        log_mapped = F.log_softmax(nonlinear(h, self.scale, self.shift, self.power), 1)
        largest = F.one_hot(g.argmax(1), g.shape[1]).bool()
        never = torch.full_like(g, -torch.inf)
        hard = self._mixed(log_mapped, never.masked_fill(largest, 0.0).detach())
        if not self.soft:
            return hard
        log_h = torch.logaddexp(math.log(SOFT) + F.log_softmax(h, 1), math.log(1 - SOFT) + log_mapped)
        soft = self._mixed(log_h, F.log_softmax(g, 1))
        return hard.detach() + (soft - soft.detach())


def nonlinear(z: Tensor, scale: Tensor | float, shift: Tensor | float, power: Tensor | float) -> Tensor:
    """The map of MixedNUTS on logits z (B, K): normalised per image, shifted, then GELU, power, scale.

    GELU is not monotone below about -0.75, so that the argmax may change.
    """
    largest = z if z.shape[1] <= LARGEST else z.topk(LARGEST, 1).values
    spread = (largest.var(1, keepdim=True) + 1e-8).sqrt()
    bent = F.gelu((z - largest.mean(1, keepdim=True)) / spread + shift)
    return scale * bent.sign() * bent.abs().pow(power)


def soft_copy(module: nn.Module) -> nn.Module:
    """A `MixedNuts` with the tensors of `module` and the gradient that attacks need."""
    copied = copy.copy(module)
    assert isinstance(copied, MixedNuts)
    copied.soft = True
    return copied


@torch.no_grad()
def logits_of_both(module: OutputMix, images: Split) -> tuple[Tensor, Tensor]:
    """Logits (N, K) of the robust and of the clean network of `module`, in double precision."""
    starts, found = batch_starts(images), []
    with training_mode(module, False):
        for start in starts:
            x, _ = images.batch(start, start + starts.step)
            found.append([halved(network, x).double() for network in (module.network, module.partner)])
    robust, clean = (torch.cat(part) for part in zip(*found, strict=True))
    return robust, clean


@torch.no_grad()
def check_mix(module: nn.Module, images: Split) -> None:
    """Raise `UserError` unless both networks of `module` answer `images`, among the same classes."""
    assert isinstance(module, OutputMix)
    x, _ = images.batch(0, 2)
    classes = module.network(x).shape[1]
    try:
        others = module.partner(x).shape[1]
    except (RuntimeError, ValueError) as error:
        size = "x".join(map(str, x.shape[1:]))
        raise UserError(
            f"the clean network cannot take the images of the robust one, {size}: "
            f"{next(iter(str(error).splitlines()), '')}"
        ) from error
    if others != classes:
        raise UserError(
            f"the clean network has {others} classes and the robust one {classes}; a mix needs the same"
        )
