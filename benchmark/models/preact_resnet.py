"""Pre-activation ResNet-18 (He et al., 2016b) as the codes of adversarial training on CIFAR have it.

Module names (`conv1`, `layer2.1.conv2`, `layer3.0.shortcut.0`, `bn`, `linear`) and the batch
normalisation before the head are those of locuslab/robust_overfitting, preactresnet.py. A block
normalises its input first, and its shortcut, where there is one, takes that (Figure 4e there).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.normalize import Normalize
from benchmark.models.resnet import WINDOW
from benchmark.models.segments import Place, Segment, blocks_of, window_means

if TYPE_CHECKING:
    from benchmark.data.info import DatasetInfo


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after normalisation and ReLU, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.before1 = Place(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.before2 = Place(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.before1(self.bn1(x)), inplace=True)
        beside = x if self.shortcut is None else self.shortcut(active)
        inner = F.relu(self.before2(self.bn2(self.conv1(active))), inplace=True)
        out: Tensor = self.conv2(inner)
        return out.add_(beside)


class PreActResNet(nn.Module):
    """Four stages of `blocks` with `width`, 2, 4 and 8 times `width` channels.

    Input (B, C, H, W) in [0,1], output logits (B, K). The head is that of `ResNet`.
    """

    def __init__(self, blocks: Sequence[int], width: int, info: "DatasetInfo") -> None:
        super().__init__()
        self.normalize = Normalize(info.mean, info.std)
        self.conv1 = nn.Conv2d(info.channels, width, 3, 1, 1, bias=False)
        inputs, side = width, info.side
        for stage, count in enumerate(blocks):
            outputs, strides = width * 2**stage, [1 if stage == 0 else 2, *[1] * (count - 1)]
            layers = [
                PreActBlock(outputs if place else inputs, outputs, stride)
                for place, stride in enumerate(strides)
            ]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            inputs, side = outputs, -(-side // strides[0])
        self.stages = [f"layer{stage + 1}" for stage in range(len(blocks))]
        self.bn = nn.BatchNorm2d(inputs)
        self.before = Place(inputs)
        self.linear = nn.Linear(inputs * max(side // WINDOW, 1) ** 2, info.classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self._stem(x)
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        return self._head(out)

    def segments(self) -> list[Segment]:
        """Stem, every block and head with its batch normalisation, input first."""
        blocks = blocks_of(self, self.stages)
        stem = Segment(("normalize", "conv1"), self._stem)
        return [stem, *blocks, Segment(("bn", "before", "linear"), self._head)]

    def _stem(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(self.normalize(x))
        return out

    def _head(self, out: Tensor) -> Tensor:
        out = F.relu(self.before(self.bn(out)), inplace=True)
        logits: Tensor = self.linear(window_means(out, WINDOW))
        return logits
