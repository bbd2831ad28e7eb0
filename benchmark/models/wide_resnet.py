"""Wide ResNet (Zagoruyko and Komodakis, 2016) with the paper's module names.

Module names (`conv1`, `block1.layer.3.conv2`, `block2.layer.0.convShortcut`, `fc`) and the
initialisation are those of yaodongyu/TRADES, models/wideresnet.py, which RiFT uses too. Its unused
`sub_block1` is left out. The head averages windows of fixed size as theirs does: the whole map for
images of up to 32 pixels, a quarter of it at 64, where the classifier has four inputs per channel.
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


WINDOW = 8
"""Side of the windows that the head averages: `avg_pool2d(out, 8)` in yaodongyu/TRADES."""


class WideBlock(nn.Module):
    """Pre-activation block; a change of width or size goes through `convShortcut`."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.before1 = Place(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.before2 = Place(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = (
            None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )
        self.after = Place(outputs)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.before1(self.bn1(x)), inplace=True)
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        inner = F.relu(self.before2(self.bn2(self.conv1(active))), inplace=True)
        out: Tensor = self.after(self.conv2(inner).add_(shortcut))
        return out


class NetworkBlock(nn.Module):
    """One stage: `count` blocks under the name `layer`."""

    def __init__(self, count: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            *(WideBlock(outputs if i else inputs, outputs, 1 if i else stride) for i in range(count))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """WRN of three stages with 16, 32 and 64 times `width` channels.

    Input (B, C, H, W) in [0,1], output logits (B, K). The head averages windows of `WINDOW` by
    `WINDOW` positions, or the whole of a smaller map, and lists the means by channel, row and column.
    """

    def __init__(self, blocks: Sequence[int], width: int, info: "DatasetInfo") -> None:
        super().__init__()
        self.normalize = Normalize(info.mean, info.std)
        first, second, third = 16 * width, 32 * width, 64 * width
        self.conv1 = nn.Conv2d(info.channels, 16, 3, 1, 1, bias=False)
        self.block1 = NetworkBlock(blocks[0], 16, first, 1)
        self.block2 = NetworkBlock(blocks[1], first, second, 2)
        self.block3 = NetworkBlock(blocks[2], second, third, 2)
        self.bn1 = nn.BatchNorm2d(third)
        self.before = Place(third)
        side = math.ceil(math.ceil(info.side / 2) / 2)
        self.fc = nn.Linear(third * max(side // WINDOW, 1) ** 2, info.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self._head(self.block3(self.block2(self.block1(self._stem(x)))))

    def segments(self) -> list[Segment]:
        """Stem, every block and head with its batch normalisation, input first."""
        blocks = blocks_of(self, ("block1.layer", "block2.layer", "block3.layer"))
        stem = Segment(("normalize", "conv1"), self._stem)
        return [stem, *blocks, Segment(("bn1", "before", "fc"), self._head)]

    def _stem(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(self.normalize(x))
        return out

    def _head(self, out: Tensor) -> Tensor:
        out = F.relu(self.before(self.bn1(out)), inplace=True)
        logits: Tensor = self.fc(window_means(out, WINDOW))
        return logits
