"""A network in which one layer is multiplied by a factor and the next one takes that back.

Appendix A of the paper does so with two layers around a ReLU (Equation 11). Here the first layer is a
convolution, and what takes the factor back is the batch normalisation behind it, which divides by the
deviation of its input.
"""

import copy

import torch
from torch import Tensor, nn

from benchmark.engine.pgd import training_mode

TOLERANCE = 1e-3
"""By what share of the largest logit those of a rescaled network may differ."""


class NotRescalable(Exception):
    """Nothing takes back what a module is multiplied by; the message says why."""


def rescaled_network(model: nn.Module, module: str, factor: float, images: Tensor) -> nn.Module:
    """A copy of `model` in evaluation mode with `factor` times the weight (and bias) of the convolution
    `module`, which gives the same logits.

    With the factor c the running mean of the batch normalisation becomes c times, its running variance
    and eps c^2 times what they were, so that (c x - c mean) / sqrt(c^2 var + c^2 eps) is what it was,
    bit by bit where c is a power of two. `images` (B, C, H, W) in [0,1] are what both networks are
    compared on. Raises `NotRescalable` if `module` has no batch normalisation directly behind it, or
    if something else takes its output too.
    """
    rescaled = copy.deepcopy(model).eval()
    moved = rescaled.get_submodule(module)
    norm = _norm_behind(rescaled, moved, images[:1])
    if norm is None or norm.running_mean is None or norm.running_var is None:
        raise NotRescalable(f"no batch normalisation stands directly behind {module}")
    with torch.no_grad(), training_mode(model, False):
        for parameter in moved.parameters():
            parameter.mul_(factor)
        norm.running_mean.mul_(factor)
        norm.running_var.mul_(factor**2)
        norm.eps *= factor**2
        before, after = model(images), rescaled(images)
    if not torch.allclose(before, after, rtol=0, atol=TOLERANCE * float(before.abs().max())):
        raise NotRescalable(f"not only the batch normalisation behind {module} takes its output")
    return rescaled


@torch.no_grad()
def _norm_behind(model: nn.Module, module: nn.Module, images: Tensor) -> nn.BatchNorm2d | None:
    """The batch normalisation that gets the output of the convolution `module` as it is.

    Residuals are added in place: the same tensor may arrive with other contents, which its version
    tells.
    """
    if not isinstance(module, nn.Conv2d):
        return None
    made: list[tuple[Tensor, int]] = []
    takers: list[nn.BatchNorm2d] = []

    def leaves(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        made.append((output, output._version))

    def arrives(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(norm, nn.BatchNorm2d):
            takers.extend(norm for out, at in made if inputs[0] is out and out._version == at)

    handles = [module.register_forward_hook(leaves)]
    handles += [each.register_forward_pre_hook(arrives) for each in model.modules()]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return takers[0] if len(takers) == 1 else None
