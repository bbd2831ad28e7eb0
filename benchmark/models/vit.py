"""Vision transformer (Dosovitskiy et al., 2021) for small images, with timm's module names.

`vit-tiny` is DeiT-Ti (Touvron et al., 2021): 12 blocks of 192 channels. Patches are an eighth of the
image's side, and at least 2 pixels: 4 at 32x32 and 8 at 64x64 (64 tokens), 2 at 8x8 (16). Names
(`patch_embed.proj`, `blocks.3.attn.qkv`, `blocks.3.mlp.fc1`, `head`) are those of timm's
VisionTransformer, and so are the weights' shapes: files of the one fit the other. Everything that has
weights but normalisation, the class token and the positions is a convolution or a linear module.

There are no running statistics. And the network is one segment: the rounding of a matrix product
depends on the batch, so that activations at a cut would not be those of a whole pass.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.info import DatasetInfo
from benchmark.models.normalize import Normalize
from benchmark.models.segments import Place

HEAD = 64
"""Channels of an attention head; a narrower network has one head."""
EPS = 1e-6
"""That of layer normalisation, as in timm."""


class PatchEmbed(nn.Module):
    """A linear map of each patch of (B, C, H, W) to a token (B, T, width)."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention of tokens (B, T, width) with `heads` heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)  # (B, heads, T, width / heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Two linear modules with a GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.before = Place(4 * width, axis=2)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.before(self.fc1(x))))
        return out


class TransformerBlock(nn.Module):
    """Attention and MLP, each after layer normalisation and beside an identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """`blocks[0]` blocks of `width` channels; the class token's last state is classified.

    Input (B, C, H, W) in [0,1], output logits (B, K). The number of heads is the largest up to
    `width / HEAD` that divides `width`. Linear modules have torch's initialisation: from timm's normal
    distribution of 0.02, narrow networks hardly learn under the SGD of the recipes.
    """

    def __init__(self, blocks: Sequence[int], width: int, info: DatasetInfo) -> None:
        super().__init__()
        self.normalize = Normalize(info.mean, info.std)
        patch = max(2, info.side // 8)
        tokens = (info.side // patch) ** 2
        heads = next(n for n in range(max(1, width // HEAD), 0, -1) if width % n == 0)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens + 1, width))
        self.patch_embed = PatchEmbed(info.channels, patch, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(blocks[0])))
        self.norm = nn.LayerNorm(width, EPS)
        self.head = nn.Linear(width, info.classes)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(self.normalize(x))
        first = self.cls_token.expand(len(x), -1, -1)
        states = self.blocks(torch.cat([first, tokens], 1) + self.pos_embed)
        logits: Tensor = self.head(self.norm(states)[:, 0])
        return logits
