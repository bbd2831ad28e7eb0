"""The operator of MeanSparse in the places of a network, and the statistics that it needs."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.errors import UserError
from benchmark.models.segments import Operator, Place

BLOCK = 64
"""Images that statistics are summed over at once, whatever the batch size elsewhere."""


class _Sparse(torch.autograd.Function):
    """x (B, ...) where |x - mean| >= width, else the mean, both (C,) along `axis`; with the gradient of
    that, or straight-through if `straight`.

    A comparison stored as floats and an in-place `lerp` by it, exact at 0 and 1, take a tenth of the
    time of `torch.where`. If channels are innermost, mean and width are repeated for a whole row of
    pixels: broadcast over 16 channels only, bf16 takes ten times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, width: Tensor, axis: int, straight: bool) -> Tensor:
        stays = made = torch.empty_like(x)
        if ctx.needs_input_grad[0] and not straight:
            ctx.save_for_backward(stays)
            made = torch.empty_like(x)
        last = [each.movedim(axis, -1) for each in (x, stays, made)]
        if all(each.is_contiguous() for each in last):
            row = last[0].shape[-2]
            mean, width = mean.repeat(row), width.repeat(row)
            last = [each.flatten(-2) for each in last]
        values, compared, out = last
        torch.sub(values, mean, out=compared).abs_().ge_(width)
        torch.lerp(mean, values, compared, out=out)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = gradients
        made = gradient * ctx.saved_tensors[0] if ctx.saved_tensors else gradient
        return made, None, None, None, None


class MeanBand(Operator):
    """x stays where |x - m| >= t s and becomes m elsewhere, for each channel; NaN stays.

    `mean` m and `std` s are of the network's own values at this place, `widest` is the largest |x - m|
    among them, all (C,); `threshold` is t. `straight` lets gradients pass as if nothing happened.
    """

    mean: Tensor
    std: Tensor
    widest: Tensor
    threshold: Tensor

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.axis, self.straight = place.axis, False
        for name in ("mean", "std", "widest"):
            self.register_buffer(name, torch.zeros(place.channels))
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        mean, width = (each.to(x.dtype) for each in (self.mean, self.threshold * self.std))
        made: Tensor = _Sparse.apply(x, mean, width, self.axis, self.straight)
        return made


class _Watch(nn.Module):
    """Sums up what passes a place, in double precision, and hands it on."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.axis, self.count = place.axis, 0
        self.total = torch.zeros(place.channels, dtype=torch.float64, device="cpu")
        self.squares = torch.zeros_like(self.total)
        self.low = torch.full((place.channels,), torch.inf, device="cpu")
        self.high = torch.full((place.channels,), -torch.inf, device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        values = x.detach().movedim(self.axis, -1).flatten(0, -2)
        exact = values.double()
        self.count += len(values)
        self.total += exact.sum(0).cpu()
        self.squares += exact.square_().sum(0).cpu()
        self.low = torch.minimum(self.low, values.amin(0).cpu())
        self.high = torch.maximum(self.high, values.amax(0).cpu())
        return x

    def fill(self, band: MeanBand) -> None:
        """Write mean, standard deviation (unbiased) and reach of all that passed into `band`."""
        mean = self.total / self.count
        variance = (self.squares - self.count * mean.square()).clamp_(min=0) / max(self.count - 1, 1)
        band.mean.copy_(mean)
        band.std.copy_(variance.sqrt())
        band.widest.copy_(torch.maximum(self.high - mean, mean - self.low))


def put_in(network: nn.Module) -> nn.Module:
    """`network` with an operator in every place. Raises `UserError` if it has none."""
    if not (places := _named(network, Place)):
        raise UserError(
            f"mean-sparse has no place in a {type(network).__name__}; put "
            "benchmark.models.segments.Place(channels) before its activations"
        )
    for name, place in places.items():
        network.set_submodule(name, MeanBand(place))
    return network


@torch.no_grad()
def fill(module: nn.Module, images: Split) -> None:
    """Write the statistics of the network without operators on `images` into them, in one pass."""
    bands, watches = _named(module, MeanBand), {}
    watching = copy.deepcopy(module)
    for name, band in bands.items():
        watches[name] = _Watch(Place(len(band.mean), band.axis))
        watching.set_submodule(name, watches[name])
    for start in range(0, len(images), BLOCK):
        watching(images.batch(start, start + BLOCK)[0])
    for name, watch in watches.items():
        watch.fill(bands[name])


def set_threshold(module: nn.Module, threshold: float) -> None:
    """Give every operator of `module` this threshold.

    Raises `UserError` if it is negative or silences a channel on all images that were measured.
    """
    if not threshold >= 0:
        raise UserError(f"mean-sparse: the threshold is {threshold:g}; it is a number from 0 on")
    bands = _named(module, MeanBand)
    for name, band in bands.items():
        silent = (band.std > 0) & (threshold * band.std > band.widest)
        if bool(silent.any()):
            most = float((band.widest / band.std)[band.std > 0].min())
            raise UserError(
                f"mean-sparse: threshold {threshold:g} silences channel {int(silent.int().argmax())} "
                f"at '{name}' for all images; up to {most:.3g} no channel is silent there"
            )
    for band in bands.values():
        band.threshold.fill_(threshold)


def straight(module: nn.Module) -> nn.Module:
    """A copy of `module` through whose operators gradients pass as if they were not there."""
    copied = copy.deepcopy(module)
    for band in _named(copied, MeanBand).values():
        band.straight = True
    return copied


def _named(network: nn.Module, kind: type[nn.Module]) -> dict[str, Any]:
    """The submodules of `network` of `kind`, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, kind)}
