"""Post-activation ResNet-18/34 for small images with the paper's module names.

Module names (`conv1`, `layer2.1.conv2`, `layer3.0.shortcut.0`, `linear`) are those of the networks
in Immortalise/RiFT, models/resnet.py, so that names in the paper's figures apply verbatim. ReLU and
the residual sum are in place: batch normalisation keeps its input, not its output, so this is exact
and saves memory traffic.

The head is theirs too: it averages windows of fixed size, which is the whole map for images of up to 32
pixels and a quarter of it at 64, where the classifier has four inputs per channel.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.normalize import Normalize
from benchmark.models.segments import Place, Segment, blocks_of, window_means

if TYPE_CHECKING:
    from benchmark.data.info import DatasetInfo


WINDOW = 4
"""Side of the windows that the head averages: `avg_pool2d(out, 4)` in Immortalise/RiFT."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 2016, Figure 5 left)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.before1 = Place(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.before2 = Place(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.before1(self.bn1(self.conv1(x))), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(self.before2(out), inplace=True)


class ResNet(nn.Module):
    """ResNet with four stages of `blocks` and `width`, 2, 4, 8 times `width` channels.

    Input (B, C, H, W) in [0,1], output logits (B, K). The head averages windows of `WINDOW` by
    `WINDOW` positions, or the whole of a smaller map, and lists the means by channel, row and column.
    """

    def __init__(self, blocks: Sequence[int], width: int, info: "DatasetInfo") -> None:
        super().__init__()
        self.normalize = Normalize(info.mean, info.std)
        self.conv1 = nn.Conv2d(info.channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.before = Place(width)
        inputs, side = width, info.side
        for stage, count in enumerate(blocks):
            outputs, layers = width * 2**stage, []
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                layers.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            side = side if stage == 0 else math.ceil(side / 2)
        self.stages = len(blocks)
        self.linear = nn.Linear(inputs * max(side // WINDOW, 1) ** 2, info.classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self._stem(x)
        for stage in range(self.stages):
            out = self.get_submodule(f"layer{stage + 1}")(out)
        return self._head(out)

    def segments(self) -> list[Segment]:
        """Stem, every residual block and head, input first."""
        names = [f"layer{stage + 1}" for stage in range(self.stages)]
        blocks = blocks_of(self, names)
        stem = Segment(("normalize", "conv1", "bn1", "before"), self._stem)
        return [stem, *blocks, Segment(("linear",), self._head)]

    def _stem(self, x: Tensor) -> Tensor:
        return F.relu(self.before(self.bn1(self.conv1(self.normalize(x)))), inplace=True)

    def _head(self, out: Tensor) -> Tensor:
        logits: Tensor = self.linear(window_means(out, WINDOW))
        return logits
