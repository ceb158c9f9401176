"""The generator that ships: plain 3x3 convolutions at a quarter and an eighth of the resolution.

    pixels --unshuffle 4--> stem --stride 2--> residual blocks --up 2--> + --> head, up 4 --> paint
                              └──────────────────────────────────────────┘

Three tenths of the photograph shine through (`veil`) and keep the fine lines that paint at a quarter of the resolution
cannot have; all the rest it has to paint. With the whole photograph as a skip, it learned to colour photographs, and
no strokes.
No normalisation, reflection padding or transposed convolution: see docs/performance.md for what each
would cost. `small` has 7.2 GMAC at 1280x720.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

from .branched import BranchedConv, SmoothUp, folded

__all__ = ["SIZES", "Mobile", "Size"]


class Size(NamedTuple):
    quarter: int  # channels at 1/4 of the resolution
    eighth: int  # channels at 1/8
    blocks: int  # residual blocks at 1/8


SIZES = {"nano": Size(16, 32, 3), "small": Size(32, 64, 4), "base": Size(48, 96, 6)}


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = BranchedConv(channels, channels)
        self.second = BranchedConv(channels, channels, gain=0.5)  # a block starts as a small change

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Mobile(nn.Module):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> the same shape, not clipped."""

    period = 4  # of the pixel shuffle between bytes and the first and last convolution
    stride = 8  # H and W must be multiples of it
    veil = 0.3  # of the photograph shines through the paint; the rest is painted anew
    controls: tuple[Control, ...] = ()
    margin = 16  # edge pixels repeated around the picture and cut off again; see `paint`
    scale = 1  # the painting's height and width over the picture's
    pictures = 1  # how many of one size it makes one of, behind each other along the channels

    def __init__(self, size: str | Size = "small") -> None:
        super().__init__()
        quarter, eighth, blocks = SIZES[size] if isinstance(size, str) else size
        packed = 3 * self.period**2
        self.stem = BranchedConv(packed, quarter)
        self.down = BranchedConv(quarter, eighth, stride=2)
        self.blocks: nn.Sequential | nn.ModuleList = nn.Sequential(*[Block(eighth) for _ in range(blocks)])
        self.up = SmoothUp(eighth, quarter, 2)
        self.head = SmoothUp(quarter, 3, self.period, gain=0.3)

    def forward(self, x: Tensor, *controls: Tensor) -> Tensor:
        packed = self.packed_paint(F.pixel_unshuffle(x, self.period), *controls)
        return self.veil * x + F.pixel_shuffle(packed, self.period)

    def packed_paint(self, packed: Tensor, *controls: Tensor) -> Tensor:
        """(N, 48, H/4, W/4) unshuffled pixels -> the paint on them, same shape: all that is exported."""
        return self.tail(*self.trunk(packed))

    def trunk(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """What it sees: (N, quarter, H/4, W/4) near by, (N, eighth, H/8, W/8) from farther away."""
        features = self.encoded(packed)
        return features[0], features[-1]

    def encoded(self, packed: Tensor) -> list[Tensor]:
        """Features on the way in, finest first: (N, quarter, H/4, W/4), then (N, eighth, H/8, W/8) before and after
        each block."""
        found = [F.relu(self.stem(packed))]
        found.append(F.relu(self.down(found[0])))
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    def tail(self, stem: Tensor, deep: Tensor) -> Tensor:
        """What it paints from what it sees: (N, 48, H/4, W/4)."""
        paint: Tensor = self.head(F.relu(F.pixel_shuffle(self.up(deep), 2) + stem))
        return paint

    def folded(self) -> Mobile:
        return folded(self)
