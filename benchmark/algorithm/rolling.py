"""The adversarial examples on their way through a network whose weights move one module at a time.

While the weight of a module moves, nothing in front of it changes. So the network is cut at the segment
of that module (`benchmark.models.segments`), the examples are taken as far as the cut once, and only
what is behind it runs again at every pass. From one module to the next the examples are rolled on to
the next cut instead of starting from the images.

This is exact where an example's activations do not depend on which others are in its batch. It holds
for convolutions on the CPU, but for very few examples (`same_in_any_batch`); on a GPU, where libraries
choose algorithms by the batch's size, last bits may differ. The classifier's matrix product, whose
rounding depends on the batch everywhere, is in the last segment and thus never in front of a cut.
"""

from dataclasses import dataclass

import torch
from torch import nn

from benchmark.algorithm.adversarial_examples import AdversarialSet
from benchmark.engine.device import free_memory
from benchmark.engine.pgd import training_mode
from benchmark.models.segments import Network, in_sequence, segments_of

FEW = 16
"""From so many examples on, torch convolves them by the same algorithm however many they are."""


@dataclass(frozen=True, eq=False)
class Tail:
    """What of a network is behind a cut, and the examples that arrive there: `examples.x_adv` are
    activations (N, ...), or the images (N, C, H, W) in front of the whole network."""

    network: Network
    examples: AdversarialSet


def same_in_any_batch(examples: AdversarialSet, batch_size: int) -> bool:
    """Whether passes over `examples` and over batches of `batch_size` of them convolve alike.

    torch hands batches of a single small image, and 1x1 convolutions of fewer than `FEW` images on one
    thread, to another algorithm with other last bits (`use_mkldnn` in its
    aten/src/ATen/native/Convolution.cpp).
    """
    batches = [examples, *examples.batches(batch_size)]
    lengths = {len(chunk) for batch in batches for chunk in batch.chunks()}
    return len(lengths) == 1 or min(lengths) >= FEW


class Rolling:
    """Propagation of `examples` (images) to the cut before one module of `model` after another.

    Only the activations at one cut are kept. `memory` bounds their bytes, images excluded (None: half
    of what is free). Where the activations at a cut exceed it, the tail starts at the last cut that
    fits; where those at two cuts exceed it together, the second are computed from the images instead of
    the first. Values do not depend on it.
    """

    def __init__(self, model: nn.Module, examples: AdversarialSet, memory: int | None = None) -> None:
        self._model, self._images = model, examples
        self._segments = segments_of(model)
        self._memory = free_memory(examples.x_adv.device) // 2 if memory is None else memory
        self._shapes, self._bytes = self._sizes()
        self._cut, self._held = 0, examples

    def to(self, module: str) -> Tail:
        """The part of the network that a change of `module` may alter, and its examples.

        They are made with the weights as they are, in evaluation mode, and are valid until the next
        call. A cut in front of the last one is reached from the images.
        """
        holding = next(i for i, segment in enumerate(self._segments) if segment.holds(module))
        cut = max(i for i in range(holding + 1) if self._bytes[i] <= self._memory)
        if cut < self._cut or not self._fits(cut):
            self._cut, self._held = 0, self._images
        if cut > self._cut:
            with training_mode(self._model, False):
                self._roll(cut)
        return Tail(in_sequence(self._segments[cut:]), self._held)

    def _fits(self, cut: int) -> bool:
        """Whether the activations at `cut` may be made of those that are held."""
        overwritten = self._shapes[cut] == self._shapes[self._cut]
        return overwritten or self._bytes[cut] + self._bytes[self._cut] <= self._memory

    @torch.no_grad()
    def _roll(self, cut: int) -> None:
        """Take the examples on to `cut` chunk by chunk, in place where shape and layout stay."""
        between = in_sequence(self._segments[self._cut : cut])
        source, target, done = self._held.x_adv, None, 0
        for chunk in self._held.chunks():
            out = between(chunk.x_adv)
            if target is None:
                shape, stride = (len(source), *out.shape[1:]), (out[0].numel(), *out.stride()[1:])
                if self._cut > 0 and (source.shape, source.stride()) == (shape, stride):
                    target = source
                else:
                    target = torch.empty_strided(shape, stride, dtype=out.dtype, device=out.device)
            target[done : done + len(chunk)] = out
            done += len(chunk)
        assert target is not None
        self._cut, self._held = cut, AdversarialSet(target, self._images.labels)

    @torch.no_grad()
    def _sizes(self) -> tuple[list[torch.Size], list[int]]:
        """By cut: the shape of one example's activations, and the bytes of those of all examples (0
        for the images, which are kept anyway)."""
        x = self._images.x_adv[:1]
        shapes, sizes = [x.shape], [0]
        with training_mode(self._model, False):
            for segment in self._segments[:-1]:
                x = segment.run(x)
                shapes.append(x.shape)
                sizes.append(x.nbytes * len(self._images))
        return shapes, sizes
