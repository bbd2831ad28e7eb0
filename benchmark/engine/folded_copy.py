"""A copy of a network that gives the same gradients by the pixels with less work.

In evaluation mode batch normalisation is gamma (z - mean) / std + beta with fixed numbers per channel.
After a convolution z = W x that is a convolution too, with weights gamma / std W and a bias, and so
two passes over the activations are saved. The copy is folded in this way, lies in channels-last order,
in which a pixel's channels are neighbours and fill a vector register, and has frozen weights. It is
cast to bf16 once where `benchmark.engine.precision` asks for it, instead of at every pass.

Folding changes sums in their last bits only, so that examples crafted on the copy differ from the
network's own in some pixels whose gradient is next to zero. They are judged by the network itself.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from benchmark.engine import precision
from benchmark.models.around import Around
from benchmark.models.preact_resnet import PreActBlock, PreActResNet
from benchmark.models.resnet import BasicBlock, ResNet
from benchmark.models.wide_resnet import WideBlock, WideResNet

_FOLDED: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    ResNet: (("conv1", "bn1"),),
    BasicBlock: (("conv1", "bn1"), ("conv2", "bn2"), ("shortcut.0", "shortcut.1")),
    WideBlock: (("conv1", "bn2"),),
    PreActBlock: (("conv1", "bn2"),),
}
"""By module: convolutions, and the batch normalisation that takes nothing but their output."""


class AttackCopy:
    """A folded, frozen copy of `network` in evaluation mode, of weights in `dtype`.

    `compiled` compiles batches that are `_usual`; others, such as a last smaller one, run as they are.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, *, compiled: bool = False) -> None:
        self.dtype = dtype
        self.folded = _pairs(network)
        self.network = copy.deepcopy(network).eval()
        for conv, bn in self.folded:
            unfolded, norm = _pair(self.network, conv, bn)
            self.network.set_submodule(conv, fuse_conv_bn_eval(unfolded, norm))
            self.network.set_submodule(bn, nn.Identity())
        numbers = [
            (module, name, value)
            for module in self.network.modules()
            for name, value in module.named_buffers(recurse=False)
            if value.ndim == 0
        ]
        self.network.to(dtype).to(memory_format=torch.channels_last).requires_grad_(False)
        for module, name, value in numbers:  # of post-hoc methods: 0.99875 is 1 in bf16
            module.register_buffer(name, value)
        self._compiled: Callable[[Tensor], Tensor] | None = None
        if compiled:
            # Compiled with its casts: torch looks at the input's .grad, which only a leaf has.
            self._compiled = _compile(self._logits, self.network)

    def fits(self, dtype: torch.dtype, device: torch.device, *, compiled: bool) -> bool:
        """Whether this copy has that type, device and compilation."""
        here = next(self.network.parameters()).device
        same = self.dtype == dtype and here == device
        return same and compiled == (self._compiled is not None)

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Take over the weights and buffers that `network` has now."""
        for conv, bn in self.folded:
            unfolded, norm = _pair(network, conv, bn)
            assert norm.running_mean is not None and norm.running_var is not None
            moments = norm.running_mean, norm.running_var, norm.eps
            folded = fuse_conv_bn_weights(
                unfolded.weight, unfolded.bias, *moments, norm.weight, norm.bias
            )
            for name, value in zip(("weight", "bias"), folded, strict=True):
                self.network.get_submodule(conv).get_parameter(name).copy_(value)
        done = {name for pair in self.folded for name in pair}
        for part in ("named_parameters", "named_buffers"):
            mine = dict(getattr(self.network, part)())
            for name, tensor in getattr(network, part)():
                if name.rpartition(".")[0] not in done:
                    mine[name].copy_(tensor)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (B, K) of x (B, C, H, W) in [0,1], in the type of x."""
        run = self._logits if self._compiled is None or not _usual(x) else self._compiled
        return run(x)

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.to(self.dtype))
        return logits.to(x.dtype)


def _usual(images: Tensor) -> bool:
    """Whether evaluations take so many `images` at once, or trainings and criticality may: a power of
    two from 16 on.

    Nothing that was run before counts: resumed work may begin with the last, smaller batch, and has to
    have the bits of work that was not interrupted.
    """
    from benchmark.engine.counting import images_at_once

    size = len(images)
    return size == images_at_once(images) or (size >= 16 and size.bit_count() == 1)


class MixedPrecision(nn.Module):
    """`network` with its convolutions and matrix products in the precision of `chosen`.

    Logits are in the type of the images. Weights stay what they are, and batch normalisation sums in
    fp32. If `chosen` asks for it, passes are compiled, in training as well as in evaluation mode, with
    and without gradients of weights.
    """

    def __init__(self, network: nn.Module, chosen: precision.Precision) -> None:
        super().__init__()
        self.network = network
        self.chosen = chosen
        # A function, because a compiled module would be a second submodule with the same parameters;
        # and one that calls the network, whose hooks may normalise pixels.
        self._run = _compile(lambda x: network(x), network) if chosen.compiled else network

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of x (B, C, H, W) in [0,1]."""
        with self.chosen.autocast(x.device):
            logits: Tensor = self._run(x)
        return logits.to(x.dtype)


def _compile(function: Callable[[Tensor], Tensor], network: nn.Module) -> Callable[[Tensor], Tensor]:
    """`function`, which runs `network`, compiled for each kind of network, shape and mode it meets.

    torch counts these by the line of code, for all networks of the process together, and by itself
    runs the ninth and all later ones as they are, without a word in the record. For CUDA it times some
    kernels and takes the fastest; those that add in another order are not among them here.
    """
    from torch._dynamo import config

    config.recompile_limit = config.accumulated_recompile_limit
    on_cuda = next(network.parameters()).is_cuda
    return torch.compile(function, dynamic=False, options={"deterministic": True} if on_cuda else None)


_copies: WeakKeyDictionary[nn.Module, AttackCopy] = WeakKeyDictionary()


def cheaper(model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What an attack on `model` in evaluation mode runs against, in the precision of the process.

    For networks of this suite a copy, made once, that follows the weights at every call. Networks of
    other makers run as they are, or in mixed precision.
    """
    network = model.network if isinstance(model, MixedPrecision) else model
    chosen = precision.used()
    bf16, compiled = chosen.uses_bf16(device), bool(chosen.compiled)
    if not foldable(network):
        return MixedPrecision(network, replace(chosen, compiled=False)) if bf16 else network
    dtype = torch.bfloat16 if bf16 else next(network.parameters()).dtype
    known = _copies.get(network)
    if known is not None and known.fits(dtype, device, compiled=compiled):
        known.follow(network)
        return known
    made = AttackCopy(network, dtype, compiled=compiled)
    _copies[network] = made
    return made


def trained(model: nn.Module, device: torch.device) -> nn.Module:
    """What adversarial training runs in place of `model`, with the same weights."""
    chosen = precision.used()
    if not chosen.compiled and not chosen.uses_bf16(device):
        return model
    return MixedPrecision(model, chosen)


def foldable(network: nn.Module) -> bool:
    """Whether the batch normalisation of `network`, or of all that a module runs, can be folded."""
    if isinstance(network, Around):
        return all(map(foldable, network.children()))
    known = isinstance(network, ResNet | WideResNet | PreActResNet)
    return known and all(_plain(network, *pair) for pair in _pairs(network))


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """The names of the convolutions in `network` and of the batch normalisation behind each."""
    return [
        (f"{name}{dot}{conv}", f"{name}{dot}{bn}")
        for name, module in network.named_modules()
        for dot in ["." if name else ""]
        for conv, bn in _FOLDED.get(type(module), ())
        if conv in dict(module.named_modules(remove_duplicate=False))
    ]


def _plain(network: nn.Module, conv: str, bn: str) -> bool:
    """Whether a user left both as they were: own weights, running statistics."""
    unfolded, norm = network.get_submodule(conv), network.get_submodule(bn)
    own = isinstance(unfolded, nn.Conv2d) and "weight" in unfolded._parameters
    return own and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None


def _pair(network: nn.Module, conv: str, bn: str) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    unfolded, norm = network.get_submodule(conv), network.get_submodule(bn)
    assert isinstance(unfolded, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return unfolded, norm
